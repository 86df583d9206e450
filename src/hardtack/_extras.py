"""What to say where a package of an extra cannot be imported: it is missing, or another version than the extra asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from typing import Final

_REQUIREMENT: Final = re.compile(r"([\w.-]+)([^;]*?)\s*;.*extra == ['\"]([\w.-]+)['\"]")


def explain(what: str, extra: str, error: ImportError) -> str:
    """The text of the `ImportError` that `what`, which needs the extra's packages, raises in place of `error`.

    A module that is not there at all is told apart from one that has no such name or submodule: there the version that
    is installed does not fit, and to say that the package is missing would send people the wrong way.
    """
    needed = _requirements(extra)
    installed = {name: version for name in needed if (version := _version(name))}
    install = f"pip install 'hardtack[{extra}]'"
    if isinstance(error, ModuleNotFoundError) and "." not in (error.name or "."):
        missing = [name for name in needed if name not in installed] or [str(error.name)]
        return f"{what} needs {_listed(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: {install}"
    found = _listed(f"{name} {version}" for name, version in installed.items()) or "what is installed"
    wanted = _listed(f"{name}{bound}" for name, bound in needed.items())
    return f"{what} does not work with {found} ({error}); it needs {wanted or 'another version'}: {install}"


def _requirements(extra: str) -> dict[str, str]:
    """The packages of the extra and their bounds, from hardtack's own metadata: none where it is not installed itself."""
    try:
        lines = metadata.requires("hardtack") or []
    except metadata.PackageNotFoundError:  # run from its sources
        return {}
    found = [match for match in map(_REQUIREMENT.match, lines) if match and match[3] == extra]
    return {match[1]: match[2] for match in found}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _listed(items: Iterable[str]) -> str:
    return " and ".join(items)
