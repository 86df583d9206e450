"""Reading other systems' cookies in Python, against their own implementations: payload M, one interleaved run.

    python -m benchmarks.web_cookies

Each implementation runs in a process of its own, and times itself; rounds of all take turns. Both read the same cookie,
and derive no key that they can keep: a site derives its keys once. What is not installed is named and left out.
The extra `fast` and `make speedups` change what is measured: the first line says what there is. Session::Storage::Secure is
measured by `benchmarks.perl`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.web_originals import APP_KEY, KEY_BASE, SECRET, Theirs
from hardtack.foreign import base, php
from hardtack.foreign.authjs import AuthjsCookie, NextAuthCookie
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.express import CookieSessionCookie, KoaSessionCookie
from hardtack.foreign.fastify import FastifyCookie
from hardtack.foreign.gorilla import GorillaCookie
from hardtack.foreign.hono import HonoCookie
from hardtack.foreign.iron import H3Cookie, HapiCookie, IronSessionCookie
from hardtack.foreign.laravel import LaravelCookie
from hardtack.foreign.mojolicious import MojoliciousCookie
from hardtack.foreign.rack import RackHmacCookie
from hardtack.foreign.rails import RailsCookie
from hardtack.foreign.remix import RemixCookie
from hardtack.protocols import Context
from hardtack.record import Record

HERE = Path(__file__).parent
UNTIL = 1 << 40
ROUNDS = 150
COUNT = 40
SLOW = {"h3": 2}  # 8,192 rounds for each of its two keys

SYSTEMS: dict[str, tuple[str, Callable[[], ForeignCookie]]] = {
    "cookie-session": ("node", lambda: CookieSessionCookie(SECRET, until=UNTIL)),
    "koa-session": ("node", lambda: KoaSessionCookie(SECRET)),
    "iron-session": ("node", lambda: IronSessionCookie(SECRET)),
    "hapi": ("node", lambda: HapiCookie(SECRET, ttl="1 hour")),
    "h3": ("node", lambda: H3Cookie(SECRET, max_age="1 hour")),
    "fastify": ("node", lambda: FastifyCookie(bytes([1]) * 32)),
    "authjs": ("node", lambda: AuthjsCookie(SECRET)),
    "nextauth": ("node", lambda: NextAuthCookie(SECRET)),
    "remix": ("node", lambda: RemixCookie(SECRET, until=UNTIL)),
    "hono": ("node", lambda: HonoCookie(SECRET, cookie_name="session", until=UNTIL)),
    "rack": ("ruby", lambda: RackHmacCookie(KEY_BASE, until=UNTIL)),
    "gorilla": ("go", lambda: GorillaCookie(SECRET, cookie_name="shop")),
    "rails": ("ruby", lambda: RailsCookie(KEY_BASE, digest="sha1", until=UNTIL)),
    "laravel": ("php", lambda: LaravelCookie(APP_KEY)),
    "mojolicious": ("perl", lambda: MojoliciousCookie(SECRET)),
}


def measure(system: str) -> dict[str, float]:
    """The microseconds that reading M takes, `theirs` and `ours`, in the fastest round: what else runs only adds to them.

    Raises `OSError` or `ValueError` where it cannot.
    """
    program, make = SYSTEMS[system]
    data: dict[str, Any] = json.loads((HERE / "payloads.json").read_text("utf-8"))["M"]
    cookie = make()
    now = int(time.time())
    context = Context(cookie.cookie_name, "", now)
    cookies = cookie.seal(Record(bytes(16), now, None, now, None, {}, data), context)
    request = {name: [value] for name, value in cookies.items()}
    count = SLOW.get(system, COUNT)
    theirs = Theirs(program)
    record = cookie.open(request, context)
    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    try:
        for _ in range(ROUNDS):
            taken, identifier = theirs.read(system, cookies, count)
            assert identifier == data["user_id"], system
            times["theirs"].append(taken * 1e6)
            begin = time.perf_counter()
            for _ in range(count):
                record = cookie.open(request, context)
            times["ours"].append((time.perf_counter() - begin) / count * 1e6)
            assert record.data["user_id"] == data["user_id"]
    finally:
        theirs.close()
    return {kind: min(taken) for kind, taken in times.items()}


def main() -> None:
    json_by = "Python" if base.find_orjson() is None else "orjson"
    php_by = "Python" if php.choose() is php.read_in_python else "hardtack-speedups"
    print(f"JSON is read by {json_by}, PHP's serialize by {php_by}.")
    for system, (program, _) in SYSTEMS.items():
        try:
            taken = measure(system)
        except (OSError, ValueError):
            print(f"{system}: {program}, or its library, is not installed")
            continue
        ratio = taken["ours"] / taken["theirs"]
        print(f"{system}: {program} {taken['theirs']:.1f} µs, hardtack {taken['ours']:.1f} µs: {ratio:.2f} of its time")


if __name__ == "__main__":
    main()
