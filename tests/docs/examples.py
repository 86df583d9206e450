"""Finds the Python examples on the project's pages, and runs them.

The blocks of a page are one program, in their order. `<!-- compile only: why -->` before a block says that it is compiled and
not run; it is for what needs a server, or an application around it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(
    r"(?:^<!-- compile only: (?P<why>[^>]+) -->\n+)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Example:
    """One ```python block of a page."""

    page: Path
    line: int
    code: str
    compile_only: str = ""

    def compiled(self) -> Any:
        """The code, with the lines of the page, so that a traceback leads there."""
        return compile("\n" * (self.line - 1) + self.code, str(self.page), "exec")


def examples(page: Path) -> list[Example]:
    """The blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Example(page, text.count("\n", 0, match.start("code")) + 1, match["code"], match["why"] or "")
        for match in _BLOCK.finditer(text)
    ]


def run_page(page: Path) -> dict[str, Any]:
    """Run the page's blocks as one module, and return its names."""
    module = ModuleType(f"example_{page.stem.replace('-', '_').lower()}")
    del (
        module.__spec__
    )  # for Python 3.15 a module with a specification has a loader, and a traceback warns where it has none
    sys.modules[module.__name__] = module  # frameworks look for the types of annotations there
    exec("import os", module.__dict__)  # a page may take `os.environ` for known; the rest it says itself
    for example in examples(page):
        code = example.compiled()
        if not example.compile_only:
            exec(code, module.__dict__)
    return module.__dict__


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
