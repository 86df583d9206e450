"""The README as PyPI shows it: relative links and pictures lead to the tag of the version in the repository."""

from __future__ import annotations

import re
from typing import Final

LINKS: Final = "https://github.com/hardtack/hardtack/blob"
PICTURES: Final = "https://raw.githubusercontent.com/hardtack/hardtack"

_TARGET: Final = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#|mailto:)([^)\s]+)\)")


def mended(text: str, version: str) -> str:
    """The text with absolute links."""

    def absolute(match: re.Match[str]) -> str:
        base = PICTURES if match[1] else LINKS
        return f"{match[1]}{match[2]}({base}/v{version}/{match[3]})"

    return _TARGET.sub(absolute, text)
