"""FileStore in Dancer's layouts: the contract, ids, times beside Dancer's data, tombstones, and files being written."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit import KEY, OTHER_KEY, START, Site

from hardtack import Cookie, Keyring, Session, StoreEngine
from hardtack import record as records
from hardtack.errors import ConfigError, SessionConflict, StoreError, StoreUnavailable, UnsupportedValue
from hardtack.events import Destroyed, Rejected
from hardtack.protocols import Entry, Tombstone, VersionConflict
from hardtack.record import Record
from hardtack.stores.dancer_layout import NEVER, STAMP, Dancer2Layout
from hardtack.stores.file import FileStore
from hardtack.testing import FindsContract, RenamesContract, StoreContract, SweepsContract
from hardtack.testing.stores import in_an_hour

LAYOUTS = [("dancer2", "yaml"), ("dancer2", "json"), ("dancer", "yaml"), ("dancer", "json")]
NAME = "dancer.session"
COOKIE = Cookie(name=NAME, secure=False, samesite=None)


class AsRecords:
    """The store as the contract calls it: its bytes travel as the data of records, which is all that Dancer's files hold.

    Dancer 1's ids are digits, so keys become digits there.
    """

    blocking = True

    def __init__(self, store: FileStore, *, digits: bool) -> None:
        self._store = store
        self._digits = digits
        self._keys: dict[str, str] = {}

    def _key(self, key: str) -> str:
        native = str(int.from_bytes(b"\x01" + key.encode()))[:249] if self._digits else key
        self._keys[native] = key
        return native

    @staticmethod
    def _packed(data: bytes, subject: str | None) -> bytes:
        return records.pack(Record(bytes(32), 1, None, 1, subject, {}, {"hex": data.hex()}))

    def get(self, key: str) -> Entry | None:
        entry = self._store.get(self._key(key))
        return None if entry is None else Entry(bytes.fromhex(records.unpack(entry.data).data["hex"]), entry.version)

    def put(self, key: str, data: bytes, *, expires_at: int, if_version: Any, subject: str | None) -> Any:
        packed = self._packed(data, subject)
        return self._store.put(self._key(key), packed, expires_at=expires_at, if_version=if_version, subject=subject)

    def delete(self, key: str, *, if_version: Any = None) -> bool:
        return self._store.delete(self._key(key), if_version=if_version)

    def rename(self, old: str, new: str, data: bytes, *, tombstone: Tombstone | None = None, **options: Any) -> Any:
        if tombstone is not None:
            tombstone = Tombstone(self._packed(tombstone.data, None), tombstone.expires_at)
        packed = self._packed(data, options["subject"])
        return self._store.rename(self._key(old), self._key(new), packed, tombstone=tombstone, **options)

    def find(self, subject: str) -> list[str]:
        return [self._keys[key] for key in self._store.find(subject)]

    def sweep(self, now: float) -> int:
        return self._store.sweep(now)

    def close(self) -> None:
        self._store.close()


class _DancerContract(StoreContract, RenamesContract, FindsContract, SweepsContract):
    layout, format = LAYOUTS[0]
    threads = 16
    crowd = 0
    max_data = 100_000

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[AsRecords]:
        """A store in a fresh directory."""
        store = AsRecords(
            FileStore(tmp_path / "sessions", self.format, layout=self.layout), digits=self.layout == "dancer"
        )
        yield store
        store.close()


class TestDancer2Yaml(_DancerContract):
    """The contract, in Dancer2's YAML."""


class TestDancer2Json(_DancerContract):
    """The contract, in Dancer2's JSON."""

    layout, format = LAYOUTS[1]


class TestDancerYaml(_DancerContract):
    """The contract, in Dancer 1's YAML."""

    layout, format = LAYOUTS[2]


def site_in(directory: Path, layout: str = "dancer2", format: str = "yaml", **options: Any) -> Site:
    """A site with its sessions in Dancer's files."""
    subject = options.pop("subject", None)
    store = FileStore(directory, format, layout=layout, subject=subject)
    return Site(StoreEngine(store, **options.pop("engine", {})), cookie=COOKIE, **options)


