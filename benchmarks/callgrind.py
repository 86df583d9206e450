"""What a program under callgrind asks of it: to count the instructions of a function, and to write them down by name.

Valgrind's client requests are a few instructions that do nothing, and that no compiler writes: valgrind knows them, and a
processor runs through them. They are put together here, so that a measurement needs no compiler.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_CALLGRIND: Final = ord("C") << 24 | ord("T") << 16
_ZERO, _DUMP_AT, _START, _STOP = _CALLGRIND + 1, _CALLGRIND + 3, _CALLGRIND + 4, _CALLGRIND + 5

# Of valgrind.h: the function takes the address of the request and its arguments, and returns what valgrind answers, else 0.
_CODE: Final = {
    "x86_64": bytes.fromhex(
        "4889f8"  # mov rax, rdi
        "31d2"  # xor edx, edx
        "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi by 3, 13, 61 and 51: 128 in all, as it was
        "4887db"  # xchg rbx, rbx
        "4889d0"  # mov rax, rdx
        "c3"
    ),
    "aarch64": bytes.fromhex(
        "e40300aa"  # mov x4, x0
        "030080d2"  # mov x3, 0
        "8c0dcc93 8c35cc93 8ccdcc93 8cf5cc93"  # ror x12 by 3, 13, 51 and 61: 128 in all
        "4a010aaa"  # orr x10, x10, x10
        "e00303aa"  # mov x0, x3
        "c0035fd6"
    ),
}
"""By the machine."""

WARM_UP: Final = 30
"""Calls before one is counted: the interpreter specializes what runs often, and caches fill."""


class Counter:
    """Counts, in a process that runs under callgrind."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_CODE[platform.machine()])
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call: Any = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(address)

    def _ask(self, request: int, argument: int = 0) -> None:
        arguments = (ctypes.c_ulong * 6)(request, argument)
        self._call(ctypes.addressof(arguments))

    def count(self, name: str, function: Callable[[], object], calls: int = 20) -> None:
        """Write down, under a name, what this many calls take, once it is warm. The garbage collector does not run."""
        for _ in range(WARM_UP):
            function()
        text = ctypes.create_string_buffer(name.encode())
        gc.collect()
        gc.disable()
        self._ask(_START)
        function()
        self._ask(_ZERO)
        for _ in range(calls):
            function()
        self._ask(_DUMP_AT, ctypes.addressof(text))
        self._ask(_STOP)
        gc.enable()


def missing() -> str:
    """Why nothing can be counted here; empty where it can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed: apt-get install valgrind (make bench does)"
    if platform.machine() not in _CODE:
        return f"how to ask callgrind on {platform.machine()} is not known here"
    return ""


def counts_of(module: str, *arguments: str, calls: int = 20) -> dict[str, float]:
    """The instructions of one call, by the names under which a module, run under callgrind, has counted."""
    with tempfile.TemporaryDirectory(prefix="hardtack-callgrind-") as directory:
        out = Path(directory) / "out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", "--quiet"]
        result = subprocess.run(
            [*command, sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode:
            raise RuntimeError(result.stderr[-3000:])
        counted = {}
        for path in sorted(
            Path(directory).iterdir(), key=lambda path: (len(path.name), path.name)
        ):  # as they were made
            found = re.search(r"Client Request: (.+)\n(?s:.*)\ntotals: (\d+)", path.read_text())
            if found is not None:
                counted[found[1]] = int(found[2]) / calls
        return counted
