"""Record and its two encodings: every field of a wrong type, and every number of fields but seven, is malformed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import ormsgpack
import pytest
from hypothesis import given, settings
from tests.strategies import same, sessions

from hardtack import record as records
from hardtack import values
from hardtack.errors import InvalidToken, UnsupportedValue
from hardtack.record import Record

FIELDS: list[Any] = [bytes(range(16)), 5, 6, 7, "zoë", {"persistent": True}, {"cart": ["bread"]}]
"""The seven fields of a good record, decoded."""

NAMES = ["id", "created", "authenticated", "seen", "subject", "options", "data"]


def from_messagepack(fields: Any) -> Record:
    """A record read from the MessagePack of any fields at all."""
    return records.unpack(ormsgpack.packb(fields))


def from_json(fields: Any) -> Record:
    """A record read from the JSON of any fields at all; bytes as base64url."""
    text = json.dumps([values.encode_bytes(field) if isinstance(field, bytes) else field for field in fields])
    return records.from_json(json.loads(text))


@pytest.fixture(params=[from_messagepack, from_json], ids=["messagepack", "json"])
def read(request: pytest.FixtureRequest) -> Callable[[Any], Record]:
    reader: Callable[[Any], Record] = request.param
    return reader


def changed(**changes: Any) -> list[Any]:
    """The good fields, some of them replaced."""
    fields = dict(zip(NAMES, FIELDS, strict=True))
    return list((fields | changes).values())


def with_data(data: dict[str, Any]) -> Record:
    """The good record with other data."""
    return dataclasses.replace(Record(*FIELDS), data=data)


def assert_malformed(reader: Callable[[Any], Record], fields: Any) -> None:
    with pytest.raises(InvalidToken) as caught:
        reader(fields)
    assert caught.value.reason == "malformed"


def test_reads_every_field(read: Callable[[Any], Record]) -> None:
    """A good array becomes a record with its seven fields."""
    found = read(FIELDS)

    assert [getattr(found, name) for name in NAMES] == FIELDS


@pytest.mark.parametrize(
    "changes",
    [
        {"authenticated": None, "subject": None, "options": {}, "data": {}},
        {"id": bytes(32)},
        {"subject": ""},
        {"created": 0, "authenticated": 0, "seen": 0},
        {"options": {"persistent": False, "lifetime": 1, "expires": 2, "ended": 3}},
    ],
    ids=["nothing optional", "the id of a store", "empty subject", "zeros", "every option"],
)
def test_reads_what_may_vary(read: Callable[[Any], Record], changes: dict[str, Any]) -> None:
    """What a field may be beside its usual self."""
    fields = changed(**changes)

    found = read(fields)

    assert [getattr(found, name) for name in NAMES] == fields


TIMES: list[Any] = [True, "1", 1.0, -1, [], {}]
NO_ID: list[Any] = [None, 1, [], {}, b"", bytes(15), bytes(17), bytes(31), bytes(33)]
NO_SUBJECT: list[Any] = [True, 1, 1.0, [], {}, ["zoë"]]
NO_MAP: list[Any] = [None, True, 1, 1.0, "x", [], ["cart"]]
WRONG: list[tuple[str, Any]] = [
    *(("id", value) for value in NO_ID),
    *(("created", value) for value in (None, *TIMES)),
    *(("authenticated", value) for value in TIMES),
    *(("seen", value) for value in (None, *TIMES)),
    *(("subject", value) for value in NO_SUBJECT),
    *((name, value) for name in ("options", "data") for value in NO_MAP),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name} {value!r}" for name, value in WRONG])
def test_a_field_of_another_type_is_malformed(read: Callable[[Any], Record], name: str, value: Any) -> None:
    """Each field has one type: a boolean is no integer, a float no time, and an id has 16 or 32 bytes."""
    assert_malformed(read, changed(**{name: value}))


OPTIONS: list[dict[Any, Any]] = [
    {"persistent": 1},
    {"persistent": None},
    {"persistent": "yes"},
    {"lifetime": True},
    {"lifetime": 1.0},
    {"lifetime": "1"},
    {"lifetime": None},
    {"expires": "soon"},
    {"ended": True},
    {"unknown": True},
    {"": 1},
    {"persistent": True, "unknown": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_an_option_that_is_not_understood_is_malformed(read: Callable[[Any], Record], options: dict[Any, Any]) -> None:
    """An option of a newer version may be a restriction, which an older server must not drop."""
    assert_malformed(read, changed(options=options))


@pytest.mark.parametrize("size", [0, 1, 6, 8, 14])
def test_another_number_of_fields_is_malformed(read: Callable[[Any], Record], size: int) -> None:
    """Seven, exactly."""
    assert_malformed(read, (FIELDS * 2)[:size])


@pytest.mark.parametrize("document", [None, True, 7, 1.5, "1234567", {}, {str(number): number for number in range(7)}])
def test_what_is_no_array_is_malformed(document: Any) -> None:
    """A map of seven, a text of seven characters and a number are no records."""
    assert_malformed(from_messagepack, document)
    assert_malformed(records.from_json, document)


@pytest.mark.parametrize("fields", [None, {}, tuple(FIELDS), FIELDS[:6], [*FIELDS, None]], ids=repr)
def test_check_takes_a_list_of_seven_alone(fields: Any) -> None:
    """The same where a store has decoded the fields in its own way."""
    assert_malformed(records.check, fields)


@pytest.mark.parametrize("extension", [1, 2, 3])
def test_an_extension_in_the_place_of_the_array_is_malformed(extension: int) -> None:
    """A tuple of the seven fields is no array of them."""
    inside = ormsgpack.packb([*FIELDS[:5], None, None])

    assert_malformed(from_messagepack, ormsgpack.Ext(extension, inside))


def test_every_truncation_is_malformed() -> None:
    """A record that was cut anywhere is refused."""
    packed = records.pack(Record(*FIELDS))

    for size in range(len(packed)):
        with pytest.raises(InvalidToken, match="malformed"):
            records.unpack(packed[:size])


@pytest.mark.parametrize("more", [b"\xc0", b"\x00", b"\xc1", b"{}", b"\xc4\x08" + bytes(8), bytes(100)], ids=repr)
def test_anything_after_the_record_is_malformed(more: bytes) -> None:
    """The array ends where the bytes end, though the decoder itself would not mind."""
    with pytest.raises(InvalidToken, match="malformed"):
        records.unpack(records.pack(Record(*FIELDS)) + more)


@pytest.mark.parametrize(
    "data",
    [
        {"$set": 1},
        {"a": {"$nonsense": 1}},
        {"a": {"$bytes": "A="}},
        {"a": {"$map": [1]}},
        {"a": {"$date": "yesterday"}},
        {"a": {"$set": [[1]]}},
        {"a": {"$datetime": ["2031-05-09T07:08:09", 0, "Nowhere/At_All"]}},
    ],
    ids=repr,
)
def test_a_tag_that_is_not_understood_is_malformed(data: dict[str, Any]) -> None:
    """Whatever a decoder raises is one error."""
    assert_malformed(from_json, changed(data=data))


@pytest.mark.parametrize(
    "extension",
    [(0, b""), (13, b""), (127, b""), (1, b""), (5, b"\xc0"), (6, b"x"), (10, b"x"), (12, b"\x91\x01")],
    ids=repr,
)
def test_an_extension_that_is_not_understood_is_malformed(extension: tuple[int, bytes]) -> None:
    """The same in MessagePack."""
    assert_malformed(from_messagepack, changed(data={"a": ormsgpack.Ext(*extension)}))


def test_errors_tell_nothing_of_the_data() -> None:
    """The error of a record that cannot be read has neither its data nor a cause that shows them."""
    with pytest.raises(InvalidToken) as caught:
        from_json(changed(data={"a": {"$date": "a secret"}}))

    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_data_that_is_packed_already_is_remembered_as_it_is() -> None:
    """`keep` remembers what `pack` does, from the data's own encoding."""
    record, again = Record(*FIELDS), Record(*FIELDS)

    again.keep(values.pack(record.data))

    assert again.plain == records.pack(record)


