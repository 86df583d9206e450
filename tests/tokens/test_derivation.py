"""The keys of frameworks' secrets: each is derived once, whoever asks for it at the same time, and after a fork."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.kit import fork

from hardtack import Key
from hardtack.tokens import derivation

SECRET = "a secret of thirty-two characters"


class Stretching:
    """Stands in the place of scrypt, counts, and waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, secret: bytes, salt: bytes) -> bytes:
        self.calls.append(secret)
        self.begun.set()
        assert self.go_on.wait(30)
        return bytes(32)


@pytest.fixture
def stretching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stretching]:
    scrypt = Stretching()
    monkeypatch.setattr(derivation, "stretch", scrypt)
    monkeypatch.setattr(derivation, "_kept", {})
    yield scrypt
    derivation._locks.clear()


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was derived yet."""
    monkeypatch.setattr(derivation, "_kept", {})
    derivation._warn_short.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.slow
def test_a_secret_of_any_length_is_taken_and_a_short_one_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A short secret works, and is warned of once for each framework, without being shown."""
    caplog.set_level(logging.WARNING, "hardtack")

    first = Key.from_framework_secret("dev", framework="flask")
    again = Key.from_framework_secret(b"dev", framework="flask")
    other = Key.from_framework_secret("dev", framework="django")
    Key.from_framework_secret("dav", framework="flask")

    assert first == again
    assert first != other
    assert [record.args for record in caplog.records] == [("flask", 32), ("django", 32)]
    assert "dev" not in caplog.text


def test_the_second_key_of_a_secret_costs_nothing(stretching: Stretching) -> None:
    """The same secret is stretched once, and what is remembered of secrets is bounded."""
    for _ in range(3):
        Key.from_framework_secret(SECRET, framework="flask")
    for number in range(100):
        Key.from_framework_secret(f"{SECRET}{number}", framework="flask")

    assert len(stretching.calls) == 101
    assert len(derivation._kept) <= 64
    assert not derivation._locks


@pytest.mark.usefixtures("forgotten")
@pytest.mark.slow
def test_sixteen_threads_derive_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first requests of a server may all come at once: one of them derives the key, and the others wait for it."""
    stretch, calls = derivation.stretch, []

    def counted(secret: bytes, salt: bytes) -> bytes:
        calls.append(secret)
        return stretch(secret, salt)

    monkeypatch.setattr(derivation, "stretch", counted)
    together = threading.Barrier(16)

    def first_request(_: int) -> Key:
        together.wait(30)
        return Key.from_framework_secret(SECRET, framework="flask")

    with ThreadPoolExecutor(16) as threads:
        keys = list(threads.map(first_request, range(16)))

    assert len(calls) == 1
    assert len(set(keys)) == 1


def test_another_secret_does_not_wait(stretching: Stretching) -> None:
    """While one secret is derived, the key of another is made, and one that is known is at hand."""
    Key.from_framework_secret(f"{SECRET} known", framework="flask")
    stretching.go_on.clear()
    stretching.begun.clear()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(Key.from_framework_secret, SECRET, "flask")
        assert stretching.begun.wait(30)
        stretching.begun.clear()
        known = threads.submit(Key.from_framework_secret, f"{SECRET} known", "flask").result(30)
        other = threads.submit(Key.from_framework_secret, f"{SECRET} other", "flask")
        assert stretching.begun.wait(30)
        stretching.go_on.set()

        assert known == slow.result(30) == other.result(30)


def test_a_failure_leaves_no_lock_held(stretching: Stretching, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is short, the next request tries again."""

    def fail(secret: bytes, salt: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(derivation, "stretch", fail)
        with pytest.raises(MemoryError):
            Key.from_framework_secret(SECRET, framework="flask")

    Key.from_framework_secret(SECRET, framework="flask")

    assert len(stretching.calls) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_lock_that_was_held_over_a_fork_holds_nobody_up(stretching: Stretching) -> None:
    """A server that forks while a thread derives: the child derives for itself, and does not wait for a thread it has not."""
    stretching.go_on.clear()
    with ThreadPoolExecutor(1) as threads:
        parent = threads.submit(Key.from_framework_secret, SECRET, "flask")
        assert stretching.begun.wait(30)

        code = _in_a_child(lambda: _derive_in_child(stretching))

        stretching.go_on.set()
        parent.result(30)
    assert code == 0


def _derive_in_child(stretching: Stretching) -> None:
    stretching.go_on = threading.Event()
    stretching.go_on.set()
    Key.from_framework_secret(SECRET, framework="flask")


def _in_a_child(act: Callable[[], None]) -> int:
    """The exit code of a child that does this; 99 where it did not end within ten seconds."""
    child = fork()
    if child == 0:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return 99
