"""Whatever bytes stand in a Cookie header, `open` and `commit` return: atheris, `-runs=N` as many times."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["hardtack"]):
    from hardtack import CookieEngine, EncryptedToken, Key, SessionManager, SignedToken, StoreEngine
    from hardtack.stores.memory import MemoryStore

import logging

logging.getLogger("hardtack").setLevel(logging.CRITICAL)

KEY = Key(bytes(range(32)))
MANAGERS = [
    SessionManager(CookieEngine(EncryptedToken(KEY), overflow="chunk"), idle_timeout=600),
    SessionManager(CookieEngine(SignedToken(KEY))),
    SessionManager(StoreEngine(MemoryStore())),
]


def sealed(sessions: SessionManager, data: dict[str, object]) -> bytes:
    session = sessions.open()
    session.update(data)
    return "; ".join(line.partition(";")[0] for line in sessions.commit(session).set_cookies).encode()


GOOD = [[sealed(sessions, data) for data in ({"a": 1}, {"b": ["x" * 300] * 20} if not index else {"c": 2})]
        for index, sessions in enumerate(MANAGERS)]  # fmt: skip


def check(raw: bytes) -> None:
    """Open junk, junk beside a good cookie, and a good cookie in which the junk is written over some bytes."""
    provider = atheris.FuzzedDataProvider(raw)
    index = provider.ConsumeIntInRange(0, len(MANAGERS) - 1)
    sessions = MANAGERS[index]
    good = GOOD[index][provider.ConsumeIntInRange(0, 1)]
    mode = provider.ConsumeIntInRange(0, 3)
    position = provider.ConsumeIntInRange(0, len(good))
    junk = provider.ConsumeBytes(len(raw))
    header = {
        0: junk,
        1: junk + b"; " + good,
        2: good[:position] + junk + good[position + len(junk) :],
        3: b"__Host-session=" + junk,
    }[mode]

    session = sessions.open(header)
    session.get("a")
    assert sessions.commit(session) is not None
    sessions.finish(session)


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
