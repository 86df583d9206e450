"""FileStore: the contract, what a file looks like, and what becomes of damaged, planted and unreachable files."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import logging
import os
import resource
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hardtack import record as records
from hardtack.errors import ConfigError, StoreError, StoreUnavailable
from hardtack.protocols import Entry, VersionConflict
from hardtack.record import Record
from hardtack.stores import file as file_store
from hardtack.stores.file import FileStore
from hardtack.stores.file_layout import Content, HardtackLayout
from hardtack.testing import FindsContract, RenamesContract, StoreContract, SweepsContract
from hardtack.testing.stores import create, in_an_hour, new_key, read

FORMATS = ["json", "yaml"]

EVERY_TYPE: dict[str, Any] = {
    "none": None,
    "bool": True,
    "int": -(2**70),
    "float": 1e16,
    "nan": float("inf"),
    "text": "Ælfgifu 北京 🚢\x00\x85\u2028\ufeff\ttrue",
    "looks like": ["1", "1.0", "yes", "null", "~", "2024-01-01", "=", "<<", "0x1f", "1_000", "", " ", "&a", "*a", "!x"],
    "bytes": bytes(range(256)),
    "tuple": (1, (2,)),
    "dict": {1: "one", "2": "two"},
    "set": {1, "a"},
    "frozenset": frozenset({b"x"}),
    "datetime": dt.datetime(2024, 1, 2, 3, 4, 5, 6, dt.UTC),
    "date": dt.date(2024, 1, 2),
    "time": dt.time(3, 4),
    "timedelta": dt.timedelta(days=1, microseconds=2),
    "decimal": Decimal("1.10"),
    "uuid": UUID(int=5),
    "tag": {"$date": "no tag"},
}


def packed(data: dict[str, Any], subject: str | None = None) -> bytes:
    """A record as hardtack stores it."""
    return records.pack(
        Record(bytes(range(32)), 1700000000, 1700000001, 1700000002, subject, {"persistent": True}, data)
    )


class _FileContract(StoreContract, RenamesContract, FindsContract, SweepsContract):
    format = "json"
    threads = 16
    crowd = 100  # each is written to the disk

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[FileStore]:
        """A store in a fresh directory."""
        store = FileStore(tmp_path / "sessions", self.format)
        yield store
        store.close()

    @pytest.fixture
    def break_store(self, tmp_path: Path) -> Any:
        """The directory is away."""

        @contextmanager
        def broken() -> Iterator[None]:
            (tmp_path / "sessions").rename(tmp_path / "away")
            yield
            (tmp_path / "away").rename(tmp_path / "sessions")

        return broken


class TestJsonFileStore(_FileContract):
    """The contract, in JSON."""


class TestYamlFileStore(_FileContract):
    """The contract, in YAML."""

    format = "yaml"


@pytest.fixture(params=FORMATS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """A store of each format."""
    return FileStore(tmp_path / "sessions", request.param)


def file_of(store: FileStore, key: str) -> Path:
    """The file of a key."""
    return store._path(key)


def test_a_json_file_is_readable(tmp_path: Path) -> None:
    """The record's fields by name, other types tagged, then expiry and version."""
    store = FileStore(tmp_path)
    expires_at = in_an_hour()

    store.put("key", packed({"cart": ["bröd", (1,)]}, "alice"), expires_at=expires_at, if_version=None, subject="alice")

    text = (tmp_path / "key.json").read_text()
    tree = json.loads(text)
    assert len(tree.pop("version")) == 16
    assert tree == {
        "id": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "created": 1700000000,
        "authenticated": 1700000001,
        "seen": 1700000002,
        "subject": "alice",
        "options": {"persistent": True},
        "data": {"cart": ["bröd", {"$tuple": [1]}]},
        "expires_at": expires_at,
    }
    assert "bröd" in text


