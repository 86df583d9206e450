"""Keys and keyrings: what they take, what they refuse, and that they do not show their secret."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable

import pytest
from tests.kit import KEY, OTHER_KEY

from hardtack import EncryptedToken, Key, Keyring
from hardtack.errors import ConfigError
from hardtack.tokens import keys

PASSPHRASE = "correct horse battery staple"


def test_generated_keys_differ() -> None:
    """Each generated key is a new one."""
    assert Key.generate() != Key.generate()


def test_export_and_parse_give_the_same_key() -> None:
    """A key comes back from its text: the prefix and 43 characters of base64url."""
    text = KEY.export()

    parsed = Key.parse(text)

    assert text == "htk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert parsed == KEY
    assert parsed.id == KEY.id


def test_key_id_is_derived() -> None:
    """The id is what HKDF-SHA256 gives for `hardtack/1 key-id`; docs/token-format.md has the same value."""
    assert KEY.id.hex() == "f699b203a5"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "htk1_",
        "htk2_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "htk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "htk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9",
        "htk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg",
        "htk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh\u00e9",
        " htk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    ],
)
def test_parse_refuses_everything_else(text: str) -> None:
    """Another prefix, length, spelling or alphabet is an error that does not quote the text."""
    with pytest.raises(ConfigError, match="not a hardtack key") as caught:
        Key.parse(text)

    assert len(text) < 6 or text not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 5, b"htk1_x"])
def test_parse_refuses_other_types(wrong: object) -> None:
    """What is not text is a ConfigError as well."""
    with pytest.raises(ConfigError):
        Key.parse(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), "x" * 32])
def test_a_key_has_32_bytes(secret: bytes) -> None:
    """Any other secret is a ConfigError."""
    with pytest.raises(ConfigError, match="32"):
        Key(secret)


def test_from_passphrase_is_scrypt() -> None:
    """The same passphrase and salt give the same key, on every machine; another salt gives another."""
    key = Key.from_passphrase(PASSPHRASE, salt="example.org")

    assert key.export() == "htk1_KfP2yRDW8hMF3_BWQE-HV54mMpYnnCMleH6gNC0Z0ac"
    assert key != Key.from_passphrase(PASSPHRASE, salt="example.net")


@pytest.mark.parametrize(
    ("passphrase", "salt", "problem"),
    [
        ("short", "s", "too weak"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "s", "too weak"),
        ("abcdefgabcdefgabcdefg", "s", "too weak"),
        (KEY.export(), "s", r"Key.parse"),
        (PASSPHRASE, "", "salt"),
        (PASSPHRASE + "\ud800", "s", "surrogate"),
        (PASSPHRASE, "\ud800", "surrogate"),
        (b"correct horse battery staple", "s", "str"),
        (PASSPHRASE, None, "str"),
    ],
)
def test_from_passphrase_refuses(passphrase: str, salt: str, problem: str) -> None:
    """Weak passphrases, exported keys and empty salts are refused, without quoting the passphrase."""
    with pytest.raises(ConfigError, match=problem) as caught:
        Key.from_passphrase(passphrase, salt)

    assert str(passphrase) not in str(caught.value)


def test_from_framework_secret_takes_any_length_and_warns_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short secret works, is derived once, and is warned of once for each framework."""
    keys._warn_short.cache_clear()
    monkeypatch.setattr(keys, "_stretched", {})
    caplog.set_level(logging.WARNING, "hardtack")

    first = Key.from_framework_secret("dev", framework="flask")
    again = Key.from_framework_secret(b"dev", framework="flask")
    other = Key.from_framework_secret("dev", framework="django")
    Key.from_framework_secret("dav", framework="flask")

    assert first == again
    assert first != other
    assert [record.args for record in caplog.records] == [("flask", 32), ("django", 32)]
    assert "dev" not in caplog.text


def test_framework_secrets_are_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second key of a secret costs no scrypt; the memory of them is bounded."""
    calls: list[bytes] = []

    def stretch(secret: bytes, salt: bytes) -> bytes:
        calls.append(secret)
        return bytes(32)

    monkeypatch.setattr(keys, "_stretch", stretch)
    monkeypatch.setattr(keys, "_stretched", {})
    secret = "x" * 32

    for _ in range(3):
        Key.from_framework_secret(secret, framework="flask")
    for number in range(100):
        Key.from_framework_secret(f"{secret}{number}", framework="flask")

    assert len(calls) == 101
    assert len(keys._stretched) <= 64


@pytest.mark.parametrize("secret", ["", b"", None, 5])
def test_from_framework_secret_refuses_none(secret: str) -> None:
    """A framework without a secret has no key."""
    with pytest.raises(ConfigError, match="flask"):
        Key.from_framework_secret(secret, framework="flask")


def test_key_hides_its_secret() -> None:
    """repr and str show the id, and nothing of the secret."""
    assert repr(KEY) == str(KEY) == f"<Key {KEY.id.hex()}>"
    assert "AAECAw" not in repr(Keyring(KEY))


@pytest.mark.parametrize("holder", [KEY, Keyring(KEY), EncryptedToken(KEY)], ids=["Key", "Keyring", "EncryptedToken"])
def test_keys_refuse_pickle(holder: object) -> None:
    """No key leaves the process in a pickle, by itself or in what holds it."""
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(holder)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copies_are_the_key_itself(copier: Callable[[object], object]) -> None:
    """Frameworks copy their settings: the copy of a key is the key."""
    ring = Keyring(KEY)

    assert copier(KEY) is KEY
    assert copier(ring) is ring


def test_keys_compare_by_secret() -> None:
    """Equal secrets are one key; a key is nothing else."""
    assert Key(bytes(range(32))) == KEY
    assert hash(Key(bytes(range(32)))) == hash(KEY)
    assert KEY != OTHER_KEY
    assert KEY != "key"


def test_ring_has_current_and_accepted_keys() -> None:
    """Each key once, whatever the order and the repetitions."""
    ring = Keyring(KEY, accept=[OTHER_KEY, KEY, Key(bytes(range(32)))])

    assert ring.current is KEY
    assert list(ring) == [KEY, OTHER_KEY]
    assert len(ring) == 2
    assert ring.get(OTHER_KEY.id) is OTHER_KEY
    assert ring.get(b"nobody") is None
    assert repr(ring) == f"<Keyring current={KEY!r} accept=[{OTHER_KEY!r}]>"


def test_ring_takes_one_key_to_accept() -> None:
    """A single key need not stand in a list."""
    assert len(Keyring(KEY, OTHER_KEY)) == 2  # type: ignore[arg-type]


def test_ring_refuses_what_is_no_key() -> None:
    """A passphrase or an exported key in the place of a key is told so."""
    with pytest.raises(ConfigError, match=r"Key\.parse"):
        Keyring("htk1_…")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not a Key"):
        Keyring(KEY, [b"key"])  # type: ignore[list-item]


def test_ring_refuses_two_keys_of_one_id() -> None:
    """The id picks the one key that is tried: two keys cannot share one."""
    twin = Key(bytes(32))
    twin.id = KEY.id

    with pytest.raises(ConfigError, match="two different keys"):
        Keyring(KEY, [twin])
