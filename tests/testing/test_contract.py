"""The contract of an engine finds what is wrong: engines that break a rule fail the test of that rule."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hardtack.testing import adapters, engines

BROKEN = '''
import pytest
from hardtack import CookieEngine, Key, StoreEngine
from hardtack.stores.memory import MemoryStore
from hardtack.testing import EngineContract


class Upserts(MemoryStore):
    def put(self, key, data, *, expires_at, if_version, subject):
        with self._lock:
            return self._set(key, data, expires_at, subject)


class TestUpserts(EngineContract):
    @pytest.fixture
    def engine(self):
        return StoreEngine(Upserts())


class Deletes(MemoryStore):
    """Leaves no tombstone, and makes an entry again that another request has deleted."""

    def put(self, key, data, *, expires_at, if_version, subject):
        if b"ended" in data:
            return self.delete(key)
        return super().put(key, data, expires_at=expires_at, if_version=if_version and self._version(key), subject=subject)

    def _version(self, key):
        entry = self.get(key)
        return None if entry is None else entry.version


class TestDeletes(EngineContract):
    @pytest.fixture
    def engine(self):
        return StoreEngine(Deletes())


class TestBoasting(EngineContract):
    """Says that a copied cookie is worth nothing after a logout, which is not true of a cookie."""

    @pytest.fixture
    def engine(self):
        engine = CookieEngine(Key.generate())
        engine.old_still_valid = False
        return engine


class Trusting(StoreEngine):
    def load(self, header, context, policy):
        if "=x" in header:
            raise ValueError("no cookie of ours")
        return (yield from super().load(header, context, policy))


class TestTrusting(EngineContract):
    @pytest.fixture
    def engine(self):
        return Trusting(MemoryStore())


class Immortal(StoreEngine):
    def load(self, header, context, policy):
        return (yield from super().load(header, context._replace(now=0), _Admits(policy)))


class _Admits:
    def __init__(self, policy):
        self._policy = policy

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def admit(self, record, context):
        return True


class TestImmortal(EngineContract):
    @pytest.fixture
    def engine(self):
        return Immortal(MemoryStore())
'''

FOUND = {
    "TestUpserts": "test_parallel_changes_of_a_stored_session_are_merged",
    "TestDeletes": "test_what_was_ended_stays_dead",
    "TestBoasting": "test_logout_ends_the_session",
    "TestTrusting": "test_a_malformed_cookie_never_raises",
    "TestImmortal": "test_the_idle_deadline",
}


@pytest.mark.slow
def test_a_broken_engine_fails(tmp_path: Path) -> None:
    """Each of these breaks a rule, and the test of that rule says so."""
    (tmp_path / "test_broken.py").write_text(BROKEN, encoding="utf-8")

    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", "test_broken.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    failed = set(re.findall(r"^FAILED test_broken.py::(\w+)::(\w+)", result.stdout, re.MULTILINE))
    assert failed >= set(FOUND.items())


@pytest.mark.parametrize("module", [engines, adapters])
def test_without_pytest_the_extra_is_named(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    spec = importlib.util.find_spec(module.__name__)
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "pytest", None)

    with pytest.raises(ImportError, match=r"hardtack\[testing\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
