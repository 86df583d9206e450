"""Fuzz the readers of Sereal and Storable with atheris: `python fuzz/perl_documents.py --runs 1000000`.

Whatever stands in a document: it is read as plain data, or it is an `InvalidToken`; nothing else is ever raised, no
object comes out, and no document makes the reader allocate more than a fixed bound.
"""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path

import atheris
from runner import run

with atheris.instrument_imports(include=["hardtack.foreign.perl"]):
    from hardtack.foreign.perl import sereal, storable

from hardtack import values
from hardtack.errors import InvalidToken

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"
ALLOCATION = 16 << 20
PLAIN = {type(None), bool, int, float, str}

outcomes: Counter[str] = Counter()
highest = 0


def check_plain(value: object) -> int:
    """How many items there are, all of exactly the plain types."""
    if type(value) is dict:
        assert all(type(key) is str for key in value)
        return 1 + sum(map(check_plain, value.values()))
    if type(value) is list:
        return 1 + sum(map(check_plain, value))
    assert type(value) in PLAIN, type(value)
    return 1


def test_one_input(raw: bytes) -> None:
    """The first byte chooses the reader, the rest is the document."""
    global highest
    read = sereal.read if raw[:1] < b"\x80" else storable.read
    document = raw[1:]
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        data = read(document)
    except InvalidToken as error:
        outcomes[error.reason] += 1
    else:
        outcomes["read"] += 1
        assert type(data) is dict
        assert check_plain(data) <= 1 << 17
        values.unpack(values.pack(data))
    allocated = tracemalloc.get_traced_memory()[1] - before
    highest = max(highest, allocated)
    assert allocated <= ALLOCATION, f"{allocated} bytes for a document of {len(document)}"


def seeds(directory: Path) -> None:
    """Documents that real Perl made, and some of our own, so that the fuzzer starts from what is read."""
    documents = []
    for name in ("session_storage_secure_v1.json", "session_storage_secure_v2.json"):
        for entry in json.loads((VECTORS / name).read_text("utf-8")):
            internals = entry.get("internals") or {}
            if "sereal_hex" in internals:
                documents.append(b"\x00" + bytes.fromhex(internals["sereal_hex"]))
            if entry["expect"] == "accept" and isinstance(entry["data"], dict):
                documents.append(b"\xff" + storable.write(entry["data"]))
                documents.append(b"\xff" + storable.write(entry["data"], network=False))
    memcached = json.loads((VECTORS / "dancer_memcached.json").read_text("utf-8"))
    documents += [b"\xff" + bytes.fromhex(entry["value_hex"]) for entry in memcached]
    for number, document in enumerate(documents):
        if len(document) <= 4096:
            (directory / f"{number}").write_bytes(document)


def figures(done: int) -> str:
    """What is printed at the end."""
    return f"{done} documents: {dict(outcomes.most_common())}; most allocated: {highest} bytes"


if __name__ == "__main__":
    run(__doc__, test_one_input, seeds, figures, max_len=4096)
