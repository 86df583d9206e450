"""The cookies of Dancer and Dancer2, new and old, and Dancer's records in memcached."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.foreign.perl.bridge import call, tag
from tests.foreign.python_support import assert_every_mutation_refused, read, record_of, refused, sealed

from hardtack import Key, SessionManager
from hardtack.errors import ConfigError, InvalidToken, UnsupportedValue
from hardtack.events import Rejected, TakenOver
from hardtack.foreign.dancer import Dancer2Cookie, DancerCookie, DancerLegacyCookie, read_memcached_record
from hardtack.foreign.perl import cbc, storable
from hardtack.foreign.session_storage_secure import SessionStorageSecureCookie
from hardtack.protocols import Context

SECRET = "this random key IS NOT very random"
NOW = 1_700_000_000
UNTIL = dt.date(2100, 1, 1)
VECTORS = Path(__file__).parents[1] / "vectors"


def golden(name: str) -> dict[str, Any]:
    entries = json.loads((VECTORS / "dancer_new_cookies.json").read_text("utf-8"))
    return next(entry for entry in entries if entry["name"] == name)


def test_dancer_keeps_its_id_to_itself() -> None:
    """Dancer's own id is no part of the data, and the record's id is made of it."""
    entry = golden("dancer1-default")
    cookie = DancerCookie(entry["secret"])

    record = read(cookie, entry["cookie_value"], entry["now"])

    assert record.data == {"role": "admin", "user_id": 123, "username": "alice"}
    again = read(cookie, sealed(SessionStorageSecureCookie(entry["secret"]), entry["data"]))
    assert record.id == again.id


def test_dancer_finds_an_id() -> None:
    """What is written holds an id that Dancer accepts, and that stays the same over a change."""
    cookie = DancerCookie(SECRET)
    record = record_of({"a": 1})
    record.id = bytes(range(16))

    value = cookie.seal(record, Context("dancer.session", "", NOW))["dancer.session"]

    assert read(SessionStorageSecureCookie(SECRET), value).data == {"id": bytes(range(16)).hex(), "a": 1}
    assert read(cookie, value).id == record.id
    assert read(cookie, value).data == {"a": 1}


@pytest.mark.parametrize("data", [{"a": 1}, {"a": 1, "id": 5}])
def test_dancer_without_an_id(data: dict[str, Any]) -> None:
    """A cookie of another program without a textual id is read by its value."""
    value = sealed(SessionStorageSecureCookie(SECRET), data)

    record = read(DancerCookie(SECRET), value)

    assert record.data == {"a": 1}
    assert record.id == read(DancerCookie(SECRET), value).id


def test_dancer_refuses_an_id_of_the_application() -> None:
    """As Dancer itself: the key `id` is taken."""
    with pytest.raises(UnsupportedValue) as caught:
        sealed(DancerCookie(SECRET), {"id": 1})

    assert caught.value.path == "id"


@pytest.mark.parametrize("cookie", [DancerCookie(SECRET), Dancer2Cookie(SECRET)], ids=["dancer", "dancer2"])
def test_new_cookie_cannot_be_changed(cookie: DancerCookie | Dancer2Cookie) -> None:
    """No character of a cookie can be changed, left out or added."""
    assert cookie.cookie_name == "dancer.session"
    assert_every_mutation_refused(cookie, sealed(cookie, {"a": 1}), {"a": 1})


def test_durations_and_former_secrets() -> None:
    """Both take the settings of Session::Storage::Secure."""
    for kind in (DancerCookie, Dancer2Cookie):
        cookie = kind("new", old_secrets=["old"], default_duration="2 days", cookie_name="my.sess", path="/app")

        assert read(cookie, sealed(kind("old"), {"a": 1})).data == {"a": 1}
        assert sealed(cookie, {"a": 1}, NOW).split("~")[1] == str(NOW + 172800)
        assert (cookie.cookie_name, cookie.path) == ("my.sess", "/app")


def test_with_request_address() -> None:
    """A cookie that is bound to an address opens for it alone."""
    addresses = ["192.0.2.1"]
    cookie = Dancer2Cookie(SECRET, with_request_address=lambda: addresses[-1])
    value = sealed(cookie, {"a": 1})

    assert read(Dancer2Cookie(SECRET, with_request_address="192.0.2.1"), value).data == {"a": 1}
    addresses.append("192.0.2.2")
    assert refused(cookie, value) == "tampered"


def test_with_request_address_needs_the_address() -> None:
    """The option alone does not say where a request came from."""
    with pytest.raises(ConfigError, match="with_request_address"):
        Dancer2Cookie(SECRET, with_request_address=True)  # type: ignore[arg-type]


# --- the old cookies


def old_value(data: dict[str, Any], secret: str = SECRET, image: bytes | None = None) -> str:
    """A cookie as Dancer::Session::Cookie 0.15 made it."""
    stored = storable.write(data, network=False) if image is None else image
    raw = cbc.seal_salted(secret.encode(), zlib.crc32(stored).to_bytes(4, "little") + stored)
    return base64.b64encode(raw).decode().translate(str.maketrans("=+/", "_*-"))


def legacy(*only: str) -> DancerLegacyCookie:
    return DancerLegacyCookie(SECRET, only=set(only), until=UNTIL)


def test_legacy_gives_the_named_keys_alone() -> None:
    """Of what stands in an old cookie only the named keys come through, and no subject ever."""
    value = old_value({"cart": ["bread"], "user": "admin", "is_admin": 1})

    record = read(legacy("cart", "theme"), value)

    assert record.data == {"cart": ["bread"]}
    assert record.subject is None
    assert record.authenticated is None


def test_legacy_reads_escaped_and_standard_base64() -> None:
    """Dancer escapes `*`; plain base64, padded or not, is read as well."""
    value = next(text for text in (old_value({"cart": [number]}) for number in itertools.count()) if "*" in text)
    standard = value.translate(str.maketrans("_*-", "=+/"))

    for text in (value, value.replace("*", "%2A"), value.rstrip("_"), standard, standard.rstrip("=")):
        assert list(read(legacy("cart"), text).data) == ["cart"]


def test_legacy_is_not_written() -> None:
    """Nothing new is ever written in the old format."""
    with pytest.raises(ConfigError, match="read only"):
        sealed(legacy("cart"), {"cart": []})


def test_legacy_ends() -> None:
    """After its date the format is not read any more."""
    cookie = DancerLegacyCookie(SECRET, only={"cart"}, until=NOW)

    assert read(cookie, old_value({"cart": 1}), NOW - 1).data == {"cart": 1}
    assert refused(cookie, old_value({"cart": 1}), NOW) == "expired"


LEGACY_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"only": {"cart"}, "until": UNTIL, "subject": lambda data: data["user"]}, "subject"),
    ({"only": {"cart"}, "until": None}, "until"),
    ({"only": set(), "until": UNTIL}, "only"),
    ({"only": "cart", "until": UNTIL}, "only"),
    ({"only": {1}, "until": UNTIL}, "only"),
]


@pytest.mark.parametrize(("settings", "name"), LEGACY_SETTINGS)
def test_legacy_settings_that_are_wrong(settings: dict[str, Any], name: str) -> None:
    """No subject, always an end, always the keys: anything else is a ConfigError."""
    with pytest.raises(ConfigError, match=name):
        DancerLegacyCookie(SECRET, **settings)


LEGACY_REFUSED = {
    "ž": "malformed",
    "a": "malformed",
    "AAAA": "malformed",
    "%zz": "malformed",
    "_": "malformed",
    "\ud800": "malformed",
    old_value({"cart": 1}, "another key"): None,
    old_value({}, image=b"\x05\x0b\x03\x00\x00\x00\x01\x13\x00"): "hook",
    old_value({}, image=b"\x05\x0b\x11\x04Some\x03\x00\x00\x00\x00"): "object",
    old_value({}, image=b""): "malformed",
}


@pytest.mark.parametrize(
    "value", LEGACY_REFUSED, ids=range(len(LEGACY_REFUSED))
)  # the values are not those of the last run
def test_legacy_value_that_is_refused(value: str) -> None:
    """What is not such a cookie, and what would build objects or run code, is refused."""
    reason = refused(legacy("cart"), value)

    assert reason == LEGACY_REFUSED[value] or (LEGACY_REFUSED[value] is None and reason in ("malformed", "tampered"))


def test_legacy_with_a_wrong_crc() -> None:
    """The CRC tells damage, if nothing else."""
    image = storable.write({"cart": 1}, network=False)
    raw = cbc.seal_salted(SECRET.encode(), zlib.crc32(image).to_bytes(4, "big") + image)

    assert refused(legacy("cart"), base64.b64encode(raw).decode()) == "tampered"


def test_legacy_of_dancer_is_an_object_at_the_root_only() -> None:
    """Dancer's own class around the hash is read, inside it is refused."""
    session = b"\x11\x17Dancer::Session::Cookie\x03\x00\x00\x00\x00"
    inside = b"\x03\x00\x00\x00\x01\x04" + session + b"\x00\x00\x00\x04cart"

    assert read(legacy("cart"), old_value({}, image=b"\x05\x0b" + session)).data == {}
    assert refused(legacy("cart"), old_value({}, image=b"\x05\x0b" + inside)) == "object"