@pytest.fixture(params=LAYOUTS, ids="-".join)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return site_in(tmp_path, *request.param)


def files(site: Site) -> dict[str, Path]:
    """The session files and tombstones by name."""
    store = site.sessions.engine.store
    assert isinstance(store, FileStore)
    return {path.name: path for path in sorted(store._directory.iterdir()) if path.is_file()}


def write(path: Path, text: str | bytes, modified: int = START) -> None:
    """A file as another program leaves it."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (modified, modified))


def put_cookie(site: Site, value: str) -> Session:
    """What a browser with that cookie gets."""
    site.jar.cookies[NAME] = value
    session: Session = site.open()
    return session


# --- ids


def test_the_cookie_is_the_name_of_the_file(site: Site) -> None:
    """Dancer's own id, in plain: 32 random bytes; the public handle does not lead back to it."""
    session = site.visit(user="alice")

    identifier = site.jar.cookies[NAME]
    (name,) = files(site)
    assert name.rpartition(".")[0] == identifier
    assert len(identifier) == 43 or (identifier.isdigit() and len(identifier) >= 77)
    assert session.id != identifier
    assert dict(site.open()) == {"user": "alice"}
    assert site.open().id == session.id


@pytest.mark.parametrize("identifier", ["ZVPxAAAAEJI0XpPezNtJu5z7ieCE3uXP", "A-_~9", "0", "x" * 249])
def test_ids_of_dancer2(tmp_path: Path, identifier: str) -> None:
    """An id that Dancer2 made opens its session, which stays under it when it is saved."""
    site = site_in(tmp_path)
    write(tmp_path / f"{identifier}.yml", "---\nuser: alice\n")

    session = put_cookie(site, identifier)
    assert session["user"] == "alice"
    session["seen"] = "yes"
    changes = site.commit(session)

    assert changes.set_cookies == []
    assert list(files(site)) == [f"{identifier}.yml"]
    assert dict(site.open()) == {"user": "alice", "seen": "yes"}


@pytest.mark.parametrize("value", ["", "a.b", "../secret", "a%2Fb", "a b", "a=b", "x" * 250, ".locks", "é"])
def test_what_is_no_id_is_not_looked_for(tmp_path: Path, value: str) -> None:
    """A cookie that is no id of Dancer2 never becomes the name of a file."""
    (tmp_path / "sessions").mkdir(mode=0o700)
    write(tmp_path / "secret.yml", "user: root\n")
    site = site_in(tmp_path / "sessions")

    session = put_cookie(site, value)

    assert dict(session) == {}
    assert [event.reason for event in site.told(Rejected)] == ["malformed"]


def test_an_id_is_never_adopted(site: Site) -> None:
    """An id that a client invents gets a new session under a new id (session fixation)."""
    invented = "1" * 40
    session = put_cookie(site, invented)
    session["a"] = "b"

    site.commit(session)

    assert site.jar.cookies[NAME] != invented
    assert not any(name.startswith(invented) for name in files(site))


def test_a_line_end_is_no_part_of_an_id() -> None:
    """Perl's `$` lets one through."""
    assert Dancer2Layout.ids.accepts("abc")
    assert not Dancer2Layout.ids.accepts("abc\n")


def test_dancer_1_has_digits_only(tmp_path: Path) -> None:
    """Its file engine refuses all else."""
    site = site_in(tmp_path, "dancer")
    write(tmp_path / "abc.yml", "---\nuser: alice\n")

    assert dict(put_cookie(site, "abc")) == {}


def test_a_bad_key_is_refused(tmp_path: Path) -> None:
    """No key leads out of the directory."""
    store = FileStore(tmp_path, "yaml", layout="dancer2")

    assert store.get("../a") is None
    with pytest.raises(StoreError, match="1 to 249 characters"):
        store.put("../a", b"", expires_at=in_an_hour(), if_version=None, subject=None)


# --- life


