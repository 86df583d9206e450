"""Which token format reads the golden cookies of which `format`: one dictionary for each family of systems.

`EXPECTED` says what a session holds where the golden file writes it down in another way than we read it.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from markupsafe import Markup
from tests.foreign.perl_readers import perl_readers
from tests.foreign.python_readers import python_readers
from tests.foreign.web_readers import WEB_EXPECTED, web_readers

from hardtack.protocols import TokenFormat

READERS: dict[str, Callable[[dict[str, Any]], TokenFormat]] = {**perl_readers, **python_readers, **web_readers}


_TAGS: dict[str, Callable[[Any], Any]] = {
    "__tuple__": tuple,
    "__datetime__": dt.datetime.fromisoformat,
    "__uuid__": UUID,
    "__bytes_b64__": base64.b64decode,
    "__markup__": Markup,
}


def _flask(data: dict[str, Any]) -> dict[str, Any]:
    """The Python types that the golden file writes as tags."""
    plain = {}
    for key, item in data.items():
        tag = next(iter(item)) if isinstance(item, dict) and len(item) == 1 else None
        plain[key] = _TAGS[tag](item[tag]) if tag in _TAGS else item
    return plain


EXPECTED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "flask": _flask,
    "tornado-v2": lambda data: json.loads(data["raw"]),
    "aiohttp-session-fernet": lambda data: data["session"],
    **WEB_EXPECTED,
}
