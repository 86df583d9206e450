"""Every format of the Perl family against the real modules, in both directions, with made-up data."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.foreign.perl.bridge import PerlError, call, tag, untag
from tests.foreign.python_support import read, sealed

from hardtack.errors import InvalidToken
from hardtack.foreign.dancer import Dancer2Cookie
from hardtack.foreign.mojolicious import MojoliciousCookie
from hardtack.foreign.perl import sereal, storable
from hardtack.foreign.plack import PlackCookie
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie

SECRET = "serenade viscount secretary frail"
HEX = SECRET.encode().hex()

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_numbers = st.integers(-(2**63), 2**64 - 1) | st.integers(-300, 300) | st.floats(-1e300, 1e300)
_leaves = st.none() | _numbers | _text | st.just("x" * 300) | st.just("ž" * 300)


def _sessions(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    trees = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_text, inner, max_size=5), max_leaves=12
    )
    return st.dictionaries(_text, trees, max_size=5)


sessions = _sessions(_leaves)
with_booleans = _sessions(_leaves | st.booleans())
finite_json = _sessions(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text)
many = settings(max_examples=100, deadline=None)

EVERY_HEAD: dict[str, Any] = {
    "short": [0, 15, 16, 127, 128, -1, -16, -17, -128, -129, 2**31 - 1, 2**31, 2**32, -(2**31) - 1, 2**63, -(2**63)],
    "long": list(range(20)),
    "hash": {str(number): {"sku": number, "ž": "é"} for number in range(20)},
    "text": ["", "a" * 31, "a" * 32, "a" * 255, "a" * 256, "é", "é" * 200, "č" * 200, "\x00"],
    "float": [0.1, 1.5, -2.25, 1e300, float("inf")],
}


def as_network(value: Any) -> Any:
    """What is left of a value after Storable in network order: floats and wide integers are text there."""
    if isinstance(value, dict):
        return {key: as_network(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_network(item) for item in value]
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return value
    return None if value is None else float(value)


def numbers_again(value: Any, like: Any) -> Any:
    """A value in which text is a number again where the original had one."""
    if isinstance(like, dict):
        return (
            {key: numbers_again(value[key], item) for key, item in like.items()} if value.keys() == like.keys() else 0
        )
    if isinstance(like, list):
        return [numbers_again(*pair) for pair in zip(value, like, strict=True)]
    return float(value) if isinstance(like, int | float) else value


@pytest.mark.perl("Sereal::Decoder")
@many
@given(with_booleans)
@example(EVERY_HEAD)
def test_perl_reads_our_sereal(data: dict[str, Any]) -> None:
    """What we write, Sereal::Decoder reads as the same values of the same types."""
    assert untag(call("sereal_decode", raw=sereal.write(data).hex())) == data


@pytest.mark.perl("Sereal::Encoder")
@many
@given(
    with_booleans,
    st.sampled_from([1, 2, 3, 4, 5]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([{}, {"dedupe_strings": 1}, {"aliased_dedupe_strings": 1}, {"no_shared_hashkeys": 1}]),
)
@example(EVERY_HEAD, 5, 1, {})
@example(EVERY_HEAD, 1, 1, {"dedupe_strings": 1})
@example(EVERY_HEAD, 2, 1, {"aliased_dedupe_strings": 1})
def test_we_read_sereal_of_perl(data: dict[str, Any], protocol: int, compress: int, options: dict[str, int]) -> None:
    """Documents of Sereal::Encoder read as they were, in every protocol, compressed or not, and with repeated text."""
    if compress == 2 and protocol < 3:
        compress = 0
    chosen = {"protocol_version": protocol, "compress": compress, "compress_threshold": 0, **options}

    document = bytes.fromhex(call("sereal_encode", data=tag(data), options=chosen))

    # Booleans came with protocol 5; before, Perl writes !!1 as 1 or "1", and !!0 as "".
    assert as_old_perl(sereal.read(document)) == as_old_perl(data)


def as_old_perl(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_old_perl(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_old_perl(item) for item in value]
    if value in (True, "1") and not isinstance(value, float):
        return 1
    return "" if value is False else value


@pytest.mark.perl("Storable")
@many
@given(sessions, st.booleans())
@example(EVERY_HEAD, True)
@example(EVERY_HEAD, False)
def test_perl_reads_our_storable(data: dict[str, Any], network: bool) -> None:
    """What we write, Storable thaws."""
    thawed = untag(call("storable_thaw", raw=storable.write(data, network=network).hex()))

    if network:
        assert numbers_again(thawed, data) == as_network(data)
    else:
        assert numbers_again(thawed, data) == numbers_again(data, data)


@pytest.mark.perl("Storable")
@many
@given(sessions, st.booleans())
@example(EVERY_HEAD, True)
@example(EVERY_HEAD, False)
def test_we_read_storable_of_perl(data: dict[str, Any], network: bool) -> None:
    """What freeze and nfreeze write, we read."""
    frozen = storable.read(bytes.fromhex(call("storable_freeze", data=tag(data), network=network)))

    assert close(frozen, data)  # nfreeze writes a float with 15 digits


def close(value: Any, like: Any) -> bool:
    if isinstance(like, dict):
        return value.keys() == like.keys() and all(close(value[key], item) for key, item in like.items())
    if isinstance(like, list):
        return len(value) == len(like) and all(close(*pair) for pair in zip(value, like, strict=True))
    if isinstance(like, int | float):
        return float(value) == pytest.approx(float(like), rel=1e-14, abs=0)
    return bool(value == like)


@pytest.mark.perl("Session::Storage::Secure")
@many
@given(with_booleans, st.sampled_from([1, 2]), st.sampled_from(["~", ":", "::"]))
@example(EVERY_HEAD, 2, "~")
def test_session_storage_secure_reads_ours(data: dict[str, Any], protocol: Any, separator: str) -> None:
    """The real module opens what we write, in both protocols."""
    cookie = SessionStorageSecureCookie(SECRET, protocol_version=protocol, separator=separator)

    value = sealed(cookie, data)

    options = {"separator": separator}
    assert untag(call("secure_decode", secret=HEX, value=value, options=options)) == data


@pytest.mark.perl("Session::Storage::Secure")
@many
@given(with_booleans, st.sampled_from([1, 2]), st.none() | st.integers(1, 10**6))
@example(EVERY_HEAD, 1, None)
def test_we_read_session_storage_secure(data: dict[str, Any], protocol: int, duration: int | None) -> None:
    """We open what the real module writes, with its expiry."""
    expires = None if duration is None else int(time.time()) + duration
    cookie = SessionStorageSecureCookie(SECRET)
    cookie.max_length = 1 << 20

    options = {"protocol_version": protocol}
    value = call("secure_encode", secret=HEX, data=tag(data), expires=expires, options=options)
    record = read(cookie, value)

    assert record.data == data
    assert record.options == ({} if expires is None else {"expires": expires})


@pytest.mark.perl("Session::Storage::Secure")
def test_session_storage_secure_refuses_our_tampered_value() -> None:
    """The real module and ours agree that a changed value is none."""
    value = sealed(SessionStorageSecureCookie(SECRET), {"a": 1})

    changed = value.replace("~~", "~1900000000~")

    assert untag(call("secure_decode", secret=HEX, value=changed)) is None


@pytest.mark.perl("Session::Storage::Secure")
def test_dancer2_with_request_address() -> None:
    """Dancer2 with with_request_address makes its store with the secret "secret-ADDRESS": so do we."""
    addressed = f"{SECRET}-192.0.2.1".encode().hex()
    cookie = Dancer2Cookie(SECRET, with_request_address=lambda: "192.0.2.1")

    theirs = call("secure_encode", secret=addressed, data=tag({"user": "alice"}))
    ours = sealed(cookie, {"user": "alice"})

    assert read(cookie, theirs).data == {"user": "alice"}
    assert untag(call("secure_decode", secret=addressed, value=ours)) == {"user": "alice"}


def value_of(set_cookie: str) -> str:
    jar = SimpleCookie(set_cookie)
    return jar["plack_session"].coded_value


@pytest.mark.perl("Plack::Middleware::Session::Cookie")
@many
@given(sessions)
@example(EVERY_HEAD)
def test_plack_in_both_directions(data: dict[str, Any]) -> None:
    """The real middleware opens what we write, and we open what it sets."""
    cookie = PlackCookie(SECRET)
    cookie.max_length = 1 << 20

    ours = untag(call("plack_read", secret=HEX, value=sealed(cookie, data)))
    theirs = read(cookie, value_of(call("plack_write", secret=HEX, data=tag(data)))).data

    assert numbers_again(ours, data) == as_network(data)
    assert close(theirs, data)


def _without_reserved(data: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in data.items() if key not in ("expires", "expiration", "flash", "new_flash")}


@pytest.mark.perl("Mojolicious")
@many
@given(finite_json, st.sampled_from([0, 3600]))
def test_mojolicious_in_both_directions(data: dict[str, Any], expiration: int) -> None:
    """A real Mojolicious application opens what we write, and we open what it sets."""
    data = {**_without_reserved(data), "user": "alice"}
    cookie = MojoliciousCookie(SECRET, default_expiration=expiration)
    cookie.max_length = 1 << 20
    settings_ = {"secrets": [SECRET], "expiration": expiration}

    theirs = read(cookie, call("mojo_write", data=tag(data), **settings_)).data
    ours = untag(call("mojo_read", value=sealed(cookie, data), **settings_))

    ours.pop("expires", None)
    assert as_old_perl(theirs) == as_old_perl(data)
    assert ours == data


@pytest.mark.perl("Mojolicious")
def test_mojolicious_reads_flash_that_we_wrote() -> None:
    """What is under `flash` here is Mojolicious's flash in its next request, and the other way round."""
    cookie = MojoliciousCookie(SECRET)
    settings_ = {"secrets": [SECRET], "expiration": 3600}

    ours = untag(call("mojo_read", value=sealed(cookie, {"flash": {"info": "saved"}}), **settings_))
    theirs = read(cookie, call("mojo_write", data=tag({"new_flash": {"info": "hi"}, "a": 1}), **settings_)).data

    assert ours["flash"] == {"info": "saved"}
    assert theirs == {"flash": {"info": "hi"}, "a": 1}


