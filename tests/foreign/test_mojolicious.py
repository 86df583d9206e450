"""Mojolicious's cookies, signed and encrypted: expiry, flash, secrets, and what must be refused."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from tests.foreign.perl.bridge import call, untag
from tests.foreign.python_support import assert_every_mutation_refused, read, record_of, refused, sealed

from hardtack.errors import ConfigError, UnsupportedValue
from hardtack.foreign.mojolicious import MojoliciousCookie, MojoliciousEncryptedCookie
from hardtack.protocols import Context

SECRET = "mojo secret passphrase"
NOW = 1_700_000_000
CONTEXT = Context("mojolicious", "", NOW)
COOKIES: dict[str, Any] = {
    "signed": lambda **settings: MojoliciousCookie(SECRET, **settings),
    "encrypted": lambda **settings: MojoliciousEncryptedCookie(SECRET, moniker="shop", **settings),
}


@pytest.fixture(params=COOKIES)
def make(request: pytest.FixtureRequest) -> Any:
    """Either class, with settings of the test's choice."""
    return COOKIES[request.param]


def signed(text: str, name: str = "mojolicious") -> str:
    """A signed value of any JSON text."""
    payload = base64.b64encode(text.encode()).decode().replace("=", "-")
    return f"{payload}--{hmac.digest(SECRET.encode(), f'{name}={payload}'.encode(), 'sha256').hex()}"


def test_round_trip(make: Any) -> None:
    """What is written is read; the hour that Mojolicious gives a session is its deadline, not part of its data."""
    data = {"user": "Žofie", "n": [1, 1.5, None, True]}

    record = read(make(), sealed(make(), data, NOW), NOW + 1)

    assert record.data == data
    assert record.options == {"expires": NOW + 3600}


def test_every_mutation_is_refused(make: Any) -> None:
    """No character can be changed, left out or added."""
    cookie = make()

    assert_every_mutation_refused(cookie, sealed(cookie, {"a": 1}), {"a": 1})


def test_expiry(make: Any) -> None:
    """From the second of its expiry on a session is expired, as in Mojolicious."""
    value = sealed(make(), {"a": 1}, NOW)

    assert read(make(), value, NOW + 3599).data == {"a": 1}
    assert refused(make(), value, NOW + 3600) == "expired"


def test_the_session_may_end_sooner(make: Any) -> None:
    """A deadline of the session before Mojolicious's own is the one that is written."""
    record = record_of({"a": 1}, NOW)
    record.options = {"expires": NOW + 60}

    value = make().seal(record, CONTEXT)["mojolicious"]

    assert read(make(), value, NOW).options == {"expires": NOW + 60}


def test_expiration_of_a_session(make: Any) -> None:
    """The key `expiration` stays in the data and sets the deadline; 0 is until the browser is closed."""
    week = read(make(), sealed(make(), {"expiration": 604800}, NOW), NOW)
    browser = read(make(), sealed(make(), {"expiration": 0}, NOW), NOW)

    assert (week.data, week.options) == ({"expiration": 604800}, {"expires": NOW + 604800})
    assert (browser.data, browser.options) == ({"expiration": 0}, {})


def test_numbers_may_be_text(make: Any) -> None:
    """A form field as `expiration`: to Perl it is the number."""
    week = read(make(), sealed(make(), {"expiration": "604800"}, NOW), NOW)
    browser = read(make(), sealed(make(), {"expiration": "0"}, NOW), NOW)

    assert (week.data, week.options) == ({"expiration": "604800"}, {"expires": NOW + 604800})
    assert (browser.data, browser.options) == ({"expiration": "0"}, {})
    assert read(MojoliciousCookie(SECRET), signed(f'{{"expires":"{NOW + 5}"}}'), NOW).options == {"expires": NOW + 5}


@pytest.mark.perl("Mojolicious")
@pytest.mark.parametrize(
    ("session", "kept"),
    [
        ('{"a":1,"expires":"%d"}', True),
        ('{"a":1,"expires":%d}', True),
        ('{"a":1,"expires":%d.5}', True),
        ('{"a":1,"expiration":"0"}', True),
        ('{"a":1,"expiration":"60","expires":"%d"}', True),
        ('{"a":1,"expiration":"60"}', False),
        ('{"a":1,"expires":"1600000000"}', False),
        ('{"a":1,"expires":"0"}', False),
        ('{"a":1,"expires":0,"expiration":0}', False),
        ('{"a":1,"expires":null,"expiration":0}', True),
    ],
)
def test_times_as_mojolicious_reads_them(session: str, kept: bool) -> None:
    """The real Mojolicious drops the same cookies."""
    now = int(time.time())
    value = signed(session % (now + 600) if "%" in session else session)

    theirs = untag(call("mojo_read", secrets=[SECRET], expiration=3600, value=value))

    assert ("a" in theirs) is kept
    if kept:
        assert read(MojoliciousCookie(SECRET), value, now).data == theirs
    else:
        assert refused(MojoliciousCookie(SECRET), value, now) == "expired"


def test_without_an_expiry(make: Any) -> None:
    """A cookie without an expiry is read only where the application's default is none."""
    value = sealed(make(default_expiration=0), {"a": 1}, NOW)

    assert read(make(default_expiration=0), value, NOW).options == {}
    assert refused(make(), value, NOW) == "expired"


@pytest.mark.parametrize("data", [{"expiration": "a week"}, {"expires": 1}, {"new_flash": {}}])
def test_keys_that_mojolicious_understands(make: Any, data: dict[str, Any]) -> None:
    """Keys that Mojolicious would take for something else, or drop, are named."""
    with pytest.raises(UnsupportedValue) as caught:
        sealed(make(), data)

    assert caught.value.path == next(iter(data))


