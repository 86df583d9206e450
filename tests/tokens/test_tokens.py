"""Both token formats by the same tests: what opens, and everything that must not."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from tests.kit import KEY, OTHER_KEY, START
from tests.strategies import same, sessions

from hardtack import EncryptedToken, Key, Keyring, Record, SignedToken
from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.protocols import Context
from hardtack.tokens.encrypted import MAX_LENGTH

NAME = "__Host-session"
CONTEXT = Context(NAME, "shop", START)
Token = EncryptedToken | SignedToken


@pytest.fixture(params=[EncryptedToken, SignedToken], ids=["encrypted", "signed"])
def kind(request: pytest.FixtureRequest) -> type[Token]:
    kind: type[Token] = request.param
    return kind


def record(**data: Any) -> Record:
    return Record(bytes(range(16)), START - 100, START - 50, START, "alice", {"persistent": True}, data)


def seal(token: Token, context: Context = CONTEXT, **data: Any) -> str:
    return token.seal(record(**data), context)[context.cookie_name]


def reason(token: Token, value: str, context: Context = CONTEXT) -> str:
    with pytest.raises(InvalidToken) as caught:
        token.open({context.cookie_name: [value]}, context)
    return caught.value.reason


def test_opens_what_it_sealed(kind: type[Token]) -> None:
    """Every field of the record comes back."""
    token = kind(KEY)

    opened = token.open({NAME: [seal(token, cart=["bread"])]}, CONTEXT)

    assert (
        opened.id,
        opened.created,
        opened.authenticated,
        opened.seen,
        opened.subject,
        opened.options,
        opened.data,
    ) == (
        bytes(range(16)),
        START - 100,
        START - 50,
        START,
        "alice",
        {"persistent": True},
        {"cart": ["bread"]},
    )


@settings(max_examples=300, deadline=None)
@given(data=sessions)
def test_values_survive_with_their_types(data: dict[str, Any]) -> None:
    """Whatever a session may hold comes out of both tokens as it went in."""
    for token in (EncryptedToken(KEY), SignedToken(KEY)):
        opened = token.open({NAME: [token.seal(Record(bytes(16), 1, None, 1, None, {}, data), CONTEXT)[NAME]]}, CONTEXT)

        assert same(opened.data, data)


def test_made_for_cookies(kind: type[Token]) -> None:
    """A token is made of characters that no cookie parser touches."""
    text = seal(kind(KEY), name='Zoë; ,"\\')

    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def flips(token: Token) -> tuple[str, list[str]]:
    """A token of some 600 bytes, and every spelling of it that differs in one character."""
    text = seal(token, filler="x" * (370 if isinstance(token, EncryptedToken) else 290))
    assert 560 <= len(text) <= 680
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n"
    return text, [
        text[:index] + other + text[index + 1 :]
        for index in range(len(text))
        for other in alphabet
        if other != text[index]
    ]


def test_every_changed_character_is_refused(kind: type[Token]) -> None:
    """No character can be changed, the stray bits of the last one included: a token has one spelling."""
    token = kind(KEY)
    _, changed = flips(token)

    for value in changed:
        with pytest.raises(InvalidToken):
            token.open({NAME: [value]}, CONTEXT)


def test_every_flipped_bit_is_refused() -> None:
    """No bit of an encrypted token can be flipped."""
    token = EncryptedToken(KEY)
    text = seal(token, filler="x" * 370)
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))

    for bit in range(len(raw) * 8):
        raw[bit // 8] ^= 1 << bit % 8
        changed = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        with pytest.raises(InvalidToken):
            token.open({NAME: [changed]}, CONTEXT)
        raw[bit // 8] ^= 1 << bit % 8

    assert token.open({NAME: [text]}, CONTEXT).subject == "alice"


def test_every_flipped_bit_of_the_text_is_refused() -> None:
    """No bit of a signed token's text can be flipped, whatever character comes of it."""
    token = SignedToken(KEY)
    text = seal(token, filler="x" * 290)

    for bit in range(len(text) * 8):
        index = bit // 8
        changed = text[:index] + chr(ord(text[index]) ^ (1 << bit % 8)) + text[index + 1 :]
        with pytest.raises(InvalidToken):
            token.open({NAME: [changed]}, CONTEXT)


