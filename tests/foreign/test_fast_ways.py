"""What is read by a faster way than the standard library's comes to the same as by that: JSON, base64, MACs, AES-CBC, keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.errors import InvalidToken
from hardtack.foreign import _ciphers as ciphers
from hardtack.foreign import _python, base, iron
from hardtack.foreign._keys import keyed_mac
from hardtack.foreign._python import decode_padded
from hardtack.foreign._text import read_javascript
from hardtack.foreign.base import has_long_number, parse_json

TEXTS = st.text() | st.sampled_from(["NaN", "\ud800", "\x7f", "\0", "1" * 16, "\ufeff"])
NUMBERS = st.integers() | st.floats() | st.integers(-(1 << 66), 1 << 66)
TREES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)
READERS = {
    "strict": parse_json,
    "constants": lambda raw: parse_json(raw, constants=True),
    "javascript": read_javascript,
}


# Of one, two and three bytes, in good spellings and in others; and what no decoder may pass over.
QUARTETS = ["QUFB", "QQ==", "QR==", "QUI=", "QUJ=", "-_-_", "+/+/", "QQ", "QUI", "=", "==", "\n", " ", "\xe9"]


def outcome(read: Any, raw: bytes | str) -> str:
    """What reading it comes to; `repr` tells 1 from 1.0, and the order of the keys."""
    try:
        return repr(read(raw))
    except InvalidToken as error:
        return f"{error.reason}: {error}"


def both(name: str, raw: bytes | str) -> tuple[str, str]:
    """What it comes to with orjson, and without."""
    pytest.importorskip("orjson")
    assert base._orjson is not None
    quick = outcome(READERS[name], raw)
    with patch.object(base, "_orjson", None):
        return quick, outcome(READERS[name], raw)


@pytest.mark.parametrize("name", READERS)
@given(TREES, st.booleans(), st.data())
def test_orjson_reads_and_refuses_as_python_does(name: str, tree: Any, escaped: bool, data: st.DataObject) -> None:
    """Any JSON, also one that was damaged."""
    damaged = bytearray(json.dumps(tree, ensure_ascii=escaped).encode("utf-8", "surrogatepass"))
    for _ in range(data.draw(st.integers(0, 2))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    quick, slow = both(name, bytes(damaged))

    assert quick == slow


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "text",
    [
        '{"a":18446744073709551616}',
        '{"a":-9223372036854775809}',
        '{"a":1e999}',
        '{"a":-0}',
        '{"a":-0.0}',
        '{"a":NaN}',
        '{"a":0.10000000000000000000001}',
        '{"a":"\\ud800"}',
        '{"a":1,"b":2,"a":3}',
        '{"a":"\t"}',
        '{"a":1}\x00',
        '\ufeff{"a":1}',
        "[" * 1200 + "]" * 1200,
    ],
)
def test_json_that_the_decoders_differ_in(name: str, text: str) -> None:
    """What orjson rounds, refuses or spells otherwise is read by Python."""
    quick, slow = both(name, text)

    assert quick == slow
    quick, slow = both(name, text.encode())
    assert quick == slow


def test_without_orjson_python_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs it."""
    monkeypatch.setitem(sys.modules, "orjson", None)

    assert base.find_orjson() is None
    monkeypatch.setattr(base, "_orjson", None)
    assert parse_json('{"a": 1}') == read_javascript(b'{"a": 1}') == {"a": 1}


@given(st.integers(0, 70), st.integers(14, 18), st.integers(0, 40))
def test_a_long_number_is_found_wherever_it_stands(before: int, digits: int, after: int) -> None:
    """16 digits or more; 15 are none, nor are they with others beside them."""
    raw = b"x1" * before + b"," + b"7" * digits + b"." + b"1." * after

    assert has_long_number(raw) == (digits >= 16)


@given(
    st.lists(st.sampled_from(QUARTETS), max_size=4).map("".join) | st.text("AQgw+/-_= \n\xe9", max_size=6),
    st.booleans(),
)
def test_base64_has_one_spelling(text: str, url_safe: bool) -> None:
    """The one that comes out when it is written again."""
    write = base64.urlsafe_b64encode if url_safe else base64.b64encode
    try:
        expected = binascii.a2b_base64(text.translate(_STANDARD) if url_safe else text, strict_mode=True)
    except ValueError:
        expected = None
    if expected is None or write(expected).decode() != text:
        with pytest.raises(InvalidToken, match="not base64"):
            decode_padded(text, url_safe=url_safe)
    else:
        assert decode_padded(text, url_safe=url_safe) == expected


_STANDARD = str.maketrans("-_", "+/")


@pytest.mark.parametrize("text", ["QU FB", "QUFB\n", "QQ==\xe9\xe9\xe9\xe9", "QQ=====", "QQ==QUFB"])
def test_a_decoder_that_passes_over_characters_is_found_out(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many characters as the bytes take, whatever the decoder thinks of others."""
    monkeypatch.setattr(_python, "b64decode", lambda text, *_, **__: base64.b64decode(text.encode()))

    with pytest.raises(InvalidToken, match="not base64"):  # from Python 3.13 on this decoder finds the last one itself
        _python.decode_padded(text)


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
def test_a_mac_under_a_key_that_is_kept(digest: str) -> None:
    """It is the HMAC each time, for keys of any length."""
    for key in (b"", b"key", bytes(200)):
        for message in (b"", b"one", b"two" * 100):
            assert keyed_mac(key, message, digest) == hmac.digest(key, message, digest)


def test_a_key_of_cbc_knows_nothing_of_the_cookie_before() -> None:
    """Neither of a good one, nor of one that was refused."""
    key, iv = bytes(range(32)), bytes(range(16))
    kept = ciphers.CbcKey(key)

    for size in (0, 1, 15, 16, 17, 1000):
        sealed = ciphers.seal_cbc(key, iv, b"x" * size)

        assert kept.open(iv, sealed) == b"x" * size == ciphers.open_cbc(key, iv, sealed)
        for open_one in (kept.open, lambda *parts: ciphers.open_cbc(key, *parts)):
            for bad in ((iv, sealed[:-1]), (iv, b""), (iv[:-1], sealed), (iv, bytes(16))):
                with pytest.raises(InvalidToken):
                    open_one(*bad)


def test_a_key_of_cbc_is_of_one_thread() -> None:
    """Threads that decrypt at once do not meet."""
    key, iv = bytes(range(32)), bytes(range(16))
    kept = ciphers.CbcKey(key)
    begin = Barrier(4)
    sealed = [ciphers.seal_cbc(key, iv, bytes((number,)) * 5000) for number in range(4)]

    def read(number: int) -> set[bytes]:
        begin.wait(60)
        return {kept.open(iv, sealed[number]) for _ in range(300)}

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(read, range(4)))

    assert found == [{bytes((number,)) * 5000} for number in range(4)]
    decryptors = ThreadPoolExecutor(1).submit(lambda: kept._update).result(), kept._update
    assert decryptors[0] != decryptors[1]


@pytest.mark.parametrize("rounds", [1, 8192])
def test_keys_of_seals_are_pbkdf2(rounds: int) -> None:
    """As Python's own module derives them."""
    expected = hashlib.pbkdf2_hmac("sha1", b"password", b"salt", rounds, 32)

    assert iron._key("password", "salt", rounds) == expected
