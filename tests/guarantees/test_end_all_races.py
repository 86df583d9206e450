"""All of a user's sessions end, however fast each of them changes its id meanwhile: on every store that can find them."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.end_all_race import make_sessions, race
from tests.guarantees.kit import SHARED, store_url

FINDING = ("memory", *(name for name in SHARED if name != "memcached"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cookies", *FINDING])
def test_no_session_outruns_the_end_of_all(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A few runs; `python -m benchmarks.end_all_race` has a hundred on each."""
    sessions, close = make_sessions(name if name == "cookies" else store_url(name, request, tmp_path))

    survived, _ = race(sessions, 3)

    close()
    assert survived == 0