def test_an_id_change_takes_the_file_along(site: Site) -> None:
    """Dancer finds nothing under the old id, and hardtack a tombstone that Dancer does not read."""
    site.visit(user="alice")
    old = site.jar.cookies[NAME]

    session = site.open()
    session.regenerate()
    site.commit(session)

    new = site.jar.cookies[NAME]
    assert {name.partition(".")[0] for name in files(site)} == {old, new}
    assert f"{old}.ended" in files(site)
    assert f"{new}.ended" not in files(site)
    assert dict(site.open()) == {"user": "alice"}


def test_a_logout_takes_the_file_away(site: Site) -> None:
    """The old cookie opens nothing, here or there."""
    site.visit(user="alice")
    old = site.jar.cookies[NAME]

    session = site.open()
    session.logout()
    site.commit(session)

    assert list(files(site)) == [f"{old}.ended"]
    assert NAME not in site.jar.cookies
    assert dict(put_cookie(site, old)) == {}
    assert [event.reason for event in site.told(Rejected)] == ["ended"]


def test_a_logout_and_a_new_session_in_one_request(site: Site) -> None:
    """The old id is ended, not the new one."""
    site.visit(user="alice")
    old = site.jar.cookies[NAME]

    session = site.open()
    session.logout()
    session["cart"] = "bread"
    site.commit(session)

    assert f"{old}.ended" in files(site)
    assert dict(site.open()) == {"cart": "bread"}


def test_a_slow_request_of_dancer_does_not_bring_a_session_back(site: Site) -> None:
    """It writes the file once more after the logout; the tombstone holds, and takes the file along when it is swept."""
    site.visit(user="alice")
    ((name, path),) = files(site).items()
    old, text = site.jar.cookies[NAME], path.read_bytes()
    session = site.open()
    session.logout()
    site.commit(session)

    write(path, text)

    assert dict(put_cookie(site, old)) == {}
    store = site.sessions.engine.store
    assert isinstance(store, FileStore)
    assert store.sweep(START) == 0
    assert store.sweep(START + 120) == 1
    assert files(site) == {}
    assert name.startswith(old)


def test_parallel_requests_lose_nothing(site: Site) -> None:
    """What both added is merged, as in any store."""
    site.visit(a="1")
    first, second = site.open(), site.open()
    first["b"], second["c"] = "2", "3"

    site.commit(first)
    site.commit(second)

    assert dict(site.open()) == {"a": "1", "b": "2", "c": "3"}


def test_a_change_of_dancer_is_merged(site: Site) -> None:
    """Dancer saved between load and commit: neither change is lost."""
    site.visit(a="1")
    session = site.open()
    session["b"] = "2"
    ((_, path),) = files(site).items()
    text = path.read_text()

    write(path, text.replace('"a": "1"', '"a": "9"').replace("a: 1", "a: 9"))
    site.commit(session)

    assert dict(site.open()) == {"a": "9", "b": "2"}


def test_sessions_are_administered_by_their_handles(site: Site) -> None:
    """Lists show handles, never ids; update, end and end_all take them."""
    handles = []
    for _ in range(3):
        site.jar.cookies.clear()
        session = site.open()
        session.login("alice")
        session["n"] = "1"
        site.commit(session)
        handles.append(session.id)

    listed = {info.id for info in site.sessions.list("alice")}
    updated = site.sessions.update(handles[0], lambda data: data.update(n="2"))
    ended = site.sessions.end(handles[1])
    site.events.clear()

    assert listed == set(handles)
    assert updated == {"n": "2"}
    assert ended
    assert not site.sessions.end(handles[1])
    assert not site.sessions.end("x" * 43)
    assert site.sessions.end_all("alice", keep=handles[2]) == 1
    assert site.told(Destroyed) == [Destroyed(handles[0], False)]
    assert [info.id for info in site.sessions.list("alice")] == [handles[2]]
    with pytest.raises(SessionConflict):
        site.sessions.update(handles[0], lambda data: data)


