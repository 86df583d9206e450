"""The test vectors of docs/token-format.md and vectors/v1.json, computed by the library under nonces that are given, not drawn.

`python -m tests.docs.token_vectors --write` puts them into both; without `--write` they are printed.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup

from hardtack import EncryptedToken, Key, Record, SignedToken, StoreEngine, values
from hardtack import record as records
from hardtack.engines.chunks import head
from hardtack.protocols import Context
from hardtack.stores.memory import MemoryStore
from hardtack.tokens.encrypted import binding
from hardtack.tokens.keys import derive

PAGE: Final = Path(__file__).parents[2] / "docs" / "token-format.md"
FILE: Final = PAGE.parents[1] / "vectors" / "v1.json"
BEGIN: Final = "<!-- vectors: begin -->\n"
END: Final = "<!-- vectors: end -->\n"

SECRET: Final = bytes(range(32))
NONCE: Final = bytes(range(0x40, 0x58))
ID: Final = bytes(range(0xA0, 0xB0))
NAME: Final = "__Host-Http-session"

VALUES: Final[list[tuple[str, Any]]] = [
    ("None", None),
    ("True", True),
    ("-1", -1),
    ("18446744073709551615", 2**64 - 1),
    ("1.5", 1.5),
    ("float('-inf')", float("-inf")),
    ("'Zoë'", "Zoë"),
    ("b'\\x00\\x01\\x02'", b"\x00\x01\x02"),
    ("[1, 'a']", [1, "a"]),
    ("(1, ('a',))", (1, ("a",))),
    ("{'$set': 1}", {"$set": 1}),
    ("{1: 'one', 'two': 2}", {1: "one", "two": 2}),
    (
        "{None: 1, True: 2, 1.5: 3, b'k': 4, date(2031, 5, 9): 5, Decimal('1.80'): 6}",
        {None: 1, True: 2, 1.5: 3, b"k": 4, dt.date(2031, 5, 9): 5, Decimal("1.80"): 6},
    ),
    ("{'b', 'a', 10}", {"b", "a", 10}),
    ("frozenset()", frozenset()),
    ("18446744073709551616", 2**64),
    ("-9223372036854775809", -(2**63) - 1),
    ("datetime(2031, 5, 9, 7, 8, 9)", dt.datetime(2031, 5, 9, 7, 8, 9)),
    ("datetime(2031, 5, 9, 7, 8, 9, 10, tzinfo=UTC)", dt.datetime(2031, 5, 9, 7, 8, 9, 10, tzinfo=dt.UTC)),
    (
        "datetime(2031, 10, 26, 2, 30, fold=1, tzinfo=ZoneInfo('Europe/Berlin'))",
        dt.datetime(2031, 10, 26, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    ),
    (
        "datetime(2031, 5, 9, 7, 8, 9, tzinfo=timezone(timedelta(hours=-3), 'BRT'))",
        dt.datetime(2031, 5, 9, 7, 8, 9, tzinfo=dt.timezone(dt.timedelta(hours=-3), "BRT")),
    ),
    ("date(2031, 5, 9)", dt.date(2031, 5, 9)),
    ("time(7, 8, 9)", dt.time(7, 8, 9)),
    ("timedelta(seconds=-1)", dt.timedelta(seconds=-1)),
    ("Decimal('1.80')", Decimal("1.80")),
    ("UUID('00112233-4455-6677-8899-aabbccddeeff')", UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ("Markup('<b>bread</b>')", Markup("<b>bread</b>")),
]


class _Nonce:
    """While it holds, keys draw these bytes, 12 at a time, in the place of random ones."""

    def __init__(self, nonce: bytes) -> None:
        self._patch = mock.patch("hardtack.tokens.xaes.os.urandom", side_effect=[nonce[:12], nonce[12:]])

    def __enter__(self) -> Key:
        self._patch.start()
        return Key(SECRET)  # draws the first half

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


def _keys() -> dict[str, Any]:
    key = Key(SECRET)
    passphrase, salt = "correct horse battery staple", "example.org"
    secret, framework = "a SECRET_KEY of thirty-two characters or more", "flask"
    return {
        "secret": SECRET.hex(),
        "export": key.export(),
        "key_id": key.id.hex(),
        "encrypt": derive(SECRET, "encrypt", 32).hex(),
        "sign": derive(SECRET, "sign", 32).hex(),
        "from_passphrase": {
            "passphrase": passphrase,
            "salt": salt,
            "export": Key.from_passphrase(passphrase, salt).export(),
        },
        "from_framework_secret": {
            "secret": secret,
            "framework": framework,
            "export": Key.from_framework_secret(secret, framework).export(),
        },
    }


def _records() -> list[tuple[str, Record]]:
    return [
        ("shop", Record(ID, 1_900_000_000, None, 1_900_000_000, None, {}, {"cart": ["bread"]})),
        (
            "",
            Record(
                ID,
                1_900_000_000,
                1_900_000_060,
                1_900_003_600,
                "zoë",
                {"lifetime": 3600, "persistent": True},
                {"price": Decimal("1.80"), "seen": {1, 2}},
            ),
        ),
    ]


def _encrypted(purpose: str, record: Record) -> dict[str, Any]:
    context = Context(NAME, purpose, record.seen)
    with _Nonce(NONCE) as key:
        token = EncryptedToken(key).seal(record, context)[NAME]
    return {
        "cookie": NAME,
        "purpose": purpose,
        "record": records.to_json(record),
        "nonce": NONCE.hex(),
        "subkey": key.encrypting.subkey(NONCE[:12]).hex(),
        "aad": (b"\x01" + key.id + binding(purpose, NAME)).hex(),
        "plaintext": records.pack(record).hex(),
        "token": token,
    }


def _signed(purpose: str, record: Record) -> dict[str, Any]:
    token = SignedToken(Key(SECRET)).seal(record, Context(NAME, purpose, record.seen))[NAME]
    return {
        "cookie": NAME,
        "purpose": purpose,
        "record": records.to_json(record),
        "payload": values.decode_bytes(token.split(".")[2]).decode(),
        "token": token,
    }


def _stored(purpose: str) -> dict[str, Any]:
    policy: Any = SimpleNamespace(purpose=purpose)
    secret = bytes(range(0x60, 0x80))
    raw_key = StoreEngine(MemoryStore()).raw_key(secret, purpose)
    record = Record(raw_key, 1_900_000_000, 1_900_000_000, 1_900_000_000, "alice", {}, {"cart": ["bread"]})
    with _Nonce(NONCE) as key:
        sealed = StoreEngine(MemoryStore(), seal=key).sealed(raw_key, records.pack(record), policy)
    return {
        "cookie_value": values.encode_bytes(secret),
        "purpose": purpose,
        "key": values.encode_bytes(raw_key),
        "record": records.to_json(record),
        "plain": StoreEngine(MemoryStore()).sealed(raw_key, records.pack(record), policy).hex(),
        "nonce": NONCE.hex(),
        "sealed": sealed.hex(),
    }


def vectors() -> dict[str, Any]:
    """All vectors, as the page has them."""
    encrypted = [_encrypted(purpose, record) for purpose, record in _records()]
    token = encrypted[0]["token"]
    return {
        "keys": _keys(),
        "encrypted": encrypted,
        "signed": [_signed(purpose, record) for purpose, record in _records()],
        "values": [
            {"python": text, "json": values.to_json(value), "messagepack": values.pack({"": value})[2:].hex()}
            for text, value in VALUES
        ],
        "chunks": {
            "token": token,
            "parts": [head(token, 2) + part for part in (token[:100], token[100:])],
        },
        "store": [_stored(purpose) for purpose in ("", "shop")],
    }


def refused() -> list[dict[str, str]]:
    """Tokens that nobody may open, with the reason that the library gives."""
    found = []
    for kind, case in (("encrypted", _encrypted(*_records()[0])), ("signed", _signed(*_records()[0]))):
        good = {"format": kind, "token": case["token"], "cookie": case["cookie"], "purpose": case["purpose"]}
        token = good["token"]
        found += [
            {**good, "cookie": "other", "reason": "tampered", "why": "sealed for a cookie of another name"},
            {**good, "purpose": "admin", "reason": "tampered", "why": "sealed for another purpose"},
            {
                **good,
                "token": _changed(token, -10),
                "reason": "tampered",
                "why": "one character near the end is another",
            },
            {**good, "token": _changed(token, 5), "reason": "unknown_key", "why": "the id is of another key"},
            {**good, "token": token[:20], "reason": "malformed", "why": "cut off"},
        ]
    return found


def _changed(token: str, at: int) -> str:
    other = "B" if token[at] != "B" else "C"
    at %= len(token)
    return token[:at] + other + token[at + 1 :]


def _lines(value: Any, indent: str = "") -> str:
    """JSON with one line a value, so that a change shows where it is."""
    compact = json.JSONEncoder(ensure_ascii=False).encode
    inner = indent + "  "
    if isinstance(value, dict) and len(compact(value)) > 140:
        members = [f"{inner}{compact(key)}: {_lines(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(value, list) and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"{inner}{_lines(item, inner)}" for item in value) + f"\n{indent}]"
    return compact(value)


def block() -> str:
    """The page's JSON code block, between its two marks."""
    return f"```json\n{_lines(vectors())}\n```\n"


def text() -> str:
    """The file for other languages: the same, and what must be refused."""
    return f"{_lines({'format': 1, **vectors(), 'refused': refused()})}\n"


def on_the_page() -> str:
    """What the page has between the two marks now."""
    return PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]


def write() -> None:
    """Put the vectors into the page and the file."""
    FILE.write_text(text(), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(before + BEGIN + block() + END + after, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(block())
