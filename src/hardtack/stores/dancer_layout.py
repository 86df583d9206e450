"""The session files of Dancer2 and Dancer 1, read and written: one directory for a Perl and a Python application.

The name of a file is the session's id, and the id is the cookie's value, as Dancer has it. A file holds the session's data
and nothing else; what hardtack knows beside them (times, subject, options) is one line of JSON under the key `__hardtack`,
which Dancer carries along like any other key.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

from hardtack import record as records
from hardtack.errors import ConfigError, InvalidToken, StoreError, UnsupportedValue
from hardtack.foreign.base import check_plain, parse_json
from hardtack.foreign.perl import yaml_pm
from hardtack.record import Record
from hardtack.stores.file_layout import Content, Damaged
from hardtack.stores.shared_layout import NEVER, STAMP, FindSubject, Ids, digest

__all__ = ["DANCER_CLASS", "NEVER", "STAMP", "Dancer2Layout", "DancerIds", "DancerLayout", "FindSubject"]

DANCER_CLASS: Final = "Dancer::Session::YAML"


class DancerIds(Ids):
    """The ids of a directory of Dancer: the id is the name of the session's file.

    The rule for them is Dancer's own, without the line end that Perl's `$` lets through, and as long as a file's name can
    be with its ending. Dancer2's own ids have 16 random bytes, and tell the time and the process beside them.
    """


class Dancer2Layout:
    """The files of Dancer2::Session::YAML (`.yml`) and Dancer2::Session::JSON (`.json`).

    Args:
        file_format: `yaml`, in the dialect of Perl's YAML.pm, where every scalar is text; or `json`.
        subject: who the user is, by the data, where another program has written the file.
    """

    ended_suffix = ".ended"
    shared = True
    ids = DancerIds(r"[A-Za-z0-9_~-]{1,249}", lambda: secrets.token_urlsafe(32))
    key_rule = "1 to 249 characters of A-Z a-z 0-9 - _ ~"
    class_name: str | None = None
    keeps_id = False
    keeps_booleans = True

    def __init__(self, file_format: str, subject: FindSubject | None = None) -> None:
        if file_format not in ("json", "yaml"):
            message = f"format is {file_format!r}; it must be 'json' or 'yaml'"
            raise ConfigError(message)
        self._yaml = file_format == "yaml"
        self.suffix = ".yml" if self._yaml else ".json"
        self._find_subject = subject
        self.key_pattern = self.ids.pattern

    def encode(self, content: Content, key: str) -> bytes:
        """The bytes of the file. Raises `UnsupportedValue`, and `StoreError` for what is no record."""
        try:
            record = records.unpack(content.data)
        except InvalidToken:
            raise StoreError("a directory of Dancer keeps plain records: it cannot be sealed") from None
        self._check(record.data)
        tree = {"id": key, **record.data} if self.keeps_id else record.data
        stamp = {
            "created": record.created,
            "authenticated": record.authenticated,
            "seen": record.seen,
            "subject": record.subject,
            "options": record.options,
            "expires_at": content.expires_at,
            "version": content.version,
            "digest": digest(self._plain(self._dump(tree))),
        }
        return self._dump({**tree, STAMP: json.dumps(stamp)}).encode()

    def decode(self, raw: bytes, key: str, modified: int) -> Content:
        """What `encode` was given, or what Dancer wrote; raises `Damaged` for anything else.

        Args:
            raw: the bytes of the file.
            key: the session's id.
            modified: when the file was last written, Unix seconds: Dancer's files tell no other time.
        """
        try:
            data = self._plain(_text(raw))
            stamp = data.pop(STAMP, None)
            if stamp is None:
                record = Record(self.ids.handle(key), modified, None, modified, None, {}, data)
                believed, expires_at, version = False, NEVER, ""
            else:
                stamp = parse_json(stamp)
                record, believed = self._stamped(data, stamp, key, modified)
                expires_at, version = stamp["expires_at"] if believed else NEVER, stamp["version"]
            content = Content(records.pack(record), expires_at, record.subject, version)
        except Exception as error:  # whatever a parser raises on a file that was cut, edited or planted
            raise Damaged from error
        if type(content.expires_at) is not int or type(content.version) is not str:
            raise Damaged
        # An error of the application's function is the application's to see: the file is not damaged.
        return content if believed else self._with_subject(content, record, modified)

    def is_tombstone(self, data: bytes) -> bool:
        """Whether a record says that its session was ended."""
        try:
            return "ended" in records.unpack(data).options
        except InvalidToken:
            return False

    def _stamped(self, data: dict[str, Any], stamp: dict[str, Any], key: str, modified: int) -> tuple[Record, bool]:
        """The record of a file that hardtack has written, and whether its subject still is to be believed."""
        record = records.check(
            [
                self.ids.handle(key),
                stamp["created"],
                stamp["authenticated"],
                stamp["seen"],
                stamp["subject"],
                stamp["options"],
                data,
            ]
        )
        if stamp["digest"] == digest(data):
            return record, True
        record.seen = max(record.seen, modified)
        return record, False

    def _with_subject(self, content: Content, record: Record, modified: int) -> Content:
        """The content of a file that Dancer wrote, with the user whom the application's function sees in the data.

        Dancer may have logged the user out, or another one in, and knows nothing of our subject.
        """
        subject = records.find_subject(self._find_subject, record.data, "FileStore")
        if subject is None or subject != record.subject:
            record.authenticated = None if subject is None else modified
        record.subject = subject
        return content._replace(data=records.pack(record), subject=subject)

    def _check(self, data: dict[str, Any]) -> None:
        check_plain(data, finite=not self._yaml, binary=False)
        if self._yaml and not self.keeps_booleans:
            _refuse_booleans(data, "")
        reserved = (STAMP, "id") if self.keeps_id else (STAMP,)
        for name in reserved:
            if name in data:
                raise UnsupportedValue(name, type(data[name]).__name__, "this key is taken in Dancer's session files")

    def _dump(self, tree: dict[str, Any]) -> str:
        if self._yaml:
            return yaml_pm.write(tree, class_name=self.class_name)
        # ASCII: Dancer2 reads the file as Latin-1, so that UTF-8 would come out garbled there.
        return json.dumps(tree)

    def _plain(self, text: str) -> dict[str, Any]:
        """The data of a file, without the id that Dancer 1 keeps among them: it is the login."""
        tree, blessed = yaml_pm.read(text, classes=(DANCER_CLASS,)) if self._yaml else (parse_json(text), None)
        if type(tree) is not dict:
            raise Damaged
        if self.keeps_id or blessed is not None:
            tree.pop("id", None)
        return tree


class DancerLayout(Dancer2Layout):
    """The files of Dancer::Session::YAML (Dancer 1), and the same in JSON: the session's id is among the data."""

    # Dancer 1 makes a file's name of digits only, and takes none that begins with 0 and has no other.
    ids = DancerIds(r"[0-9]{1,249}", lambda: str(int.from_bytes(b"\x01" + secrets.token_bytes(32))))
    key_rule = "1 to 249 digits"
    class_name = DANCER_CLASS
    keeps_id = True
    keeps_booleans = False  # Dancer 1 reads the object of a boolean as a reference, which is true


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # JSON.pm writes text without characters beyond Latin-1 as one byte each


def _refuse_booleans(value: Any, path: str) -> None:
    if type(value) is bool:
        problem = "Dancer 1 takes both booleans of a YAML file for true; keep 1 or nothing, or use format='json'"
        raise UnsupportedValue(path, "bool", problem)
    if type(value) is dict:
        for key, item in value.items():
            _refuse_booleans(item, f"{path}.{key}" if path else key)
    elif type(value) is list:
        for index, item in enumerate(value):
            _refuse_booleans(item, f"{path}[{index}]")
