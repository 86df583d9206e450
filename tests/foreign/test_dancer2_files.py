"""Dancer's session files with the real Dancer2 and Dancer: golden files, both directions, and two sites on one directory."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.foreign.perl.bridge import PerlError, call, tag, untag
from tests.foreign.test_real_dancer_site import Browser, Quiet, application, wait_for
from tests.needs import find_program

from hardtack import Cookie, SessionManager, StoreEngine
from hardtack import record as records
from hardtack.stores.dancer_layout import STAMP, Dancer2Layout
from hardtack.stores.file import FileStore

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "dancer2_files_and_ids.json").read_text("utf-8")
)
FILES = [each for each in VECTORS if each["format"].startswith("dancer2-file")]
IDS = [each for each in VECTORS if each["format"] == "dancer2-session-id"]
NAME = "dancer.session"
COOKIE = Cookie(name=NAME, secure=False, samesite=None)
FORMATS = ["yaml", "json"]
SITE = Path(__file__).parent / "perl" / "dancer2_site.pl"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
trees = st.recursive(
    texts | st.none() | st.integers(-(2**63), 2**63 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
sessions = st.dictionaries(texts.filter(lambda key: key not in ("", STAMP, "id")), trees, max_size=4)
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def as_text(value: Any) -> Any:
    """A value with its numbers as text, as YAML.pm has them."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return value if value is None else str(value)


def looks_like_utf8(data: dict[str, Any]) -> bool:
    """Whether JSON.pm writes the data as Latin-1 whose bytes are UTF-8 for something else: nobody can tell them apart."""
    try:
        return not json.dumps(data, ensure_ascii=False).encode("latin-1").decode().isascii()
    except UnicodeError:
        return False


def manager(directory: Path, format: str, layout: str = "dancer2") -> SessionManager:
    """Python's side of a directory."""
    return SessionManager(StoreEngine(FileStore(directory, format, layout=layout)), cookie=COOKIE, lifetime="1 hour")


def save(sessions: SessionManager, data: dict[str, Any], identifier: str | None = None) -> str:
    """What a request does that puts the data into its session; the cookie's value."""
    session = sessions.open(None if identifier is None else f"{NAME}={identifier}")
    session.update(data)
    lines = sessions.commit(session).set_cookies
    return identifier if identifier is not None and not lines else lines[0].partition("=")[2].partition(";")[0]


def load(sessions: SessionManager, identifier: str) -> dict[str, Any]:
    """The data that a request with that cookie finds."""
    return dict(sessions.open(f"{NAME}={identifier}"))


# --- golden files


@pytest.mark.parametrize("entry", FILES, ids=lambda entry: entry["name"])
def test_golden_file(entry: dict[str, Any], tmp_path: Path) -> None:
    """A file that Dancer2 wrote is read as Dancer2 meant it: its text, not the bytes that its JSON engine reads back."""
    yaml = entry["format"].endswith("yaml")
    path = tmp_path / entry["file_name"]
    path.write_bytes(bytes.fromhex(entry["file_hex"]))

    found = FileStore(tmp_path, "yaml" if yaml else "json", layout="dancer2").get(path.stem)

    assert found is not None
    assert records.unpack(found.data).data == (entry["read_back"] if yaml else entry["plaintext_data"])


@pytest.mark.parametrize("entry", IDS, ids=lambda entry: entry["name"])
def test_golden_id(entry: dict[str, Any]) -> None:
    """Dancer2's rule, but for a line end and for names that no file can have."""
    text: str = entry.get("input", entry.get("value", ""))
    expected = entry["valid"] and not text.endswith("\n") and len(text) < 250

    assert Dancer2Layout.ids.accepts(text) is expected


# --- both directions


@pytest.mark.perl("Dancer2", "YAML", "JSON")
@pytest.mark.parametrize("format", FORMATS)
def test_booleans_in_both_directions(tmp_path: Path, format: str) -> None:
    """Those of Perl's JSON modules are bools here, and what is written Dancer2 has as such again."""
    theirs = ["h", {"yes": ["j", True], "no": ["a", [["j", False], ["j", True]]]}]
    call("dancer2_flush", format=format, dir=str(tmp_path), id="abc", data=theirs)
    sessions = manager(tmp_path, format)

    found = load(sessions, "abc")
    save(sessions, {"more": False}, "abc")

    assert found == {"yes": True, "no": [False, True]}
    assert type(found["yes"]) is bool
    back = untag(call("dancer2_retrieve", format=format, dir=str(tmp_path), id="abc"))
    assert {key: back[key] for key in ("yes", "no", "more")} == {"yes": True, "no": [False, True], "more": False}
    assert type(back["more"]) is bool


