"""CookieEngine: the whole session travels in the cookie. Nothing to run, nothing to query."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal

from hardtack import values
from hardtack.cookies import (
    LARGEST_SET_COOKIE,
    MAX_HEADER,
    MAX_SET_COOKIE,
    MAX_VALUES,
    Cookie,
    each_alone,
    find_values,
    parse,
    that_fit,
)
from hardtack.engines import chunks
from hardtack.errors import ConfigError, InvalidToken, SessionTooLarge
from hardtack.events import Rejected, logger
from hardtack.flow import Flow
from hardtack.lifetime import Until, absolute_deadline, unix_seconds
from hardtack.protocols import (
    Context,
    CookieMap,
    Held,
    Kind,
    Policy,
    Saved,
    Saving,
    TokenFormat,
    hold,
    rings_of,
    saved,
    token_traits,
)
from hardtack.record import Record
from hardtack.settings import choice
from hardtack.tokens.encrypted import EncryptedToken, binding
from hardtack.tokens.keys import Key, Keyring

# Looking a member up in its Enum takes as long as a call, in Python 3.11.
_, _UPDATE, _EMPTY, _MOVE, _REPLACE, _END = Kind

_LEAST: Final = 500
"""Bytes of a Set-Cookie line below which nothing would fit."""


class CookieEngine:
    """Keeps sessions in sealed cookies.

    A copy of a cookie stays valid to its deadline, whatever the site does: a logout, a new id and a change of data reach
    the browser that made them, and nobody who copied its cookie before. Where that is not good enough, give the manager a
    list of ended sessions, or keep sessions in a store.

    Args:
        token: an `EncryptedToken`, a `SignedToken`, a foreign format; or a `Keyring` or `Key`, for an `EncryptedToken`.
        overflow: what happens when a session outgrows one cookie: "raise" `SessionTooLarge`, or "chunk", into as many
            cookies as fit into a request.
        max_set_cookie: bytes of one Set-Cookie line, at most 4096, which is what browsers keep. The default fits nginx as it
            comes, which answers 502 beyond 4 KB of headers; raise `proxy_buffer_size` there before you raise this. Up to
            3600, and without chunks, all such lines of an answer have at most 3600 bytes: that of a session, those that
            clear `formerly` places and another system's cookies, and at `impersonate()` that of the session that waits.
        until: for `accept=`: when its sessions are no longer taken over.
        max_header: bytes that a request's Cookie header may have with the chunks in it: servers refuse more than 8 KB.
    """

    store = None
    old_still_valid = True

    def __init__(
        self,
        token: TokenFormat | Keyring | Key,
        *,
        overflow: Literal["raise", "chunk"] = "raise",
        max_set_cookie: int = MAX_SET_COOKIE,
        max_header: int = MAX_HEADER,
        until: Until | None = None,
    ) -> None:
        chunked = choice(overflow, "overflow", "raise", "chunk") == "chunk"
        _number(max_set_cookie, "max_set_cookie", _LEAST, LARGEST_SET_COOKIE)
        _number(max_header, "max_header", _LEAST, chunks.MOST * LARGEST_SET_COOKIE)
        if not chunked and max_header != MAX_HEADER:
            message = f"max_header={max_header} needs overflow='chunk': without it a session has one cookie"
            raise ConfigError(message)
        self.token = _token(token)
        self.traits = token_traits(self.token)
        if not self.traits.writes:
            message = (
                f"{type(self.token).__name__} is read only: name it in accept=[…], and write sessions with another format"
                f"{getattr(self.token, 'to_write', '')}"
            )
            raise ConfigError(message)
        self.native = self.traits.native
        self.idle_timeout = self.traits.sliding
        if chunked and not self.native:
            raise ConfigError(
                "overflow='chunk' is for hardtack's own tokens; the other system would not find the chunks"
            )
        self.chunked = chunked
        self.max_set_cookie = max_set_cookie
        self.max_header = max_header
        self._fits_nginx = (
            not chunked and max_set_cookie <= MAX_SET_COOKIE
        )  # else its buffer was enlarged, or has to be
        self.until = unix_seconds(until)
        self._is_current = self.traits.is_current
        self._is_undated = self.traits.is_undated

    def bind(self, policy: Policy) -> None:
        """Check the settings against the manager's. Raises `ConfigError`."""
        traits, kind = self.traits, type(self.token).__name__
        if traits.cookie_name is not None and traits.cookie_name != policy.cookie.name:
            message = (
                f"cookie name={policy.cookie.name!r}, but {kind} reads and writes {traits.cookie_name!r}; "
                "give both the same name, or leave cookie= out"
            )
            raise ConfigError(message)
        if not self.native and policy.idle_timeout != self.idle_timeout:
            message = (
                f"idle_timeout cannot be enforced with {kind}: that format does not carry the time of "
                "the last renewal; the deadline that holds is the one that the format itself carries"
                f"{', and sliding=True moves' if self.idle_timeout else ''}"
            )
            raise ConfigError(message)
        if not (self.native or traits.authenticates_time or traits.until):
            logger.warning(
                "%s does not say when a session began: its lifetime is not enforced, and a copied cookie is good for ever; "
                "give it until=<a date>",
                kind,
            )

    def default_cookie(self) -> Cookie:
        """The cookie of a manager that was given none: a foreign format's own name and place, with safe attributes."""
        name = self.traits.cookie_name
        if self.native or name is None:
            return Cookie()
        return Cookie(name, self.traits.path, self.traits.domain)

    def carries(self, header: str, cookie: Cookie) -> bool:
        """Whether the request carries a cookie of the engine, valid or not."""
        if cookie.name not in header:
            return False
        if self.native:
            return any(find_values(header, each) for each in self._names(cookie.name))
        return bool(self.traits.names_in(parse(header), cookie.name))

    def _names(self, name: str) -> list[str]:
        return [name, *chunks.names(name)] if self.chunked else [name]

    # --- load

    def load(self, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """The session of a request, as a flow that asks no store."""
        yield from ()
        return self.load_now(header, context, policy)

    def load_now(self, header: str, context: Context, policy: Policy) -> Held:
        """The session of a request; junk beside a good cookie does not matter, two good sessions cancel each other."""
        name = context.cookie_name
        if name not in header:
            return Held()
        if self.native and not self.chunked:
            found = find_values(header, name)
            if len(found) == 1:  # nearly every request: one value, and nothing to choose from
                cookies: CookieMap = {name: found}
                record = self._open(cookies, context, policy)
                current = record is None or self._is_current is None or self._is_current(cookies, context)
                return hold(record, name, current)
        names, candidates = self._candidates(header, name, policy)
        good = []
        if len(candidates) <= MAX_VALUES:
            opened = [(self._open(cookies, context, policy), cookies) for cookies in candidates]
            good = [(record, cookies) for record, cookies in opened if record is not None]
        if len(candidates) > MAX_VALUES or len({record.id for record, _ in good}) > 1:
            # A sibling subdomain can plant a cookie of this name: it must not be able to choose the session.
            policy.emit(Rejected, "ambiguous", name)
            return Held(names=names, disputed=True)
        if not good:
            return Held(names=names)
        # Several of one session: the browser has it in two places, or a request was faster than a Set-Cookie.
        newest, cookies = max(good, key=lambda pair: pair[0].seen)
        return Held(record=newest, names=names, current=self._is_current is None or self._is_current(cookies, context))

    def _candidates(self, header: str, name: str, policy: Policy | None) -> tuple[list[str], list[CookieMap]]:
        """The cookies that are there, and what may be a session: each value on its own, each generation of chunks as one."""
        if not self.native:
            cookies = parse(header)
            present = self.traits.names_in(cookies, name)
            return present, each_alone(cookies, name) if present else []
        found = {each: find_values(header, each) for each in self._names(name)}
        present = [each for each, there in found.items() if there]
        tokens = found.pop(name)
        if any(found.values()):
            parts = list(found.values())
            tell = None if policy is None else partial(policy.emit, Rejected, "incomplete", name)
            tokens = [*chunks.joined(parts, tell or _tell_nobody), *tokens]
        return present, [{name: [token]} for token in dict.fromkeys(tokens)]

    def _open(self, cookies: CookieMap, context: Context, policy: Policy) -> Record | None:
        try:
            record: Record = self.token.open(cookies, context)
        except InvalidToken as error:
            policy.emit(Rejected, error.reason, context.cookie_name, error.event_detail)
            return None
        if self._is_undated is not None and self._is_undated(record):
            self._warn_undated()
        return record if policy.admit(record, context) else None

    def _warn_undated(self) -> None:
        """Say it once: the other system makes cookies without an end, which it reads itself for as long as they live."""
        self._is_undated = None
        logger.warning(
            "%s opened a cookie that says nothing of its age: a copy of it is good for ever; set a duration in the system that "
            "writes it, or give the format until=<a date>",
            type(self.token).__name__,
        )

    def seeds(self, header: str, record: Record, context: Context) -> list[bytes]:
        """32 bytes that are the same for each cookie of a session, and that only who holds one can have made.

        The id alone would not do: it is public. So it is the id under the key that sealed the cookie, and after that under each
        other key of the ring, which may have sealed a copy. Empty: the request has no cookie.
        """
        candidates = self._candidates(header, context.cookie_name, None)[1]
        if not candidates:
            return []
        cookies = max(candidates, key=partial(self._seen_in, record=record, context=context))  # the one that was loaded
        framed = b"hardtack/1 moved" + binding(context.purpose, context.cookie_name)
        keys: list[Key] = []
        if self.traits.sealed_by is not None:
            if self._seen_in(cookies, record, context) >= 0:  # else it is not what the request has brought any more
                keys.append(self.traits.sealed_by(cookies, context))
            keys += [key for ring in rings_of(self) for key in ring]
        if not keys:
            return [hashlib.sha256(framed + cookies[context.cookie_name][-1].encode("utf-8", "surrogatepass")).digest()]
        return list(dict.fromkeys(key.mac(framed + record.id) for key in keys))

    def _seen_in(self, cookies: CookieMap, record: Record, context: Context) -> int:
        """When a cookie of the session was sealed last; -1 for what is none."""
        with suppress(InvalidToken):
            opened = self.token.open(cookies, context)
            if opened.id == record.id:
                return int(opened.seen)
        return -1

    def adopt(self, seed: bytes, context: Context, policy: Policy) -> Flow[tuple[bytes, Held]]:
        """The id of the session that takes the place of another system's."""
        yield from ()
        adopted = self.adopted_id(seed, context.purpose)
        return adopted, Held(adopted=adopted)

    def adopted_id(self, seed: bytes, purpose: str) -> bytes:
        """That id, of a seed in which the purpose is."""
        return hashlib.sha256(b"hardtack/1 adopted" + seed).digest()[:16]

    @property
    def impersonates(self) -> bool:
        """Whether its tokens can say who acts in a session; those of another system cannot."""
        return self.native

    def waiting(self, raw_id: bytes, header: str, context: Context, policy: Policy) -> Flow[Held]:
        """What is held of the session that waits, in a cookie of its own, while its user acts as another."""
        yield from ()
        names, candidates = self._candidates(header, context.cookie_name, policy)
        for cookies in candidates[:MAX_VALUES]:
            with suppress(InvalidToken):
                record: Record = self.token.open(cookies, context)
                if record.id == raw_id and self._lives(record, context, policy):
                    return Held(record=record, names=names)
        return Held(names=names)

    def _lives(self, record: Record, context: Context, policy: Policy) -> bool:
        """Whether a session that waits may still be used: the browser was idle in neither session."""
        return context.now < absolute_deadline(record, policy.lifetime)

    # --- save

    def new_id(self, held: Held, policy: Policy) -> bytes:
        """16 random bytes."""
        return secrets.token_bytes(16)

    def save(self, saving: Saving, context: Context, policy: Policy) -> Flow[Saved]:
        """The Set-Cookie lines, as a flow that asks no store."""
        yield from ()
        return self.save_now(saving, context, policy)

    def save_now(self, saving: Saving, context: Context, policy: Policy) -> Saved:
        """The Set-Cookie lines. Raises `SessionTooLarge` and `UnsupportedValue`."""
        held, new, cookie = saving.held, saving.new, policy.cookie
        if new is None or saving.kind is Kind.EMPTY:
            return Saved(held=Held(), record=None, lines=[] if saving.headers_sent else cookie.clear_all(held.names))
        if not self.native:  # the format does not carry `created`: what it can carry is the deadline
            new.options = {**new.options, "expires": saving.expires_at}
        lines = self._lines(self.token.seal(new, context), saving, context, cookie)
        written = [line[: line.index("=")] for line in lines]
        stale = [] if list(held.names) == written else [name for name in held.names if name not in written]
        if stale or saving.beside or saving.clearing or cookie.clearing_formerly:
            lines += self._beside_them(lines, stale, saving, cookie)
        began = saving.kind is not _UPDATE and saving.kind is not _MOVE
        after = hold(new, written[0]) if len(written) == 1 else Held(record=new, names=written)
        return saved(after, new, lines, began)

    def _beside_them(self, lines: list[str], stale: list[str], saving: Saving, cookie: Cookie) -> list[str]:
        """The lines that clear other cookies. Raises `SessionTooLarge` where all lines of the answer do not fit together."""
        clearing = [cookie.clear_cookie(name) for name in stale]
        if self._fits_nginx and len(lines) == 1:  # several are of a system that has chunks, and room for them
            beside = {
                "the session that waits meanwhile": saving.beside,
                "what clears another system's cookies": saving.clearing,
                "what clears the places of formerly=": sum(map(len, cookie.clearing_formerly)),
            }
            others = sum(beside.values())
            room = MAX_SET_COOKIE - others - len(lines[0])
            if room < 0:
                assert saving.new is not None
                what = " and ".join(name for name, size in beside.items() if size)
                advice = f"; {others} of them are {what}{self._advice()}"
                raise SessionTooLarge(others + len(lines[0]), MAX_SET_COOKIE, _biggest(saving.new.data), advice)
            if self.native:  # they are under a former name, as many as the client likes; ours is found before them
                clearing = that_fit(clearing, room)
        return [*clearing, *cookie.clearing_formerly]

    def _lines(self, sealed: dict[str, str], saving: Saving, context: Context, cookie: Cookie) -> list[str]:
        lines = [cookie.set_cookie(name, value, saving.max_age, context.now) for name, value in sealed.items()]
        size = max(map(len, lines))
        if size <= self.max_set_cookie:
            return lines
        assert saving.new is not None
        if not self.chunked or saving.one_cookie:
            advice = saving.one_cookie if self.chunked else self._advice()
            raise SessionTooLarge(size, self.max_set_cookie, _biggest(saving.new.data), advice)
        return self._chunks(sealed[context.cookie_name], size, saving, context, cookie)

    def _chunks(self, token: str, size: int, saving: Saving, context: Context, cookie: Cookie) -> list[str]:
        name = context.cookie_name
        attributes = len(cookie.set_cookie(f"{name}.0", "", saving.max_age, context.now))
        parts = chunks.split(token, self.max_set_cookie - attributes - chunks.HEAD)
        sent = sum(len(part) + len(name) + len("=.0; ") for part in parts)
        if len(parts) > chunks.MOST or self._beside(saving, name) + sent > self.max_header:
            assert saving.new is not None
            advice = (
                f"; with the site's other cookies that would make a Cookie header of more than max_header={self.max_header} "
                "bytes, which servers refuse on every request after: keep less in the session, or keep it in a store"
            )
            raise SessionTooLarge(size, self.max_header, _biggest(saving.new.data), advice)
        return [
            cookie.set_cookie(f"{name}.{index}", part, saving.max_age, context.now) for index, part in enumerate(parts)
        ]

    @staticmethod
    def _beside(saving: Saving, name: str) -> int:
        """Bytes of the request's Cookie header that are not ours, and will come again."""
        return sum(
            len(part) + 1
            for part in saving.header.split(";")
            if not part.strip(" \t").startswith((f"{name}=", f"{name}."))
        )

    def _advice(self) -> str:
        if self.max_set_cookie >= LARGEST_SET_COOKIE:
            more = "browsers drop larger cookies"
        else:
            more = (
                "nginx answers 502 to headers above 4 KB as it comes: with a larger proxy_buffer_size there, "
                "CookieEngine(…, max_set_cookie=4096) allows what browsers keep"
            )
        less = (
            "use CookieEngine(…, overflow='chunk'), or a StoreEngine" if self.native else "as the other system has to"
        )
        return f"; {more}. Keep less in the session, {less}"

    def close(self) -> Flow[None]:
        """Nothing to close."""
        yield from ()


def _tell_nobody() -> None:
    """It was told when the session was loaded."""


def _token(token: Any) -> Any:
    if isinstance(token, Keyring | Key):
        return EncryptedToken(token)
    methods = (getattr(token, name, None) for name in ("open", "seal"))
    if isinstance(token, type) or not all(map(callable, methods)):
        given = f"the class {token.__name__}" if isinstance(token, type) else type(token).__name__
        message = f"CookieEngine takes a token format, a Keyring or a Key, not {given}"
        raise ConfigError(message)
    return token


def _number(given: Any, setting: str, least: int, most: int) -> None:
    if type(given) is not int or not least <= given <= most:
        message = f"{setting}={given!r} must be a number from {least} to {most}"
        raise ConfigError(message)


def _biggest(data: dict[str, Any]) -> list[tuple[str, int]]:
    sizes: Sequence[tuple[str, int]] = [(key, len(values.pack({key: value}))) for key, value in data.items()]
    return sorted(sizes, key=lambda pair: -pair[1])[:3]