BLOCK = 16


def chosen_session() -> dict[str, Any]:
    """What the forger puts into his own session: a long note, and a text that reads like the rest of a session."""
    note = "x" * 2000
    ending = b"\x04\0\0\0note" + b"\x0a\x05admin" + b"\x04\0\0\0user" + b"\x0a\x14" + b"y" * 20
    for padding in range(2 * BLOCK, 3 * BLOCK):
        own = {"user": "mallory", "note": note, "extra": 1, "text": "z" * padding + ending.decode()}
        plain = bytes(4) + storable.write(own, network=False)
        if (plain.index(ending) - plain.index(note.encode()) - len(note)) % BLOCK == 0:
            return own
    raise AssertionError


def forge(raw: bytes, plain: bytes, note: bytes, ending: bytes) -> bytes:
    """Another cookie out of the blocks of this one, whose plain text is known, but not its key.

    A block of ciphertext decrypts to the same wherever it stands, XORed with the block before it: so the plain text of
    every arrangement of own blocks is known. The blocks from `ending` on are moved to where the note ends; what lies
    between is text, so that any block may stand there. The CRC is linear: of 32 such places with two choices each, some
    choice gives any CRC that is wanted.
    """
    plain += bytes([BLOCK - len(plain) % BLOCK]) * (BLOCK - len(plain) % BLOCK)
    sealed_blocks = [raw[at : at + BLOCK] for at in range(BLOCK, len(raw), BLOCK)]
    decrypted = {
        block: xor(plain[BLOCK * index : BLOCK * index + BLOCK], sealed_blocks[index - 1])
        for index, block in enumerate(sealed_blocks)
        if index
    }
    start = plain.index(note) // BLOCK + 1
    end = plain.index(note) + len(note)
    join = end // BLOCK - 1
    forged = sealed_blocks[:join] + sealed_blocks[join + (plain.index(ending) - end) // BLOCK :]

    def crc(blocks: list[bytes]) -> int:
        text = plain[:BLOCK] + b"".join(xor(decrypted[now], before) for before, now in itertools.pairwise(blocks))
        return zlib.crc32(text[4 : -text[-1]])

    wanted = crc(forged) ^ int.from_bytes(plain[:4], "little")
    basis: dict[int, tuple[int, frozenset[int]]] = {}  # highest bit of a change of the CRC: the change, and its places

    def reduced(change: int, places: frozenset[int]) -> tuple[int, frozenset[int]]:
        while change and change.bit_length() in basis:
            other, more = basis[change.bit_length()]
            change, places = change ^ other, places ^ more
        return change, places

    for place in range(start + 1, join - 2, 2):
        changed = [*forged[:place], sealed_blocks[1], *forged[place + 1 :]]
        change, places = reduced(crc(changed) ^ crc(forged), frozenset([place]))
        if change:
            basis[change.bit_length()] = (change, places)
    rest, places = reduced(wanted, frozenset())
    assert rest == 0
    for place in places:
        forged[place] = sealed_blocks[1]
    return raw[:BLOCK] + b"".join(forged)


def xor(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


def test_legacy_cookie_can_be_forged_and_nothing_but_the_named_keys_comes_through() -> None:
    """Who owns one old cookie makes another that says "admin", without the key; it reaches no key that is not named."""
    own = chosen_session()
    raw = base64.b64decode(old_value(own).translate(str.maketrans("_*-", "=+/")))
    stored = storable.write(own, network=False)
    plain = zlib.crc32(stored).to_bytes(4, "little") + stored

    value = base64.b64encode(forge(raw, plain, own["note"].encode(), b"\x04\0\0\0note\x0a\x05admin")).decode()

    naive = read(legacy("user"), value)
    assert read(legacy("user"), old_value(own)).data == {"user": "mallory"}
    assert naive.data == {"user": "admin"}  # the format proves nothing
    assert naive.subject is None
    assert read(legacy("cart", "theme"), value).data == {}


# --- taking a Dancer site over, old cookies and new ones under one name


def moved_site(events: list[Any]) -> SessionManager:
    formats = [DancerCookie(SECRET, subject=lambda data: data.get("user"), until=1 << 40), legacy("cart")]
    return SessionManager(Key.generate(), accept=formats, on_event=events.append)


def test_a_moved_site_takes_over_new_cookies_with_their_user() -> None:
    """A current cookie of Dancer is a login, and its place is cleared."""
    events: list[Any] = []
    manager = moved_site(events)

    session = manager.open(f"dancer.session={sealed(DancerCookie(SECRET), {'user': 'alice', 'cart': [1]})}")

    assert session == {"user": "alice", "cart": [1]}
    assert session.subject == "alice"
    lines = manager.commit(session).set_cookies
    assert any(line.startswith("dancer.session=;") for line in lines)
    assert [event.format for event in events if isinstance(event, TakenOver)] == ["dancer"]


def test_a_moved_site_takes_over_old_cookies_without_their_user() -> None:
    """An old cookie gives its cart to an anonymous session, and nothing else."""
    events: list[Any] = []
    manager = moved_site(events)

    session = manager.open(f"dancer.session={old_value({'user': 'admin', 'cart': [1]})}")

    assert session == {"cart": [1]}
    assert session.subject is None
    assert [event.format for event in events if isinstance(event, TakenOver)] == ["dancer-legacy"]


def test_a_forged_new_cookie_is_not_tried_as_an_old_one() -> None:
    """A MAC that fails ends it, even where a format that asks for less is accepted under the same name."""
    events: list[Any] = []
    manager = moved_site(events)
    value = sealed(DancerCookie("another key"), {"user": "admin", "cart": [1]})

    session = manager.open(f"dancer.session={value}")

    assert dict(session) == {}
    assert [event.reason for event in events if isinstance(event, Rejected)] == ["tampered"]


# --- memcached


def test_memcached_record() -> None:
    """Dancer's object in memcached is read as its data."""
    image = storable.write({"id": "395805", "user": "alice"})
    session_class = b"Dancer::Session::Memcached"
    image = image[:2] + b"\x11" + bytes([len(session_class)]) + session_class + image[2:]

    assert read_memcached_record(image) == {"user": "alice"}


@pytest.mark.perl("Storable")
def test_a_memcached_record_of_dancer2_keeps_its_keys() -> None:
    """Dancer2 stores the data as they are: an `id` there is the application's."""
    image = bytes.fromhex(call("storable_freeze", data=tag({"id": 5, "user": "alice"}), network=True))

    assert read_memcached_record(image) == {"id": 5, "user": "alice"}


def test_memcached_record_of_another_class() -> None:
    """Who can write to memcached chooses these bytes: no other object is read."""
    with pytest.raises(InvalidToken, match="object"):
        read_memcached_record(b"\x05\x0b\x11\x04Some\x03\x00\x00\x00\x00")
