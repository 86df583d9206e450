"""Keys and keyrings: what they take, what they refuse, and that they do not show their secret."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kit import KEY, OTHER_KEY

from hardtack import EncryptedToken, Key, Keyring, SignedToken
from hardtack.errors import ConfigError
from hardtack.tokens import keys

ROOT = Path(__file__).parents[2]

PASSPHRASE = "correct horse battery staple"


def test_generated_keys_differ() -> None:
    """Each generated key is a new one."""
    assert Key.generate() != Key.generate()


def test_export_and_parse_give_the_same_key() -> None:
    """A key comes back from its text: the prefix and 43 characters of base64url."""
    key = Key(hashlib.sha256(b"bread").digest())

    parsed = Key.parse(key.export())

    assert KEY.export() == "htk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert parsed == key
    assert parsed.id == key.id


def test_key_id_is_derived() -> None:
    """The id is what HKDF-SHA256 gives for `hardtack/1 key-id`; docs/token-format.md has the same value."""
    assert KEY.id.hex() == "f699b203a5"


@pytest.mark.parametrize("length", [0, 1, 55, 56, 64, 65, 4000])
def test_the_mac_is_that_of_the_standard(length: int) -> None:
    """HMAC-SHA256 under the derived key, whatever its length, and the same again."""
    signing = keys.derive(bytes(range(32)), "sign", 32)
    message = bytes(number % 251 for number in range(length))

    assert KEY.mac(message) == KEY.mac(message) == hmac.digest(signing, message, "sha256")


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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "was the variable set"),
        (f"{KEY.export()}\n", "strip"),
        (f'"{KEY.export()}"', "quotation marks"),
        ("correct horse battery staple", "from_passphrase"),
    ],
    ids=["nothing", "line", "quoted", "passphrase"],
)
def test_parse_says_what_to_do(given: Any, told: str) -> None:
    """A key that is nearly one, and what somebody took for one."""
    with pytest.raises(ConfigError, match=told):
        Key.parse(given)


PATTERNS = {
    "zeros": bytes(32),
    "all alike": bytes([7]) * 32,
    "one": bytes(31) + b"\x01",
    "counting up": bytes(range(32)),
    "counting up from another": bytes(range(0x40, 0x60)),
    "counting down": bytes(range(31, -1, -1)),
    "counting in steps": bytes(range(0, 256, 8)),
    "the same half twice": bytes.fromhex("000102030405060708090a0b0c0d0e0f") * 2,
    "a word": bytes.fromhex("deadbeef") * 8,
}


@pytest.mark.parametrize("secret", PATTERNS.values(), ids=PATTERNS)
def test_parse_refuses_patterns(secret: bytes) -> None:
    """A key that nobody drew at random protects nothing, and the message does not quote it."""
    text = Key(secret).export()

    with pytest.raises(ConfigError, match="anyone knows") as caught:
        Key.parse(text)

    assert text not in str(caught.value)


def test_parse_refuses_every_published_key() -> None:
    """No key that stands anywhere in the repository, pages and vectors included, can become a site's own."""
    # Not by git, which is not there where a wheel or another Python is tested.
    folders = ("benchmarks", "docs", "examples", "fuzz", "src", "tests", "tools")
    files = [*ROOT.glob("*"), *(file for folder in folders for file in (ROOT / folder).rglob("*"))]
    published: set[str] = set()
    for file in files:
        if (
            file.suffix in (".md", ".json", ".py", ".toml", ".yml", ".yaml", ".mjs")
            and "node_modules" not in file.parts
        ):
            found = re.findall(r"htk1_[\w-]{43}(?![\w=-])", file.read_text("utf-8"), re.ASCII)
            published.update(found)

    assert len(published) >= 3
    for text in published:
        with pytest.raises(ConfigError):
            Key.parse(text)


def test_random_keys_are_taken() -> None:
    """What was drawn at random is not taken for a pattern."""
    for number in range(2000):
        text = Key.generate().export() if number < 20 else ""
        assert not text or Key.parse(text).export() == text
        assert not keys.is_public(hashlib.sha256(number.to_bytes(2, "big")).digest())


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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["current", "_keys", "accept"])
def test_a_ring_cannot_be_changed(name: str) -> None:
    """A key that is put in afterwards would be half in force: tokens would be sealed that nobody opens."""
    ring = Keyring(KEY)

    with pytest.raises(AttributeError, match=r"Keyring\(current=new, accept=\[old\]\)"):
        setattr(ring, name, OTHER_KEY)
    with pytest.raises(AttributeError, match="make a new one"):
        delattr(ring, name)

    assert ring.current is KEY
    assert list(ring) == [KEY]


@pytest.mark.parametrize("name", ["id", "encrypting", "header", "secret"])
def test_a_key_cannot_be_changed(name: str) -> None:
    """Nor can a key become another one under the tokens that hold it."""
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(KEY, name, b"x")
    with pytest.raises(AttributeError, match="cannot be changed"):
        delattr(KEY, name)

    assert KEY.id.hex() == "f699b203a5"


def test_a_ring_without_a_file_is_its_own_snapshot() -> None:
    """A ring that cannot change is what it is at any moment."""
    ring = Keyring(KEY, accept=[OTHER_KEY])

    assert ring.snapshot() is ring
    assert ring.finder()(OTHER_KEY.id) is OTHER_KEY


@pytest.mark.parametrize("token", [EncryptedToken(Keyring(KEY)), SignedToken(KEY)], ids=["encrypted", "signed"])
def test_a_token_shows_its_ring(token: EncryptedToken | SignedToken) -> None:
    """The ring of a token can be read, and not replaced."""
    assert list(token.keys) == [KEY]
    with pytest.raises(AttributeError):
        token.keys = Keyring(OTHER_KEY)  # type: ignore[misc]


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
    object.__setattr__(twin, "id", KEY.id)

    with pytest.raises(ConfigError, match="two different keys"):
        Keyring(KEY, [twin])