REFUSED = {
    "Sereal::Encoder->new->encode({ a => bless {}, 'Some::Class' })": "object",
    "Sereal::Encoder->new({ freeze_callbacks => 1 })->encode({ a => Freezes->new })": "hook",
    "Sereal::Encoder->new->encode({ a => qr/x/ })": "object",  # a regular expression is blessed
    "Sereal::Encoder->new->encode({ a => \\'x' })": "reference",
    "Sereal::Encoder->new->encode({ a => \\\\'x' })": "reference",
    "my $x = {}; $x->{x} = $x; Sereal::Encoder->new->encode($x)": "cycle",
    "my $x = []; push @$x, $x; Sereal::Encoder->new->encode({ x => $x })": "cycle",
    "my $y = {}; my $x = { y => $y, w => $y }; Scalar::Util::weaken($x->{w}); Sereal::Encoder->new->encode($x)": "weak",
    "Sereal::Encoder->new->encode([1])": "malformed",
}


@pytest.mark.perl("Sereal::Encoder", "Storable")
@pytest.mark.parametrize(("code", "reason"), REFUSED.items())
def test_sereal_of_perl_that_is_refused(code: str, reason: str) -> None:
    """Whatever could build an object or run code is refused with its own reason, as real Perl writes it."""
    check_refused(sereal.read, code, reason)


