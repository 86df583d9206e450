"""Key and Keyring: the key that issues tokens, and the keys that are still accepted."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from hardtack import values
from hardtack.errors import ConfigError
from hardtack.tokens.xaes import XAES256GCM

PREFIX: Final = "htk1_"
_SHORT_SECRET = 32

logger = logging.getLogger("hardtack")


class Key:
    """32 secret bytes, and the keys derived from them (docs/token-format.md).

    A key has an id of 5 bytes, which is public: it stands in every token. `repr` shows the id and never the secret; a key
    cannot be pickled; a copy of a key is the key itself.
    """

    __slots__ = ("__weakref__", "_secret", "_signing", "encrypting", "id")

    id: bytes
    encrypting: XAES256GCM
    """The cipher of `EncryptedToken` and of sealed store records."""

    def __init__(self, secret: bytes) -> None:
        if not isinstance(secret, bytes) or len(secret) != 32:
            message = "a Key takes exactly 32 random bytes; use Key.generate(), Key.parse(…) or Key.from_passphrase(…)"
            raise ConfigError(message)
        self._secret = secret
        self.id = self._derive("key-id", 5)
        self.encrypting = XAES256GCM(self._derive("encrypt", 32))
        self._signing = self._derive("sign", 32)

    def _derive(self, name: str, length: int) -> bytes:
        info = f"hardtack/1 {name}".encode()
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self._secret)

    @classmethod
    def generate(cls) -> Key:
        """A new random key. Keep its `export()` where the application's other secrets are."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key that `export` wrote: `htk1_` and 43 characters of base64url. Raises `ConfigError`."""
        try:
            if not text.startswith(PREFIX):
                raise ValueError
            return cls(values.decode_bytes(text[len(PREFIX) :]))
        except (ValueError, AttributeError, TypeError):  # ConfigError is a ValueError: a secret of another length
            message = (
                f"this is not a hardtack key: a key is {PREFIX!r} and 43 characters of base64url, "
                "as Key.generate().export() returns it; for a passphrase use Key.from_passphrase(…)"
            )
            raise ConfigError(message) from None

    @classmethod
    def from_passphrase(cls, passphrase: str, salt: str) -> Key:
        """The key of a passphrase of 16 characters or more, by scrypt (N=2^16, r=8, p=2): slow, once, at start-up.

        `salt` need not be secret, but should belong to this application alone, such as its domain. Raises `ConfigError`
        for a passphrase that is too short, too uniform, or looks like an exported key.
        """
        if not isinstance(passphrase, str) or not isinstance(salt, str):
            raise ConfigError("Key.from_passphrase takes a passphrase and a salt as str")
        if passphrase.startswith(PREFIX):
            raise ConfigError("the passphrase looks like an exported key; use Key.parse(…)")
        if len(passphrase) < 16 or len(set(passphrase)) < 8:
            message = (
                "the passphrase is too weak: it needs 16 characters or more, 8 of them different; or use Key.generate()"
            )
            raise ConfigError(message)
        if not salt:
            raise ConfigError("salt must not be empty; use something of this application alone, such as its domain")
        return cls(_stretch(_encode(passphrase, "passphrase"), _encode(salt, "salt")))

    @classmethod
    def from_framework_secret(cls, secret: str | bytes, framework: str) -> Key:
        """The key of a framework's own secret (Flask's SECRET_KEY …), of any length, by scrypt with the framework as salt.

        Derived once a process. A secret under 32 characters is warned of once. Raises `ConfigError` for an empty one.
        """
        raw = _encode(secret, f"the secret of {framework}") if isinstance(secret, str) else secret
        if not isinstance(raw, bytes) or not raw:
            message = f"the secret of {framework} is empty or not text; set it to 32 random characters or more"
            raise ConfigError(message)
        return cls(_stretch_framework_secret(raw, framework))

    def export(self) -> str:
        """The key as text, `htk1_…`: whoever has it can read and forge every session."""
        return PREFIX + values.encode_bytes(self._secret)

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA256 under the signing key."""
        return hmac.digest(self._signing, message, "sha256")

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._secret, other._secret) if isinstance(other, Key) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Key {self.id.hex()}>"

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Key:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Key cannot be pickled: keep its export() where the application's other secrets are")


def _encode(text: str, setting: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = f"{setting} has a lone surrogate, which UTF-8 cannot carry"
        raise ConfigError(message) from None


def _stretch(secret: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=b"hardtack/1 passphrase\x00" + salt, length=32, n=1 << 16, r=8, p=2).derive(secret)


# The cache knows the secret by its hash only, and it is small: an application has a handful of secrets.
_stretched: dict[tuple[bytes, str], bytes] = {}


def _stretch_framework_secret(secret: bytes, framework: str) -> bytes:
    name = (sha256(secret).digest(), framework)
    stretched = _stretched.get(name)
    if stretched is None:
        if len(secret) < _SHORT_SECRET:
            _warn_short(framework)
        if len(_stretched) >= 64:
            _stretched.clear()
        stretched = _stretched[name] = _stretch(secret, _encode(framework, "framework"))
    return stretched


@lru_cache(maxsize=64)
def _warn_short(framework: str) -> None:
    logger.warning(
        "the secret of %s has fewer than %d characters: whoever has one cookie can try to guess it offline",
        framework,
        _SHORT_SECRET,
    )


class Keyring:
    """The key that issues, and the keys that are still accepted. The order of `accept` carries no meaning.

    To rotate, see docs/key-rotation.md: accept everywhere, then issue, then drop.
    """

    __slots__ = ("_keys", "current")

    def __init__(self, current: Key, accept: Iterable[Key] = ()) -> None:
        if not isinstance(current, Key):
            message = f"current={type(current).__name__} is not a Key; use Key.parse(…) or Key.from_passphrase(…)"
            raise ConfigError(message)
        if isinstance(accept, Key):
            accept = (accept,)
        self.current = current
        self._keys = {current.id: current}
        for key in accept:
            if not isinstance(key, Key):
                message = f"accept holds a {type(key).__name__}, which is not a Key"
                raise ConfigError(message)
            if self._keys.setdefault(key.id, key) != key:
                message = f"two different keys have the id {key.id.hex()}; generate a new key in place of one of them"
                raise ConfigError(message)

    def get(self, key_id: bytes) -> Key | None:
        """The key with this id, or None."""
        return self._keys.get(key_id)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        accepted = [key for key in self if key is not self.current]
        return f"<Keyring current={self.current!r} accept={accepted!r}>"

    def __copy__(self) -> Keyring:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Keyring:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Keyring cannot be pickled: it holds keys")


def as_keyring(keys: Keyring | Key) -> Keyring:
    """A keyring of one key, or the keyring itself. Raises `ConfigError` for everything else."""
    return keys if isinstance(keys, Keyring) else Keyring(keys)


def quoted(value: object) -> str:
    """How a message quotes a setting: `repr`, but of a key that stands in the place of another setting."""
    text = repr(value)
    return "(a key, which is not shown)" if PREFIX in text else text
