"""Servers that load the application before they fork their workers: each user is served as that user, by all of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from tests.guarantees.kit import SHARED, store_url
from tests.servers import free_port

USERS = 40
TURNS = 12

SERVERS = {
    "gunicorn": [
        "--preload",
        "--workers",
        "4",
        "--threads",
        "2",
        "--bind",
        "127.0.0.1:{port}",
        "tests.guarantees.preforked",
    ],
    "uwsgi": [
        *("--master", "--processes", "4", "--http-socket", "127.0.0.1:{port}", "--die-on-term", "--need-app"),
        *("--module", "tests.guarantees.preforked", "--home", "{home}", "--pythonpath", "{path}"),
    ],
}


@contextmanager
def serving(name: str, url: str, log: Path) -> Iterator[int]:
    """The port of a server with four workers."""
    program = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip(f"{name} is not installed: its package has no wheel for every Python, and is not built here")
    port = free_port()
    root = Path(__file__).parents[2]
    values = {"port": port, "home": sys.prefix, "path": os.pathsep.join([str(root), *filter(None, sys.path)])}
    arguments = [argument.format(**values) for argument in SERVERS[name]]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [program, *arguments],
            cwd=root,
            stdout=output,
            stderr=output,
            env={**os.environ, "STORE_URL": url, "PYTHONPATH": str(values["path"])},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:  # uWSGI waits for workers that greenlet has crashed while they end
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers_of(port: int, name: str) -> list[tuple[str, str]]:
    """What a user is answered, each time: the name, or what there is in its place; and by which worker."""
    answers: list[tuple[str, str]] = []
    header = ""
    for turn in range(TURNS):
        path = "" if turn else f"login?{name}"
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", f"/{path}", headers={"Cookie": header})
            response = connection.getresponse()
            text, _, worker = response.read().decode().partition(" ")
        except (OSError, HTTPException) as error:
            return [*answers, (type(error).__name__, "")]
        finally:
            connection.close()
        header = header or (response.getheader("Set-Cookie") or "").partition(";")[0]
        answers.append((text if response.status == 200 else f"status {response.status}", worker))
    return answers


@pytest.mark.parametrize("store", SHARED)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.slow
def test_each_user_is_served_as_that_user(
    server: str, store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Forty people are logged in, and read at the same time: no foreign answer, and no error."""
    url = store_url(store, request, tmp_path)
    names = [f"user{number}" for number in range(USERS)]
    wrong: list[tuple[str, str]] = []
    workers: set[str] = set()

    with serving(server, url, tmp_path / "log") as port, ThreadPoolExecutor(16) as pool:
        for _ in range(20):  # on a busy machine one worker may have answered all before the others are there
            answers = list(pool.map(lambda name: _answers_of(port, name), names))
            wrong = [
                (name, text) for name, texts in zip(names, answers, strict=True) for text, _ in texts if text != name
            ]
            workers = {worker for texts in answers for _, worker in texts}
            if wrong or len(workers) > 1:
                break

    assert wrong == [], (tmp_path / "log").read_text()[-3000:]
    assert len(workers) > 1