@pytest.mark.perl("Dancer2", "YAML", "JSON")
@pytest.mark.parametrize("format", FORMATS)
@many
@given(data=sessions)
def test_hardtack_reads_what_dancer2_writes(tmp_path: Path, format: str, data: dict[str, Any]) -> None:
    """Dancer2 makes a session with an id of its own; Python finds it under that cookie."""
    identifier = call("dancer2_create", dir=str(tmp_path), format=format, data=tag(data))
    try:
        back = untag(call("dancer2_retrieve", dir=str(tmp_path), format=format, id=identifier))
    except PerlError:  # a few texts YAML.pm itself cannot read again
        return

    found = load(manager(tmp_path, format), identifier)

    if format == "json":
        assert found == data or looks_like_utf8(data)
    elif back == as_text(data):
        assert found == back


@pytest.mark.perl("Dancer2", "YAML", "JSON")
@pytest.mark.parametrize("format", FORMATS)
@many
@given(data=sessions.filter(bool))
def test_dancer2_reads_what_hardtack_writes(tmp_path: Path, format: str, data: dict[str, Any]) -> None:
    """Python makes a session; Dancer2 accepts its id and has the same data, and one key more."""
    identifier = save(manager(tmp_path, format), data)

    assert call("dancer2_accepts", dir=str(tmp_path), format=format, id=identifier) == 1
    back = untag(call("dancer2_retrieve", dir=str(tmp_path), format=format, id=identifier))

    assert set(json.loads(back.pop(STAMP))) >= {"created", "seen", "subject"}
    assert back == (as_text(data) if format == "yaml" else data)


@pytest.mark.perl("Dancer2", "YAML", "JSON")
@pytest.mark.parametrize("format", FORMATS)
def test_one_session_there_and_back(tmp_path: Path, format: str) -> None:
    """Each adds to what the other has written; the times stay, and so does the mode of the file."""
    sessions = manager(tmp_path, format)
    identifier = save(sessions, {"user": "Žofie", "sum": "1 €"})
    created = sessions.open(f"{NAME}={identifier}").created_at

    data = untag(call("dancer2_retrieve", dir=str(tmp_path), format=format, id=identifier))
    data["perl"] = "žluť"
    call("dancer2_flush", dir=str(tmp_path), format=format, id=identifier, data=tag(data))
    session = sessions.open(f"{NAME}={identifier}")

    (path,) = (each for each in tmp_path.iterdir() if each.is_file())
    assert dict(session) == {"user": "Žofie", "sum": "1 €", "perl": "žluť"}
    assert session.created_at == created
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    save(sessions, {"python": "1"}, identifier)
    back = untag(call("dancer2_retrieve", dir=str(tmp_path), format=format, id=identifier))
    assert {key: back[key] for key in ("user", "perl", "python")} == {"user": "Žofie", "perl": "žluť", "python": "1"}


@pytest.mark.perl("Dancer2", "YAML", "JSON")
@pytest.mark.parametrize("format", FORMATS)
def test_an_id_change_and_an_end_on_either_side(tmp_path: Path, format: str) -> None:
    """What one side has moved or ended is gone on the other."""
    sessions, where = manager(tmp_path, format), {"dir": str(tmp_path), "format": format}
    first = save(sessions, {"user": "alice"})

    second = call("dancer2_change_id", id=first, **where)

    assert load(sessions, first) == {}
    assert load(sessions, second) == {"user": "alice"}
    session = sessions.open(f"{NAME}={second}")
    session.regenerate()
    third = re.split("[=;]", sessions.commit(session).set_cookies[0])[1]
    with pytest.raises(PerlError, match="Unable to retrieve"):
        call("dancer2_retrieve", id=second, **where)
    assert untag(call("dancer2_retrieve", id=third, **where))["user"] == "alice"
    session = sessions.open(f"{NAME}={third}")
    session.logout()
    sessions.commit(session)
    with pytest.raises(PerlError, match="Unable to retrieve"):
        call("dancer2_retrieve", id=third, **where)
    fourth = save(sessions, {"user": "bob"})
    call("dancer2_destroy", id=fourth, **where)
    assert load(sessions, fourth) == {}


