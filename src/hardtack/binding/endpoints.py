"""The two endpoints of a binding: a browser registers its key, and proves it again and again.

Neither changes anything in the session: the answer may get lost. What they are asked is a method, a path below the
application's mount and headers; what they answer is a status, headers and a body.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hardtack import values
from hardtack.binding.answers import Asked, DeviceAnswer, Headers
from hardtack.binding.binding import OFFERED, Binding, Bond, bond_of
from hardtack.binding.jwk import DeviceKey
from hardtack.binding.jwt import parse
from hardtack.binding.offer import url
from hardtack.binding.open import late, under
from hardtack.binding.thumbprint import thumbprint_of
from hardtack.binding.tokens import binding_id, parse_id, short
from hardtack.cookies import as_text
from hardtack.errors import StoreUnavailable
from hardtack.events import Event, ProofFailed, Rejected
from hardtack.flow import Flow
from hardtack.lifecycle.listed import judge
from hardtack.lifetime import absolute_deadline
from hardtack.protocols import Held
from hardtack.state import State

if TYPE_CHECKING:
    from hardtack.core import Core
    from hardtack.record import Record

MAX_BODY: Final = 1024
"""Bytes of a body that is not looked at; browsers send none."""

CHALLENGE: Final = "Secure-Session-Challenge"
_FETCH: Final = ("origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user")
_GONE: Final = frozenset({"unknown_id", "expired"})
"""What is said of a session cookie that no server of ours will ever open again."""


def respond(core: Core, binding: Binding, asked: Asked) -> Flow[DeviceAnswer]:
    """The answer of the endpoint at `asked.path`, which begins with `binding.beginning`."""
    if asked.path not in (binding.start, binding.refresh):
        return _answer(404)
    if asked.method != "POST":
        return _answer(405, ("Allow", "POST"))
    if _has_body(asked.headers):
        return _answer(413, ("Connection", "close"))
    work = _Work(core, binding, asked)
    # A browser's own request has none of these, and a script's has: it must not bind a key of its own.
    if any(asked.headers(name) is not None for name in _FETCH):
        return work.failed(403, "script")
    try:
        return (yield from (work.start() if asked.path == binding.start else work.refresh()))
    except StoreUnavailable as error:
        core.store_failed("load", error, asked.request)
        return _answer(503, ("Retry-After", "5"))


class _Work:
    """One request in progress."""

    __slots__ = ("asked", "binding", "core", "header", "session_id", "state", "watch")

    watch: Any  # a `Policy`, whose other members are the state's

    def __init__(self, core: Core, binding: Binding, asked: Asked) -> None:
        self.core = core
        self.binding = binding
        self.asked = asked
        self.header = as_text(asked.headers("cookie"))
        self.session_id = b""
        self.state = State(core, self.header, asked.request)
        self.watch = _Watch(self.state)

    # --- the browser has made a key

    def start(self) -> Flow[DeviceAnswer]:
        """Check the key and its proof, and set the cookies. All 4xx end the registration, and nothing else."""
        binding, header = self.binding, self.header
        try:
            proof = parse(self.asked.headers("secure-session-response") or "")
            key = DeviceKey.from_jwk(proof.jwk)
        except ValueError:
            return self.failed(400, "malformed")
        if key.algorithm != proof.algorithm:
            return self.failed(400, "malformed")
        held, _ = yield from self._load()
        record = held.record
        if record is None:
            return self.failed(403, "unknown")
        self.session_id = record.id
        if "binding" in record.options or binding.is_registering(header, record.id):
            return self.failed(403, "bound")
        now = self.core.now()
        if record.authenticated is None or "actor" in record.options or now - record.authenticated > OFFERED + 60:
            return self.failed(403, "late")
        if not binding.tokens.answers_registration(proof.challenge, record.id, binding.now()):
            return self.failed(403, "challenge")
        if not key.verifies(proof.signature, proof.signed):
            return self.failed(403, "signature")
        thumbprint = key.thumbprint()
        return self.proved(Bond(thumbprint, binding_id(record.id, thumbprint), key.raw), record, sealed=False)

    # --- it proves the key again

    def refresh(self) -> Flow[DeviceAnswer]:
        """Ask for a proof, or check one. The binding ends only where the session is certainly another's, or over."""
        binding, headers = self.binding, self.asked.headers
        identifier = parse_id(headers("sec-secure-session-id"))
        if identifier is None:
            return self.failed(403, "malformed")
        held, known, late = yield from self._find(identifier)
        record = held.record
        if record is None:
            # A session that is not known to be over may open again: on another server, or with the next cookie.
            return self.over(identifier) if known else self.again(identifier, "unknown")
        self.session_id = record.id
        sealed = bond_of(record)
        bond = self._registered(identifier, record) if sealed is None else sealed
        if bond is None or bond.id != identifier:
            return self.over(identifier)
        response = headers("secure-session-response")
        if response is None:
            return self.again(identifier, "")
        try:
            key = DeviceKey.from_sealed(bond.key)
            proof = parse(response)
        except ValueError:
            return self.again(identifier, "malformed")
        answers = binding.tokens.answers_challenge(proof.challenge, identifier, binding.now())
        if not answers:  # one that was sent in advance, to a user who was away, is too old: that is everyday
            return self.again(identifier, "" if answers is None else "challenge")
        if proof.algorithm != key.algorithm or not key.verifies(proof.signature, proof.signed):
            return self.again(identifier, "signature")
        return self.proved(bond, record, sealed=sealed is not None, late=late)

    def _registered(self, identifier: bytes, record: Record) -> Bond | None:
        """The binding of a session that no request was bound by yet."""
        kept = self.binding.key_of(self.header, identifier)
        if kept is None or kept.session != short(record.id):
            return None
        return Bond(thumbprint_of(kept.key), identifier, kept.key)

    def _find(self, identifier: bytes) -> Flow[tuple[Held, bool, bool]]:
        """The session that a request brings; whether that is certain, also where it is none; whether it has another id now."""
        core, state = self.core, self.state
        held, former = yield from self._load()
        if held.record is not None or not held.names:
            return held, True, False
        context = core.context()
        found = yield from under(core, self.binding, state, identifier, former, context)
        if found is None:
            healed = yield from late(core, self.binding, state, held, former, context)
            found = None if healed is None else healed[0]
        if found is not None and found.record is not None:
            return found, True, True
        reasons = self.watch.reasons
        certain = held.dead is None and (former is not None or (bool(reasons) and reasons <= _GONE))
        return held, certain, False

    def _load(self) -> Flow[tuple[Held, Record | None]]:
        """What the engine opens and the list lets live, and what the engine has opened."""
        core = self.core
        held: Held = yield from core.engine.load(self.header, core.context(), self.watch)
        former = held.record
        if core.ended is not None and former is not None:
            held = yield from judge(core, self.state, held, core.context())
        return held, former

    # --- answers

    def proved(self, bond: Bond, record: Record, *, sealed: bool, late: bool = False) -> DeviceAnswer:
        """The key was proved. `sealed`: the session knows it; `late`: the browser does not know that session's id yet."""
        binding, core = self.binding, self.core
        now = binding.now()
        identifier, every = values.encode_bytes(bond.id), binding.device.every
        name, key_name = binding.names_of(identifier)
        bound = binding.tokens.bound(bond.id, bond.thumbprint, record.id, now)
        lines = [binding.cookie.set_cookie(name, bound, every, core.now())]
        if not sealed:
            kept = binding.tokens.key(bond.id, bond.key, record.id, now)
            left = None
            if record.options.get("persistent", core.settings.persistent):
                left = max(absolute_deadline(record, core.lifetime) - core.now(), 0)
            lines.append(binding.cookie.set_cookie(key_name, kept, left, core.now()))
        elif key_name in self.header and not late:
            lines.append(binding.cookie.clear_cookie(key_name))
        # Written out, for a browser asks often: an id and a cookie's name need no escapes.
        said = (
            f'{{"session_identifier":"{identifier}",'
            f'"refresh_url":{_json(url(self.asked.mount, binding.refresh))},'
            '"scope":{"include_site":false,"scope_specification":[]},'
            f'"credentials":[{{"type":"cookie","name":"{name}","attributes":{_json(binding.attributes)}}}]}}'
        )
        return _answer(
            200,
            *(("Set-Cookie", line) for line in lines),
            # For the next time, which saves a round trip.
            (CHALLENGE, self._challenge(bond.id, identifier)),
            said=said,
        )

    def again(self, identifier: bytes, reason: str) -> DeviceAnswer:
        """The browser is to come again, with an answer to this challenge."""
        if reason:
            self.core.emit(ProofFailed, self.session_id, reason, request=self.asked.request)
        return _answer(403, (CHALLENGE, self._challenge(identifier, values.encode_bytes(identifier))))

    def over(self, identifier: bytes) -> DeviceAnswer:
        """The session of this binding is over: the browser forgets the binding, and its cookies."""
        binding = self.binding
        text = values.encode_bytes(identifier)
        names = binding.names_of(text)
        lines = [("Set-Cookie", binding.cookie.clear_cookie(name)) for name in names if name in self.header]
        return _answer(200, *lines, said=f'{{"session_identifier":"{text}","continue":false}}')

    def failed(self, status: int, reason: str) -> DeviceAnswer:
        """Refuse, and tell it."""
        self.core.emit(ProofFailed, self.session_id, reason, request=self.asked.request)
        return _answer(status)

    def _challenge(self, identifier: bytes, text: str) -> str:
        """The header of a challenge; `text` is the identifier as text."""
        return f'"{self.binding.tokens.challenge(identifier, self.binding.now())}";id="{text}"'


class _Watch:
    """The policy of the engine, which remembers why a session did not open."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.reasons: set[str] = set()

    def emit(self, event: type[Event], *details: Any) -> None:
        if event is Rejected:  # pragma: no branch - what else is told says nothing of the cookie
            self.reasons.add(details[0])
        self._state.emit(event, *details)

    def admit(self, record: Record, context: Any, *, trusted: bool = False) -> bool:
        admitted = self._state.admit(record, context, trusted=trusted)
        if not admitted:
            self.reasons.add("expired")
        return admitted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)


@lru_cache(maxsize=64)
def _json(text: str) -> str:
    return json.dumps(text)


def _has_body(headers: Headers) -> bool:
    length = headers("content-length") or "0"
    return headers("transfer-encoding") is not None or not (
        length.isdecimal() and len(length) < 9 and int(length) <= MAX_BODY
    )


def _answer(status: int, *headers: tuple[str, str], said: str = "") -> DeviceAnswer:
    body = said.encode()
    lines = [("Cache-Control", "no-store"), ("Content-Length", str(len(body)))]
    if said:
        lines.append(("Content-Type", "application/json"))
    return DeviceAnswer(status, [*lines, *headers], body)