def test_a_copy_with_changes_remembers_nothing() -> None:
    """What was read under another id is not what is kept of the copy."""
    record = Record(*FIELDS)
    records.pack(record)

    copy = record.with_changes(id=bytes(32))

    assert (copy.plain, copy.data) == (None, record.data)


def test_what_became_of_the_data_since_is_a_change() -> None:
    """The data is compared with its encoding: nested changes count, on the very objects that were read."""
    read = records.unpack(records.pack(with_data({"cart": [1], "by": {1: 2}})))

    assert read.is_kept_as(read.data)
    read.data["cart"].append(2)
    assert not read.is_kept_as(read.data)
    assert values.unpack(read.kept_data()) == {"cart": [1], "by": {1: 2}}


def test_unsupported_values_are_told_when_packing() -> None:
    """What cannot be kept is told with its path, in both forms."""
    record = with_data({"a": [object()]})

    for write in (records.pack, records.to_json):
        with pytest.raises(UnsupportedValue, match=r"a\[0\] \(object\)"):
            write(record)


@settings(max_examples=200, deadline=None)
@given(data=sessions)
def test_kept_is_the_encoding_of_the_data(data: dict[str, Any]) -> None:
    """What a change is compared with are the very bytes that were read, cut out of the record."""
    packed = records.pack(with_data(data))

    read = records.unpack(packed)

    assert read.kept_data() == values.pack(data)
    assert same(read.data, data)


