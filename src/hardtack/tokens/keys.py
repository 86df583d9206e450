"""Key and Keyring: the key that issues tokens, and the keys that are still accepted."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pybase64 import b64encode_as_string

from hardtack import values
from hardtack.errors import ConfigError, InvalidToken
from hardtack.tokens.derivation import stretch, stretch_once
from hardtack.tokens.xaes import XAES256GCM

PREFIX: Final = "htk1_"
VERSION: Final = b"\x01"
"""The version of encrypted tokens and of sealed records: their first byte."""

_ID_BYTES: Final = 5
_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
"""HMAC-SHA256: the block, and its two paddings as tables."""


class Key:
    """32 secret bytes, and the keys derived from them (docs/token-format.md).

    A key has an id of 5 bytes, which is public: it stands in every token. `repr` shows the id and never the secret; a key
    cannot be changed or pickled; a copy of a key is the key itself.
    """

    __slots__ = ("__weakref__", "_inner", "_outer", "_secret", "beginning", "encrypting", "header", "id")

    id: bytes
    encrypting: XAES256GCM
    """The cipher of `EncryptedToken` and of sealed store records."""
    header: bytes
    """The six bytes before whatever it encrypts: the version, and the id."""
    beginning: str
    """The header as text, which every `EncryptedToken` of the key begins with: six bytes are eight characters."""

    _secret: bytes
    _inner: Any
    _outer: Any

    def __init__(self, secret: bytes) -> None:
        if not isinstance(secret, bytes) or len(secret) != 32:
            message = "a Key takes exactly 32 random bytes; use Key.generate(), Key.parse(…) or Key.from_passphrase(…)"
            raise ConfigError(message)
        identifier = derive(secret, "key-id", _ID_BYTES)
        header = VERSION + identifier
        put = object.__setattr__
        put(self, "_secret", secret)
        # The two hashes of HMAC (RFC 2104), each begun once: hmac.digest begins both anew for every message, which takes most
        # of its time.
        signing = derive(secret, "sign", 32).ljust(_BLOCK, b"\0")
        put(self, "_inner", hashlib.sha256(signing.translate(_INNER)))
        put(self, "_outer", hashlib.sha256(signing.translate(_OUTER)))
        put(self, "id", identifier)
        put(self, "encrypting", XAES256GCM(derive(secret, "encrypt", 32)))
        put(self, "header", header)
        put(self, "beginning", b64encode_as_string(header, b"-_"))

    @classmethod
    def generate(cls) -> Key:
        """A new random key. Keep its `export()` where the application's other secrets are."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key that `export` wrote: `htk1_` and 43 characters of base64url.

        Raises `ConfigError`, also for a key that stands in documentation, or that nobody drew at random: whoever reads the
        same page could forge every session.
        """
        try:
            if not text.startswith(PREFIX):
                raise ValueError
            secret = values.decode_bytes(text[len(PREFIX) :])
            key = cls(secret)
        except (ValueError, AttributeError, TypeError):  # ConfigError is a ValueError: a secret of another length
            message = (
                f"this is not a hardtack key: a key is {PREFIX!r} and 43 characters of base64url, "
                f"as Key.generate().export() returns it; {_instead(text)}"
            )
            raise ConfigError(message) from None
        if is_public(secret):
            message = (
                "this key is an example or a pattern that anyone knows, so anyone could forge sessions; print a random one "
                "with `hardtack key` (a test that needs a fixed key: Key(bytes))"
            )
            raise ConfigError(message)
        return key

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
        return cls(stretch(_encode(passphrase, "passphrase"), _encode(salt, "salt")))

    @classmethod
    def from_framework_secret(cls, secret: str | bytes, framework: str) -> Key:
        """The key of a framework's own secret (Flask's SECRET_KEY …), of any length, by scrypt with the framework as salt.

        Derived once a process, in the thread that asks first. A secret under 32 characters is warned of once. Raises
        `ConfigError` for an empty one.
        """
        raw = _encode(secret, f"the secret of {framework}") if isinstance(secret, str) else secret
        if not isinstance(raw, bytes) or not raw:
            message = f"the secret of {framework} is empty or not text; set it to 32 random characters or more"
            raise ConfigError(message)
        return cls(stretch_once(raw, _encode(framework, "framework")))

    def export(self) -> str:
        """The key as text, `htk1_…`: whoever has it can read and forge every session."""
        return PREFIX + values.encode_bytes(self._secret)

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA256 under the signing key."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        digest: bytes = outer.digest()
        return digest

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._secret, other._secret) if isinstance(other, Key) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Key {self.id.hex()}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        message = f"a Key cannot be changed ({name}): make another one"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> NoReturn:
        message = f"a Key cannot be changed ({name}): let go of the whole key"
        raise AttributeError(message)

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Key:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Key cannot be pickled: keep its export() where the application's other secrets are")


def derive(secret: bytes, name: str, length: int) -> bytes:
    """One of the values that come of a key's 32 bytes, by HKDF."""
    info = f"hardtack/1 {name}".encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)