def test_flash(make: Any) -> None:
    """Mojolicious's flash of the last request is there under `flash`, and is kept when the session is written."""
    cookie = make(default_expiration=0)

    value = sealed(cookie, {"flash": {"info": "saved"}})

    assert read(cookie, value).data == {"flash": {"info": "saved"}}
    assert read(cookie, sealed(cookie, {"flash": {}})).data == {"flash": {}}


def test_flash_is_stored_as_mojolicious_does() -> None:
    """In the cookie it is `new_flash`."""
    value = sealed(MojoliciousCookie(SECRET), {"flash": {"info": "saved"}}, NOW)

    payload = json.loads(base64.b64decode(value.split("--")[0].replace("-", "=")))
    assert payload == {"expires": NOW + 3600, "new_flash": {"info": "saved"}}


@pytest.mark.parametrize("value", [float("inf"), b"x", {1: 2}])
def test_what_json_cannot_carry(make: Any, value: Any) -> None:
    """What would come back as something else is not written."""
    with pytest.raises(UnsupportedValue):
        sealed(make(), {"a": value})


def test_the_name_is_signed() -> None:
    """A value that was signed for another cookie does not open."""
    other = MojoliciousCookie(SECRET, cookie_name="other")

    assert refused(MojoliciousCookie(SECRET), sealed(other, {"a": 1})) == "tampered"
    assert read(other, sealed(other, {"a": 1})).data == {"a": 1}


def test_padding_of_old_versions() -> None:
    """The padding of 9.19 to 9.38 is cut off; letters elsewhere stay."""
    text = json.dumps({"expires": NOW + 1, "z": "ZZZ"})

    assert read(MojoliciousCookie(SECRET), signed(text + "Z" * 900), NOW).data == {"z": "ZZZ"}


SIGNED = {
    "": "unsigned",
    "e30-": "unsigned",
    "e30---": "unsigned",
    "e30---ž": "tampered",
    signed("{}", "other"): "tampered",
    signed("[]"): "malformed",
    signed("{"): "malformed",
    signed("Z"): "malformed",
    signed("{}"): "expired",
    signed('{"expires": 1}'): "expired",
    signed('{"expires": "soon"}'): "malformed",
    signed('{"expires": true}'): "malformed",
    signed('{"expires": -1}'): "malformed",
    signed('{"expires": 1e300}'): "malformed",
    signed('{"expires": null, "a": NaN}'): "malformed",
    signed('{"expires": 9000000000, "expiration": "week"}'): "malformed",
    signed('{"expires": 9000000000, "expiration": -1}'): "malformed",
    signed('{"expires": 9000000000, "expiration": false}'): "malformed",
}


@pytest.mark.parametrize(("value", "reason"), SIGNED.items())
def test_signed_value_that_is_refused(value: str, reason: str) -> None:
    """The signature comes first; what stands under it is checked as well."""
    assert refused(MojoliciousCookie(SECRET), value) == reason


def test_signed_base64_that_is_none() -> None:
    """Even under a true signature the payload has to be base64."""
    mac = hmac.digest(SECRET.encode(), b"mojolicious=e*", "sha256").hex()

    assert refused(MojoliciousCookie(SECRET), f"e*--{mac}") == "malformed"


def test_a_fraction_of_a_second() -> None:
    """Perl's times may have fractions."""
    value = signed(f'{{"expires": {NOW + 1.5}, "expiration": 1.5}}')

    assert read(MojoliciousCookie(SECRET), value, NOW).options == {"expires": NOW + 1}


ENCRYPTED = ["", "a", "AAAA-AAAA", "AAAA-AAAAAAAAAAAAAAAA-AAAAAAAAAAAA", "ž-ž-ž", "A-A-A-A", "AAAA" * 3]


@pytest.mark.parametrize("value", ENCRYPTED)
def test_encrypted_value_that_is_malformed(value: str) -> None:
    """Ciphertext, a nonce of 12 bytes and a whole tag of 16: anything else is not tried."""
    assert refused(MojoliciousEncryptedCookie(SECRET, moniker="shop"), value) == "malformed"


def test_the_moniker_is_in_the_key() -> None:
    """Another application with the same secret cannot read the cookie."""
    value = sealed(MojoliciousEncryptedCookie(SECRET, moniker="shop"), {"a": 1})

    assert refused(MojoliciousEncryptedCookie(SECRET, moniker="blog"), value) == "tampered"


def test_old_secrets_are_read_only() -> None:
    """Cookies of a former secret open, new ones are made with the current."""
    settings: list[tuple[Any, dict[str, Any]]] = [
        (MojoliciousCookie, {}),
        (MojoliciousEncryptedCookie, {"moniker": "m"}),
    ]
    for kind, extra in settings:
        old, new = kind("old one", **extra), kind("new one", old_secrets=["older", "old one"], **extra)

        assert read(new, sealed(old, {"a": 1})).data == {"a": 1}
        assert refused(old, sealed(new, {"a": 1})) == "tampered"


@pytest.mark.parametrize("secret", ["shop", "mojolicious", b"myapp"])
def test_the_default_secret_is_refused(make: Any, secret: str | bytes) -> None:
    """An application's name is its secret where none was set: everyone can make such cookies."""
    with pytest.raises(ConfigError, match=r"app->secrets"):
        MojoliciousCookie(secret, moniker="shop")
    with pytest.raises(ConfigError, match=r"app->secrets"):
        MojoliciousEncryptedCookie(SECRET, old_secrets=[secret], moniker="shop")


@pytest.mark.parametrize("moniker", ["", None])
def test_the_moniker_is_required(moniker: Any) -> None:
    """Without it the key cannot be derived."""
    with pytest.raises(ConfigError, match="moniker"):
        MojoliciousEncryptedCookie(SECRET, moniker=moniker)
