"""Fuzz the readers of other languages' cookies with atheris: `python fuzz/web_cookies.py --runs 1000000`.

Whatever stands in a cookie, or in the document inside an authentic one: it is read as plain data, or it is an
`InvalidToken`; nothing else is ever raised, no object comes out, and nothing makes a reader allocate more than a fixed
bound, or take longer than a second of the processor. `--reader NAME` tries one of them alone; `--list` names them.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris
from runner import run

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["hardtack.foreign"]):
    from tests.foreign.web_formats import FORMATS, SECRET, app_key

    from hardtack.foreign import etf, php
    from hardtack.foreign._text import read_javascript
    from hardtack.foreign.base import ForeignCookie, parse_json
    from hardtack.foreign.laravel import LaravelIdCookie, read_laravel_data

from hardtack import values
from hardtack.errors import InvalidToken
from hardtack.protocols import Context
from hardtack.record import Record

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"
ALLOCATION = 16 << 20
SECONDS = 1.0
NOW = 1_800_000_000
PLAIN = {type(None), bool, int, float, str, bytes}

outcomes: Counter[str] = Counter()
highest = 0
slowest = 0.0

# The iterations of h3 2 make 400 inputs a second; those of h3 1 take the same way through the code.
CHOSEN = [each for each in FORMATS if each.name != "h3"]
COOKIES: list[ForeignCookie] = [each.cookie for each in CHOSEN]
GOOD = [
    cookie.seal(Record(bytes(16), NOW, None, NOW, None, {}, each.sample), Context(cookie.cookie_name, "", NOW))
    for cookie, each in zip(COOKIES, CHOSEN, strict=True)
]
STORED = LaravelIdCookie(app_key(SECRET), load=str, until=NOW)
READERS: dict[str, Callable[[bytes], Any]] = {
    "etf": lambda raw: etf.read(b"\x83" + raw),
    "php": php.read,
    "laravel-record": read_laravel_data,
    "json": parse_json,
    "javascript": read_javascript,
    "phoenix-token": lambda raw: etf.read_token(b"\x83" + raw)[0],
    "laravel-stored": STORED._stored,
}
DOCUMENTS = list(READERS.values())
DOCUMENT_NAMES = list(READERS)
COOKIE_NAMES = [each.name for each in CHOSEN]
only: int | None = None


def chosen(provider: Any, count: int) -> int:
    """The number of a reader: one that the input names, or the one that the command does."""
    named: int = provider.ConsumeIntInRange(0, count - 1)
    return named if only is None else only


def choose(name: str) -> None:
    """Try this reader alone."""
    global only, kinds
    names = DOCUMENT_NAMES if name in DOCUMENT_NAMES else COOKIE_NAMES
    kinds = [read_document if names is DOCUMENT_NAMES else read_cookie]
    only = names.index(name)


def check_plain(value: object) -> int:
    """How many items there are, all of exactly the plain types."""
    if type(value) is dict:
        assert all(type(key) is str for key in value)
        return 1 + sum(map(check_plain, value.values()))
    if type(value) is list:
        return 1 + sum(map(check_plain, value))
    assert type(value) in PLAIN, type(value)
    return 1


def read_document(provider: Any) -> object:
    read = DOCUMENTS[chosen(provider, len(DOCUMENTS))]
    return read(provider.ConsumeBytes(1 << 16))


def read_cookie(provider: Any) -> object:
    """Junk in a cookie, or written over some of a good one's characters."""
    index = chosen(provider, len(COOKIES))
    cookies = dict(GOOD[index])
    name = list(cookies)[provider.ConsumeIntInRange(0, len(cookies) - 1)]
    position = provider.ConsumeIntInRange(0, len(cookies[name]))
    whole = provider.ConsumeBool()
    junk = provider.ConsumeUnicode(9000)
    cookies[name] = junk if whole else cookies[name][:position] + junk + cookies[name][position + len(junk) :]
    record = COOKIES[index].open(
        {each: [value] for each, value in cookies.items()}, Context(COOKIES[index].cookie_name, "", NOW)
    )
    values.unpack(values.pack(record.data))
    return record.data


kinds = [read_cookie, read_document]


def test_one_input(raw: bytes) -> None:
    """The first byte chooses between documents and cookies, and the next ones which."""
    global highest, slowest
    provider = atheris.FuzzedDataProvider(raw)
    read = kinds[provider.ConsumeBool() % len(kinds)]
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    began = time.process_time()
    try:
        data = read(provider)
    except InvalidToken as error:
        outcomes[error.reason] += 1
    else:
        outcomes["read"] += 1
        assert check_plain(data) <= 1 << 17
    slowest = max(slowest, time.process_time() - began)
    allocated = tracemalloc.get_traced_memory()[1] - before
    highest = max(highest, allocated)
    assert allocated <= ALLOCATION, f"{allocated} bytes for an input of {len(raw)}"
    assert slowest <= SECONDS, f"{slowest} seconds for an input of {len(raw)}"


def seeds(directory: Path) -> None:
    """Documents that the real systems made or could have made, so that the fuzzer starts from what is read."""
    documents = []
    for name in ("plug-1.2.json", "plug-2.1.json", "laravel.json"):
        for entry in json.loads((VECTORS / name).read_text("utf-8")):
            data = entry["data"]
            if entry["expect"] == "accept" and isinstance(data, dict):
                documents += [
                    etf.write(data)[1:],
                    b"\x68\x03"
                    + etf.write(data)[1:]
                    + b"".join(etf.write(number)[1:] for number in (NOW * 1000, 86400)),
                    php.write({**data, "big": 1, "empty": []}),
                    json.dumps(data).encode(),
                    base64.b64encode(php.write({**data, "big": 1})),
                ]
    for number, document in enumerate(documents):
        # A provider takes a truth value from the front of an input, and a number from its end.
        for choice in range(len(DOCUMENTS)):
            (directory / f"{number}-{choice}").write_bytes(b"\x01" + document + bytes((choice,)))


def figures(done: int) -> str:
    """What is printed at the end."""
    allocated = f"most allocated: {highest} bytes; slowest: {slowest * 1000:.1f} ms"
    return f"{done} inputs: {dict(outcomes.most_common())}; {allocated}"


if __name__ == "__main__":
    readers = [*DOCUMENT_NAMES, *COOKIE_NAMES]
    run(__doc__, test_one_input, seeds, figures, max_len=9000, readers=readers, choose=choose)
