"""Sessions in several cookies, `NAME.0`, `NAME.1` …, as Auth.js and h3 have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hardtack.errors import InvalidToken, UnsupportedValue

MAX_CHUNKS = 10


def numbered(cookies: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """The names `NAME.0`, `NAME.1` … that a request has, in the order of their numbers: one more than is read at most.

    Not every name that begins alike: a cookie that somebody else can set beside ours is no chunk of it. Nor any number of
    them: each is cleared with a line of its own, and a proxy takes no answer with a hundred.
    """
    found = [(int(tail), each) for each in cookies if (tail := _chunk_number(each, name)) is not None]
    return [each for _, each in sorted(found)[: MAX_CHUNKS + 1]]


def _chunk_number(each: str, name: str) -> str | None:
    prefix, separator, tail = each.rpartition(".")
    good = (
        prefix == name and separator and tail.isascii() and tail.isdigit() and len(tail) <= 2 and str(int(tail)) == tail
    )
    return tail if good else None


def join_chunks(cookies: Mapping[str, Sequence[str]], names: Sequence[str], first: int, max_length: int) -> str:
    """The text of chunks that are numbered from `first`; raises `InvalidToken`."""
    if len(names) > MAX_CHUNKS:
        raise InvalidToken("too_large", f"more than {MAX_CHUNKS} chunks")
    if any(int(name.rpartition(".")[2]) != first + index or name not in cookies for index, name in enumerate(names)):
        raise InvalidToken("incomplete", "a chunk is missing")
    chunks = [cookies[name][-1] for name in names]
    if any(len(chunk) > max_length for chunk in chunks):
        raise InvalidToken("too_large", f"a chunk of more than {max_length} characters")
    return "".join(chunks)


def split_chunks(value: str, size: int) -> list[str]:
    """Chunks of at most `size` characters. Raises `UnsupportedValue` where there would be too many."""
    chunks = [value[start : start + size] for start in range(0, len(value), size)]
    if len(chunks) > MAX_CHUNKS:
        raise UnsupportedValue("(root)", "dict", f"it takes more than {MAX_CHUNKS} cookies of {size} characters")
    return chunks