def test_a_yaml_file_is_the_same_tree(tmp_path: Path) -> None:
    """YAML and JSON files hold the same fields in the same order."""
    data, expires_at = packed(EVERY_TYPE, "alice"), in_an_hour()
    for format_ in FORMATS:
        FileStore(tmp_path, format_).put("key", data, expires_at=expires_at, if_version=None, subject="alice")

    from_json = json.loads((tmp_path / "key.json").read_text())
    from_yaml = yaml.safe_load((tmp_path / "key.yaml").read_text())

    assert list(from_json) == list(from_yaml)
    assert from_json | {"version": ""} == from_yaml | {"version": ""}


def test_every_type_comes_back_to_the_byte(store: FileStore) -> None:
    """A record is written readable, whatever types it holds, and read back equal."""
    create(store, "key", packed(EVERY_TYPE, "alice"), "alice")

    assert read(store, "key").data == packed(EVERY_TYPE, "alice")
    assert "sealed" not in file_of(store, "key").read_text()


@pytest.mark.parametrize("format_", FORMATS)
@given(
    data=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
            lambda children: st.lists(children, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_any_plain_record_comes_back_to_the_byte(format_: str, data: dict[str, Any]) -> None:
    """What a file is decoded to is what was encoded, in both formats."""
    layout = HardtackLayout(format_)
    content = Content(packed(data), 1800000000, None, "0123456789abcdef")

    assert layout.decode(layout.encode(content)) == content


def test_a_number_too_long_to_print_comes_back(store: FileStore) -> None:
    """Python refuses to print ints of more than 4,300 digits: such a record is kept in base64."""
    data = packed({"big": 10**5000})

    create(store, "key", data)

    assert read(store, "key").data == data


def test_sealed_bytes_are_kept_in_base64(tmp_path: Path) -> None:
    """What is no plain record is one field, with its subject beside it."""
    store = FileStore(tmp_path)

    create(store, "key", b"\x00sealed", "alice")

    tree = json.loads((tmp_path / "key.json").read_text())
    assert tree["sealed"] == "AHNlYWxlZA"
    assert tree["subject"] == "alice"
    assert read(store, "key").data == b"\x00sealed"


def test_files_are_for_their_owner_only(store: FileStore) -> None:
    """Files have mode 0600, directories 0700, whatever the umask allows."""
    before = os.umask(0)
    try:
        create(store, "key")
    finally:
        os.umask(before)

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (store._directory, store._locks, file_of(store, "key"), next(store._locks.iterdir()))
    }
    assert list(modes.values()) == [0o700, 0o700, 0o600, 0o600]


def test_a_directory_that_others_can_write_to_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who can write a session file is whom he likes."""
    tmp_path.chmod(0o777)

    with caplog.at_level(logging.WARNING, "hardtack"):
        FileStore(tmp_path)

    assert "chmod it to 0700" in caplog.text


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"id": "AAAA"}',
        b'{"sealed": "A", "subject": null, "expires_at": 9999999999, "version": ""}',
        b'{"sealed": "AA", "subject": 5, "expires_at": 9999999999, "version": ""}',
        b'{"sealed": "AA", "subject": null, "expires_at": true, "version": ""}',
        b'{"sealed": "AA", "subject": null, "version": ""}',
        pytest.param(b"[" * 10_000, marks=pytest.mark.slow),
        b'!!python/object/apply:os.system ["true"]',
        b"{id: &a [1], created: *a}",
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_a_damaged_file_is_an_entry_that_can_be_replaced(
    store: FileStore, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error for ever: the entry has no data, a warning names the file, and its version can be overwritten."""
    create(store, "key", b"data", "alice")
    file_of(store, "key").write_bytes(raw)

    with caplog.at_level(logging.WARNING, "hardtack"):
        entry = read(store, "key")

    assert entry.data == b""
    assert f"{file_of(store, 'key').name} is damaged" in caplog.text
    assert list(store.find("alice")) == []
    assert store.sweep(time.time()) == 0
    with pytest.raises(VersionConflict):
        create(store, "key")
    store.put("key", b"new", expires_at=in_an_hour(), if_version=entry.version, subject=None)
    assert read(store, "key").data == b"new"


def test_a_tag_that_would_build_an_object_is_refused(tmp_path: Path) -> None:
    """A planted YAML file runs no code."""
    store = FileStore(tmp_path / "sessions", "yaml")
    victim = tmp_path / "executed"

    file_of(store, "key").write_text(f"!!python/object/apply:os.mkdir ['{victim}']")

    assert read(store, "key").data == b""
    assert not victim.exists()


def test_an_edit_by_hand_is_a_new_version(store: FileStore) -> None:
    """Whoever loaded the session before the edit does not overwrite it."""
    version = create(store, "key", packed({"name": "before"}))
    file = file_of(store, "key")
    file.write_text(file.read_text().replace("before", "after"))

    with pytest.raises(VersionConflict):
        store.put("key", b"", expires_at=in_an_hour(), if_version=version, subject=None)

    assert read(store, "key").data == packed({"name": "after"})


@pytest.mark.parametrize("key", ["", ".", "..", "../key", "a/b", "a\x00b", ".locks", "k.json", "é", "a" * 129, "key\n"])
def test_a_key_that_is_no_file_name_does_not_exist(store: FileStore, key: str) -> None:
    """No key leads out of the directory: nothing is there to read or delete, and nothing can be put."""
    version = create(store, "old")

    assert store.get(key) is None
    assert store.delete(key) is False
    with pytest.raises(StoreError, match="1 to 128 characters"):
        create(store, key)
    with pytest.raises(StoreError, match="1 to 128 characters"):
        store.rename("old", key, b"", expires_at=in_an_hour(), if_version=version, subject=None)
    assert read(store, "old") == Entry(b"data", version)


def test_other_files_in_the_directory_are_left_alone(store: FileStore) -> None:
    """`find` and `sweep` look at session files only."""
    foreign = store._directory / "README.txt"
    foreign.write_text("not a session")

    assert list(store.find("alice")) == []
    assert store.sweep(time.time() + 1e9) == 0
    assert foreign.exists()


def test_sweep_removes_what_a_crash_left_behind(store: FileStore) -> None:
    """A temporary file that nobody writes to any more goes."""
    left = store._temporary("key")
    left.write_bytes(b"half")

    store.sweep(time.time())

    assert not left.exists()


def test_a_write_does_not_follow_a_planted_link(store: FileStore, tmp_path: Path) -> None:
    """A link under the name of the temporary file leads nowhere."""
    target = tmp_path / "target"
    target.write_text("precious")
    store._temporary("key").symlink_to(target)

    with pytest.raises(StoreUnavailable):
        create(store, "key")

    assert target.read_text() == "precious"


def test_a_session_that_is_swept_may_be_saved_meanwhile(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the lock a session may have been written again: it stays."""
    create(store, "key", b"renewed")
    real = store._load
    looks: list[str] = []

    def first_look_was_old(key: str) -> tuple[str, Content | None]:
        looks.append(key)
        version, content = real(key)
        assert content is not None
        return version, content._replace(expires_at=0) if len(looks) == 1 else content

    monkeypatch.setattr(store, "_load", first_look_was_old)

    assert store.sweep(time.time()) == 0
    assert read(store, "key").data == b"renewed"


def test_a_file_may_go_while_they_are_listed(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session deleted by another process between the listing and the look is just not there."""
    monkeypatch.setattr(store, "_keys", lambda prefix="", suffix="": [] if prefix else ["gone"])

    assert list(store.find("alice")) == []
    assert store.sweep(time.time()) == 0


def test_a_directory_that_is_gone_is_unavailable(store: FileStore) -> None:
    """A file system that is not mounted does not mean that nobody has a session."""
    create(store, "key")
    store._directory.rename(store._directory.with_name("elsewhere"))

    for attempt in (
        lambda: store.get("key"),
        lambda: create(store, "new"),
        lambda: store.delete("key"),
        lambda: list(store.find("alice")),
        lambda: store.sweep(0),
    ):
        with pytest.raises(StoreUnavailable, match="No such file or directory"):
            attempt()


def test_a_lock_that_is_held_too_long_is_unavailable(tmp_path: Path) -> None:
    """A writer that hangs makes others fail after a time, not hang with it."""
    store = FileStore(tmp_path, lock_timeout=0.1)
    create(store, "key")
    (lock,) = store._locks.iterdir()

    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="held by another process"):
            store.delete("key")

    assert store.delete("key") is True


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"format": "xml"}, "format is 'xml'"), ({"layout": "flat"}, "layout is 'flat'; it must be one of 'hardtack'")],
)
def test_an_unknown_setting_is_named(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    """The message says what it may be."""
    with pytest.raises(ConfigError, match=said):
        FileStore(tmp_path, **settings)


@pytest.mark.parametrize("make", [lambda: FileStore("a\0b"), lambda: FileStore.from_url("file:///a%00b")])
def test_a_directory_with_a_nul_is_refused(make: Callable[[], FileStore]) -> None:
    """Python's error for it is another than for a directory that cannot be made."""
    with pytest.raises(ConfigError, match=r"sessions cannot be kept there: .*embedded null"):
        make()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in its place is a mistake in the settings, found at start-up."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="directory is"):
        FileStore(tmp_path / "file")


def test_yaml_says_which_extra_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML the error tells what to install; JSON works."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)

    with pytest.raises(ImportError, match=r"pip install 'hardtack\[yaml\]'"):
        FileStore(tmp_path, "yaml")

    create(FileStore(tmp_path, "json"), new_key())


def test_a_full_disk_is_unavailable_and_leaves_nothing_behind(store: FileStore) -> None:
    """The save fails, what was there stays, and no file is left of what could not be written."""
    version = create(store, "key")
    before = sorted(os.listdir(store._directory))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        for key in ("key", "other"):
            with pytest.raises(StoreUnavailable, match="File too large"):
                store.put(
                    key,
                    b"x" * 100_000,
                    expires_at=in_an_hour(),
                    if_version=version if key == "key" else None,
                    subject=None,
                )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert sorted(os.listdir(store._directory)) == before
    assert store.get("key") == (b"data", version)


def test_a_relative_directory_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not follow a later change of directory."""
    monkeypatch.chdir(tmp_path)
    store = FileStore("sessions")

    monkeypatch.chdir("/")
    create(store, "key")

    assert (tmp_path / "sessions" / "key.json").exists()


def test_a_directory_is_a_path() -> None:
    """A setting that is missing is named."""
    with pytest.raises(ConfigError, match="directory is of type NoneType; it must be the path of a directory"):
        FileStore(None)  # type: ignore[arg-type]


def test_count_is_of_what_lives(store: FileStore) -> None:
    """All, or those of one subject; what has expired or is damaged is not counted."""
    for key, subject in (("a", "alice"), ("b", "alice"), ("c", None), ("d", None)):
        create(store, key, b"", subject)
    store.put("e", b"", expires_at=int(time.time()) - 5, if_version=None, subject="alice")
    file_of(store, "d").write_bytes(b"damaged")

    assert (store.count(), store.count("alice"), store.count("bob")) == (3, 2, 0)


def test_find_ends_while_new_entries_come_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who changes the id as fast as the folder is read holds nobody up for ever, and what was seen is found."""
    store = FileStore(tmp_path, "json")
    listed = store._keys
    keys: list[str] = []

    def one_more() -> Any:
        keys.append(new_key())
        create(store, keys[-1], packed({}, "alice"), "alice")
        return listed()

    monkeypatch.setattr(store, "_keys", one_more)

    assert sorted(store.find("alice")) == sorted(keys)
    assert len(keys) == file_store._LISTINGS