@pytest.mark.perl("Dancer2", "JSON")
def test_golden_json_bytes_are_those_of_this_engine(tmp_path: Path) -> None:
    """The stand-in for Dancer2::Session::JSON writes what the real one wrote: Latin-1 as it is, all else as UTF-8."""
    for entry in FILES:
        if entry["name"] in ("json-latin1_bytes", "json-plain"):
            data = entry["plaintext_data"]
            call("dancer2_flush", dir=str(tmp_path), format="json", id="x", data=tag(data))

            raw = (tmp_path / "x.json").read_bytes()

            assert sorted(raw) == sorted(bytes.fromhex(entry["file_hex"]))  # Perl's keys come in any order


@pytest.mark.perl("Dancer", "YAML")
@many
@given(data=sessions.filter(bool))
def test_dancer_1_in_both_directions(tmp_path: Path, data: dict[str, Any]) -> None:
    """Blessed files with the id inside: read as plain data, and written so that Dancer 1 finds itself."""
    sessions = manager(tmp_path, "yaml", "dancer")
    theirs = call("dancer1_flush", dir=str(tmp_path), data=tag(data))
    try:
        back = untag(call("dancer1_retrieve", dir=str(tmp_path), id=theirs))
    except PerlError:
        back = None

    if back == as_text(data) | {"id": theirs}:
        assert load(sessions, theirs) == as_text(data)
    ours = save(sessions, data)
    seen = untag(call("dancer1_retrieve", dir=str(tmp_path), id=ours))
    assert seen.pop(STAMP)
    assert seen == as_text(data) | {"id": ours}


# --- two sites on one directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def dancer(directory: Path) -> Iterator[str]:
    """A real Dancer2 application with the engine YAML."""
    directory.mkdir(mode=0o700)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "DANCER_ENVIRONMENT": "production"}
    process = subprocess.Popen(
        [find_program("perl"), str(SITE), str(port), str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=directory.parent,
    )
    assert process.stdout is not None
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def python(directory: Path) -> Iterator[str]:
    """The same pages in Python, on the same directory and cookie name."""
    server = make_server("127.0.0.1", 0, application(manager(directory, "yaml")), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.perl("Dancer2", "YAML", "HTTP::Server::PSGI")
def test_two_sites_share_one_session(dancer: str, python: str) -> None:
    """Login on one, cart on both, change of id on Dancer2's login, logout on either: over HTTP, with one cookie jar."""
    browser = Browser()

    browser.get(f"{python}/add/bread")
    browser.get(f"{dancer}/add/butter")
    browser.get(f"{dancer}/login/alice")
    assert browser.get(f"{python}/whoami") == "alice"
    assert browser.get(f"{python}/cart") == browser.get(f"{dancer}/cart") == "bread,butter"

    browser.get(f"{python}/logout")
    assert browser.get(f"{dancer}/whoami") == "nobody"

    browser.get(f"{dancer}/login/bob")
    browser.get(f"{python}/add/beer")
    assert browser.get(f"{dancer}/cart") == "beer"
    browser.get(f"{dancer}/logout")
    assert browser.get(f"{python}/whoami") == "nobody"
    assert browser.get(f"{python}/cart") == ""


@pytest.mark.perl("Dancer2", "YAML", "HTTP::Server::PSGI")
def test_a_stolen_old_cookie_opens_nothing(dancer: str, python: str) -> None:
    """After a logout in Python, the id opens nothing in Dancer2 either."""
    browser = Browser()
    browser.get(f"{python}/login/alice")
    (stolen,) = browser.jar
    browser.get(f"{python}/logout")

    browser.jar.set_cookie(stolen)

    assert browser.get(f"{dancer}/whoami") == "nobody"
    assert browser.get(f"{python}/whoami") == "nobody"
