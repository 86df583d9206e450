"""What docs/recipes.md says that the log says, the log says."""

from __future__ import annotations

import re

from tests.docs.examples import ROOT

from hardtack import events

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").partition("\n## My session is lost")[2]
SENTENCES = [
    str(events.Rejected("unknown_key", "session")),
    *(str(events.Rejected(reason, "session")) for reason in events._REJECTED),
    *(str(events.Expired("id", deadline)) for deadline in ("absolute", "idle")),
    str(events.LateWrite("id")),
    str(events.Conflict("…", "stale", ("a",))),
]


def test_each_line_of_the_table_is_one_that_the_log_has() -> None:
    """Whoever searches the page for a line of a log finds it."""
    source = (ROOT / "src" / "hardtack" / "adapters.py").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", PAGE, re.MULTILINE)
    quoted = [phrase for row in rows for phrase in re.findall(r"`([^`]+)`", row)]

    missing = [each for each in quoted if not any(each in sentence for sentence in [*SENTENCES, source])]

    assert len(quoted) > 10
    assert missing == []
