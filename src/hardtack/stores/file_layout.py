"""How FileStore writes one session into one file: the layouts, which turn what is kept into text and back.

The layout of hardtack is a readable JSON or YAML file: the fields of the record by name, with `expires_at` and `version`.
Data that are no plain record (encrypted by `seal=`) are base64url under `sealed`. Dancer's are in `dancer_layout`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from hardtack import record as records
from hardtack import values
from hardtack._extras import explain
from hardtack.errors import ConfigError, InvalidToken
from hardtack.protocols import NativeIds


class Content(NamedTuple):
    """What one file keeps. `version` is random text, new with every write."""

    data: bytes
    expires_at: int
    subject: str | None
    version: str


class Damaged(Exception):
    """A file that its layout would not have written."""


class Layout(Protocol):
    """Turns the content of a file into bytes and back, and names the files."""

    suffix: str
    """What the name of a session's file ends with, after its key: `.json`."""

    ended_suffix: str
    """The ending of the file that says that a session was ended; empty where its own file says so."""

    key_pattern: re.Pattern[str]
    """What may become the name of a file."""

    key_rule: str
    """The same in words."""

    @property
    def ids(self) -> NativeIds | None:
        """Where the names of the files are the ids of another system."""
        ...

    shared: bool
    """Whether another program writes the files, in place and under a lock on the file."""

    def encode(self, content: Content, key: str) -> bytes:
        """The bytes of the file."""
        ...

    def decode(self, raw: bytes, key: str, modified: int) -> Content:
        """What `encode` was given; raises `Damaged` for anything else. `modified`: Unix seconds of the last write."""
        ...

    def is_tombstone(self, data: bytes) -> bool:
        """Whether the data go into the file with the `ended_suffix`: they say that the session was ended."""
        ...


_FIELDS = ("id", "created", "authenticated", "seen", "subject", "options", "data")


class HardtackLayout:
    """hardtack's own files, in JSON or YAML."""

    ended_suffix = ""
    key_pattern = re.compile(r"[A-Za-z0-9_-]{1,128}")
    key_rule = "1 to 128 characters of A-Z a-z 0-9 - _"
    ids = None
    shared = False

    def __init__(self, file_format: str) -> None:
        self._dump: Callable[[dict[str, Any]], str]
        self._load: Callable[[str], Any]
        if file_format == "json":
            self._dump, self._load = _dump_json, json.loads
        elif file_format == "yaml":
            self._dump, self._load = _yaml()
        else:
            message = f"format is {file_format!r}; it must be 'json' or 'yaml'"
            raise ConfigError(message)
        self.suffix = f".{file_format}"

    def encode(self, content: Content, key: str = "") -> bytes:
        """The bytes of the file: readable where the record comes back from it to the byte, else base64url."""
        readable = self._readable(content)
        if readable is not None:
            return readable
        tree = {"sealed": values.encode_bytes(content.data), "subject": content.subject, **_ends(content)}
        return self._dump(tree).encode()

    def _readable(self, content: Content) -> bytes | None:
        try:
            tree = dict(zip(_FIELDS, records.to_json(records.unpack(content.data)), strict=True)) | _ends(content)
            raw = self._dump(tree).encode()
            return raw if self.decode(raw) == content else None
        except (InvalidToken, Damaged, ValueError):  # sealed, or e.g. an int of more digits than Python will print
            return None

    def decode(self, raw: bytes, key: str = "", modified: int = 0) -> Content:
        """What `encode` was given; raises `Damaged` for anything else."""
        try:
            tree = self._load(raw.decode())
            if "sealed" in tree:
                data, subject = values.decode_bytes(tree["sealed"]), tree["subject"]
            else:
                record = records.from_json([tree[name] for name in _FIELDS])
                data, subject = records.pack(record), record.subject
            content = Content(data, tree["expires_at"], subject, tree["version"])
        except Exception as error:  # whatever a parser raises on a file that was cut, edited or planted
            raise Damaged from error
        if type(content.expires_at) is not int or not isinstance(content.subject, str | None):
            raise Damaged
        return content

    def is_tombstone(self, data: bytes) -> bool:
        """A tombstone is an entry like any other."""
        return False


def _ends(content: Content) -> dict[str, Any]:
    return {"expires_at": content.expires_at, "version": content.version}


def _dump_json(tree: dict[str, Any]) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"


def _yaml() -> tuple[Callable[[dict[str, Any]], str], Callable[[str], Any]]:
    try:
        import yaml
    except ImportError as error:
        message = explain("FileStore(…, format='yaml')", "yaml", error)
        raise ImportError(message) from error

    class Loader(yaml.SafeLoader):
        """Plain values only: a tag that would build an object is an error. Not the C one: deep nesting crashes it."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):  # a few aliases of aliases make a tree that fills the memory
                raise yaml.YAMLError("an alias")
            return super().compose_node(parent, index)

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # 10 times faster

    def dump(tree: dict[str, Any]) -> str:
        text: str = yaml.dump(tree, Dumper=dumper, allow_unicode=True, sort_keys=False)
        return text

    def load(text: str) -> Any:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader

    return dump, load
