"""Tokens that Python sealed, opened by the JavaScript of reader.mjs, which was written from docs/token-format.md alone."""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from tests.docs.token_vectors import FILE, VALUES, on_the_page
from tests.kit import KEY, START
from tests.needs import find_program
from tests.strategies import sessions

from hardtack import EncryptedToken, Record, SignedToken, _value_types, values
from hardtack import record as records
from hardtack.protocols import Context, TokenFormat

pytestmark = pytest.mark.program("node")

READER = Path(__file__).parents[2] / "vectors" / "reader.mjs"
SECRET = bytes(range(32)).hex()  # of KEY
NAME = "__Host-session"
FORMATS: dict[str, TokenFormat] = {"encrypted": EncryptedToken(KEY), "signed": SignedToken(KEY)}
FIELDS = {dt.datetime: _value_types._clock, dt.time: _value_types._clock, dt.timedelta: _value_types._delta}


def read(tokens: list[dict[str, str]]) -> list[Any]:
    """What the reader makes of the tokens, in their order."""
    request = json.dumps({"secret": SECRET, "tokens": tokens})
    command = [find_program("node"), str(READER)]
    finished = subprocess.run(command, input=request.encode(), capture_output=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr.decode()
    answers: list[Any] = json.loads(finished.stdout)
    assert len(answers) == len(tokens)
    return answers


def sealed(kind: str, record: Record, purpose: str = "shop") -> dict[str, str]:
    """One token for the reader."""
    token = FORMATS[kind].seal(record, Context(NAME, purpose, START))[NAME]
    return {"format": kind, "token": token, "cookie": NAME, "purpose": purpose}


def shown(value: Any) -> list[Any]:
    """A value as the reader shows it: the type's name, and what is in it."""
    kind = type(value)
    content: Any = str(value)
    if kind in (type(None), bool, str):
        content = value
    elif kind is float:
        content = "nan" if math.isnan(value) else struct.pack(">d", value).hex()
    elif kind is bytes:
        content = values.encode_bytes(value)
    elif kind in (list, tuple):
        content = [shown(item) for item in value]
    elif kind in (set, frozenset):
        content = [shown(item) for item in sorted(value, key=_value_types.pack_slowly)]
    elif kind is dict:
        content = [[shown(key), shown(item)] for key, item in value.items()]
    elif kind in FIELDS:
        content = [shown(field) for field in FIELDS[kind](value)]
    elif kind is dt.date:
        content = value.isoformat()
    return [kind.__name__, content]


def without_order(value: Any) -> Any:
    """The same with the members of dicts sorted: JSON.parse puts keys that are numbers first."""
    if type(value) is list and value[:1] == ["dict"]:
        return ["dict", sorted(([key, without_order(item)] for key, item in value[1]), key=repr)]
    return [without_order(item) for item in value] if type(value) is list else value


def expected(kind: str, record: Record) -> Any:
    """The reader's answer to a token of this record."""
    identifier = values.encode_bytes(record.id) if kind == "signed" else record.id
    fields = [
        identifier,
        record.created,
        record.authenticated,
        record.seen,
        record.subject,
        record.options,
        record.data,
    ]
    answer = [shown(field) for field in fields]
    return without_order(answer) if kind == "signed" else answer


def assert_reads(sealable: list[Record]) -> None:
    """The reader opens tokens of all these records, of both formats."""
    asked = [(kind, record) for record in sealable for kind in FORMATS]

    answers = read([sealed(kind, record) for kind, record in asked])

    for (kind, record), answer in zip(asked, answers, strict=True):
        found = answer["record"]
        assert (without_order(found) if kind == "signed" else found) == expected(kind, record)


def test_opens_what_python_sealed() -> None:
    """Whatever a session may hold comes out with its type, and byte by byte with its value."""
    collected: list[Record] = []

    @settings(max_examples=300, deadline=None, database=None)
    @given(data=sessions)
    def collect(data: dict[str, Any]) -> None:
        collected.append(Record(bytes(16), 1, None, 1, None, {}, data))

    collect()

    assert len(collected) >= 300
    assert_reads([record for record in collected if fits(record)])


def fits(record: Record) -> bool:
    """A token is read up to 36,864 characters."""
    context = Context(NAME, "shop", START)
    return all(len(token.seal(record, context)[NAME]) <= 36864 for token in FORMATS.values())


@pytest.mark.parametrize(
    "record",
    [
        Record(bytes(range(16)), START, START + 1, START + 2, "zoë", {"persistent": True, "lifetime": 60}, {}),
        Record(bytes(32), 0, 0, 0, "", {"expires": 2**40, "ended": 5}, {"__proto__": 1, "1": 2, "0": {"$": 3}}),
        Record(bytes(16), 1, None, 1, None, {}, {str(size): "x" * size for size in (31, 32, 255, 256, 3000)}),
        Record(bytes(16), 1, None, 1, None, {}, {str(size): b"\xff" * size for size in (0, 255, 256, 3000)}),
        Record(bytes(16), 1, None, 1, None, {}, {"list": list(range(300)), "tuple": tuple(range(300))}),
        Record(bytes(16), 1, None, 1, None, {}, {f"key{index}": index for index in range(300)}),
        Record(bytes(16), 1, None, 1, None, {}, dict(VALUES)),
    ],
    ids=["every field", "keys", "texts", "bytes", "lists", "many keys", "every type"],
)
def test_opens_the_sizes_that_messagepack_tells_apart(record: Record) -> None:
    """Every head of MessagePack that a token can hold, and every field of a record."""
    assert_reads([record])


def test_refuses_what_is_not_as_it_was_sealed() -> None:
    """Another cookie, another purpose, another key, a changed character and another spelling do not open."""
    record = Record(bytes(16), 1, None, 1, None, {}, {"a": 1})
    good = [sealed(kind, record) for kind in FORMATS]
    changed = [
        {**token, **change}
        for token in good
        for change in (
            {"cookie": "__Host-other"},
            {"purpose": "forum"},
            {"token": token["token"][:-9] + ("A" if token["token"][-9] != "A" else "B") + token["token"][-8:]},
            {"token": token["token"] + "="},
            {"token": "A" * 36865},
        )
    ]

    answers = [answer.get("refused") for answer in read(good + changed)]

    assert answers == [
        None,
        None,
        *("tampered", "tampered", "tampered", "malformed", "too_large"),
        *("tampered", "tampered", "tampered", "tampered", "too_large"),
    ]


def test_opens_the_vectors_of_the_page() -> None:
    """What the page gives as examples opens to the records that stand beside them."""
    vectors = json.loads(on_the_page().removeprefix("```json\n").removesuffix("```\n"))
    cases = [(kind, case) for kind in FORMATS for case in vectors[kind]]

    answers = read(
        [{"format": kind, **{name: case[name] for name in ("token", "cookie", "purpose")}} for kind, case in cases]
    )

    for (kind, case), answer in zip(cases, answers, strict=True):
        assert answer["record"] == expected(kind, records.from_json(case["record"]))


def test_the_reader_checks_itself_against_the_file() -> None:
    """`node vectors/reader.mjs vectors/v1.json`, as the page says: who writes a reader has a program that passes."""
    command = [find_program("node"), str(READER), str(FILE)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"opened 4, refused 10, read {len(VALUES)} values\n"


def test_the_reader_notices_a_wrong_vector(tmp_path: Path) -> None:
    """A file whose tokens are others is no success."""
    broken = tmp_path / "v1.json"
    broken.write_text(FILE.read_text(encoding="utf-8").replace("zoë", "zoe"), encoding="utf-8")

    done = subprocess.run(
        [find_program("node"), str(READER), str(broken)], capture_output=True, timeout=120, check=False
    )

    assert done.returncode != 0
