"""The cookie of @fastify/secure-session beyond the golden ones, and the ciphers that are written here."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
from importlib import metadata
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from tests.foreign.web_support import NOW, UNTIL, read, refused, seal, wrong_setting

from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.foreign import _nacl as nacl
from hardtack.foreign import fastify
from hardtack.foreign._text import percent_encode
from hardtack.foreign.fastify import FastifyCookie

KEY = bytes(range(32))
COOKIE = FastifyCookie(KEY)


def boxed(tree: Any) -> str:
    """Any JSON at all under a good key."""
    box = nacl.secretbox_seal(KEY, bytes(24), json.dumps(tree).encode())
    return percent_encode(";".join(base64.b64encode(part).decode() for part in (box, bytes(24))))


def test_it_ends_after_its_last_change() -> None:
    """`__ts` and `expiry` say when; they are no part of the session."""
    cookies = seal(COOKIE, {"a": 1})

    record = read(COOKIE, cookies, NOW + 86400)

    assert (record.data, record.created, record.options) == ({"a": 1}, NOW, {"expires": NOW + 86401})
    assert refused(COOKIE, cookies, NOW + 86401) == "expired"


@pytest.mark.parametrize("tree", [[], 1, "text", None, {"__ts": "now"}, {"__ts": None}, {"__ts": -1}])
def test_what_is_no_session_is_malformed(tree: Any) -> None:
    """Nor is one whose time is no number: `until` is for those without any."""
    assert refused(FastifyCookie(KEY, until=UNTIL), boxed(tree)) == "malformed"


def test_a_session_without_a_time_needs_until() -> None:
    """Old versions of the plugin wrote no `__ts`, and the new ones take such a session for ever."""
    old = boxed({"a": 1})

    record = read(FastifyCookie(KEY, until=NOW + 1), old)

    assert (record.data, record.created, record.options) == ({"a": 1}, NOW, {})
    assert refused(FastifyCookie(KEY, until=NOW), old) == "expired"
    assert refused(COOKIE, old) == "undated"


def test_until_leaves_a_time_in_force() -> None:
    """It is for sessions that say nothing; the others still end `expiry` after their last change."""
    assert refused(FastifyCookie(KEY, until=UNTIL), boxed({"a": 1, "__ts": NOW - 86401})) == "expired"


@pytest.mark.parametrize("value", ["", "YQ==", "YQ==;YQ==", "YQ==;YQ==;YQ==", "!;!"])
def test_another_shape_is_of_no_format(value: str) -> None:
    """A box and a nonce, both long enough."""
    assert refused(COOKIE, value) == "malformed"


def test_the_time_is_the_plugins_own_key() -> None:
    """It cannot be a key of the session."""
    with pytest.raises(UnsupportedValue):
        seal(COOKIE, {"__ts": 1})


def test_a_key_may_be_base64() -> None:
    """As the plugin takes it."""
    assert read(FastifyCookie(base64.b64encode(KEY).decode()), seal(COOKIE, {"a": 1})).data == {"a": 1}


@pytest.mark.slow
def test_a_secret_with_the_default_salt() -> None:
    """The key is derived once; further keys are read beside it."""
    secret = "averylogphrasebiggerthanthirtytwochars"
    cookie = FastifyCookie(secret=secret, old_keys=[KEY])

    assert read(cookie, seal(cookie, {"a": 1})).data == {"a": 1}
    assert read(cookie, seal(COOKIE, {"a": 1})).data == {"a": 1}


def test_without_argon2id_a_secret_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old OpenSSL lacks it."""

    def lacking(**_: Any) -> None:
        raise UnsupportedAlgorithm("no Argon2id")

    monkeypatch.setattr(fastify, "Argon2id", lacking)

    with pytest.raises(ConfigError, match="Argon2id"):
        seal(FastifyCookie(secret="x" * 32), {"a": 1})


