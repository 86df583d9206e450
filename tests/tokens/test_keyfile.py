"""Key files: who may touch them, and the ring that follows one while it is rotated."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.kit import Clock

from hardtack import (
    CookieEngine,
    EncryptedToken,
    EndedSessions,
    Key,
    Keyring,
    Record,
    SessionManager,
    SignedToken,
    StoreEngine,
    events,
)
from hardtack.binding import DeviceBinding
from hardtack.errors import ConfigError
from hardtack.known_devices import KnownDevices
from hardtack.protocols import Context
from hardtack.stores.memory import MemoryStore
from hardtack.tokens import keyfile, schedule
from hardtack.tokens.keyfile import FileKeyring

DAY = 86400
NOW = 2_000_000_000
OLD, NEW = (Key(sha256(name).digest()) for name in (b"old", b"new"))
ALONE = schedule.begun(OLD, 14 * DAY, DAY, NOW)
BOTH = ALONE.adding(NEW, NOW)
PENDING = BOTH.issuing(BOTH.entries[1], NOW)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The machine's clock, in the test's hand."""
    found = Clock(NOW)
    monkeypatch.setattr(time, "time", found)
    return found


@pytest.fixture
def file(tmp_path: Path, clock: Clock) -> Path:
    """A key file with one key."""
    path = tmp_path / "keys.toml"
    keyfile.write(path, ALONE, new=True)
    return path


def follow(file: Path) -> FileKeyring:
    ring = Keyring.from_file(file, reload="10 seconds")
    assert isinstance(ring, FileKeyring)
    return ring


def test_a_ring_of_a_file(file: Path) -> None:
    """It is a ring like any other, and does not show a secret."""
    ring = follow(file)

    assert ring.current == OLD
    assert list(ring) == [OLD]
    assert len(ring) == 1
    assert ring.get(OLD.id) == OLD
    assert ring.finder()(NEW.id) is None
    assert ring.snapshot().current is ring.current
    assert ring.lifetime == 14 * DAY
    assert repr(ring) == f"<Keyring of {file}: <Keyring current={OLD!r} accept=[]>>"
    with pytest.raises(AttributeError, match="cannot be changed"):
        ring.current = NEW  # type: ignore[misc]


def test_the_file_is_read_again_when_it_changed(file: Path, clock: Clock) -> None:
    """At most once in `reload`; keys that stay are the same objects, and what they know of their nonces with them."""
    ring = follow(file)
    before = ring.current
    keyfile.write(file, BOTH)

    clock.now += 9
    assert len(ring) == 1
    clock.now += 1
    assert set(ring) == {OLD, NEW}
    assert ring.current is before


