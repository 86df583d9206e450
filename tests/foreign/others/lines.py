"""A program that answers a line with a line: Ruby, PHP and Erlang behind one process each, for all tests of a run."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


class OtherError(Exception):
    """What the other language answered instead of a result."""


def require(program: str, *check: str) -> None:
    """Skip the test where the program, or a library of its, is missing; under CI it fails."""
    path = shutil.which(program)
    if path is None or not _works(path, *check):
        message = f"{program} is not installed" if path is None else f"{program} lacks a library: {' '.join(check)}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


@functools.cache
def _works(path: str, *check: str) -> bool:
    return not check or subprocess.run([path, *check], capture_output=True, check=False).returncode == 0


@functools.cache
def _process(*command: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_close, process)
    return process


def _close(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def ask(line: str, *command: str) -> str:
    """The line that the program answers."""
    process = _process(*command)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def call(command: tuple[str, ...], **request: Any) -> Any:
    """The result of one JSON request; `OtherError` where there was none."""
    answer = json.loads(ask(json.dumps(request), *command))
    if "error" in answer:
        raise OtherError(answer["error"])
    return answer["result"]