def test_every_truncation_is_refused(kind: type[Token]) -> None:
    """Neither the beginning nor the end of a token can be cut."""
    token = kind(KEY)
    text = seal(token, filler="x" * 300)

    for length in range(len(text)):
        with pytest.raises(InvalidToken):
            token.open({NAME: [text[:length]]}, CONTEXT)
        with pytest.raises(InvalidToken):
            token.open({NAME: [text[len(text) - length :]]}, CONTEXT)


@pytest.mark.parametrize("more", ["=", "A", "AA", "AAA", "AAAA", ".", " ", "\n", "\x00", "é", "~"])
def test_nothing_can_be_added(kind: type[Token], more: str) -> None:
    """A token with anything after or before it is another text, and refused."""
    token = kind(KEY)
    text = seal(token, a=1)

    for changed in (text + more, more + text):
        assert reason(token, changed) in ("malformed", "tampered", "unknown_key")


@pytest.mark.parametrize(
    "context",
    [Context("__Host-other", "shop", START), Context(NAME, "forum", START), Context(NAME, "", START)],
    ids=["cookie name", "purpose", "no purpose"],
)
def test_bound_to_cookie_and_purpose(kind: type[Token], context: Context) -> None:
    """A token of another cookie or application is refused, though the key is the same."""
    token = kind(KEY)

    assert reason(token, seal(token, a=1), context) == "tampered"


def test_framing_keeps_purpose_and_name_apart(kind: type[Token]) -> None:
    """What moves from the end of the purpose to the beginning of the name is another binding."""
    token = kind(KEY)

    assert reason(token, seal(token, Context("b", "aa", START)), Context("ab", "a", START)) == "tampered"


def test_another_key_is_unknown(kind: type[Token]) -> None:
    """A token under a key that is not in the ring is refused by its key id, before any cryptography."""
    assert reason(kind(OTHER_KEY), seal(kind(KEY))) == "unknown_key"


def test_the_event_of_an_unknown_key_names_it(kind: type[Token]) -> None:
    """By its id, which is public; `hardtack keys list` shows the same."""
    with pytest.raises(InvalidToken) as caught:
        kind(OTHER_KEY).open({NAME: [seal(kind(KEY))]}, CONTEXT)

    assert caught.value.event_detail == f"key {KEY.id.hex()}"


@pytest.mark.parametrize(
    ("field", "named"),
    [("", "key without an id"), ("AQIDBAU", "key 0102030405"), ("Cg" + "A" * 5000, "key 0a00000000...")],
    ids=["none", "five bytes", "very long"],
)
def test_a_key_id_that_a_client_made_up_is_escaped_and_cut(field: str, named: str) -> None:
    """A signed token has room for one of any length."""
    with pytest.raises(InvalidToken) as caught:
        SignedToken(KEY).open({NAME: [f"ht1.{field}.e30.AAAA"]}, CONTEXT)

    assert (caught.value.reason, caught.value.event_detail) == ("unknown_key", named)
    assert pickle.loads(pickle.dumps(caught.value)).event_detail == named


def test_a_key_with_the_id_of_another_does_not_open(kind: type[Token]) -> None:
    """The key id only picks the key; what opens a token is the key."""
    twin = Key(bytes(32))
    object.__setattr__(twin, "id", KEY.id)

    assert reason(kind(twin), seal(kind(KEY))) == "tampered"


def test_rotation_opens_both_and_issues_the_current(kind: type[Token]) -> None:
    """Under a ring, tokens of accepted keys open and are not current; what is sealed is."""
    before, ring = kind(KEY), kind(Keyring(OTHER_KEY, accept=[KEY]))
    old, new = {NAME: [seal(before, a=1)]}, {NAME: [seal(ring, a=1)]}

    assert ring.open(old, CONTEXT).data == ring.open(new, CONTEXT).data == {"a": 1}
    assert not ring.is_current(old, CONTEXT)
    assert ring.is_current(new, CONTEXT)
    assert reason(before, new[NAME][0]) == "unknown_key"