# The keys of docs/token-format.md that are no pattern.
_PUBLISHED: Final = frozenset(
    {
        "KfP2yRDW8hMF3_BWQE-HV54mMpYnnCMleH6gNC0Z0ac",  # of its passphrase
        "rW0KW6STHGlYBwFvpmk4lJmc-u5hifDFsZpLHWc5RMo",  # of its framework's secret
    }
)


def is_public(secret: bytes) -> bool:
    """Whether anyone knows these 32 bytes: few of them differ, they count up or down, repeat, or are in the documentation.

    Of random keys one in 2^120 is taken for such a one.
    """
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    pattern = len(set(secret)) < 8 or len(steps) == 1 or secret[:16] == secret[16:]
    return pattern or values.encode_bytes(secret) in _PUBLISHED


def _encode(text: str, setting: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        message = f"{setting} has a lone surrogate, which UTF-8 cannot carry"
        raise ConfigError(message) from None


def _instead(text: object) -> str:
    """What to do with what is no key; a secret is not shown."""
    if text is None:
        return "there is none here: was the variable set that it is read from?"
    if isinstance(text, str) and text != text.strip():
        return "it has spaces or a line break around it, as a file that was read has: .strip() it"
    if isinstance(text, str) and text[:1] in "\"'" and text:
        return "it has quotation marks around it, as some env files leave them"
    return "for a passphrase use Key.from_passphrase(…)"


class Keyring:
    """The key that issues, and the keys that are still accepted. The order of `accept` carries no meaning.

    It cannot be changed. To rotate, see docs/key-rotation.md: accept everywhere, then issue, then drop.
    """

    __slots__ = ("_keys", "current")

    current: Key
    _keys: dict[bytes, Key]

    def __init__(self, current: Key, accept: Iterable[Key] = ()) -> None:
        if not isinstance(current, Key):
            message = f"current={type(current).__name__} is not a Key; use Key.parse(…) or Key.from_passphrase(…)"
            raise ConfigError(message)
        if isinstance(accept, Key):
            accept = (accept,)
        keys = {current.id: current}
        for key in accept:
            if not isinstance(key, Key):
                message = f"accept holds a {type(key).__name__}, which is not a Key"
                raise ConfigError(message)
            if keys.setdefault(key.id, key) != key:
                message = f"two different keys have the id {key.id.hex()}; generate a new key in place of one of them"
                raise ConfigError(message)
        object.__setattr__(self, "current", current)
        object.__setattr__(self, "_keys", keys)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], reload: str | int | timedelta = "10 seconds") -> Keyring:
        """The ring of a key file, which `hardtack keys` makes and rotates; docs/key-rotation.md has its form.

        The file is read again when it has changed, which is looked at once in `reload` at most; what it says of the future, it
        does without being read again. A file that cannot be read any more leaves the ring as it was, and is
        the event `KeysStale`, or a line in the log where no manager uses the ring.

        Raises `ConfigError`: where the file is no key file, or somebody else owns it, or may write it or a folder of it. To a
        process of root another owner is a warning, if the file is his from the start.
        """
        from hardtack.tokens.keyfile import FileKeyring

        return FileKeyring(path, reload)

    def check_lifetime(self, lifetime: int) -> None:
        """Raise `ConfigError` where keys are dropped before sessions of this many seconds have run out."""

    def on_stale(self, emit: Callable[..., object]) -> None:
        """Have a method called as `emit(KeysStale, file, problem)` where the keys are a file's that cannot be read any more."""

    def snapshot(self) -> Keyring:
        """The keys of now, which do not change: the ring itself, unless its keys are read from a file."""
        return self

    def finder(self) -> Callable[[bytes], Key | None]:
        """`get`, as the function that costs least, for who asks for every request."""
        return self._keys.get

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

    def __setattr__(self, name: str, value: object) -> NoReturn:
        # A token would go on sealing under the old key's id: nobody could open what it sealed.
        message = (
            f"a Keyring cannot be changed ({name}): make a new one, Keyring(current=new, accept=[old]), and a new "
            "SessionManager of it; keys that change while the application runs are those of Keyring.from_file(…)"
        )
        raise AttributeError(message)

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __copy__(self) -> Keyring:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Keyring:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Keyring cannot be pickled: it holds keys")


def unknown_key(key_id: bytes, detail: str) -> InvalidToken:
    """The error of who finds no key with an id: its event names the id, which may be any bytes that a client sent."""
    shown = key_id[:_ID_BYTES].hex() + ("..." if len(key_id) > _ID_BYTES else "")
    return InvalidToken("unknown_key", detail, f"key {shown or 'without an id'}")


def as_keyring(keys: Keyring | Key) -> Keyring:
    """A keyring of one key, or the keyring itself. Raises `ConfigError` for everything else."""
    return keys if isinstance(keys, Keyring) else Keyring(keys)


def quoted(value: object) -> str:
    """How a message quotes a setting: `repr`, but of a key that stands in the place of another setting."""
    text = repr(value)
    return "(a key, which is not shown)" if PREFIX in text else text
