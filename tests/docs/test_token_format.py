"""The test vectors of docs/token-format.md are what the library computes, and what it opens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.docs import token_vectors

from hardtack import EncryptedToken, Key, SignedToken, StoreEngine, values
from hardtack.engines.chunks import joined
from hardtack.errors import InvalidToken
from hardtack.protocols import Context, TokenFormat
from hardtack.stores.memory import MemoryStore
from hardtack.tokens.xaes import XAES256GCM


@pytest.fixture(scope="module")
def page() -> Any:
    """The vectors as they stand on the page."""
    return json.loads(token_vectors.on_the_page().removeprefix("```json\n").removesuffix("```\n"))


def test_the_page_has_what_the_library_computes() -> None:
    """Byte by byte; `python -m tests.docs.token_vectors --write` puts new vectors in."""
    assert token_vectors.on_the_page() == token_vectors.block()


def test_the_file_has_what_the_library_computes() -> None:
    """vectors/v1.json is the same, and what must be refused."""
    assert token_vectors.FILE.read_text(encoding="utf-8") == token_vectors.text()


def test_what_the_file_refuses_the_library_refuses() -> None:
    """For the reason that stands there."""
    vectors = json.loads(token_vectors.FILE.read_text(encoding="utf-8"))
    key = Key(bytes.fromhex(vectors["keys"]["secret"]))
    formats: dict[str, TokenFormat] = {"encrypted": EncryptedToken(key), "signed": SignedToken(key)}

    for case in vectors["refused"]:
        with pytest.raises(InvalidToken) as refused:
            formats[case["format"]].open({case["cookie"]: [case["token"]]}, Context(case["cookie"], case["purpose"], 0))

        assert refused.value.reason == case["reason"], case["why"]


def test_write_leaves_a_page_alone_that_is_up_to_date(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing puts the block between its two marks, and changes nothing around it."""
    text = token_vectors.PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "page.md"
    copy.write_text(text.replace('"key_id": "', '"key_id": "00'), encoding="utf-8")
    monkeypatch.setattr(token_vectors, "PAGE", copy)
    monkeypatch.setattr(token_vectors, "FILE", tmp_path / "v1.json")

    token_vectors.write()

    assert copy.read_text(encoding="utf-8") == text


def test_the_tokens_open(page: Any) -> None:
    """The library opens the page's tokens to the page's records."""
    key = Key(bytes.fromhex(page["keys"]["secret"]))
    for name, token in (("encrypted", EncryptedToken(key)), ("signed", SignedToken(key))):
        for case in page[name]:
            context = Context(case["cookie"], case["purpose"], 0)

            opened = token.open({case["cookie"]: [case["token"]]}, context)

            assert opened.data == values.from_json(case["record"][6])
            assert values.encode_bytes(opened.id) == case["record"][0]


def test_the_chunks_join(page: Any) -> None:
    """The page's chunks are one token."""
    chunks = page["chunks"]

    parts = [[part] for part in chunks["parts"]]

    assert list(joined(parts, lambda: None)) == [chunks["token"]]


def test_the_stored_records_open(page: Any) -> None:
    """A sealed record opens under the key that the cookie's value gives."""
    key = Key(bytes.fromhex(page["keys"]["secret"]))
    for case in page["store"]:
        policy: Any = type("Policy", (), {"purpose": case["purpose"]})
        raw_key = StoreEngine(MemoryStore()).raw_key(values.decode_bytes(case["cookie_value"]), case["purpose"])

        record, current = StoreEngine(MemoryStore(), seal=key).decode(raw_key, bytes.fromhex(case["sealed"]), policy, 0)

        assert current
        assert values.encode_bytes(raw_key) == case["key"]
        assert record.data == values.from_json(case["record"][6])


def test_the_subkeys_are_those_of_the_page(page: Any) -> None:
    """The encryption key and the first half of the nonce give the subkey."""
    case = page["encrypted"][0]

    subkey = XAES256GCM(bytes.fromhex(page["keys"]["encrypt"])).subkey(bytes.fromhex(case["nonce"])[:12])

    assert subkey.hex() == case["subkey"]
