"""The thread of a list: where none can run, under gevent, and what wakes it."""

from __future__ import annotations

import subprocess
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
from tests.ended.kit import KEY, new_id

from hardtack.ended import EndedSessions, runner
from hardtack.errors import ConfigError

Make = Callable[..., Any]


@pytest.mark.parametrize("options", [{}, {"http": b":8000"}, {b"processes": b"4"}])
def test_a_uwsgi_without_threads(options: Any, make_list: Make, monkeypatch: Any) -> None:
    """Says so, and what to set: a thread that never runs would let nobody in, or everybody."""
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(opt=options))
    ended = make_list("memory://")

    with pytest.raises(ConfigError, match="--enable-threads"):
        ended.start()
    with pytest.raises(ConfigError, match="--enable-threads"):
        ended.ensure_fresh()


@pytest.mark.parametrize("option", ["enable-threads", b"enable-threads", "threads", b"gevent"])
def test_a_uwsgi_with_threads(option: Any, make_list: Make, monkeypatch: Any) -> None:
    """However it was told to."""
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(opt={option: True}))
    ended = make_list("memory://")

    ended.start()

    assert ended.ensure_fresh()


GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys
import threading
import gevent
from hardtack import Key
from hardtack.ended import EndedSessions

key = Key(bytes(range(32)))
lists = []
for _ in range(2):
    ended = EndedSessions.from_url(sys.argv[1], key)
    ended.bind(None, "", 86400, 7200)
    lists.append(ended)
one, two = lists
one.create()
one.start()
two.start()
one.end_session(b"12345678")
with gevent.Timeout(5):
    while not two.check(b"12345678"):
        gevent.sleep(0.01)
assert two.draw_time()
one.close()
two.close()
print("ended")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["file", "redis"])
def test_under_gevent_it_is_a_greenlet(name: str, channel_url: Any) -> None:
    """Which reads while requests wait."""
    pytest.importorskip("gevent")

    done = subprocess.run(
        [sys.executable, "-c", GEVENT, channel_url(name)], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout == "ended\n", done.stderr


def test_a_process_ends_without_waiting_for_it(channel_url: Any) -> None:
    """A list that nobody closed keeps no process alive."""
    program = (
        "import sys; from hardtack import Key; from hardtack.ended import EndedSessions\n"
        "ended = EndedSessions.from_url(sys.argv[1], Key(bytes(range(32)))); ended.bind(None, '', 60, None)\n"
        "ended.create(); ended.start()"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, channel_url("file")], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_bound_is_not_followed_yet() -> None:
    """Making a manager connects to nothing, and starts no thread: a server forks afterwards."""
    import threading

    before = threading.active_count()

    ended = EndedSessions.from_url("redis://127.0.0.1:1/0", KEY)
    ended.bind(None, "", 60, None)

    assert ended.check(new_id(), "alice") is None
    assert threading.active_count() == before


def test_a_list_in_memory_is_closed_at_once(make_list: Make, monkeypatch: Any) -> None:
    """Its thread is woken from the wait for entries, however long that is."""
    monkeypatch.setattr(runner, "WAIT", 3600.0)
    ended = make_list("memory://")
    ended.start()
    closing = threading.Thread(target=ended.close, daemon=True)

    closing.start()
    closing.join(30)

    assert not closing.is_alive()
