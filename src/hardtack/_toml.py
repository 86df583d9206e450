"""TOML as settings and keys are kept in it; the errors show the place and never the text, which may be a secret."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from hardtack._settings import fail


def parse(file: Path, text: str) -> dict[str, Any]:
    """What the text of a file holds. Raises `ConfigError`."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = "is nested too deeply"
    except tomllib.TOMLDecodeError as error:
        # The parser's own message may quote a secret: only the place is told.
        place = re.search(r"\(at [^()]*\)$", str(error))
        problem = f"is not TOML {place[0] if place else ''}".rstrip()
    return fail(str(file), problem)
