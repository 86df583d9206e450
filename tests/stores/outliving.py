"""A parent that closes its SQLite file while a child that it forked still writes to it.

    python -m tests.stores.outliving FILE python|c

Ends with 0 where the child has written before and after, and still read what was there before it was forked.
"""

from __future__ import annotations

import ctypes
import os
import sys

from tests.kit import fork

from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing.stores import create


def main(path: str, kind: str) -> int:
    """Fork, let both write, close in the parent, let the child write once more; the child's exit code."""
    store = SQLiteStore(path)
    create(store, "before")
    (to_child, from_parent), (to_parent, from_child) = os.pipe(), os.pipe()
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
    create(store, "parent")
    store.close()
    os.write(from_parent, b"x")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