def test_update_within_a_request(site: Site) -> None:
    """The session of the request is found under its own file."""
    site.visit(n="1")
    session = site.open()

    site.sessions.update(session, lambda data: data.update(n="2"))

    assert dict(site.open()) == {"n": "2"} == dict(session)


# --- times and subjects


def test_times_and_subject_come_back(site: Site) -> None:
    """They stand in one line of JSON beside the data, which the application does not see."""
    session = site.open()
    session.login("žofie")
    session["a"] = "b"
    site.commit(session)
    site.clock.now += 100

    again = site.open()

    assert dict(again) == {"a": "b"}
    assert again.subject == "žofie"
    assert again.created_at == again.authenticated_at == again.seen_at == session.created_at


def test_a_file_of_dancer_has_the_time_of_its_last_write(tmp_path: Path) -> None:
    """It tells no other: created and seen are when it was written, and the deadlines run from there."""
    site = site_in(tmp_path, lifetime="1 hour")
    write(tmp_path / "abc.yml", "---\nuser: alice\n", START - 3599)

    alive = put_cookie(site, "abc")

    assert alive.created_at is not None
    assert alive.created_at.timestamp() == START - 3599
    assert alive["user"] == "alice"
    assert alive.subject is None
    site.clock.now += 1
    assert dict(site.open()) == {}


def changed_by_dancer(site: Site, modified: int) -> None:
    """Another program adds `b` to the one session, and keeps what it does not know."""
    ((_, path),) = files(site).items()
    tree = json.loads(path.read_text())
    write(path, json.dumps(tree | {"b": "c"}), modified)


def test_a_change_of_dancer_is_a_use(tmp_path: Path) -> None:
    """The idle time begins anew, and the absolute deadline does not move."""
    site = site_in(tmp_path, format="json", idle_timeout="1 hour", lifetime="2 hours")
    created = site.visit(a="1").created_at
    changed_by_dancer(site, START + 3000)
    site.clock.now += 6000

    session = site.open()

    assert dict(session) == {"a": "1", "b": "c"}
    assert session.created_at == created
    assert session.seen_at is not None
    assert session.seen_at.timestamp() == START + 3000
    site.clock.now = START + 7200
    assert dict(site.open()) == {}


@pytest.mark.parametrize("subject", [None, lambda data: data.get("a"), lambda data: data.get("b")])
def test_a_change_of_dancer_takes_the_subject_away(tmp_path: Path, subject: Any) -> None:
    """Dancer may have logged the user out or another one in: only the function that reads the data can tell."""
    site = site_in(tmp_path, format="json", subject=subject)
    session = site.open()
    session["a"] = "alice"
    session.login("alice")
    site.commit(session)
    site.clock.now += 200
    changed_by_dancer(site, START + 100)

    again = site.open()

    expected = (None, None) if subject is None else (("alice", START) if subject({"a": 1}) else ("c", START + 100))
    authenticated = again.authenticated_at
    assert (again.subject, None if authenticated is None else authenticated.timestamp()) == expected


@pytest.mark.parametrize("user", [None, "bob"], ids=["logout", "another user"])
@pytest.mark.parametrize("change", ["data", "regenerate", "renewal"])
def test_a_login_or_logout_of_dancer_meanwhile_is_not_taken_back(tmp_path: Path, user: str | None, change: str) -> None:
    """Dancer logs in and out under the same id: a slow request that has nothing to do with it saves no older user."""
    site = site_in(tmp_path, format="json", subject=lambda data: data.get("user"), idle_timeout="1 hour")
    session = site.open()
    session["user"] = "alice"
    session["a"] = "1"
    session.login("alice")
    site.commit(session)
    site.clock.now += 600
    slow = site.open()
    assert slow.subject == "alice"
    if change == "data":
        slow["b"] = "2"
    elif change == "regenerate":
        slow.regenerate()
    ((_, path),) = [item for item in files(site).items() if item[0].endswith(".json")]
    tree = json.loads(path.read_text())
    del tree["user"]
    write(path, json.dumps(tree if user is None else {**tree, "user": user}), START + 600)

    site.commit(slow)

    again = site.open()
    assert (again.subject, again.get("user")) == (user, user)
    assert again["a"] == "1"
    # A logout is merged; in another user's session nothing of this request is saved.
    assert slow.subject == (user if user is None else "alice")
    assert "b" not in again or (user, change) == (None, "data")


