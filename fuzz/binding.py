"""Fuzz what a browser sends for a binding with atheris: `python fuzz/binding.py --runs 1000000`.

Whatever stands in the headers of a registration or a proof, in the cookies beside it, or in the JWT itself: it is refused with
a 4xx, sets no cookie, and raises nothing; and a page is served to nobody by it.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import atheris
from cryptography.hazmat.primitives.asymmetric import ec
from runner import run

with atheris.instrument_imports(include=["hardtack.binding"]):
    from hardtack.binding import DeviceBinding, endpoints, jwk, jwt, tokens

from hardtack import Key, SessionManager, StoreEngine, values
from hardtack.adapters import device_answer
from hardtack.events import ProofFailed
from hardtack.stores.memory import MemoryStore
from hardtack.testing.dbsc import make_jwt

logging.getLogger("hardtack").setLevel(logging.CRITICAL)  # each input is refused, and told

SECONDS = 1.0
NOW = 1_800_000_000

assert endpoints
assert jwk
assert jwt
assert tokens

outcomes: Counter[str] = Counter()
reasons: list[str] = []
"""Why the endpoint refused."""

slowest = 0.0

sessions = SessionManager(
    StoreEngine(MemoryStore(), seal=Key(bytes(range(32)))),
    binding=DeviceBinding(),
    clock=lambda: NOW,
    on_event=lambda event: reasons.append(event.reason) if isinstance(event, ProofFailed) else None,
)


def logged_in() -> tuple[str, str]:
    """The Cookie header of a session that may be bound, and the challenge of its offer."""
    session = sessions.open()
    session.login("alice")
    changes = sessions.commit(session)
    return changes.set_cookies[0].partition(";")[0], dict(changes.headers)["Secure-Session-Registration"].split('"')[3]


COOKIE, CHALLENGE = logged_in()
KEY = ec.derive_private_key(7, ec.SECP256R1())


def parts_of(jwt: str) -> list[Any]:
    """The head and the claims of a JWT."""
    return [json.loads(values.decode_bytes(each)) for each in jwt.split(".")[:2]]


HEAD, _ = parts_of(make_jwt(KEY, CHALLENGE, registers=True))


def bound() -> tuple[str, str, str]:
    """The Cookie header of a bound session, the binding's id, and a challenge for it."""
    cookie, challenge = logged_in()
    token = make_jwt(KEY, challenge, registers=True)
    headers = {"cookie": cookie, "secure-session-response": token}
    answer = device_answer(sessions, "POST", "/hardtack/session/start", "", headers.get)
    assert answer is not None
    pairs = [value.partition(";")[0] for name, value in answer.headers if name == "Set-Cookie"]
    session = sessions.open("; ".join([cookie, *pairs]))
    assert session.binding == "bound"
    (line, *_) = sessions.commit(session).set_cookies
    said = next(value for name, value in answer.headers if name == "Secure-Session-Challenge").split('"')
    return line.partition(";")[0], said[3], said[1]


BOUND, BINDING, AGAIN = bound()


def part(provider: Any, good: dict[str, Any]) -> str:
    """A part of a JWT: base64url of a good one, of one that was written over, or of anything; or no base64url."""
    choice = provider.ConsumeIntInRange(0, 3)
    text = json.dumps(good).encode()
    if choice == 0:
        return values.encode_bytes(text)
    junk = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 400))
    if choice == 1:
        position = provider.ConsumeIntInRange(0, len(text))
        return values.encode_bytes(text[:position] + junk + text[position + len(junk) :])
    return values.encode_bytes(junk) if choice == 2 else junk.decode("latin-1")


def token(provider: Any) -> str:
    """A JWT, or anything."""
    if provider.ConsumeIntInRange(0, 7) == 0:
        return str(provider.ConsumeUnicode(5000))
    signature = values.encode_bytes(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 80)))
    challenge = provider.PickValueInList([CHALLENGE, AGAIN])
    return f"{part(provider, HEAD)}.{part(provider, {'jti': challenge})}.{signature}"


def test_one_input(raw: bytes) -> None:
    """One request to an endpoint, and one to a page with the same cookies."""
    global slowest
    provider = atheris.FuzzedDataProvider(raw)
    starts = provider.ConsumeBool()
    junk = provider.ConsumeUnicode(60)
    name = "__Host-session-bound-AAAAAAAA" if provider.ConsumeBool() else "__Host-session-key-AAAAAAAA"
    is_bound = provider.ConsumeBool()
    headers = {
        "cookie": f"{BOUND if is_bound else COOKIE}; {name}={junk}",
        "secure-session-response": token(provider),
        "sec-secure-session-id": provider.PickValueInList([BINDING, "A" * 22, provider.ConsumeUnicode(30)]),
    }
    began = time.process_time()
    path = f"/hardtack/session/{'start' if starts else 'refresh'}"
    answer = device_answer(sessions, "POST", path, "", headers.get)
    told = reasons.copy()
    session = sessions.open(headers["cookie"])
    assert session.binding == ("unproven" if is_bound else "unbound")
    assert session.subject == (None if is_bound else "alice")
    slowest = max(slowest, time.process_time() - began)
    assert answer is not None
    lines = [value for header, value in answer.headers if header == "Set-Cookie"]
    assert not [line for line in lines if "Max-Age=0" not in line], "a cookie was set"
    assert answer.status in (200, 400, 403), answer.status
    assert answer.status != 200 or b'"continue":false' in answer.body
    outcomes[f"{answer.status} {'start' if starts else 'refresh'}: {told[0] if told else 'no failure'}"] += 1
    reasons.clear()
    assert slowest <= SECONDS, f"{slowest} seconds for an input of {len(raw)}"


def seeds(directory: Path) -> None:
    """A few inputs of different lengths."""
    for length in (1, 40, 400, 4000):
        (directory / str(length)).write_bytes(bytes(range(256)) * (length // 256 + 1))


def figures(done: int) -> str:
    """What is printed at the end."""
    return f"{done} inputs: {dict(outcomes.most_common())}; slowest: {slowest * 1000:.1f} ms"


if __name__ == "__main__":
    run(__doc__, test_one_input, seeds, figures, max_len=6000)