def test_a_file_that_did_not_change_is_not_read(file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at it costs a stat, and not that once in every `reload`."""
    ring = follow(file)
    snapshot = ring.snapshot()
    monkeypatch.setattr(keyfile, "read", None)

    clock.now += 1000

    assert ring.snapshot() is snapshot


def test_dates_come_true_without_a_new_file(file: Path, clock: Clock) -> None:
    """A key that issues from a date does so by then, and the one before is dropped, though nobody touches the file."""
    keyfile.write(file, PENDING)
    ring = follow(file)
    assert (ring.current, set(ring)) == (OLD, {OLD, NEW})

    clock.now = PENDING.entries[1].issues_from or 0
    assert (ring.current, set(ring)) == (NEW, {OLD, NEW})
    clock.now = PENDING.entries[0].accepted_until or 0
    assert (ring.current, set(ring)) == (NEW, {NEW})


def test_a_clock_that_was_put_back_stops_nothing(file: Path, clock: Clock) -> None:
    """The file is looked at again, and not when that time comes round once more."""
    ring = follow(file)
    keyfile.write(file, BOTH)

    clock.now -= 3 * DAY

    assert set(ring) == {OLD, NEW}


def _give_away(file: Path) -> None:
    keyfile.write(file, BOTH)
    file.chmod(0o666)


BREAKING: list[tuple[Callable[[Path], object], str]] = [
    (lambda file: file.unlink(), "No such file"),
    (lambda file: file.write_text("lifetime = [", "utf-8"), "is not TOML"),
    (lambda file: file.write_bytes(b"\xff"), "is not UTF-8"),
    (lambda file: file.write_text("", "utf-8"), "no [[keys]]"),
    (_give_away, "may be written by other users"),
]


@pytest.mark.parametrize(("break_it", "problem"), BREAKING, ids=[each[1] for each in BREAKING])
def test_a_file_that_cannot_be_read_keeps_the_ring(
    file: Path, clock: Clock, caplog: pytest.LogCaptureFixture, break_it: Callable[[Path], object], problem: str
) -> None:
    """The sessions go on under the keys that there were; the log says it once, and once more when all is well again."""
    ring = follow(file)
    caplog.set_level(logging.INFO, "hardtack")
    break_it(file)

    for _ in range(3):
        clock.now += 10
        assert set(ring) == {OLD}
    assert ring.problem is not None
    assert problem in ring.problem
    assert ring.problem in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]

    file.unlink(missing_ok=True)
    keyfile.write(file, BOTH, new=True)
    clock.now += 10
    assert set(ring) == {OLD, NEW}
    assert ring.problem is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "htk1_" not in caplog.text


ENGINES: dict[str, Callable[[Keyring], CookieEngine | StoreEngine]] = {
    "cookie": CookieEngine,
    "sealed store": lambda ring: StoreEngine(MemoryStore(), seal=ring),
}


@pytest.mark.parametrize("kind", ENGINES)
def test_a_manager_tells_that_the_file_cannot_be_read(
    file: Path, clock: Clock, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Once while it stays so, though requests go on; again, when it breaks another time."""
    told: list[events.Event] = []
    sessions = SessionManager(ENGINES[kind](follow(file)), on_event=told.append, clock=clock)
    session = sessions.open()
    session.login("ada")
    header = sessions.commit(session).set_cookies[0].partition(";")[0]

    def stale() -> list[events.Event]:
        for _ in range(3):
            clock.now += 10
            assert sessions.open(header).subject == "ada"
        return [event for event in told if isinstance(event, events.KeysStale)]

    assert stale() == []
    file.unlink()
    first = events.KeysStale(str(file), f"{file} cannot be read: No such file or directory")
    assert stale() == [first]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [str(first)]
    keyfile.write(file, ALONE, new=True)
    assert stale() == [first]
    file.write_bytes(b"")
    assert stale() == [first, events.KeysStale(str(file), f"{file} {NO_KEYS}")]


NO_KEYS = "has no [[keys]]; `hardtack keys init` makes a key file"


def test_each_manager_of_a_ring_tells_it(file: Path, clock: Clock) -> None:
    """Also the one that only takes sessions over from under these keys; and one that is gone is not kept for it."""
    ring = follow(file)
    told: dict[str, list[events.Event]] = {"own": [], "moving": [], "gone": []}
    managers = {
        "own": SessionManager(ring, on_event=told["own"].append),
        "moving": SessionManager(
            StoreEngine(MemoryStore(), seal=ring), accept=[CookieEngine(ring)], on_event=told["moving"].append
        ),
        "gone": SessionManager(ring, on_event=told["gone"].append),
    }
    del managers["gone"]
    gc.collect()
    file.unlink()

    clock.now += 10
    ring.snapshot()

    assert {name: [type(event) for event in found] for name, found in told.items()} == {
        "own": [events.KeysStale],
        "moving": [events.KeysStale],
        "gone": [],
    }


@pytest.mark.parametrize(
    "given",
    [
        lambda ring: {"binding": DeviceBinding(keys=ring)},
        lambda ring: {"known_devices": KnownDevices(keys=ring)},
        lambda ring: {"ended": EndedSessions.from_url("memory://", key=ring)},
    ],
    ids=["binding", "known devices", "ended sessions"],
)
def test_a_manager_tells_of_every_ring_that_it_has(
    given: Callable[[Keyring], dict[str, Any]], file: Path, clock: Clock
) -> None:
    """Not of that of its engine alone."""
    ring = follow(file)
    told: list[events.Event] = []
    sessions = SessionManager(StoreEngine(MemoryStore(), seal=NEW), on_event=told.append, **given(ring))
    file.unlink()

    clock.now += 10
    ring.snapshot()

    assert [event.file for event in told if isinstance(event, events.KeysStale)] == [str(file)]
    sessions.close()


def test_without_a_manager_the_log_is_told(file: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Also where there was one, which has gone."""
    ring = follow(file)
    manager = [SessionManager(ring)]
    manager.clear()
    gc.collect()
    file.unlink()

    clock.now += 10
    ring.snapshot()

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No such file" in caplog.text


def test_sessions_that_outlive_their_key_are_refused(file: Path, clock: Clock) -> None:
    """A manager's lifetime may not be longer than the file's, now or when it is read again."""
    ring = follow(file)
    ring.check_lifetime(14 * DAY)
    Keyring(OLD).check_lifetime(10**9)

    with pytest.raises(
        ConfigError, match=r"lifetime of .*keys.toml is 1209600 seconds, and the sessions of this manager"
    ):
        ring.check_lifetime(14 * DAY + 1)
    keyfile.write(file, schedule.begun(NEW, 13 * DAY, DAY, NOW))
    clock.now += 10
    assert set(ring) == {OLD}
    assert "lifetime of" in (ring.problem or "")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    """Who writes a key into it can be any user."""
    file.chmod(mode)

    with pytest.raises(ConfigError, match="may be written by other users"):
        Keyring.from_file(file)


def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns it writes it whenever he likes. Root's own is taken, and so is that of the user that the process runs as."""
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
        assert Keyring.from_file(file).current == OLD
        os.chown(file, 4321, -1)
    owner = file.stat().st_uid
    assert Keyring.from_file(file).current == OLD

    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(ConfigError, match=rf"belongs to another user \(uid {owner}\), .*; chown it to root"):
        Keyring.from_file(file)
    assert keyfile.read(file, any_owner=True)[0] == ALONE


def test_root_takes_a_file_of_another_user_and_warns(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Containers mount files as some user's of the host. It may be written anew, but become nobody else's."""
    owner = os.geteuid() or 4321
    if os.geteuid() == 0:
        os.chown(file, owner, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ring = follow(file)
    assert ring.current == OLD
    assert f"{file} belongs to another user (uid {owner}), who could forge sessions" in caplog.text

    keyfile.write(file, BOTH)
    clock.now += 10
    assert set(ring) == {OLD, NEW}

    monkeypatch.setattr(keyfile, "_check_file", partial(owned_by, keyfile._check_file, owner + 1))
    keyfile.write(file, ALONE)
    clock.now += 10
    assert set(ring) == {OLD, NEW}
    assert f"belongs to another user (uid {owner + 1})" in (ring.problem or "")


def owned_by(check: Any, uid: int, path: Path, found: os.stat_result, *given: Any, **options: Any) -> None:
    """The check of a file that belongs to this user: only root can give one away."""
    check(path, os.stat_result((*found[:4], uid, *found[5:])), *given, **options)


@pytest.mark.parametrize(("mode", "taken"), [(0o770, False), (0o707, False), (0o1777, True), (0o755, True)])
def test_a_folder_that_others_may_write_is_refused(file: Path, mode: int, taken: bool) -> None:
    """Who may put another file in its place, too; in a sticky folder, as Kubernetes mounts secrets, nobody may."""
    file.parent.chmod(mode)

    if taken:
        assert Keyring.from_file(file).current == OLD
    else:
        with pytest.raises(ConfigError, match=r"chmod go-w /"):
            Keyring.from_file(file)
        with pytest.raises(ConfigError, match=r"chmod go-w /"):
            keyfile.write(file.with_name("new.toml"), ALONE, new=True)
        assert not file.with_name("new.toml").exists()


def test_every_folder_above_counts(tmp_path: Path, file: Path) -> None:
    """Where everybody may rename a folder further up, the file can be replaced with it; also behind a link."""
    above = tmp_path / "above"
    folder = above / "folder"
    folder.mkdir(parents=True)
    inside = folder / "keys.toml"
    inside.write_text(file.read_text("utf-8"), "utf-8")
    inside.chmod(0o600)
    link = tmp_path / "link.toml"
    link.symlink_to(inside)

    above.chmod(0o775)
    assert Keyring.from_file(link).current == OLD
    above.chmod(0o777)
    for path in (inside, link):
        with pytest.raises(ConfigError, match=f"is in {above}, where"):
            Keyring.from_file(path)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o444, True)])
def test_a_file_that_all_may_read_is_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    """Docker and Kubernetes mount secrets so, and in a container there is nobody else."""
    file.chmod(mode)

    assert Keyring.from_file(file).current == OLD
    assert ("may be read by every user" in caplog.text) is warned


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, a pipe, and nothing at all."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Keyring.from_file(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Keyring.from_file(tmp_path / "missing")
    with pytest.raises(ConfigError, match="is not a file"):
        Keyring.from_file("/dev/null")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is not a file"):
        Keyring.from_file(tmp_path / "pipe")


def test_a_pipe_in_the_place_of_the_file_holds_nobody(file: Path, clock: Clock) -> None:
    """Nobody writes into it, and the request that looks goes on at once, under the keys that there were."""
    ring = follow(file)
    file.unlink()
    os.mkfifo(file, 0o600)

    clock.now += 10

    assert set(ring) == {OLD}
    assert ring.problem == f"{file} is not a file"


def test_a_kubernetes_secret_that_is_swapped(tmp_path: Path, clock: Clock) -> None:
    """Kubernetes puts a new folder in, and turns a link."""
    for name, content in (("..1", ALONE), ("..2", BOTH)):
        (tmp_path / name).mkdir()
        keyfile.write(tmp_path / name / "keys.toml", content, new=True)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.toml").symlink_to("..data/keys.toml")
    ring = follow(tmp_path / "keys.toml")
    assert set(ring) == {OLD}

    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    clock.now += 10

    assert set(ring) == {OLD, NEW}


@pytest.mark.parametrize("kind", [EncryptedToken, SignedToken])
def test_tokens_follow_the_file(file: Path, clock: Clock, kind: type[EncryptedToken | SignedToken]) -> None:
    """What was sealed before opens, is told to be old, and is sealed anew under the key of now."""
    keyfile.write(file, PENDING)
    token = kind(Keyring.from_file(file))
    context = Context("session", "", NOW)
    record = Record(bytes(16), NOW, None, NOW, None, {}, {"a": 1})
    before = {"session": [token.seal(record, context)["session"]]}
    assert token.is_current(before, context)

    clock.now = PENDING.entries[1].issues_from or 0
    after = {"session": [token.seal(record, context)["session"]]}

    assert [token.is_current(each, context) for each in (before, after)] == [False, True]
    assert token.open(before, context).data == token.open(after, context).data == {"a": 1}
    assert kind(NEW).open(after, context).data == {"a": 1}


def test_writing_keeps_owner_and_mode(file: Path) -> None:
    """The group that reads the file goes on reading it."""
    file.chmod(0o640)
    os.chown(file, -1, os.getgid())

    keyfile.write(file, BOTH)

    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in file.parent.iterdir()] == ["keys.toml"]


def test_a_new_file_is_for_its_owner_alone_and_replaces_none(file: Path, tmp_path: Path) -> None:
    """Whatever the umask says; and a file with keys in it is not lost to a command that was typed twice."""
    new = tmp_path / "new.toml"

    keyfile.write(new, ALONE, new=True)

    assert new.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        keyfile.write(file, BOTH, new=True)


def test_a_write_that_fails_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the file as it was, and nothing beside it."""

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OSError, match="No space"):
        keyfile.write(file, BOTH)

    assert keyfile.read(file)[0] == ALONE
    assert [each.name for each in file.parent.iterdir()] == ["keys.toml"]


def test_a_lock_is_held_against_others(file: Path) -> None:
    """The second command waits for the first."""
    order: list[str] = []

    def second() -> None:
        with keyfile.locked(file):
            order.append("second")

    thread = threading.Thread(target=second)
    with keyfile.locked(file):
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join(30)

    assert order == ["first", "second"]


@pytest.mark.slow
def test_threads_see_one_state_or_the_next(file: Path) -> None:
    """While the file is written again and again, each snapshot has the key that issues in it, and nobody meets an error."""
    ring = Keyring.from_file(file, reload=0)
    stop = threading.Event()

    def ask() -> int:
        asked = 0
        while not stop.is_set():
            snapshot = ring.snapshot()
            assert snapshot.get(snapshot.current.id) is snapshot.current
            assert ring.current == OLD
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        for number in range(50):
            keyfile.write(file, BOTH if number % 2 else ALONE)
        stop.set()

        assert all(each.result() > 0 for each in asking)


def test_a_file_is_looked_at_once_when_a_ring_is_made(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may be in its place a moment later, with another owner; or none."""
    parse = keyfile.parse

    def parse_and_lose(path: Path, *arguments: Any) -> Any:
        file.unlink()
        return parse(path, *arguments)

    monkeypatch.setattr(keyfile, "parse", parse_and_lose)
    assert FileKeyring(file)._owner == os.geteuid()
