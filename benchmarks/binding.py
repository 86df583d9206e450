"""What a binding to the device costs: a bound request beside an unbound one, a registration and a refresh.

    python benchmarks/binding.py

On both engines, in microseconds of the processor: `measure()` returns the medians. Requests are opened and committed without a
framework, interleaved; a refresh is answered by `device_answer`, with the signature of a P-256 key, which this process has seen
before, or has not. "a signature's check" is the part of a refresh that is not ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec

from hardtack import CookieEngine, EndedSessions, Key, SessionManager, StoreEngine
from hardtack.adapters import device_answer
from hardtack.binding import DeviceBinding
from hardtack.binding.jwk import DeviceKey, forget_keys
from hardtack.binding.jwt import parse
from hardtack.stores.memory import MemoryStore
from hardtack.testing.dbsc import make_jwt

ROUNDS = 40
REQUESTS = 50
TARGETS = {
    "a bound request, more than an unbound one": 8.0,
    "a refresh": 150.0,
    "a refresh by a key that was not kept": 150.0,
}

Work = Callable[[], object]


def manager(engine: str) -> SessionManager:
    """A manager that binds."""
    key = Key.generate()
    if engine == "store":
        return SessionManager(StoreEngine(MemoryStore(), seal=key), binding=DeviceBinding())
    return SessionManager(CookieEngine(key), ended=EndedSessions.from_url("memory://"), binding=DeviceBinding())


def log_in(sessions: SessionManager) -> tuple[str, str]:
    """The Cookie header of a new session, and the challenge of its offer."""
    session = sessions.open()
    session.update({"theme": "dark", "cart": [{"sku": "A-1", "count": 2}]})
    session.login("alice")
    changes = sessions.commit(session)
    return changes.set_cookies[0].partition(";")[0], dict(changes.headers)["Secure-Session-Registration"].split('"')[3]


def post(sessions: SessionManager, path: str, headers: dict[str, str]) -> dict[str, str]:
    """The cookies that an endpoint sets, and its challenge under the name ""."""
    answer = device_answer(sessions, "POST", f"/hardtack/session/{path}", "", headers.get)
    assert answer is not None
    assert answer.status == 200, answer
    pairs = [value.partition(";")[0].partition("=") for name, value in answer.headers if name == "Set-Cookie"]
    challenge = next(value for name, value in answer.headers if name == "Secure-Session-Challenge")
    return {**{name: value for name, _, value in pairs}, "": challenge}


def works(engine: str) -> dict[str, Work]:
    """What is measured, by name."""
    sessions = manager(engine)
    unbound, _ = log_in(sessions)
    cookie, challenge = log_in(sessions)
    key = ec.generate_private_key(ec.SECP256R1())
    token = make_jwt(key, challenge, registers=True)
    registration = {"cookie": cookie, "secure-session-response": token}
    given = post(sessions, "start", registration)
    jar = dict([pair.split("=", 1) for pair in cookie.split("; ")]) | {name: given[name] for name in given if name}
    session = sessions.open("; ".join(f"{name}={value}" for name, value in jar.items()))
    assert session.binding == "bound"
    for line in sessions.commit(session).set_cookies:
        name, _, value = line.partition(";")[0].partition("=")
        jar[name] = value
    bound = "; ".join(f"{name}={value}" for name, value in jar.items() if "-key-" not in name)
    identifier = given[""].split('id="')[1].rstrip('"')
    proof = make_jwt(key, given[""].split('"')[1])
    refresh = {"cookie": bound, "sec-secure-session-id": identifier, "secure-session-response": proof}

    parsed = parse(token)
    verified = DeviceKey.from_jwk(parsed.jwk)

    def visit(header: str, status: str) -> Work:
        def work() -> object:
            session = sessions.open(header)
            assert session["theme"] == "dark"
            return sessions.commit(session)

        checked = sessions.open(header)
        assert checked.binding == status
        return work

    def refresh_anew() -> object:
        forget_keys()
        return post(sessions, "refresh", refresh)

    return {
        "an unbound request": visit(unbound, "unbound"),
        "a bound request": visit(bound, "bound"),
        "a signature's check": lambda: verified.verifies(parsed.signature, parsed.signed),
        "a refresh": lambda: post(sessions, "refresh", refresh),
        "a refresh by a key that was not kept": refresh_anew,
    }


def measure(engine: str) -> dict[str, float]:
    """The medians in microseconds, by name."""
    chosen = works(engine)
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(ROUNDS):
        for name, work in chosen.items():
            began = time.process_time()
            for _ in range(REQUESTS):
                work()
            times[name].append((time.process_time() - began) / REQUESTS * 1e6)
    found = {name: median(each) for name, each in times.items()}
    differences = [
        bound - plain for bound, plain in zip(times["a bound request"], times["an unbound request"], strict=True)
    ]
    return {**found, "a bound request, more than an unbound one": median(differences)}


if __name__ == "__main__":
    for engine in ("store", "cookie"):
        for name, value in measure(engine).items():
            target = f" (at most {TARGETS[name]:g})" if name in TARGETS else ""
            print(f"{engine}: {name}: {value:.1f} µs{target}")
