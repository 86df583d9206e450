"""The contract of a store finds what is wrong: stores that break a rule fail the test of that rule."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hardtack.testing import stores, trouble

BROKEN = '''
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from hardtack.protocols import Entry
from hardtack.stores.memory import MemoryStore
from hardtack.testing import StoreContract, SweepsContract
from hardtack.testing.stores import RenamesContract, FindsContract


class Base(StoreContract, RenamesContract, FindsContract, SweepsContract):
    crowd = 300
    threads = 4
    kind = MemoryStore

    @pytest.fixture
    def store(self):
        return self.kind()


class Pads(MemoryStore):
    def get(self, key):
        entry = super().get(key)
        return entry and Entry(entry.data.rstrip(b"\\0"), entry.version)


class TestPads(Base):
    kind = Pads


class Buffers(MemoryStore):
    def get(self, key):
        entry = super().get(key)
        return entry and Entry(bytearray(entry.data), entry.version)


class TestBuffers(Base):
    kind = Buffers


class Leaks(MemoryStore):
    is_broken = False

    def get(self, key):
        if self.is_broken:
            raise ConnectionResetError("by the driver")
        return super().get(key)


class TestLeaks(Base):
    kind = Leaks

    @pytest.fixture
    def break_store(self, store):
        @contextmanager
        def broken():
            store.is_broken = True
            yield
            store.is_broken = False

        return broken


class AtOnce(MemoryStore):
    def sweep(self, now):
        with self._lock:
            time.sleep(0.6 if len(self._slots) > 100 else 0)
            return self._forget_expired(now)


class TestAtOnce(Base):
    kind = AtOnce


class Shares(MemoryStore):
    """Asks over one connection, whoever asks."""

    def __init__(self):
        super().__init__()
        self._here, there = socket.socketpair()
        self._here.settimeout(1)
        threading.Thread(target=self._serve, args=(there,), daemon=True).start()

    def _serve(self, there):
        while key := there.recv(43):
            entry = MemoryStore.get(self, key.decode())
            time.sleep(0.001)
            there.send((entry.data if entry else b"").ljust(43))

    def get(self, key):
        self._here.send(key.encode())
        data = self._here.recv(43)
        entry = super().get(key)
        return entry and Entry(data.strip() if len(entry.data) == 43 else entry.data, entry.version)


class TestShares(Base):
    kind = Shares
    crowd = 0


class Hangs(MemoryStore):
    """Waits for ever in a child."""

    def __init__(self):
        super().__init__()
        import os

        self._process = os.getpid()

    def get(self, key):
        import os

        if os.getpid() != self._process:
            time.sleep(60)
        return super().get(key)


class TestHangs(Base):
    kind = Hangs


class TestSound(Base):
    """Nothing is wrong, and how it is broken is not known."""
'''

FOUND = {
    ("TestPads", "test_what_is_cut_elsewhere_comes_back"),
    ("TestBuffers", "test_data_come_back_as_bytes"),
    ("TestLeaks", "test_a_store_that_is_broken_is_unavailable"),
    ("TestAtOnce", "test_those_who_save_do_not_wait_for_a_sweep"),
    ("TestShares", "test_a_fork_shares_no_connection"),
    ("TestHangs", "test_a_fork_shares_no_connection"),
}


@pytest.mark.slow
def test_a_broken_store_fails(tmp_path: Path) -> None:
    """Each of these breaks a rule, and the test of that rule says so; one that breaks none passes."""
    (tmp_path / "test_faulty.py").write_text(BROKEN, encoding="utf-8")
    (tmp_path / "conftest.py").write_text("from hardtack.testing import trouble\ntrouble.PATIENCE = 3.0\n")
    chosen = "cut_elsewhere or as_bytes or is_broken or wait_for_a_sweep or fork"

    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "-k",
        chosen,
        "test_faulty.py",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    failed = set(re.findall(r"^FAILED test_faulty.py::(\w+)::(\w+)", result.stdout, re.MULTILINE))
    assert failed >= FOUND, result.stdout
    assert {name for name, _ in failed} == {name for name, _ in FOUND}


@pytest.mark.parametrize("module", [stores, trouble])
def test_without_pytest_the_extra_is_named(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    spec = importlib.util.find_spec(module.__name__)  # type: ignore[attr-defined]
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "pytest", None)

    with pytest.raises(ImportError, match=r"hardtack\[testing\]|pytest"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
