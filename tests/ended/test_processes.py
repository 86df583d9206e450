"""Several processes on each channel: what one ends, all refuse."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from tests.ended.kit import eventually, new_id
from tests.kit import fork

Make = Callable[..., Any]

# What is tested is that this is safe here; Python 3.15 warns of it in the parent too.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Worker:
    """A process that follows the channel."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, line: str) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """The next answer."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def workers(count: int, url: str, purpose: str, module: str = "worker") -> Iterator[list[Worker]]:
    """So many processes, which have read the channel."""
    command = [sys.executable, "-m", f"tests.ended.{module}", url, purpose]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(count)
        ]
        found = [Worker(process) for process in processes]
        assert [worker.answer() for worker in found] == ["ready"] * count
        yield found
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()


def test_what_one_process_ends_all_refuse_within_a_second(shared_url: str, purpose: str, make_list: Make) -> None:
    """On every channel. What the channel needs shows in the fastest turn; the others say how busy the machine is.

    `python -m benchmarks.ended_processes` prints how long the slowest takes.
    """
    ender = make_list(shared_url)
    ender.create()
    waits = []

    with workers(8, shared_url, purpose) as found:
        for _ in range(16):
            handle = new_id()
            for worker in found:
                worker.send(f"ask {handle.hex()}")
            ender.end_session(handle)
            ended_at = time.time()
            waits.append(max(float(worker.answer()) - ended_at for worker in found))
        for worker in found:
            worker.send(f"end {new_id().hex()}")
        assert all(float(worker.answer()) for worker in found)
        ender.start()
        eventually(lambda: ender.stats().sessions == 16 + 8)

    assert min(waits) < 1


@pytest.mark.parametrize("name", ["file", "postgresql", "redis"])
def test_a_logout_at_one_server_is_one_at_all(name: str, channel_url: Any, purpose: str, make_list: Make) -> None:
    """Eight servers of a site whose sessions are in cookies: all refuse every copy, within a second as above."""
    make_list(channel_url(name)).create()
    waits = []

    with workers(8, channel_url(name), purpose, "site_worker") as servers:
        for turn in range(8):
            one, *others = servers[turn:] + servers[:turn]
            one.send("login alice")
            header = one.answer()
            for each in others:
                each.send(f"ask {header}")
            one.send(f"logout {header}")
            ended_at = float(one.answer())
            waits.append(max(float(each.answer()) - ended_at for each in others))

    assert min(waits) < 1


@pytest.mark.parametrize("name", ["file", "postgresql", "redis"])
def test_no_session_outruns_its_end(name: str, channel_url: Any, purpose: str, make_list: Make) -> None:
    """Sessions get new ids as fast as they can, at several servers, while all of their user are ended."""
    ended = make_list(channel_url(name), lifetime=14 * 86400, idle=None)
    ended.create()

    with workers(3, channel_url(name), purpose, "site_worker") as servers:
        for _ in range(10):
            for each in servers:
                each.send("login alice")
            headers = [each.answer() for each in servers]
            for each, header in zip(servers, headers, strict=True):
                each.send(f"race {header}")
            time.sleep(0.1)
            ended.end_subject("alice")
            assert all(each.answer().isdecimal() for each in servers)


@pytest.mark.parametrize("name", ["file", "sqlite", "postgresql", "redis"])
def test_a_forked_process_follows_by_itself(name: str, channel_url: Any, make_list: Make) -> None:
    """It goes on from where its parent was, and neither disturbs the other."""
    ended = make_list(channel_url(name))
    ended.create()
    ended.start()
    before, of_parent, of_child = new_id(), new_id(), new_id()
    ended.end_session(before)
    reader, writer = os.pipe()

    child = fork()
    if child == 0:  # pragma: no cover - in the child; patched to be measured where it can
        code = 1
        try:
            assert ended.check(before)
            eventually(ended.ensure_fresh)
            assert ended.stats().sessions >= 1
            ended.end_session(of_child)
            os.write(writer, b"!")
            eventually(lambda: ended.check(of_parent))
            ended.close()
            code = 0
        finally:
            os._exit(code)
    assert os.read(reader, 1) == b"!"
    os.close(reader)
    os.close(writer)
    eventually(lambda: ended.check(of_child))
    ended.end_session(of_parent)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ended.draw_time()


def test_a_list_that_was_not_used_before_the_fork(channel_url: Any, make_list: Make) -> None:
    """As where a server loads the application and forks: each child begins by itself."""
    make_list(channel_url("file")).create()
    ended = make_list(channel_url("file"))

    child = fork()
    if child == 0:  # pragma: no cover - see above
        os._exit(0 if ended.ensure_fresh() else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_does_not_append_twice(channel_url: Any, make_list: Make, tmp_path: Any) -> None:
    """What its parent could not append is the parent's to append; the child knows it all the same."""
    ended = make_list(channel_url("file"))
    handle = new_id()
    with pytest.raises(Exception, match="--create"):
        ended.end_session(handle)

    child = fork()
    if child == 0:  # pragma: no cover - see above
        os._exit(0 if ended.check(handle) and ended.stats().waiting == 0 else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ended.create()
    ended.start()
    assert ended.stats().waiting == 0