def test_settings_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(FastifyCookie, "give key=")
    wrong_setting(FastifyCookie, "give key=", KEY, secret="x" * 32)
    wrong_setting(FastifyCookie, "give key=", KEY, salt="x" * 16)
    wrong_setting(FastifyCookie, "key has not 32 bytes", b"short")
    wrong_setting(FastifyCookie, "key has not 32 bytes", "not base64")
    wrong_setting(FastifyCookie, "key has not 32 bytes", 1)
    wrong_setting(FastifyCookie, "old_keys is a list", KEY, old_keys=KEY)
    wrong_setting(FastifyCookie, "shorter than the 32 bytes", secret="short")
    wrong_setting(FastifyCookie, "salt has not 16 bytes", secret="x" * 32, salt="short")
    wrong_setting(FastifyCookie, "expiry", KEY, expiry="soon")


# --- the ciphers

NACL_KEY = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NACL_NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
NACL_PLAIN = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
    "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
    "f0a089bc76897040e082f937763848645e0705"
)
NACL_BOX = bytes.fromhex(
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b"
    "4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da"
    "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
)


@pytest.fixture(params=["libsodium", "PyNaCl", "Python"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secretbox of libsodium, the one of PyNaCl's function, and the one for where neither is installed."""
    if request.param != "Python":
        pytest.importorskip("nacl")
    if request.param != "libsodium":
        monkeypatch.setattr(nacl, "_open_easy", None)
    if request.param == "Python":
        monkeypatch.setattr(nacl, "_libsodium", None)


@pytest.mark.usefixtures("implementation")
def test_secretbox_of_nacl() -> None:
    """The example of "Cryptography in NaCl", section 10."""
    assert nacl.secretbox_seal(NACL_KEY, NACL_NONCE, NACL_PLAIN) == NACL_BOX
    assert nacl.secretbox_open(NACL_KEY, NACL_NONCE, NACL_BOX) == NACL_PLAIN


def test_where_pynacl_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is the same, and the secretbox is the one of Python."""
    monkeypatch.setitem(sys.modules, "nacl", None)
    spec = importlib.util.find_spec("hardtack.foreign._nacl")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module._libsodium is module._open_easy is None
    assert module.secretbox_open(NACL_KEY, NACL_NONCE, NACL_BOX) == NACL_PLAIN
    with pytest.raises(InvalidToken, match="tampered"):
        module.secretbox_open(NACL_KEY, NACL_NONCE, NACL_BOX[:-1] + b"!")


def test_libsodium_is_given_no_key_or_nonce_that_it_would_read_beyond() -> None:
    """C does not ask how long they are; PyNaCl's function does."""
    pytest.importorskip("nacl")
    # PyNaCl still has it where it had it; before 1.6 it had none.
    has_it = tuple(map(int, metadata.version("PyNaCl").split(".")[:2])) >= (1, 6)
    assert (nacl._open_easy is not None) is has_it

    for key, nonce in ((NACL_KEY[:-1], NACL_NONCE), (NACL_KEY, NACL_NONCE[:-1])):
        with pytest.raises(InvalidToken):
            nacl.secretbox_open(key, nonce, NACL_BOX)


XCHACHA_PLAIN = (
    b"Ladies and Gentlemen of the class of '99: "
    b"If I could offer you only one tip for the future, sunscreen would be it."
)
XCHACHA_SEALED = bytes.fromhex(
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216"
    "cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13"
    "b52ec0875924c1c7987947deafd8780acf49"
)


def test_xchacha20_poly1305_of_its_draft() -> None:
    """draft-irtf-cfrg-xchacha-03, appendix A.3.1."""
    key = bytes(range(0x80, 0xA0))
    nonce = bytes(range(0x40, 0x58))
    associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")

    ciphertext, tag = nacl.xchacha_seal(key, nonce, XCHACHA_PLAIN, associated)

    assert ciphertext + tag == XCHACHA_SEALED
    assert nacl.xchacha_open(key, nonce, ciphertext, tag, associated) == XCHACHA_PLAIN


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64, 65, 95, 96, 97, 500])
def test_texts_of_every_length(size: int) -> None:
    """At the borders of blocks as well; and each flipped bit is found."""
    plain = (bytes(range(256)) * 2)[:size]
    box = nacl.secretbox_seal(KEY, bytes(24), plain)

    assert nacl.secretbox_open(KEY, bytes(24), box) == plain
    for at in range(0, len(box), 7):
        with pytest.raises(InvalidToken, match="tampered"):
            nacl.secretbox_open(KEY, bytes(24), box[:at] + bytes((box[at] ^ 1,)) + box[at + 1 :])
