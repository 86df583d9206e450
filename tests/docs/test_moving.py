"""What docs/moving.md says is so: it names every format, and the command prints what the page shows."""

from __future__ import annotations

import base64
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import hardtack.foreign
from hardtack import SessionManager
from hardtack.cli import OK, main
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.laravel import LaravelIdCookie
from hardtack.foreign.rails import RailsCookie
from hardtack.protocols import Context
from hardtack.record import Record

DOCS = Path(__file__).parents[2] / "docs"
PAGES = "".join((DOCS / f"{name}.md").read_text("utf-8") for name in ("moving", "foreign-python", "foreign-perl"))


def _formats() -> list[str]:
    """The public classes of `hardtack.foreign` that are formats, as the pages write them."""
    found = []
    for module in pkgutil.iter_modules(hardtack.foreign.__path__):
        names = vars(importlib.import_module(f"hardtack.foreign.{module.name}"))
        for name, kind in names.items():
            if isinstance(kind, type) and issubclass(kind, ForeignCookie) and hasattr(kind, "format_name"):
                own = kind.__module__ == f"hardtack.foreign.{module.name}" and not name.startswith("_")
                found += [f"{module.name}.{name}"] if own else []
    return found


@pytest.mark.parametrize("name", _formats())
def test_every_format_is_in_a_table(name: str) -> None:
    """A format that no page names is one that nobody finds."""
    assert f"`{name}" in PAGES


def test_the_command_prints_what_the_page_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first line, its hidden values and its five lines, but for the date and the place of the file."""
    path = tmp_path / "secret"
    path.write_text("the secret")
    rails = RailsCookie("the secret", cookie_name="_shop_session", until=1 << 40)
    record = Record(bytes(16), 0, None, 0, None, {}, {"user_id": 42})
    ((name, value),) = rails.seal(record, Context("_shop_session", "", 0)).items()

    assert main(["takeover", f"{name}={value}", "--secret-file", str(path)]) == OK

    shown = (DOCS / "moving.md").read_text("utf-8").partition("```console\n")[2].partition("```")[0].splitlines()[1:]
    printed = capsys.readouterr().out.splitlines()
    for there, here in zip(shown, printed, strict=True):
        assert there.partition("until=")[0].replace("'secret'", repr(str(path))) == here.partition("until=")[0]


def test_laravels_users_stay_logged_in() -> None:
    """The page's example, with a row as Laravel's DatabaseSessionHandler writes it: base64 of PHP's serialize."""
    example = (DOCS / "moving-laravel.md").read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    page: dict[str, Any] = {}
    exec(example, page)
    identifier = "aB3" * 13 + "x"
    login = "login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d"
    row = f'a:2:{{s:6:"_token";s:3:"abc";s:50:"{login}";i:42;}}'
    page["table"][identifier] = base64.b64encode(row.encode()).decode()
    record = Record(bytes(16), 0, None, 0, None, {}, {"session_id": identifier})
    cookie = LaravelIdCookie(page["APP_KEY"], until=1).seal(record, Context("laravel_session", "", 0))
    sessions: SessionManager = page["sessions"]

    session = sessions.open(f"laravel_session={cookie['laravel_session']}")

    assert (session, session.subject) == ({"_token": "abc", login: 42}, "42")