def test_a_login_of_ours_holds_whatever_dancer_did_meanwhile(tmp_path: Path) -> None:
    """Who logs in with this request is the user, under a new id."""
    site = site_in(tmp_path, format="json", subject=lambda data: data.get("user"))
    site.visit(a="1")
    session = site.open()
    session.login("alice")
    changed_by_dancer(site, START + 1)

    site.commit(session)

    assert site.open().subject == "alice"


def test_the_subject_of_a_file_that_only_dancer_wrote(tmp_path: Path) -> None:
    """The function tells, and the login is as old as the file."""
    site = site_in(tmp_path, subject=lambda data: data.get("user"))
    write(tmp_path / "abc.yml", "---\nuser: alice\n", START - 5)

    session = put_cookie(site, "abc")

    assert session.subject == "alice"
    assert session.authenticated_at is not None
    assert session.authenticated_at.timestamp() == START - 5
    assert [info.id for info in site.sessions.list("alice")] == [session.id]


@pytest.mark.parametrize("changed", [False, True], ids=["Dancer's file", "a file of ours that Dancer changed"])
@pytest.mark.parametrize("user", [42, "", True])
def test_a_subject_that_is_no_text_is_told(tmp_path: Path, user: Any, changed: bool) -> None:
    """The setting is wrong, and not the file: nobody's session is thrown away for it."""
    site = site_in(tmp_path, format="json", subject=lambda data: data.get("user"))
    if changed:
        site.visit(a="1")
        ((_, path),) = files(site).items()
        write(path, json.dumps({**json.loads(path.read_text()), "user": user}))
    else:
        write(tmp_path / "abc.json", json.dumps({"user": user}))
        site.jar.cookies[NAME] = "abc"

    with pytest.raises(ConfigError, match="subject= of FileStore must return the user's id as a str"):
        len(site.open())


