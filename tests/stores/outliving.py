"""A parent that closes its SQLite file while a child that it forked still writes to it.

    python -m tests.stores.outliving FILE python|c|pause|step

With `pause` and `step` another thread of the parent sweeps when it forks, and is between two steps, or in the middle of one.
Ends with 0 where the child has written before and after, and still read what was there before it was forked.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.kit import fork

from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing.stores import create


def sweeping(store: Any, kind: str) -> Callable[[], None]:
    """Have a thread sweep until it is there; what lets it go on, to the end."""
    for number in range(50):
        store.put(f"{number}", b"", expires_at=1, if_version=None, subject=None)
    there, goes_on = threading.Event(), threading.Event()
    save = store._save

    def in_a_step(*arguments: Any) -> Any:
        if not there.is_set():
            with store._connection():
                there.set()
                time.sleep(0.2)
        return save(*arguments)

    def in_a_pause(*_: int) -> None:
        there.set()
        goes_on.wait(60)

    if kind == "step":
        store._save = in_a_step
    sweep = threading.Thread(target=store.sweep, args=(time.time(), in_a_pause), daemon=True)
    sweep.start()
    there.wait(60)

    def finish() -> None:
        goes_on.set()
        sweep.join(60)

    return finish


def main(path: str, kind: str) -> int:
    """Fork, let both write, close in the parent, let the child write once more; the child's exit code."""
    store = SQLiteStore(path)
    create(store, "before")
    (to_child, from_parent), (to_parent, from_child) = os.pipe(), os.pipe()
    finish = sweeping(store, kind) if kind in ("pause", "step") else None
    child = fork(ctypes.PyDLL(None).fork if kind == "c" else os.fork)
    if child == 0:
        code = 1
        try:
            create(store, "first")
            os.write(from_child, b"x")
            os.read(to_child, 1)
            create(store, "second")
            code = 0 if store.get("before") is not None else 2
        finally:
            os._exit(code)
    os.close(from_child)
    os.read(to_parent, 1)
    if finish is not None:
        finish()
    create(store, "parent")
    store.close()
    os.write(from_parent, b"x")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
