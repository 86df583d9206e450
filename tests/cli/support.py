"""The demo for tests: as an application under a test client, and as the real command in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

from hardtack import EndedSessions
from hardtack.cli.demo.app import create_app
from hardtack.cli.demo.state import Demo

ORIGIN = {"Origin": "http://testserver"}


@contextmanager
def demo_client(store: Any = None, ended: EndedSessions | None = None) -> Iterator[TestClient]:
    """A browser without scripts in front of a demo; its forms come from the demo's own pages."""
    with TestClient(create_app(store, ended), headers=ORIGIN) as client:
        yield client


def demo_behind(client: TestClient) -> Demo:
    """The demo that a client talks to."""
    demo: Demo = client.app.state.demo  # type: ignore[attr-defined]
    return demo


def another_browser(client: TestClient) -> TestClient:
    """A client of the same demo with no cookies."""
    return TestClient(client.app, headers=ORIGIN)


@contextmanager
def demo_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`hardtack demo` in a process of its own, and the address that it prints."""
    command = [sys.executable, "-m", "hardtack", "demo", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        printed = process.stdout.readline()
        found = re.fullmatch(r"hardtack demo: (http://\S+/)\n", printed)
        assert found, f"the demo printed {printed!r}"
        yield process, found[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()
