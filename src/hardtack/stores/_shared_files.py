"""A directory of files shared with another system: each is named by the session's id, and holds what that system keeps."""

from __future__ import annotations

import time

from hardtack.stores.dancer_layout import Dancer2Layout
from hardtack.stores.file_layout import Content
from hardtack.stores.shared_layout import Ids, SharedFile


class SharedFiles:
    """The layout of such a directory, for FileStore."""

    suffix = ""
    ended_suffix = ".ended"
    key_rule = "an id of the other system"
    shared = True
    ids: Ids

    def __init__(self, layout: SharedFile) -> None:
        self._layout = layout
        self.ids = layout.ids
        self.key_pattern = layout.ids.pattern

    def encode(self, content: Content, key: str) -> bytes:
        """The bytes of the file. Raises `UnsupportedValue`, and `StoreError` for what is no record."""
        return self._layout.encode(content, None, int(time.time()))

    def decode(self, raw: bytes, key: str, modified: int) -> Content:
        """What `encode` was given, or what the other system wrote; raises `Damaged` for anything else."""
        content = self._layout.decode(raw, key, modified)
        return content._replace(expires_at=min(content.expires_at, self._layout.ends_at(modified)))

    is_tombstone = Dancer2Layout.is_tombstone
