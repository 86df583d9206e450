"""Taking a cookie apart: its fields, a flipped bit, the size bar, trees of types, durations."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from typing import Any

import pytest

from hardtack import EncryptedToken, Key, Record
from hardtack.cli.demo import anatomy
from hardtack.cookies import MAX_SET_COOKIE
from hardtack.protocols import Context
from hardtack.values import decode_bytes, encode_bytes

CONTEXT = Context("session", "", 1_000_000)
ENCRYPTED = [
    ("version", 1),
    ("key-id", 5),
    ("nonce-prefix", 12),
    ("nonce-rest", 12),
]


def seal(**data: Any) -> str:
    """A token with some data."""
    record = Record(bytes(16), 1_000_000, None, 1_000_000, data=data)
    return EncryptedToken(Key.generate()).seal(record, CONTEXT)["session"]


def test_every_byte_of_a_token_belongs_to_one_field() -> None:
    """The fields are those of the token format, in its order, and the ciphertext is what is left of the size."""
    dissection = anatomy.dissect(seal(cart=["bread"]), in_store=False)

    assert dissection is not None
    sizes = [(part.name, part.size) for part in dissection.parts]
    assert sizes[:4] == ENCRYPTED
    assert sizes[4] == ("ciphertext", dissection.size - 46)
    assert sizes[5] == ("tag", 16)


@pytest.mark.parametrize("padding", ["", "a", "ab"])
def test_the_runs_spell_the_whole_cookie(padding: str) -> None:
    """Nothing of the text or of the bytes is lost or said twice, wherever the fields end within a character."""
    token = seal(padding=padding)

    dissection = anatomy.dissect(token, in_store=False)

    assert dissection is not None
    assert "".join(run.text for run in dissection.text) == token
    assert bytes.fromhex(" ".join(run.text for run in dissection.hexadecimal)) == decode_bytes(token)
    assert {run.part for run in dissection.hexadecimal} == {part.name for part in dissection.parts}


def test_a_character_with_bits_of_two_fields_is_of_both() -> None:
    """The version ends within the second character of the token."""
    token = seal()

    dissection = anatomy.dissect(token, in_store=False)

    assert dissection is not None
    assert dissection.text[:2] == [
        anatomy.Run(token[0], "version", None, False),
        anatomy.Run(token[1], "version", "key-id", False),
    ]


@pytest.mark.parametrize(("value", "in_store"), [("AQAA", False), ("_" * 80, False), ("AAAA", True)])
def test_what_no_engine_made_is_one_unknown_field(value: str, in_store: bool) -> None:
    """Too short, of another version, or not 32 bytes for a store."""
    dissection = anatomy.dissect(value, in_store=in_store)

    assert dissection is not None
    assert [part.name for part in dissection.parts] == ["unknown"]


def test_what_is_not_base64url_is_not_taken_apart() -> None:
    """The client can send anything."""
    assert anatomy.dissect("no!", in_store=False) is None
    assert anatomy.flip_a_bit("no!") is None
    assert anatomy.flip_a_bit("") is None


def test_a_store_cookie_is_one_random_number() -> None:
    """Its 32 bytes are all of one field."""
    dissection = anatomy.dissect(encode_bytes(bytes(32)), in_store=True)

    assert dissection is not None
    assert [(part.name, part.size) for part in dissection.parts] == [("secret", 32)]


@pytest.mark.parametrize("value", [seal(), seal(cart=["bread"] * 40), encode_bytes(bytes(32))])
def test_flipping_changes_one_bit_and_one_character(value: str) -> None:
    """The rest of the cookie stays as it was, and so does its spelling."""
    flipped = anatomy.flip_a_bit(value)

    assert flipped is not None
    changed, index = flipped
    difference = int.from_bytes(decode_bytes(value), "big") ^ int.from_bytes(decode_bytes(changed), "big")
    assert difference.bit_count() == 1
    assert [at for at, pair in enumerate(zip(value, changed, strict=True)) if pair[0] != pair[1]] == [index]


def test_the_flipped_bit_of_a_token_is_in_the_ciphertext() -> None:
    """So that the tag finds it: another key id would be another reason."""
    token = seal()

    changed, index = anatomy.flip_a_bit(token) or ("", 0)
    dissection = anatomy.dissect(changed, in_store=False, flipped=index)

    assert dissection is not None
    assert [(run.part, run.text) for run in dissection.text if run.flipped] == [("ciphertext", changed[index])]


def test_the_bar_shows_what_the_line_spends_its_bytes_on() -> None:
    """Its segments follow each other without a gap, and are as long as the Set-Cookie line."""
    token = seal(cart=["bread"])
    line = f"session={token}; Path=/; HttpOnly"

    segments = anatomy.bar(line, anatomy.dissect(token, in_store=False))

    assert [segment.part for segment in segments][::7] == ["name", "attributes"]
    assert sum(segment.width for segment in segments) == pytest.approx(len(line), abs=0.1)
    for before, after in itertools.pairwise(segments):
        assert before.start + before.width == pytest.approx(after.start, abs=0.02)


def test_the_bar_ends_where_a_cookie_does() -> None:
    """A client can send more than any Set-Cookie line has room for."""
    segments = anatomy.bar("session=" + "!" * 9000, None)

    assert [segment.part for segment in segments] == ["name", "unknown", "attributes"]
    assert sum(segment.width for segment in segments) == MAX_SET_COOKIE


def test_a_tree_shows_values_with_their_types() -> None:
    """Text is quoted, everything else is as it prints."""
    node = anatomy.tree({"price": Decimal("1.80"), "names": ("a", None), "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)})

    assert node.type == "dict"
    assert dict(node.children)["price"] == anatomy.Node("Decimal", "1.80", [])
    assert dict(node.children)["at"] == anatomy.Node("datetime", "2026-01-02 00:00:00+00:00", [])
    assert dict(node.children)["names"] == anatomy.Node(
        "tuple", "", [("0", anatomy.Node("str", '"a"', [])), ("1", anatomy.Node("NoneType", "None", []))]
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (-61, "1 min 1 s"),
        (86400, "1 d"),
        (90061, "1 d 1 h"),
        (86460, "1 d"),
        (3601, "1 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    """The sign is the sentence's affair."""
    assert anatomy.duration(seconds) == text