REFUSED_STORABLE = {
    "{ a => bless {}, 'Some::Class' }": "object",
    "bless {}, 'Some::Class'": "object",
    "{ a => Hooks->new }": "hook",
    "Hooks->new": "hook",
    "{ a => qr/x/ }": "object",
    "{ a => \\'x' }": "reference",
    "{ a => \\\\'x' }": "reference",
    "do { my $s = 'x'; { a => \\$s, b => \\$s } }": "reference",
    "do { my $x = {}; $x->{x} = $x; $x }": "cycle",
    "do { tie my %h, 'Tied'; { a => \\%h } }": "tied",
    "do { tie my %h, 'Tied'; \\%h }": "tied",
    "do { my $y = {}; my $x = { y => $y, w => $y }; Scalar::Util::weaken($x->{w}); $x }": "weak",
    "{ a => sub { 1 } }": "code",
    "{ a => v1.2.3 }": "vstring",
    "do { my %h = (a => 1); Hash::Util::lock_keys(%h); \\%h }": "restricted",
    "[1]": "malformed",
}


@pytest.mark.perl("Sereal::Encoder", "Storable")
@pytest.mark.parametrize("function", ["freeze", "nfreeze"])
@pytest.mark.parametrize(("code", "reason"), REFUSED_STORABLE.items())
def test_storable_of_perl_that_is_refused(code: str, reason: str, function: str) -> None:
    """Whatever could build an object or run code is refused with its own reason, as real Perl writes it."""
    check_refused(storable.read, f"$Storable::Deparse = 1; Storable::{function}({code})", reason)


