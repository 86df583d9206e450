"""Beaker's cookie sessions against the real Beaker, in both directions, and what is refused."""

from __future__ import annotations

import base64
import importlib
import os
import pickle
import zlib
from typing import Any, Literal

import pytest
from tests.foreign.python_support import now
from tests.foreign.web_support import NOW, UNTIL, read, refused, seal, wrong_setting

from hardtack.errors import UnsupportedValue
from hardtack.foreign.beaker import BeakerCookie, BeakerKeys, _mac

SIGNED = BeakerCookie("validate")
ENCRYPTED = BeakerCookie("validate", "encrypt")
DATA: dict[str, Any] = {"user_id": 42, "name": "zoë", "roles": ["a"], "nested": {"k": None, "f": 1.5}}


def session_class() -> Any:
    """Beaker's own class; skipped by name where it is not installed, and a failure under CI."""
    try:
        return importlib.import_module("beaker.session").CookieSession
    except ImportError:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Beaker is not installed")


def real(cookie: str = "", **settings: Any) -> tuple[Any, dict[str, Any]]:
    """A real session for a Cookie header, and the request that it writes to."""
    request: dict[str, Any] = {"cookie": cookie}
    session = session_class()(request, validate_key="validate", data_serializer="json", **settings)
    return session, request


MODES = [(SIGNED, {}), (ENCRYPTED, {"encrypt_key": "encrypt", "crypto_type": "cryptography"})]


@pytest.mark.parametrize(("cookie", "settings"), MODES, ids=["signed", "encrypted"])
def test_reads_what_beaker_writes(cookie: BeakerCookie, settings: dict[str, Any]) -> None:
    """The Set-Cookie line of a real session opens, with the quotes around it."""
    session, request = real(**settings)
    session.update(DATA)
    session.save()
    value = request["cookie_out"].strip().partition("=")[2].partition(";")[0]

    record = read(cookie, value, now())

    assert record.data == DATA
    assert abs(record.created - now()) <= 2


@pytest.mark.parametrize(("cookie", "settings"), MODES, ids=["signed", "encrypted"])
def test_beaker_reads_what_is_written(cookie: BeakerCookie, settings: dict[str, Any]) -> None:
    """A real session gets the data of our cookie, and its time."""
    ((name, value),) = seal(cookie, DATA, now()).items()

    session, _ = real(f"{name}={value}", timeout=60, **settings)

    assert {key: item for key, item in session.items() if not key.startswith("_")} == DATA
    assert abs(session["_creation_time"] - now()) <= 2


def test_beaker_sets_its_cookie_where_it_was() -> None:
    """It takes domain and path from the session: one of ours without them would leave two cookies of one name."""
    cookie = BeakerCookie("validate", domain="example.org", path="/shop")
    ((name, value),) = seal(cookie, {"a": 1}, now()).items()

    session, request = real(f"{name}={value}", cookie_domain="example.org", cookie_path="/shop")
    session["a"] = 2
    session.save()

    assert "Domain=example.org; Path=/shop" in request["cookie_out"]


def signed(plain: bytes) -> str:
    payload = base64.b64encode(plain).decode()
    return _mac(b"validate", payload) + payload


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (pickle.dumps({"a": 1}, 2), "unsafe"),
        (b"{}", "malformed"),
        (zlib.compress(b"[]"), "malformed"),
        (zlib.compress(b'{"_creation_time": 1}'), "malformed"),
        (zlib.compress(b'{"_id": "x"}'), "malformed"),
        (zlib.compress(b'{"_id": "x", "_creation_time": 1, "_accessed_time": "now"}'), "malformed"),
        (zlib.compress(bytes(1 << 20)), "too_large"),
    ],
)
def test_payloads_that_are_refused(plain: bytes, reason: str) -> None:
    """Pickle has its own reason, and nothing unpacks without a bound."""
    assert refused(SIGNED, signed(plain)) == reason


@pytest.mark.parametrize("crypto_type", ["cryptography", "pycryptodome"])
@pytest.mark.parametrize("before", [None, "old"])
def test_an_encrypt_key_changes_and_the_validate_key_stays(
    before: str | None, crypto_type: Literal["cryptography", "pycryptodome"]
) -> None:
    """The signature is right under each pair then; that which also decrypts is the one."""
    cookies = seal(BeakerCookie("validate", before, crypto_type=crypto_type), {"a": 1})
    pairs = [BeakerKeys("validate", before)]

    assert read(BeakerCookie("validate", "new", old_keys=pairs, crypto_type=crypto_type), cookies).data == {"a": 1}
    assert refused(BeakerCookie("validate", "new", crypto_type=crypto_type), cookies) in ("tampered", "malformed")


def test_the_timeout_is_enforced() -> None:
    """It runs from the last use, and a session that ends sooner ends sooner there."""
    cookie = BeakerCookie("validate", timeout=60)
    cookies = seal(cookie, {"a": 1})

    assert read(cookie, cookies, NOW + 60).created == NOW
    assert refused(cookie, cookies, NOW + 61) == "expired"
    assert read(cookie, seal(cookie, {"a": 1}, expires=NOW + 9), NOW).options == {"expires": NOW + 9}
    assert read(SIGNED, cookies, NOW + 10_000).options == {}


@pytest.mark.parametrize("value", ["", "a" * 40, "é" * 50])
def test_another_shape_is_of_no_format(value: str) -> None:
    """A signature, and something after it."""
    assert refused(SIGNED, value) == "malformed"


def test_too_short_to_be_encrypted() -> None:
    """An authentic payload without room for a nonce and a tag."""
    assert refused(ENCRYPTED, _mac(b"validate", "AAAA") + "AAAA") == "malformed"


def test_its_own_keys_cannot_be_ours() -> None:
    """They say when the session began, and who it is."""
    with pytest.raises(UnsupportedValue):
        seal(SIGNED, {"_creation_time": 1})


def test_settings_are_checked() -> None:
    """Each wrong setting is told."""
    wrong_setting(BeakerCookie, "validate_key is empty", "")
    wrong_setting(BeakerCookie, "encrypt_key is empty", "v", "")
    wrong_setting(BeakerCookie, "BeakerKeys", "v", old_keys=["w"])
    wrong_setting(BeakerCookie, "crypto_type='x'", "v", crypto_type="x")
    wrong_setting(BeakerCookie, "nonce_bits=7", "v", nonce_bits=7)
    wrong_setting(BeakerCookie, "timeout", "v", timeout="soon")
    assert BeakerCookie("v", old_keys=[BeakerKeys("w")], until=UNTIL)
