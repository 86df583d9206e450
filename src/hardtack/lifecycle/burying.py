"""Bury: what copies of an ended session's cookies would begin here is dead before they come, for as long as they can live.

A cookie that was taken over is known here by an id that is made of it. After a logout a copy of it would begin a session under
that id, as if it came for the first time, once nobody remembers the id any more. So it is buried until the copy has ended too.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hardtack import values
from hardtack.cookies import MAX_VALUES, each_alone, parse
from hardtack.engines.store import StoreEngine
from hardtack.engines.store.save import MAX_ATTEMPTS
from hardtack.engines.store.tombstones import tombstone
from hardtack.errors import InvalidToken, StoreFull, StoreUnavailable
from hardtack.flow import Delete, Flow, on
from hardtack.lifecycle import listed
from hardtack.protocols import Context, CookieMap, Engine, Kind, Saving, TokenFormat, TokenTraits, VersionConflict
from hardtack.record import KEPT

if TYPE_CHECKING:
    from hardtack.core import Core


def seed_of(purpose: str, cookies: CookieMap, traits: TokenTraits) -> bytes:
    """32 bytes that only who has the old cookie can make, in whichever of its spellings."""
    digest = hashlib.sha256(b"hardtack/1 takeover")
    spelled = traits.spelled or _as_they_are
    for text in (purpose, *spelled(cookies)):
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


def _as_they_are(cookies: CookieMap) -> list[str]:
    return [text for name in sorted(cookies) for text in (name, cookies[name][-1])]


def bury(view: Core, raw_key: bytes, now: int, until: int, *, changed: bool) -> Flow[None]:
    """Leave a tombstone in a store, whatever is there: nothing, mostly. Raises `StoreUnavailable`."""
    engine, key = view.engine, values.encode_bytes(raw_key)
    assert isinstance(engine, StoreEngine)
    grave = tombstone(raw_key, now, changed=changed, until=until)
    version = None
    with suppress(StoreFull):
        for _ in range(MAX_ATTEMPTS):
            try:
                yield engine.bury(key, grave, version, view)
            except VersionConflict:
                _, entry = yield from engine.ask(raw_key, key, now, view)
                version = None if entry is None else entry.version
            else:
                return
    yield Delete(key)  # it is not remembered, but it has ended


def bury_kept(core: Core, saving: Saving, context: Context) -> Flow[None]:
    """Bury what copies of the cookies would begin that stay beside a session of ours which has ended.

    Those that the request carries, and the one that the session began with. Raises `StoreUnavailable`.
    """
    if saving.kind is not Kind.END or not saving.follows:  # it was not ended here: such a cookie may be why
        return
    raw_keys = set()
    for accepted in core.settings.accept:
        keep_until = accepted.traits.keep_until
        if keep_until is not None and context.now < keep_until:
            raw_keys |= _adopted(
                core.engine, accepted.token, accepted.traits, accepted.cookie.name, saving.header, context
            )
    if raw_keys and saving.old is not None and KEPT in saving.old.options:
        raw_keys.add(saving.old.id)
    changed = saving.new is not None
    if core.ended is not None:
        yield from listed.tell(core.ended, sorted(raw_keys), changed=changed)
    if core.stored:
        for raw_key in sorted(raw_keys):
            yield from bury(core, raw_key, context.now, context.now + core.lifetime, changed=changed)


def bury_beside(core: Core, saving: Saving, context: Context) -> Flow[StoreUnavailable | None]:
    """Bury what the deploy beside has made of another system's cookie, which this one writes, or would make of a copy.

    Why that could not be, or None.
    """
    failure: StoreUnavailable | None = None
    if saving.kind is not Kind.END or core.stored or core.engine.native:  # type: ignore[attr-defined]
        return failure
    for view in core.accepted:
        if isinstance(view.engine, StoreEngine):
            failure = (yield from _bury_in(core, view, view.engine, saving, context)) or failure
    return failure


def _bury_in(
    core: Core, view: Core, engine: StoreEngine, saving: Saving, context: Context
) -> Flow[StoreUnavailable | None]:
    failure = None
    token, traits = core.engine.token, core.engine.traits  # type: ignore[attr-defined]
    graves = dict.fromkeys(_adopted(engine, token, traits, core.cookie.name, saving.header, context), bury)
    for place in core.places[1:]:  # where the deploy beside has its own cookie
        secret = engine.secret_in(saving.header, place.name)
        if secret is not None:
            graves.setdefault(engine.raw_key(secret, core.purpose), _bury_what_is_there)
    for raw_key, bury_it in sorted(graves.items()):
        gone = bury_it(view, raw_key, context.now, context.now + core.lifetime, changed=saving.new is not None)
        try:
            yield from on(view.store, gone)
        except StoreUnavailable as error:
            failure = error
    return failure


def _bury_what_is_there(view: Core, raw_key: bytes, now: int, until: int, *, changed: bool) -> Flow[None]:
    """`bury`, but nothing where nothing is: a client can invent any number of ids, under which nothing begins."""
    engine: Any = view.engine
    _, entry = yield from engine.ask(raw_key, values.encode_bytes(raw_key), now, view)
    if entry is not None:
        yield from bury(view, raw_key, now, until, changed=changed)


def _adopted(
    engine: Engine, token: TokenFormat, traits: TokenTraits, name: str, header: str, context: Context
) -> set[bytes]:
    """The ids that an engine has for what another system's cookies of a request say.

    Only where such a cookie says when it was written: else the next login there makes the very same one. And only of good
    ones: nothing begins from others, and a client can invent any number of them, to fill the store.
    """
    cookies = parse(header)
    names = traits.names_in(cookies, name)
    if not traits.authenticates_time:
        return set()
    candidates = each_alone(cookies, name)[:MAX_VALUES] if names else []
    there = context._replace(cookie_name=name)
    good = [alone for alone in candidates if _opens(token, alone, there)]
    seeds = [seed_of(context.purpose, {each: alone[each] for each in names}, traits) for alone in good]
    return {engine.adopted_id(each, context.purpose) for each in seeds}  # type: ignore[attr-defined]


def _opens(token: TokenFormat, cookies: CookieMap, context: Context) -> bool:
    try:
        token.open(cookies, context)
    except InvalidToken:
        return False
    return True