def check_refused(reader: Callable[[bytes], object], code: str, reason: str) -> None:
    document = bytes.fromhex(call("perl", code=code))
    with pytest.raises(InvalidToken) as caught:
        reader(document)

    assert caught.value.reason == reason


SHARED = "my $t = JSON::PP::true(); my $f = JSON::PP::false(); my $x = { n => 1 }; my $s = 'same';"
SHARED_DATA = "{ t => $t, u => $t, f => $f, l => [$t, $f, $x, [$x], $x], d => { x => $x }, s => [$s, $s] }"
EXPECTED = {
    "t": True,
    "u": True,
    "f": False,
    "l": [True, False, {"n": 1}, [{"n": 1}], {"n": 1}],
    "d": {"x": {"n": 1}},
    "s": ["same", "same"],
}


@pytest.mark.perl("Sereal::Encoder", "Storable")
@pytest.mark.parametrize(
    ("expression", "reader"),
    [
        (f"Sereal::Encoder->new->encode({SHARED_DATA})", sereal.read),
        (f"Sereal::Encoder->new({{ protocol_version => 1 }})->encode({SHARED_DATA})", sereal.read),
        (f"Sereal::Encoder->new({{ dedupe_strings => 1 }})->encode({SHARED_DATA})", sereal.read),
        (f"Storable::freeze({SHARED_DATA})", storable.read),
        (f"Storable::nfreeze({SHARED_DATA})", storable.read),
    ],
)
def test_shared_structures_and_booleans(expression: str, reader: Callable[[bytes], object]) -> None:
    """What is in a session twice is read twice, and JSON's booleans, which are objects in Perl, are booleans."""
    document = bytes.fromhex(call("perl", code=f"{SHARED} {expression}"))

    assert reader(document) == EXPECTED


@pytest.mark.perl("Sereal::Encoder", "Storable")
def test_aliases() -> None:
    """One Perl scalar that is in an array twice is read twice."""
    code = "my $v = 'text'; my $a = sub { \\@_ }->($v, $v, [1], $v); "

    sereal_document = bytes.fromhex(call("perl", code=code + "Sereal::Encoder->new->encode({ a => $a })"))
    storable_image = bytes.fromhex(call("perl", code=code + "Storable::nfreeze({ a => $a })"))

    assert sereal.read(sereal_document) == {"a": ["text", "text", [1], "text"]}
    assert storable.read(storable_image) == {"a": ["text", "text", [1], "text"]}


@pytest.mark.perl("Sereal::Decoder")
def test_the_bridge_reports_what_perl_dies_of() -> None:
    """An error of the real module is not mistaken for an answer."""
    with pytest.raises(PerlError):
        call("sereal_decode", raw="00")
