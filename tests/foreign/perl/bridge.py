"""One Perl process for all tests of a run: it calls the real modules, and thousands of examples go through it."""

from __future__ import annotations

import atexit
import functools
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

from tests.needs import find_program


@functools.cache
def _process() -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("bridge.pl")
    process = subprocess.Popen([find_program("perl"), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(_close, process)
    return process


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


class PerlError(Exception):
    """What the Perl module died of."""


def call(op: str, **arguments: Any) -> Any:
    """The result of one operation of bridge.pl; `PerlError` where Perl died."""
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        raise PerlError(answer["error"])
    return answer["result"]


def tag(value: Any) -> list[Any]:
    """A value as bridge.pl takes it."""
    if value is None:
        return ["u", None]
    if isinstance(value, bool):
        return ["b", value]
    if isinstance(value, int):
        return ["i", str(value)]
    if isinstance(value, float):
        return ["n", struct.pack("<d", value).hex()]
    if isinstance(value, str):
        return ["s", value]
    if isinstance(value, list):
        return ["a", [tag(item) for item in value]]
    return ["h", {key: tag(item) for key, item in value.items()}]


def untag(tagged: list[Any]) -> Any:
    """A value that bridge.pl returned."""
    kind, value = tagged
    if kind == "i":
        return int(value)
    if kind == "n":
        return struct.unpack("<d", bytes.fromhex(value))[0]
    if kind == "a":
        return [untag(item) for item in value]
    if kind == "h":
        return {key: untag(item) for key, item in value.items()}
    assert kind != "x", value
    return value
