"""YAML files of settings, read so that no line means anything but what it seems to, and no error shows a line.

YAML 1.1, which PyYAML reads, takes `8:00` for the number 480 and `0100` for 64, and lets a key that stands twice win.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Final

from hardtack._extras import explain
from hardtack._settings import fail
from hardtack.errors import ConfigError

_INT: Final = "tag:yaml.org,2002:int"
_FLOAT: Final = "tag:yaml.org,2002:float"

# YAML 1.1's own, without the numbers to the base 60 and 8.
_INTEGERS: Final = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_FLOATS: Final = re.compile(
    r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


def parse(file: Path, text: str, *, untyped: bool = False) -> Any:
    """What the YAML text of a file holds: plain values only, or with `untyped` nothing but text, lists, dicts and None.

    Raises `ConfigError`, which names the file and the line, and `ImportError` where PyYAML is missing.
    """
    try:
        import yaml
    except ImportError as error:
        message = explain(f"reading {file}", "yaml", error)
        raise ImportError(message) from None
    try:
        return yaml.load(text, Loader=_untyped(yaml) if untyped else _typed(yaml, file))  # noqa: S506 - both are safe
    except ConfigError:
        raise
    except RecursionError:
        problem = "is nested too deeply"
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        # The parser's own message quotes the line, which may hold a secret: only its number is told.
        mark = getattr(error, "problem_mark", None)
        problem = "is not plain YAML" + (f" (line {mark.line + 1})" if mark else "")
    return fail(str(file), problem)


def _typed(yaml: Any, file: Path) -> Any:
    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_mapping_node(self, anchor: Any) -> Any:
            return _without_duplicates(super().compose_mapping_node(anchor), file)

    Loader.add_implicit_resolver(_FLOAT, _FLOATS, list("-+0123456789."))
    Loader.add_implicit_resolver(_INT, _INTEGERS, list("-+0123456789"))
    return Loader


def _untyped(yaml: Any) -> Any:
    class Loader(yaml.BaseLoader):  # type: ignore[misc]
        """None is where nothing stands, or a `~` without quotes."""

        def construct_scalar(self, node: Any) -> Any:
            return None if node.style is None and node.value in ("", "~") else super().construct_scalar(node)

    return Loader


def _without_duplicates(node: Any, file: Path) -> Any:
    """The mapping; a `ConfigError` where a key stands twice in it: the first was set for something."""
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key.value, str):
            name = (key.tag, key.value)
            if name in seen:
                fail(str(file), f"has {key.value} twice (line {key.start_mark.line + 1}); remove one of them")
            seen.add(name)
    return node