def test_too_large_is_refused_before_decoding(kind: type[Token]) -> None:
    """The length is capped first."""
    assert reason(kind(KEY), "A" * (MAX_LENGTH + 1)) == "too_large"


@pytest.mark.parametrize(
    "value", ["", "A", "AAAA", "ht1", "ht1..", "ht1.%.x.y", "ht2.AAAAAAA.e30.AAAA", "\ud800", "é" * 100]
)
def test_junk_is_malformed(kind: type[Token], value: str) -> None:
    """What is no token at all is malformed."""
    assert reason(kind(KEY), value) == "malformed"


def test_no_cookie_is_missing(kind: type[Token]) -> None:
    """Without the cookie there is nothing to open."""
    nothing: list[dict[str, list[str]]] = [{}, {NAME: []}]
    for cookies in nothing:
        with pytest.raises(InvalidToken, match="missing"):
            kind(KEY).open(cookies, CONTEXT)


def test_wrong_version_is_malformed() -> None:
    """Another version byte is not version 1, even with a MAC of ours over it."""
    raw = b"\x02" + KEY.id + KEY.encrypting.seal(b"", None)

    assert reason(EncryptedToken(KEY), base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) == "malformed"


@pytest.mark.parametrize(
    "plaintext",
    [b"", b"\xc1", b"\x90", b"\x97", b"\x80", b"\x97" + b"\xc0" * 7, b"\x97" + b"\xc0" * 8, b"\xc7\xff\xff" * 400],
    ids=["empty", "never used", "empty array", "cut", "map", "nils", "trailing", "extension"],
)
def test_authentic_nonsense_is_malformed(plaintext: bytes) -> None:
    """Whoever holds the key and writes nonsense gets `malformed`, and never another exception."""
    token = EncryptedToken(KEY)
    header = b"\x01" + KEY.id
    from hardtack.tokens.encrypted import binding

    raw = KEY.encrypting.seal(plaintext, header + binding("shop", NAME), header)

    assert reason(token, base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) == "malformed"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"a":1}',
        b"[NaN]",
        b"[1,2,3,4,5,6,7]",
        b"[" * 100_000,
        b"\xff",
        b'["!",1,1,1,"",{},{}]',
        b'["AAAAAAAAAAAAAAAAAAAAAA",1,null,1,null,{},{"a":"\\ud800"}]',
        b'["AAAAAAAAAAAAAAAAAAAAAA",1,null,1,"\\ud800",{},{}]',
        b'["AAAAAAAAAAAAAAAAAAAAAA",1,null,1,null,{},{"a":' + b"[" * 100 + b"]" * 100 + b"}]",
    ],
)
def test_authentic_json_nonsense_is_malformed(payload: bytes) -> None:
    """The same for the signed token: the MAC is right, the payload is not."""
    encoded = base64.urlsafe_b64encode(payload[:10_000]).rstrip(b"=").decode()
    from hardtack.tokens.signed import _mac

    key_id = base64.urlsafe_b64encode(KEY.id).rstrip(b"=").decode()
    signed = f"ht1.{key_id}.{encoded}"

    assert reason(SignedToken(KEY), f"{signed}.{_mac(KEY, signed, CONTEXT)}") == "malformed"


def test_signed_payload_is_readable() -> None:
    """The payload of a signed token is JSON that anybody can read: the whole record."""
    payload = seal(SignedToken(KEY), a=1).split(".")[2]

    fields = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    assert fields == ["AAECAwQFBgcICQoLDA0ODw", START - 100, START - 50, START, "alice", {"persistent": True}, {"a": 1}]


def test_unsupported_values_are_told_with_their_path(kind: type[Token]) -> None:
    """What cannot be kept is an error that names the path and the type."""
    with pytest.raises(UnsupportedValue, match=r"cart\[1\]\.when \(object\)") as caught:
        kind(KEY).seal(record(cart=[1, {"when": object()}]), CONTEXT)

    assert (caught.value.path, caught.value.type_name) == ("cart[1].when", "object")