@pytest.mark.parametrize(
    "changes",
    [
        {"created": 127, "seen": 128, "authenticated": None, "subject": None},
        {"created": 2**32, "seen": 2**16, "subject": "x" * 300},
        {"id": bytes(32), "options": {"ended": 2**40, "expires": 255, "persistent": False}},
    ],
)
def test_kept_finds_the_data_behind_fields_of_any_size(changes: dict[str, Any]) -> None:
    """However long the fields before the data are."""
    record = Record(*changed(**changes))

    assert records.unpack(records.pack(record)).kept_data() == values.pack(record.data)


def test_kept_is_made_where_the_stored_form_was_not_messagepack() -> None:
    """A record from JSON, or made by hand, has no bytes to cut the data out of yet."""
    assert Record(*FIELDS).kept_data() == values.pack(FIELDS[6])
    assert not Record(*FIELDS).is_kept_as(FIELDS[6])


@settings(max_examples=100, deadline=None)
@given(data=sessions)
def test_json_comes_back(data: dict[str, Any]) -> None:
    """What `to_json` returns is JSON, and reads as the same record."""
    record = with_data(data)

    found = records.from_json(json.loads(json.dumps(records.to_json(record))))

    assert same(found.data, data)
    assert (found.id, found.options) == (record.id, record.options)


def test_other_spelling_of_the_fields() -> None:
    """Another program may spell a number longer than needed: the data is found, and is saved anew once."""
    plain = records.pack(Record(*FIELDS))
    longer = plain.replace(b"\x05\x06\x07\xa4", b"\xcc\x05\x06\x07\xa4")

    read = records.unpack(longer)

    assert read.created == 5
    assert read.kept_data() == values.pack(read.data)
    assert not read.is_kept_as(read.data)


@pytest.mark.parametrize("fields", [None, {}, (1,) * 7, [], [1] * 6, [1] * 8])
def test_only_an_array_of_seven_is_a_record(fields: object) -> None:
    """Whatever a decoder returns, anything but a list of seven is malformed."""
    with pytest.raises(InvalidToken, match="array of seven"):
        records.check(fields)


def test_data_with_keys_that_are_no_text_is_packed_once() -> None:
    """What was read is known as kept, and what was changed is written, where the packer needs help with the keys as well."""
    record = records.unpack(records.pack(Record(bytes(16), 5, None, 7, None, {}, {"by_day": {1: "bread"}})))

    assert record.packed_unless_kept({"by_day": {1: "bread"}}) is None
    changed = record.packed_unless_kept({"by_day": {1: "cheese"}})
    assert changed is not None
    assert values.unpack(changed) == {"by_day": {1: "cheese"}}
    with pytest.raises(UnsupportedValue, match="by_day"):
        record.packed_unless_kept({"by_day": {1: object()}})
