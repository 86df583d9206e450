"""Which reader of Sereal the cookies take, and that the compiled one does as the other does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hardtack
from hardtack.errors import InvalidToken
from hardtack.foreign.perl import documents, sereal

VECTORS = Path(__file__).parents[2] / "vectors"
DOCUMENTS = [
    bytes.fromhex(entry["internals"]["sereal_hex"])
    for name in ("session_storage_secure_v1.json", "session_storage_secure_v2.json")
    for entry in json.loads((VECTORS / name).read_text("utf-8"))
    if "sereal_hex" in (entry.get("internals") or {})
]


def installed(monkeypatch: pytest.MonkeyPatch, version: str) -> ModuleType:
    """A compiled reader that says it is of this version."""
    package, compiled = ModuleType("hardtack_speedups"), ModuleType("hardtack_speedups.sereal")
    monkeypatch.setattr(package, "__version__", version, raising=False)
    monkeypatch.setitem(sys.modules, "hardtack_speedups", package)
    monkeypatch.setitem(sys.modules, "hardtack_speedups.sereal", compiled)
    return compiled


def test_the_compiled_reader_of_this_version_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken where it was made of the sources of this version."""
    compiled = installed(monkeypatch, hardtack.__version__)

    assert documents.choose() is compiled


def test_a_compiled_reader_of_another_version_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another version may lack a correction."""
    installed(monkeypatch, "0.0.1")

    assert documents.choose() is sereal


def test_without_one_python_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs it."""
    monkeypatch.setitem(sys.modules, "hardtack_speedups", None)

    assert documents.choose() is sereal


def outcome(read: Any, document: bytes) -> tuple[str, object]:
    """What reading it comes to; `repr` tells 1 from True and from 1.0, and NaN from nothing."""
    try:
        return "read", repr(read(document))
    except InvalidToken as error:
        return error.reason, str(error)


@given(st.sampled_from(DOCUMENTS), st.data())
def test_the_compiled_reader_reads_and_refuses_alike(document: bytes, data: st.DataObject) -> None:
    """A document, also one that was damaged, comes to the same by both."""
    compiled = pytest.importorskip(
        "hardtack_speedups.sereal", reason="hardtack-speedups is not installed: make speedups"
    )
    damaged = bytearray(document)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    assert outcome(compiled.read, bytes(damaged)) == outcome(sereal.read, bytes(damaged))


PLAIN = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary()


@given(
    st.dictionaries(st.text(), st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
)
def test_the_compiled_writer_writes_the_same(data: dict[str, Any]) -> None:
    """Both make the same bytes of a session."""
    compiled = pytest.importorskip(
        "hardtack_speedups.sereal", reason="hardtack-speedups is not installed: make speedups"
    )

    assert compiled.write(data) == sereal.write(data)
