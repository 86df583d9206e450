"""CookieEngine: the whole session travels in the cookie. Nothing to run, nothing to query."""

from __future__ import annotations

import hashlib
import inspect
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

from hardtack import values
from hardtack.cookies import MAX_SEEN, MAX_SET_COOKIE, MAX_VALUES, Cookie, CookieMap, each_alone, find_values, parse
from hardtack.errors import ConfigError, InvalidToken, SessionTooLarge
from hardtack.events import Rejected, logger
from hardtack.flow import Flow
from hardtack.protocols import Context, Held, Policy, Revocations, Saving, TokenFormat
from hardtack.record import Record
from hardtack.tokens.encrypted import EncryptedToken
from hardtack.tokens.keys import Key, Keyring

_MAX_CHUNKS: Final = 3


class CookieEngine:
    """Keeps sessions in sealed cookies.

    A copy of a cookie stays valid to its deadline, whatever the site does: a logout, a new id and a change of data reach
    the browser that made them, and nobody who copied its cookie before. Where that is not good enough, give `revocations`,
    or keep sessions in a store.

    Args:
        token: an `EncryptedToken`, a `SignedToken`, a foreign format; or a `Keyring` or `Key`, for an `EncryptedToken`.
        overflow: what happens when a session outgrows one cookie of 4096 bytes: "raise" `SessionTooLarge`, or "chunk".
        max_chunks: cookies that "chunk" may use, 2 to 9; servers cap all headers at some 8 KB.
        revocations: sessions ended before their deadline.
    """

    store = None

    def __init__(
        self,
        token: TokenFormat | Keyring | Key,
        *,
        overflow: Literal["raise", "chunk"] = "raise",
        max_chunks: int = _MAX_CHUNKS,
        revocations: Revocations | None = None,
    ) -> None:
        if overflow not in ("raise", "chunk"):
            message = f"overflow={overflow!r} must be 'raise' or 'chunk'"
            raise ConfigError(message)
        if type(max_chunks) is not int or not 2 <= max_chunks <= 9:
            message = f"max_chunks={max_chunks!r} must be a number from 2 to 9"
            raise ConfigError(message)
        if overflow != "chunk" and max_chunks != _MAX_CHUNKS:
            message = f"max_chunks={max_chunks} needs overflow='chunk': without it a session has one cookie"
            raise ConfigError(message)
        if isinstance(token, Keyring | Key):
            token = EncryptedToken(token)
        if (
            isinstance(token, type)
            or not callable(getattr(token, "open", None))
            or not callable(getattr(token, "seal", None))
        ):
            given = f"the class {token.__name__}" if isinstance(token, type) else type(token).__name__
            message = f"CookieEngine takes a token format, a Keyring or a Key, not {given}"
            raise ConfigError(message)
        if not getattr(token, "writes", True):
            message = (
                f"{type(token).__name__} is read only: name it in accept=[…], and write sessions with another format"
            )
            raise ConfigError(message)
        is_revoked = getattr(revocations, "is_revoked", None)
        if revocations is not None and (
            isinstance(revocations, type)
            or not callable(getattr(revocations, "revoke", None))
            or not callable(is_revoked)
            or inspect.iscoroutinefunction(is_revoked)
        ):
            message = (
                f"revocations={type(revocations).__name__} must have the plain methods revoke(record, expires_at) and "
                "is_revoked(record)"
            )
            raise ConfigError(message)
        self.token = token
        self.native: bool = getattr(token, "native", False)
        self.chunks = max_chunks if overflow == "chunk" else 0
        if self.chunks and not self.native:
            raise ConfigError(
                "overflow='chunk' is for hardtack's own tokens; the other system would not find the chunks"
            )
        self._is_current: Callable[[CookieMap, Context], bool] = getattr(token, "is_current", lambda *_: True)
        self.revocations = revocations
        self.old_still_valid = revocations is None

    def bind(self, policy: Policy) -> None:
        """Check the settings against the manager's. Raises `ConfigError`."""
        written = getattr(self.token, "cookie_name", policy.cookie.name)
        if written != policy.cookie.name:
            message = (
                f"cookie name={policy.cookie.name!r}, but {type(self.token).__name__} reads and writes {written!r}; "
                "give both the same name, or leave cookie= out"
            )
            raise ConfigError(message)
        if not self.native and getattr(policy, "idle_timeout", None) is not None:
            message = (
                f"idle_timeout cannot be enforced with {type(self.token).__name__}: that format does not carry the time of "
                "the last renewal; the deadline that holds is the one that the format itself carries"
            )
            raise ConfigError(message)
        token: Any = self.token
        if not (self.native or getattr(token, "authenticates_time", True) or getattr(token, "until", None)):
            logger.warning(
                "%s does not say when a session began: its lifetime is not enforced, and a copied cookie is good for ever; "
                "give it until=<a date>",
                type(token).__name__,
            )

    def default_cookie(self) -> Cookie:
        """The cookie of a manager that was given none: a foreign format's own name and place, with safe attributes."""
        if self.native or not hasattr(self.token, "cookie_name"):
            return Cookie()
        token: Any = self.token
        return Cookie(token.cookie_name, getattr(token, "path", "/"), getattr(token, "domain", None))

    def carries(self, header: str, cookie: Cookie) -> bool:
        """Whether the request carries a cookie of the engine, valid or not."""
        if cookie.name not in header:
            return False
        if self.native:
            return any(find_values(header, each) for each in (cookie.name, *self._chunk_names(cookie.name)))
        return bool(cookie_names(self.token, parse(header), cookie.name))

    def _chunk_names(self, name: str) -> list[str]:
        return [f"{name}.{index}" for index in range(self.chunks)]

    def load(self, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """The session of a request, as a flow that asks no store."""
        yield from ()
        return self.load_now(header, context, policy)

    def load_now(self, header: str, context: Context, policy: Policy) -> Held:
        """The session of a request; junk beside a good cookie does not matter, two good sessions cancel each other."""
        name = context.cookie_name
        held = Held()
        if name not in header:
            return held
        if self.native and not self.chunks:
            values_ = find_values(header, name)
            if len(values_) == 1:  # nearly every request: one value, and nothing to choose from
                held.names = (name,)
                cookies: CookieMap = {name: values_}
                held.record = self._open(cookies, context, policy)
                if held.record is not None:
                    held.current = self._is_current(cookies, context)
                return held
        candidates = self._candidates(header, name, held, policy)
        found: list[tuple[Record, CookieMap]] = []
        for cookies in candidates[:MAX_VALUES]:
            record = self._open(cookies, context, policy)
            if record is not None:
                found.append((record, cookies))
        if not found:
            return held
        # A sibling subdomain can plant a cookie of this name: it must not be able to choose the session.
        if is_disputed(self.token, candidates, [record for record, _ in found], context):
            policy.emit(Rejected, "ambiguous", name)
            held.clear = True
            return held
        held.record, cookies = max(found, key=lambda pair: pair[0].seen)
        held.current = self._is_current(cookies, context)
        return held

    def _candidates(self, header: str, name: str, held: Held, policy: Policy) -> list[CookieMap]:
        """What may be a session: each value of the name on its own, and each generation of chunks put together."""
        if not self.native:
            cookies = parse(header)
            held.names = cookie_names(self.token, cookies, name)
            return each_alone(cookies, name) if held.names else []
        found = {each: find_values(header, each) for each in (name, *self._chunk_names(name))}
        held.names = [each for each, present in found.items() if present]
        tokens = found.pop(name)
        if any(found.values()):
            tokens = [*self._joined(list(found.values()), name, policy), *tokens]
        return [{name: [token]} for token in tokens]

    def _joined(self, chunks: Sequence[Sequence[str]], name: str, policy: Policy) -> Iterator[str]:
        """The tokens that the chunks put together are."""
        for head in dict.fromkeys(value[:_CHUNK_HEAD] for value in chunks[0] or [""]):
            whole = self._join(head, chunks)
            if whole is None:
                policy.emit(Rejected, "incomplete", name)
            else:
                yield whole

    @staticmethod
    def _join(head: str, chunks: Sequence[Sequence[str]]) -> str | None:
        """The token of one generation of chunks; None where one is missing, foreign or of another generation."""
        if not head[:1].isdecimal() or not head.isascii() or not 1 <= int(head[0]) <= len(chunks):
            return None
        parts = []
        for present in chunks[: int(head[0])]:
            matching = [value for value in present if value.startswith(head)]
            if not matching:
                return None
            parts.append(matching[-1][_CHUNK_HEAD:])
        whole = "".join(parts)
        # A server may pass bytes beyond ASCII on as lone surrogates, which cannot be hashed.
        return whole if whole.isascii() and _chunk_head(whole, int(head[0])) == head else None

    def _open(self, cookies: CookieMap, context: Context, policy: Policy) -> Record | None:
        try:
            record = self.token.open(cookies, context)
        except InvalidToken as error:
            policy.emit(Rejected, error.reason, context.cookie_name)
            return None
        if not policy.admit(record, context):
            return None
        if self.revocations is not None and self.revocations.is_revoked(record):
            policy.emit(Rejected, "revoked", context.cookie_name)
            return None
        return record

    def new_id(self, held: Held, policy: Policy) -> bytes:
        """16 random bytes."""
        return secrets.token_bytes(16)

    def save(self, saving: Saving, context: Context, policy: Policy) -> Flow[tuple[Held, list[str]] | None]:
        """The Set-Cookie lines, as a flow that asks no store."""
        yield from ()
        return self.save_now(saving, context, policy)

    def save_now(self, saving: Saving, context: Context, policy: Policy) -> tuple[Held, list[str]] | None:
        """The Set-Cookie lines. Raises `SessionTooLarge` and `UnsupportedValue`."""
        held, old = saving.held, saving.old
        revocations = None if saving.headers_sent else self.revocations
        cookie = policy.cookie
        if revocations is not None and old is not None and revocations.is_revoked(old) and saving.new is not None:
            return None  # it was ended while the handler ran: this response must not bring it back
        after = Held()
        lines: list[str] = []
        if saving.new is not None:
            if not self.native:  # the format does not carry `created`: what it can carry is the deadline
                saving.new.options = {**saving.new.options, "expires": saving.expires_at}
            lines = self._lines(self.token.seal(saving.new, context), saving, context, cookie)
            after = Held(saving.new, [line[: line.index("=")] for line in lines])
        # Only now: where the new session cannot be kept, the old one goes on.
        if revocations is not None and old is not None and (saving.rotated or saving.destroyed):
            revocations.revoke(old, saving.revoke_until)
        lines += [cookie.clear_cookie(name) for name in held.names if name not in after.names]
        return after, lines

    def _lines(self, sealed: dict[str, str], saving: Saving, context: Context, cookie: Cookie) -> list[str]:
        def line(name: str, value: str) -> str:
            return cookie.set_cookie(name, value, saving.max_age, context.now)

        lines = [line(name, value) for name, value in sealed.items()]
        size = max(map(len, lines))
        if size <= MAX_SET_COOKIE:
            return lines
        if not self.chunks:
            assert saving.new is not None
            raise SessionTooLarge(size, MAX_SET_COOKIE, _biggest(saving.new.data))
        token = sealed[context.cookie_name]
        room = MAX_SET_COOKIE - len(line(f"{context.cookie_name}.0", "")) - _CHUNK_HEAD
        count = -(-len(token) // room)
        if count > self.chunks:
            assert saving.new is not None
            advice = f"; {self.chunks} cookies are allowed: keep less in the session, or keep it in a store"
            raise SessionTooLarge(size, self.chunks * MAX_SET_COOKIE, _biggest(saving.new.data), advice)
        head = _chunk_head(token, count)
        return [
            line(f"{context.cookie_name}.{index}", head + token[index * room : (index + 1) * room])
            for index in range(count)
        ]

    def close(self) -> Flow[None]:
        """Nothing to close."""
        yield from ()


def cookie_names(token: TokenFormat, cookies: CookieMap, name: str) -> list[str]:
    """Those of a request's cookies that belong to a format: the one of its name, or what the format says itself."""
    find_names: Callable[[CookieMap], Iterable[str]] | None = getattr(token, "cookie_names", None)
    if find_names is not None:
        return list(find_names(cookies))
    return [name] if name in cookies else []


def is_disputed(token: TokenFormat, candidates: Sequence[CookieMap], good: Sequence[Record], context: Context) -> bool:
    """Whether the good ones of the cookies that were considered are not all that there is of one session.

    A session may be taken from the first `MAX_VALUES` candidates. The others are looked at for another session only: who
    plants cookies before the right one must not be able to choose by that.
    """
    ids = {record.id for record in good}
    if len(ids) > 1 or len(candidates) > MAX_SEEN:
        return True
    for cookies in candidates[MAX_VALUES:]:
        try:
            ids.add(token.open(cookies, context).id)
        except InvalidToken:
            continue
    return len(ids) > 1


_CHUNK_HEAD = 7  # one digit, and six characters of base64url for four bytes


def _chunk_head(token: str, count: int) -> str:
    """What each chunk begins with: how many there are, and which generation it is of."""
    return f"{count}{values.encode_bytes(hashlib.sha256(token.encode()).digest()[:4])}"


def _biggest(data: dict[str, Any]) -> list[tuple[str, int]]:
    sizes = [(key, len(values.pack({key: value}))) for key, value in data.items()]
    return sorted(sizes, key=lambda pair: -pair[1])[:3]
