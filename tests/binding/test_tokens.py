"""The tokens of a binding: each is good for what it was made for, and for nothing else."""

from __future__ import annotations

import pytest
from tests.kit import KEY, OTHER_KEY

from hardtack import Keyring, values
from hardtack.binding.tokens import Tokens, binding_id, parse_id, short

NOW = 1_800_000_000_000
SESSION = bytes(range(32))
BINDING = bytes(range(16))


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(Keyring(KEY), "", "session")


def made(tokens: Tokens) -> dict[str, str]:
    """One token of each kind."""
    return {
        "registration": tokens.registration(BINDING, NOW),
        "challenge": tokens.challenge(BINDING, NOW),
        "bound": tokens.bound(BINDING, bytes(32), SESSION, NOW),
        "key": tokens.key(BINDING, b"E" + bytes(64), SESSION, NOW),
        "mark": tokens.mark(BINDING, NOW),
    }


def opens(tokens: Tokens, token: str) -> set[str]:
    """The kinds that a text is taken for."""
    taken = {
        "registration": tokens.answers_registration(token, BINDING, NOW),
        "challenge": tokens.answers_challenge(token, BINDING, NOW),
        "bound": tokens.read_bound(token, NOW, 300) is not None,
        "key": tokens.read_key(token) is not None,
        "mark": tokens.read_mark(token, BINDING, NOW) is not None,
    }
    if tokens.proved_at(token, values.encode_bytes(BINDING), NOW, 300):
        assert taken["bound"]
    return {kind for kind, is_taken in taken.items() if is_taken}


def test_no_kind_is_taken_for_another(tokens: Tokens) -> None:
    """A challenge is no cookie, and a cookie no challenge."""
    for kind, token in made(tokens).items():
        assert opens(tokens, token) == {kind}


def test_every_changed_character_is_refused(tokens: Tokens) -> None:
    """In each place, by each of a few others."""
    for token in made(tokens).values():
        for index, character in enumerate(token):
            for other in "A_é+=":
                if other != character:
                    assert opens(tokens, token[:index] + other + token[index + 1 :]) == set()
        for shorter in range(len(token)):
            assert opens(tokens, token[:shorter]) == set()
        assert opens(tokens, token + "A") == set()


def test_another_ring_purpose_or_cookie_is_refused(tokens: Tokens) -> None:
    """Two applications do not take each other's."""
    others = [
        Tokens(Keyring(OTHER_KEY), "", "session"),
        Tokens(Keyring(KEY), "a", "session"),
        Tokens(Keyring(KEY), "", "s"),
    ]
    for token in made(tokens).values():
        assert [opens(other, token) for other in others] == [set(), set(), set()]


def test_a_former_key_is_taken_while_it_is_accepted(tokens: Tokens) -> None:
    """And one of another version never."""
    rotated = Tokens(Keyring(OTHER_KEY, [KEY]), "", "session")
    for kind, token in made(tokens).items():
        assert opens(rotated, token) == {kind}
        assert opens(rotated, "_" + token[1:]) == set()


def test_times_are_held(tokens: Tokens) -> None:
    """Too old, and too far ahead."""
    bound = tokens.bound(BINDING, bytes(32), SESSION, NOW)
    name = values.encode_bytes(BINDING)
    assert tokens.proved_at(bound, name, NOW + 299_999, 300) == NOW
    for later in (300_000, -60_001):
        assert tokens.proved_at(bound, name, NOW + later, 300) == 0
        assert tokens.read_bound(bound, NOW + later, 300) is None
    assert tokens.proved_at(bound, values.encode_bytes(bytes(16)), NOW, 300) == 0


def test_tokens_of_another_length_are_refused(tokens: Tokens) -> None:
    """What an earlier or a later version may have written."""
    assert tokens.read_bound(tokens._issue(b"bound", BINDING, NOW, b"x"), NOW, 300) is None
    assert tokens.read_key(tokens._issue(b"key", BINDING, NOW, bytes(16))) is None
    assert tokens.read_mark(tokens._issue(b"mark", BINDING, NOW, b"x"), BINDING, NOW) is None
    assert tokens.answers_challenge(tokens._issue(b"challenge", BINDING, NOW, b"x"), BINDING, NOW) is False


def test_ids_of_bindings() -> None:
    """Of the session and the key; bare or quoted; nothing else is one."""
    assert binding_id(SESSION, bytes(32)) != binding_id(BINDING, bytes(32)) != binding_id(BINDING, bytes(31) + b"x")
    assert short(BINDING) == BINDING
    text = values.encode_bytes(BINDING)
    assert parse_id(text) == parse_id(f' "{text}"') == BINDING
    for other in (None, "", "x", text + "A", "+" * 22):
        assert parse_id(other) is None
