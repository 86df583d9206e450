"""Counts the instructions of whole requests, which come out the same on a busy machine: hardtack beside its peers.

    python -m benchmarks.instructions              all parts, twice: the largest difference is told
    python -m benchmarks.instructions starlette    one part, once: starlette, flask, django, tokens or stores

What a request costs without any session is taken off. Of a store all is counted that its turn costs in this process, as
`benchmarks.stores` has it (of the async one ten turns), beside the raw calls and the peers: not what the server does, nor
the time on the way. A time has the caches and the branches of one processor in it, and a count has not: the ratios of both
are not the same, and a change for the better shows in either.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from benchmarks.callgrind import Counter, counts_of, missing

Cases = Iterable[tuple[str, Callable[[], object]]]


def starlette() -> Cases:
    """Requests under Starlette, as the benchmark of their times sends them."""
    from starlette.middleware import Middleware
    from starlette.middleware.sessions import SessionMiddleware as StarletteSessions

    from benchmarks.starlette_request import application, call
    from hardtack import CookieEngine, Key, SessionManager, StoreEngine
    from hardtack.frameworks.starlette import SessionMiddleware
    from hardtack.stores.memory import MemoryStore

    apps = {
        "none": application(),
        "starlette": application(Middleware(StarletteSessions, secret_key="benchmark secret of 32 characters")),
        "cookie": application(Middleware(SessionMiddleware, sessions=SessionManager(CookieEngine(Key.generate())))),
        "memory": application(Middleware(SessionMiddleware, sessions=SessionManager(StoreEngine(MemoryStore())))),
    }
    for name, app in apps.items():
        cookie = b"x=1"
        if name != "none":
            cookie = dict(at_once(call(app, "/fill", cookie)))[b"set-cookie"].partition(b";")[0]
        for kind in ("untouched", "read", "written"):
            yield f"{name} {kind}", lambda app=app, kind=kind, cookie=cookie: at_once(call(app, f"/{kind}", cookie))  # type: ignore[misc]


def at_once(coroutine: Any) -> Any:
    """What a coroutine returns that waits for nothing: an event loop would cost more than the session."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the request waits for something")


def flask() -> Cases:
    """Requests under Flask."""
    from flask.sessions import SecureCookieSessionInterface

    from benchmarks.flask_request import NoSessions, application, requester
    from hardtack import Cookie, Key, SessionManager
    from hardtack.frameworks.flask import SessionInterface

    interfaces = {
        "none": NoSessions(),
        "flask": SecureCookieSessionInterface(),
        "drop-in": SessionInterface(),
        "manager": SessionInterface(SessionManager(Key.generate(), cookie=Cookie.for_development())),
    }
    for name, interface in interfaces.items():
        app = application(interface)
        yield f"{name} read", requester(app, "/read")
        yield f"{name} written", requester(app, "/write")


def django() -> Cases:
    """Requests under Django."""
    from benchmarks.django_request import read, requester, set_up, write

    set_up()
    for name in ("none", "django", "hardtack", "middleware"):
        yield f"{name} read", requester(name, read)
        yield f"{name} written", requester(name, write)


def tokens() -> Cases:
    """Sealing and opening M, beside the C calls that this cannot do without."""
    from benchmarks.interleave import PAYLOADS
    from benchmarks.tokens import floor, ours
    from hardtack import EncryptedToken, Key

    data = PAYLOADS["M"]
    for name, (seal, open_, _) in {
        "floor": floor(data),
        "hardtack": ours(EncryptedToken(Key.generate()), data),
    }.items():
        yield f"{name} seal", seal
        yield f"{name} open", open_


def stores() -> Cases:
    """Opening and saving M in a store, beside the raw calls and the peers on the same server."""
    import asyncio
    import tempfile
    from pathlib import Path

    from tests.servers import MemcachedServer, RedisServer

    from benchmarks import stores as measured

    with tempfile.TemporaryDirectory() as name, measured.servers([]) as started:
        found = {"SQLiteStore": measured.sqlite_calls(Path(name))}
        if server := started.get(RedisServer):
            found["RedisStore"] = measured.redis_calls(measured.redis_client(server))
        if server := started.get(MemcachedServer):
            found["MemcachedStore"] = measured.memcached_calls(measured.memcached_client(server))
        for store, calls in found.items():
            for who, call in calls.items():
                yield f"{store} {who}", call
        if server := started.get(RedisServer):
            with asyncio.Runner() as runner:
                turns = runner.run(measured.async_turns(measured.async_redis_client(server)))

                async def ten(turn: Callable[[], Awaitable[object]]) -> None:  # else the event loop is what is counted
                    for _ in range(10):
                        await turn()

                for who, turn in turns.items():
                    yield f"AsyncRedisStore {who}", lambda turn=turn: runner.run(ten(turn))  # type: ignore[misc]


GROUPS: dict[str, Callable[[], Cases]] = {
    "starlette": starlette,
    "flask": flask,
    "django": django,
    "tokens": tokens,
    "stores": stores,
}
TARGETS = {
    "cookie untouched": 0.09,
    "cookie read": 0.55,
    "cookie written": 0.48,
    "manager read": 0.19,
    "manager written": 0.15,
    "middleware read": 0.4,
    "middleware written": 0.28,
    "hardtack seal + open": 1.45,
}


def rows(group: str, counted: dict[str, float]) -> list[tuple[str, float, float, float]]:
    """Of each of hardtack's: its name, what it adds, what the framework's own sessions add, and the ratio."""
    if group == "tokens":
        counted |= {
            f"{name} seal + open": counted[f"{name} seal"] + counted[f"{name} open"] for name in ("floor", "hardtack")
        }
        named = [("hardtack seal + open", counted["hardtack seal + open"], counted["floor seal + open"])]
    elif group == "stores":
        named = []
        for name, count in counted.items():
            store, _, who = name.partition(" ")
            if who != "hardtack":
                named.append((f"{store}, {who}", counted[f"{store} hardtack"], count))
    else:
        named = []
        for name, count in counted.items():
            variant, _, kind = name.partition(" ")
            if variant not in ("none", group):
                base = counted[f"none {kind}"]
                named.append((name, count - base, counted[f"{group} {kind}"] - base))
    return [(name, ours, theirs, ours / theirs) for name, ours, theirs in named]


def spread(one: dict[str, float], other: dict[str, float]) -> float:
    """The largest difference between two runs, as a part of the count."""
    return max(abs(one[name] - other[name]) / one[name] for name in one)


def main(arguments: list[str]) -> int:
    """Print what was counted."""
    reason = missing()
    if reason:
        print(f"Instructions are not counted: {reason}")
        return 0
    if arguments[:1] == ["--count"]:
        counter = Counter()
        for name, function in GROUPS[arguments[1]]():
            counter.count(name, function)
        return 0
    largest = 0.0
    print(f"{'instructions':40}{'adds':>10}{'own adds':>10}{'ratio':>7}{'target':>8}")
    for group in arguments or GROUPS:
        counted = counts_of("benchmarks.instructions", "--count", group)
        if not arguments:
            largest = max(largest, spread(counted, counts_of("benchmarks.instructions", "--count", group)))
        for name, ours, theirs, ratio in rows(group, counted):
            target = TARGETS.get(name)
            told = "" if target is None else f"{target:8.2f} {'yes' if ratio <= target else 'NO'}"
            print(f"{f'{group}: {name}':40}{ours:10.0f}{theirs:10.0f}{ratio:7.2f}{told}")
    if not arguments:
        print(f"\nThe largest difference between two runs was {100 * largest:.2f} % of a count.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