def test_an_error_of_the_subject_function_is_the_applications(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It comes out as it is, and the file counts as good: it is read once the function is right."""
    site = site_in(tmp_path, format="yaml", subject=lambda data: data["user"])
    write(tmp_path / "abc.yml", "---\ncart: bread\n")
    site.jar.cookies[NAME] = "abc"

    with pytest.raises(KeyError, match="user"):
        len(site.open())

    assert not caplog.messages
    write(tmp_path / "abc.yml", "---\ncart: bread\nuser: alice\n")
    assert site.open().subject == "alice"


def test_the_subject_function_does_not_see_what_cannot_be_kept(tmp_path: Path) -> None:
    """A file with a lone surrogate is damaged before anyone is asked."""
    site = site_in(tmp_path, format="json", subject=lambda data: str(1 / 0))
    write(tmp_path / "abc.json", '{"user": "\\ud800"}')

    assert dict(put_cookie(site, "abc")) == {}


def test_dancers_own_files_are_not_swept(tmp_path: Path) -> None:
    """They do not say when they end, and the store does not know the lifetime."""
    store = FileStore(tmp_path, "yaml", layout="dancer2")
    write(tmp_path / "abc.yml", "---\nuser: alice\n", 5)

    assert store.sweep(NEVER - 1) == 0


# --- files


def test_files_are_private_and_dancers(tmp_path: Path) -> None:
    """Mode 0600, where Dancer2's umask makes them readable by everyone; nothing but its data and one key more."""
    site = site_in(tmp_path, format="json")
    site.visit(user="žofie", cart=[{"sku": "A1", "qty": 2, "price": 9.99}], none=None, yes=True)

    ((_, path),) = files(site).items()

    tree = json.loads(path.read_text("ascii"))
    stamp = json.loads(tree.pop(STAMP))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tree == {"user": "žofie", "cart": [{"sku": "A1", "qty": 2, "price": 9.99}], "none": None, "yes": True}
    assert set(stamp) == {"created", "authenticated", "seen", "subject", "options", "expires_at", "version", "digest"}


def test_numbers_are_text_in_yaml(tmp_path: Path) -> None:
    """YAML.pm cannot tell them apart, and no one else guesses."""
    site = site_in(tmp_path)

    site.visit(count=1, price=9.99, zip="00420", exp="1e3")

    assert dict(site.open()) == {"count": "1", "price": "9.99", "zip": "00420", "exp": "1e3"}


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_booleans_come_back(tmp_path: Path, format: str) -> None:
    """As those of Perl's JSON modules, of which Dancer2 keeps them."""
    site = site_in(tmp_path, format=format)

    site.visit(a=True, b=[{"c": False}])

    assert dict(site.open()) == {"a": True, "b": [{"c": False}]}
    assert type(site.open()["a"]) is bool


@pytest.mark.parametrize(
    ("layout", "data", "path"),
    [
        ("dancer-yaml", {"a": [{"b": False}]}, "a[0].b"),
        ("dancer2-yaml", {"a": b"bytes"}, "a"),
        ("dancer2-json", {"a": (1,)}, "a"),
        ("dancer2-json", {"a": float("nan")}, "a"),
        ("dancer2-json", {STAMP: "x"}, STAMP),
    ],
)
def test_what_dancer_cannot_keep_is_refused(tmp_path: Path, layout: str, data: dict[str, Any], path: str) -> None:
    """With its path, and without a file."""
    site = site_in(tmp_path, *layout.split("-"))
    session = site.open()
    session.update(data)

    with pytest.raises(UnsupportedValue) as caught:
        site.commit(session)

    assert caught.value.path == path
    assert files(site) == {}


def test_dancer_1_keeps_its_id_among_the_data(tmp_path: Path) -> None:
    """It is in the file, not in the session: it is the login."""
    site = site_in(tmp_path, "dancer")
    site.visit(user="alice")

    ((_, path),) = files(site).items()

    identifier = site.jar.cookies[NAME]
    assert path.read_text().startswith(f"--- !!perl/hash:Dancer::Session::YAML\nid: {identifier}\n")
    assert dict(site.open()) == {"user": "alice"}
    session = site.open()
    session["id"] = "1"
    with pytest.raises(UnsupportedValue, match="id"):
        site.commit(session)


def test_a_file_of_dancer_1_is_read_as_dancer2s(tmp_path: Path) -> None:
    """A directory that was moved: the id, which is the login, does not come into the data."""
    site = site_in(tmp_path)
    write(tmp_path / "123.yml", "--- !!perl/hash:Dancer::Session::YAML\nid: 123\nuser: alice\n")

    assert dict(put_cookie(site, "123")) == {"user": "alice"}


@pytest.mark.parametrize(
    "text",
    [
        b"--- !!perl/hash:Evil\na: b\n",
        b"a: !!perl/code 'sub { 1 }'\n",
        b"- a\n",
        b"text",
        b"a: b\n__hardtack: x\n",
        b"a: b\n__hardtack: '[]'\n",
        b"a: b\n__hardtack: '{}'\n",
        b"a: b\n__hardtack: ~\nb\n",
        b'a: b\n__hardtack: \'{"created": -1, "authenticated": null, "seen": 1, "subject": null, "options": {}}\'\n',
    ],
)
def test_a_damaged_file_is_unreadable(tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """An object, code, no mapping, or times that are none: a new session, and a log that does not name the login."""
    caplog.set_level(logging.WARNING, logger="hardtack")
    site = site_in(tmp_path)
    write(tmp_path / "abcdefgh.yml", text)

    session = put_cookie(site, "abcdefgh")

    assert dict(session) == {}
    assert "damaged" in caplog.text
    assert "abcdefgh" not in caplog.text


@pytest.mark.parametrize("field", ["expires_at", "version"])
def test_a_stamp_of_other_types_is_damage(tmp_path: Path, field: str) -> None:
    """Right digest, wrong type."""
    digest = hashlib.blake2b(b"{}", digest_size=16).hexdigest()
    stamp: dict[str, Any] = {"created": 1, "authenticated": None, "seen": 1, "subject": None, "options": {}}
    stamp |= {"expires_at": in_an_hour(), "version": "x", "digest": digest}
    store = FileStore(tmp_path, "json", layout="dancer2")
    for value, data in ((stamp[field], False), ([], True)):
        write(tmp_path / "abc.json", json.dumps({STAMP: json.dumps(stamp | {field: value})}))

        entry = store.get("abc")

        assert entry is not None
        assert (entry.data == b"") is data


def test_a_damaged_file_can_be_ended(tmp_path: Path) -> None:
    """It is replaced and deleted like any other."""
    store = FileStore(tmp_path, "yaml", layout="dancer2")
    write(tmp_path / "abc.yml", "- x\n")

    entry = store.get("abc")

    assert entry is not None
    assert entry.data == b""
    assert store.delete("abc", if_version=entry.version)


def test_a_file_that_dancer_is_writing_is_waited_for(tmp_path: Path) -> None:
    """Dancer2 empties the file first and locks it then: neither an empty nor half a file is a session."""
    store = FileStore(tmp_path, "yaml", layout="dancer2")
    path = tmp_path / "abc.yml"
    path.touch()

    def finish() -> None:
        time.sleep(0.03)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write("---\nuser: al")
            file.flush()
            time.sleep(0.05)
            file.write("ice\n")

    thread = threading.Thread(target=finish)
    thread.start()
    entry = store.get("abc")
    thread.join()

    assert entry is not None
    assert records.unpack(entry.data).data == {"user": "alice"}


def test_an_empty_file_is_damaged_in_the_end(tmp_path: Path) -> None:
    """Dancer died before it wrote: nobody waits for ever."""
    store = FileStore(tmp_path, "yaml", layout="dancer2")
    (tmp_path / "abc.yml").touch()

    entry = store.get("abc")

    assert entry is not None
    assert entry.data == b""


def test_a_lock_of_dancer_that_stays(tmp_path: Path) -> None:
    """A Perl process that hangs with the file makes it unavailable, not empty."""
    store = FileStore(tmp_path, "yaml", layout="dancer2", lock_timeout=0.05)
    write(tmp_path / "abc.yml", "---\nuser: alice\n")

    with (tmp_path / "abc.yml").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable):
            store.get("abc")


def test_a_version_is_the_content(tmp_path: Path) -> None:
    """Who loaded before Dancer wrote cannot save over it unseen."""
    store = FileStore(tmp_path, "yaml", layout="dancer2")
    write(tmp_path / "abc.yml", "---\nuser: alice\n")
    entry = store.get("abc")
    assert entry is not None
    write(tmp_path / "abc.yml", "---\nuser: bob\n")

    with pytest.raises(VersionConflict):
        store.put("abc", entry.data, expires_at=in_an_hour(), if_version=entry.version, subject=None)


# --- settings


def test_unknown_format(tmp_path: Path) -> None:
    """Named, with what is known."""
    with pytest.raises(ConfigError, match="'toml'; it must be 'json' or 'yaml'"):
        FileStore(tmp_path, "toml", layout="dancer2")


def test_subject_is_for_dancers_layouts(tmp_path: Path) -> None:
    """hardtack's own files say themselves whose they are."""
    with pytest.raises(ConfigError, match="subject="):
        FileStore(tmp_path, subject=lambda data: None)


def test_sessions_that_dancer_reads_cannot_be_sealed(tmp_path: Path) -> None:
    """Neither by the engine's setting, nor by an engine that hands over other bytes."""
    store = FileStore(tmp_path, layout="dancer2")

    with pytest.raises(ConfigError, match="seal="):
        StoreEngine(store, seal=Keyring(current=KEY, accept=[OTHER_KEY]))
    with pytest.raises(StoreError, match="cannot be sealed"):
        store.put("abc", b"\x01sealed", expires_at=in_an_hour(), if_version=None, subject=None)
