"""What `hardtack doctor` says of the list of ended sessions: is it there, whose is it, its clock, and who may touch it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hardtack.cli.doctor_servers import clock, eviction, patience
from hardtack.cli.findings import Finding, good, look, wrong
from hardtack.ended import EndedSessions
from hardtack.ended.protocol import Batch, Channel
from hardtack.errors import ConfigError, StoreError
from hardtack.events import ChannelLost, EntriesSkipped

_ENDS: Final = (b"s", b"u", b"p", b"a")
"""The kinds of entries that end something; others say whose the list is, and how long copies live."""


def check_list(ended: EndedSessions) -> Iterator[Finding]:
    """What is to be said of the list of a manager. Nothing is written to it."""
    try:
        channel = ended.new_channel()
    except ConfigError as error:
        yield wrong(str(error), "put it right: requests with a session are answered 503 (docs/ended-sessions.md)")
        return
    except StoreError as error:
        yield _unreachable(error)
        return
    try:
        yield from _look(channel, ended)
    except StoreError as error:
        yield _unreachable(error)
    finally:
        channel.close()


def _unreachable(error: StoreError) -> Finding:
    return wrong(
        f"the list of ended sessions cannot be read: {error}",
        "see that its channel runs, can be reached and takes writes: requests with a session are answered 503",
    )


def _look(channel: Channel, ended: EndedSessions) -> Iterator[Finding]:
    if channel.alone:
        yield look(
            "each process has a list of ended sessions of its own, which is empty after a start",
            "set ended to one that all processes share, where there is more than one",
        )
        return
    yield from _files(channel)
    yield from patience(channel, "the list of ended sessions")
    began = time.monotonic()
    entries, batch = _read(channel)
    took = time.monotonic() - began
    yield clock("the list of ended sessions", batch.now / 1e6 - time.time())
    yield from _eviction(channel)
    if batch.origin is None:
        said, _, to_do = str(ChannelLost(False)).partition("; ")
        yield wrong(said, to_do)
        return
    if ended.unusable([batch.origin]):
        yield _skipped(EntriesSkipped("origin", 1))
        return
    for reason, count in ended.unusable(entries).items():
        yield _skipped(EntriesSkipped(reason, count))
    if took > ended.max_stale / 2:
        yield look(
            f"the list of ended sessions takes {took:.1f} seconds to read, and counts as stale after {ended.max_stale}",
            "a longer ended_max_stale, or a shorter idle_timeout, which lets entries be forgotten sooner",
        )
    else:
        ends = sum(raw[1:2] in _ENDS for raw in entries)
        yield good(f"the list of ended sessions has {ends} ends, and is read in {took:.3f} seconds")


def _skipped(event: EntriesSkipped) -> Finding:
    said, _, why = str(event).partition(": ")
    return wrong(
        f"{said}: {why}", "give all deploys the same keys, and each application a channel or a purpose of its own"
    )


def _read(channel: Channel) -> tuple[list[bytes], Batch]:
    batch = channel.read("", 0)
    entries = [*batch.entries]
    while not batch.complete:
        batch = channel.read(batch.position, 0)
        entries += batch.entries
    return entries, batch


def _eviction(channel: Any) -> Iterator[Finding]:
    if not hasattr(channel, "stream"):
        return
    try:
        memory = str(channel.node().execute_command("INFO", "memory"))
    except Exception as error:
        yield look(
            f"the Redis of the list of ended sessions does not say its policy ({type(error).__name__})",
            "allow INFO to its user",
        )
        return
    yield eviction(
        memory, "the Redis of the list of ended sessions", "ends, and whoever has a copy of a cookie is back"
    )


def _files(channel: Any) -> Iterator[Finding]:
    """Who may touch a list that is a file; what is in it is under a key, and can be taken away all the same."""
    path: Path | None = getattr(channel, "file", None)
    if path is None or os.name != "posix" or not path.exists():
        return
    folder = path.resolve().parent
    in_folder = folder.stat().st_mode
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield wrong(f"other users may write {path}, and take ends out of the list", f"chmod go-w {path}")
    elif in_folder & (stat.S_IWGRP | stat.S_IWOTH) and not in_folder & stat.S_ISVTX:
        yield wrong(f"other users may put another list in the place of {path}", f"chmod go-w {folder}")
    else:
        yield good(f"nobody else may write the list of ended sessions, {path}")
