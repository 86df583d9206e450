"""Telemetry: what sessions do is counted once, the store is timed, and nothing tells who they are."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.frameworks import gateway_kit
from tests.kit import KEY, OTHER_KEY, Site

from hardtack import Cookie, CookieEngine, EndedSessions, Request, SessionManager, StoreEngine, events, telemetry
from hardtack.errors import ConfigError, StoreError, StoreUnavailable
from hardtack.protocols import Entry, VersionConflict, store_traits
from hardtack.stores.file import FileStore
from hardtack.stores.memory import MemoryStore
from hardtack.stores.sqlalchemy import AsyncSQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore
from hardtack.testing import AsyncStoreContract, FindsContract, RenamesContract, StoreContract, SweepsContract

ROOT = Path(__file__).parents[1]


class Collected:
    """Providers that keep what they are told, and what they were told so far."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))

    def instrument(self, sessions: SessionManager, **options: Any) -> None:
        telemetry.instrument(sessions, meter_provider=self.meters, tracer_provider=self.tracers, **options)

    def metrics(self) -> dict[str, Any]:
        """The metrics of now, by their names."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[Any]:
        """The points of a metric, all of its attributes."""
        metrics = self.metrics()
        return list(metrics[name].data.data_points) if name in metrics else []

    def numbers(self, name: str, *attributes: str) -> dict[Any, Any]:
        """How often (a histogram) or how many (all others), by the values of these attributes."""
        found: dict[Any, Any] = {}
        for point in self.points(name):
            given = point.attributes or {}
            at = tuple(given.get(attribute) for attribute in attributes)
            value = point.count if isinstance(point, HistogramDataPoint) else point.value
            found[at if len(at) != 1 else at[0]] = value
        return found


@pytest.fixture
def collected() -> Iterator[Collected]:
    """Meters and tracers of this test."""
    collected = Collected()
    yield collected
    collected.meters.shutdown()
    collected.tracers.shutdown()


def site(collected: Collected, engine: Any = None, count_every: Any = None, **options: Any) -> Site:
    """A site that is measured."""
    made = Site(engine, **options)
    collected.instrument(made.sessions, count_every=count_every)
    return made


def log_in(site: Site, subject: str) -> None:
    session = site.open()
    session.login(subject)
    site.commit(session)


def test_a_store_that_sessions_move_from_is_measured(collected: Collected, tmp_path: Path) -> None:
    """Its reads, and the delete of what has moved; the count is of both stores, and all of it can be undone."""
    older, newer = SQLiteStore(tmp_path / "older.db"), MemoryStore()
    before = Site(StoreEngine(older))
    log_in(before, "alice")
    log_in(Site(StoreEngine(older)), "bob")
    moved = site(collected, StoreEngine(newer), accept=[StoreEngine(older)])
    moved.jar = before.jar
    moved.visit(a=1)
    assert moved.sessions.count() == 2

    calls = collected.numbers("hardtack.store.operation.duration", "hardtack.store.type", "hardtack.store.operation")
    assert calls["SQLiteStore", "get"] >= 1
    assert calls["SQLiteStore", "delete"] == 1
    assert collected.numbers("hardtack.session.count") == {(): 2}
    telemetry.uninstrument(moved.sessions)
    (view,) = moved.sessions.core.accepted
    assert (view.store, view.engine.store, moved.sessions.core.store) == (older, older, newer)
    older.close()


def test_what_is_sealed_otherwise_in_the_same_store_is_measured_under_a_former_name(collected: Collected) -> None:
    """It is one store, which each call is counted of once."""
    store = MemoryStore()
    before = Site(StoreEngine(store), cookie=Cookie(name="__Host-before"))
    log_in(before, "alice")
    cookie = Cookie(name="__Host-ours", formerly=[Cookie(name="__Host-before")])
    moved = site(collected, StoreEngine(store, seal=KEY), cookie=cookie, accept=[StoreEngine(store, until=1 << 40)])
    moved.jar = before.jar
    assert moved.open().subject == "alice"

    calls = collected.numbers("hardtack.store.operation.duration", "hardtack.store.type", "hardtack.store.operation")
    assert calls == {("MemoryStore", "get"): 1}


class Broken(MemoryStore):
    """A store that fails as it is told to."""

    error: Exception | None = None

    def get(self, key: str) -> Entry | None:
        if self.error is not None:
            raise self.error
        return super().get(key)

    def count(self, subject: str | None = None) -> int:
        if self.error is not None:
            raise self.error
        return super().count(subject)


class AsyncMemoryStore(gateway_kit.AsyncMemoryStore):
    """A store for async code, in memory, which finds and counts."""

    async def find(self, subject: str) -> Iterable[str]:
        return self.store.find(subject)

    async def count(self, subject: str | None = None) -> int:
        return self.store.count(subject)


ENGINES: list[Callable[[], Any]] = [lambda: CookieEngine(KEY), lambda: StoreEngine(MemoryStore())]


# --- what sessions do


@pytest.mark.parametrize("engine", ENGINES, ids=["cookie", "store"])
def test_a_visit_is_counted(collected: Collected, engine: Callable[[], Any]) -> None:
    """A session that is stored first is created, and opened by each request after."""
    shop = site(collected, engine())

    shop.visit(cart=1)
    shop.visit(cart=2)
    shop.visit(cart=3)

    assert collected.numbers("hardtack.session.created") == {(): 1}
    assert collected.numbers("hardtack.session.opened") == {(): 2}


@pytest.mark.parametrize("engine", ENGINES, ids=["cookie", "store"])
def test_a_logout_is_counted_once(collected: Collected, engine: Callable[[], Any]) -> None:
    """Two events tell of it: one counts sessions, the other one says why."""
    shop = site(collected, engine())
    log_in(shop, "alice")

    session = shop.open()
    session.logout()
    shop.commit(session)

    assert collected.numbers("hardtack.session.logins", telemetry.IMPERSONATED) == {False: 1}
    assert collected.numbers("hardtack.session.ended") == {(): 1}
    assert collected.numbers("hardtack.session.logouts", telemetry.CAUSE) == {"logout": 1}


def test_the_end_of_a_visitor_without_an_account_is_no_logout(collected: Collected) -> None:
    """It ends a session, and logs nobody out."""
    shop = site(collected)
    shop.visit(cart=1)

    session = shop.open()
    session.destroy()
    shop.commit(session)

    assert collected.numbers("hardtack.session.ended") == {(): 1}
    assert collected.points("hardtack.session.logouts") == []


def test_who_acts_as_another_is_told_apart(collected: Collected) -> None:
    """`impersonate` begins a session of the user, and is none of her logins."""
    shop = site(collected, StoreEngine(MemoryStore()))
    log_in(shop, "root")

    session = shop.open()
    session.impersonate("alice")
    shop.commit(session)

    assert collected.numbers("hardtack.session.logins", telemetry.IMPERSONATED) == {False: 1, True: 1}


def test_a_session_that_comes_too_late_is_counted_by_its_deadline(collected: Collected) -> None:
    """Idle, or absolute."""
    shop = site(collected, idle_timeout="1 hour")
    shop.visit(cart=1)

    shop.clock.now += 3601
    assert shop.open().is_new

    assert collected.numbers("hardtack.session.expired", telemetry.DEADLINE) == {"idle": 1}


def test_refused_cookies_are_counted_by_reason(collected: Collected) -> None:
    """A key that is not known is another thing than rubbish."""
    shop, other = site(collected), Site(CookieEngine(OTHER_KEY))
    other.visit(cart=1)

    assert shop.sessions.open(other.jar.header).is_new
    assert shop.sessions.open(f"{shop.sessions.cookie.name}=rubbish").is_new

    counted = collected.numbers("hardtack.session.rejected", telemetry.REASON)
    assert counted == {"unknown_key": 1, "malformed": 1}


def test_reasons_without_number_are_one(collected: Collected) -> None:
    """A format of another package may make its reasons of what a client sent."""
    shop = site(collected)

    for number in range(telemetry._MAX_REASONS + 7):
        shop.sessions.core.emit(events.Rejected, f"reason {number}", "session")
    shop.sessions.core.emit(events.Rejected, "reason 0", "session")

    counted = collected.numbers("hardtack.session.rejected", telemetry.REASON)
    assert len(counted) == telemetry._MAX_REASONS + 1
    assert (counted["reason 0"], counted["_OTHER"]) == (2, 7)


def test_conflicts_are_counted_by_their_outcome(collected: Collected) -> None:
    """Two requests at once, which had read nothing of each other."""
    shop = site(collected, StoreEngine(MemoryStore()))
    shop.visit(cart=1)

    one, two = shop.open(), shop.open()
    one["left"], two["right"] = 1, 2
    shop.commit(one)
    shop.commit(two)

    assert collected.numbers("hardtack.session.conflicts", telemetry.OUTCOME) == {"merged": 1}


def test_cookies_are_measured_where_they_are_set(collected: Collected) -> None:
    """A line that clears a cookie is not one of them."""
    shop = site(collected)
    session = shop.open()
    session["text"] = "x" * 500
    (line,) = shop.commit(session).set_cookies

    leaving = shop.open()
    leaving.logout()
    assert len(shop.commit(leaving).set_cookies) == 1

    (point,) = collected.points("hardtack.session.cookie.size")
    assert (point.count, point.sum) == (1, len(line))
    assert point.explicit_bounds == telemetry._BYTES


# --- the store


def test_calls_of_the_store_are_timed(collected: Collected) -> None:
    """By the kind of store and the call; where nothing failed, without a type of error."""
    shop = site(collected, StoreEngine(MemoryStore()))

    shop.visit(cart=1)
    shop.visit(cart=2)

    timed = collected.numbers(
        "hardtack.store.operation.duration", telemetry.STORE, telemetry.OPERATION, telemetry.ERROR
    )
    assert timed == {("MemoryStore", "put", None): 2, ("MemoryStore", "get", None): 1}
    assert all(0 < point.sum < 60 for point in collected.points("hardtack.store.operation.duration"))
    assert [(span.name, span.kind, span.status.status_code) for span in collected.spans.get_finished_spans()] == [
        ("put MemoryStore", SpanKind.INTERNAL, StatusCode.UNSET),
        ("get MemoryStore", SpanKind.INTERNAL, StatusCode.UNSET),
        ("put MemoryStore", SpanKind.INTERNAL, StatusCode.UNSET),
    ]


def test_a_store_that_fails_is_told_without_what_it_said(collected: Collected) -> None:
    """The type of the error, in the metric, in the span and for the request; its text may quote a command."""
    store = Broken()
    shop = site(collected, StoreEngine(store))
    shop.visit(cart=1)
    collected.spans.clear()

    store.error = StoreUnavailable("password=secret")
    with pytest.raises(StoreUnavailable):
        shop.open().get("cart")

    timed = collected.numbers("hardtack.store.operation.duration", telemetry.OPERATION, telemetry.ERROR)
    assert timed["get", "StoreUnavailable"] == 1
    failures = collected.numbers("hardtack.store.failures", telemetry.OPERATION, telemetry.ERROR)
    assert failures == {("load", "StoreUnavailable"): 1}
    (span,) = collected.spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (span.attributes or {})[telemetry.ERROR] == "StoreUnavailable"
    assert "secret" not in span.to_json()


def test_a_conflict_is_no_failure_of_the_store(collected: Collected) -> None:
    """It is what the store is asked for."""
    shop = site(collected, StoreEngine(MemoryStore()))
    shop.visit(cart=1)
    store: Any = shop.sessions.core.store

    with pytest.raises(VersionConflict):
        store.put("x" * 43, b"", expires_at=2**32, if_version=b"another", subject=None)

    assert {
        key[1] for key in collected.numbers("hardtack.store.operation.duration", telemetry.OPERATION, telemetry.ERROR)
    } == {None}


def test_a_server_that_hangs_is_counted_when_it_begins(collected: Collected) -> None:
    """And not when it answers again."""
    shop = site(collected)

    shop.sessions.core.emit(events.StoreHangs, "Redis", True)
    shop.sessions.core.emit(events.StoreHangs, "Redis", False)

    assert collected.numbers("hardtack.store.hangs") == {(): 1}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_store_for_async_code_is_measured(collected: Collected, backend: str) -> None:
    """Its spans lie in that of the request."""
    import anyio

    shop = Site(StoreEngine(AsyncMemoryStore()))
    collected.instrument(shop.sessions)
    tracer = collected.tracers.get_tracer("test")

    async def visit() -> None:
        with tracer.start_as_current_span("request"):
            session = await shop.sessions.aopen(shop.jar.header)
            session["cart"] = 1
            shop.jar.take(await shop.sessions.acommit(session))

    async def visits() -> None:
        await visit()
        await visit()
        assert await shop.sessions.acount() == 1
        assert len(await shop.sessions.alist("alice")) == 0

    anyio.run(visits, backend=backend)

    timed = collected.numbers("hardtack.store.operation.duration", telemetry.STORE, telemetry.OPERATION)
    assert timed == {("AsyncMemoryStore", name): 1 for name in ("put", "get", "count", "find")}
    assert collected.numbers("hardtack.session.count") == {(): 1}
    put, request = collected.spans.get_finished_spans()[:2]
    assert put.parent is not None
    assert request.context is not None
    assert (put.name, put.parent.span_id) == ("put AsyncMemoryStore", request.context.span_id)


def test_a_store_in_a_thread_has_its_spans_in_those_of_the_request(collected: Collected, tmp_path: Path) -> None:
    """A store that blocks runs in a worker thread under async frameworks."""
    shop = Site(StoreEngine(FileStore(tmp_path / "sessions")))
    collected.instrument(shop.sessions)

    async def visit() -> None:
        with collected.tracers.get_tracer("test").start_as_current_span("request"):
            session = await shop.sessions.aopen(None)
            session["cart"] = 1
            await shop.sessions.acommit(session)

    asyncio.run(visit())

    put, request = collected.spans.get_finished_spans()
    assert put.parent is not None
    assert request.context is not None
    assert (put.name, put.parent.span_id) == ("put FileStore", request.context.span_id)


@pytest.mark.slow
class TestAMeasuredStore(SweepsContract, RenamesContract, FindsContract, StoreContract):
    """Between an engine and its store stands one that is a store as well, with all that the other can do."""

    def test_those_who_save_do_not_wait_for_a_sweep(self, tested_store: Any) -> None:
        """The store itself is tested for it, for a minute."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Any]:
        """An SQLite file, measured."""
        store = SQLiteStore(tmp_path / "sessions.db")
        yield measured(store)
        store.close()


@pytest.mark.slow
class TestAMeasuredAsyncStore(SweepsContract, RenamesContract, FindsContract, AsyncStoreContract):
    """The same for async code."""

    def test_those_who_save_do_not_wait_for_a_sweep(self, tested_store: Any) -> None:
        """The store itself is tested for it, for a minute."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        """An SQLite file by aiosqlite, measured."""

        async def make() -> Any:
            store = AsyncSQLAlchemyStore.from_url(f"sqlite+aiosqlite:///{tmp_path}/sessions.db")
            await store.create_table()
            return measured(store)

        return make()


def measured(store: Any) -> Any:
    sessions = SessionManager(StoreEngine(store))
    telemetry.instrument(sessions, meter_provider=MeterProvider())
    return sessions.engine.store


@pytest.mark.parametrize("make", [MemoryStore, AsyncMemoryStore])
def test_a_measured_store_has_the_traits_of_the_store(make: Callable[[], Any]) -> None:
    """Nothing is lost by measuring, and nothing is promised that the store cannot do."""
    store = make()

    assert store_traits(measured(store)) == store_traits(store)


def test_a_measured_store_can_be_copied() -> None:
    """Attributes that are looked up while there are none yet do not go round and round."""
    store = MemoryStore()

    assert copy.copy(measured(store)).measured_store is store


# --- gauges


def test_living_sessions_are_what_was_counted_last(collected: Collected) -> None:
    """Nobody asks the store for it unasked."""
    shop = site(collected, StoreEngine(MemoryStore()))
    log_in(shop, "alice")
    before = collected.points("hardtack.session.count")

    assert shop.sessions.count() == 1

    assert before == []
    assert collected.numbers("hardtack.session.count") == {(): 1}


def test_a_count_of_one_user_is_not_that_of_all(collected: Collected) -> None:
    """A store may be asked for either."""
    shop = site(collected, StoreEngine(MemoryStore()))
    log_in(shop, "alice")
    store: Any = shop.sessions.core.store

    assert (store.count("bob"), store.count(subject="bob")) == (0, 0)

    assert collected.points("hardtack.session.count") == []


def test_living_sessions_are_counted_now_and_then(collected: Collected) -> None:
    """By the exporter's thread, and no more often than was said."""
    shop = site(collected, StoreEngine(MemoryStore()), count_every="1 hour")
    log_in(shop, "alice")
    first = collected.numbers("hardtack.session.count")
    log_in(Site(shop.sessions.engine), "bob")

    assert first == {(): 1}
    assert collected.numbers("hardtack.session.count") == {(): 1}


def test_a_count_that_fails_is_logged_and_not_invented(collected: Collected, caplog: pytest.LogCaptureFixture) -> None:
    """An old number would look as if all were well."""
    store = Broken()
    shop = site(collected, StoreEngine(store), count_every=0)
    shop.visit(cart=1)
    before = collected.numbers("hardtack.session.count")

    store.error = StoreError("too many to count")

    assert before == {(): 1}
    assert collected.points("hardtack.session.count") == []
    assert "the session store failed to count: too many to count" in caplog.text


def test_logins_in_cookies_are_counted_by_their_registry(collected: Collected) -> None:
    """Its calls are measured as those of a store of sessions are."""
    shop = site(
        collected,
        ended=EndedSessions.from_url("memory://"),
        registry=MemoryStore(),
        count_every="1 minute",
    )
    log_in(shop, "alice")

    assert collected.numbers("hardtack.session.count") == {(): 1}
    operations = set(collected.numbers("hardtack.store.operation.duration", telemetry.OPERATION))
    assert "put" in operations
    shop.sessions.close()


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (lambda: CookieEngine(KEY), "these sessions cannot be counted; they need a store with count"),
        (lambda: StoreEngine(AsyncMemoryStore()), "AsyncMemoryStore is for async code.*await sessions.acount"),
    ],
    ids=["cookie", "async"],
)
def test_what_cannot_be_counted_is_said(collected: Collected, engine: Callable[[], Any], message: str) -> None:
    """When it is asked for, and not with each export."""
    sessions = SessionManager(engine())

    with pytest.raises(ConfigError, match=message):
        collected.instrument(sessions, count_every="1 minute")
    with pytest.raises(ConfigError, match="count_every='often' is not a duration"):
        collected.instrument(sessions, count_every="often")


def test_the_list_of_ended_sessions_is_told(collected: Collected) -> None:
    """How old it is, what is in it, and what waits; nothing before it was read."""
    shop = site(collected, ended=EndedSessions.from_url("memory://"))
    unread = collected.points("hardtack.ended_list.age")

    log_in(shop, "alice")
    session = shop.open()
    session.logout()
    shop.commit(session)
    shop.sessions.end_all("bob")

    assert unread == []
    ((age,),) = (collected.numbers("hardtack.ended_list.age").values(),)
    assert 0 <= age < 60
    assert collected.numbers("hardtack.ended_list.waiting") == {(): 0}
    entries = collected.numbers("hardtack.ended_list.entries", telemetry.KIND)
    assert (entries["session"] >= 1, entries["subject"], entries["provider"]) == (True, 1, 0)
    shop.sessions.close()


@pytest.mark.slow
def test_a_manager_that_is_gone_is_not_asked(collected: Collected) -> None:
    """A gauge cannot be taken back, and keeps no manager alive."""
    shop = site(collected, StoreEngine(MemoryStore()))
    assert shop.sessions.count() == 0
    watch = telemetry._watched[shop.sessions.core]
    before = collected.numbers("hardtack.session.count")

    del shop
    gc.collect()

    assert before == {(): 0}
    assert list(watch.observe("hardtack.session.count")) == []


# --- on and off


def test_the_own_listener_goes_on(collected: Collected) -> None:
    """Whether it was there before, or is set after."""
    shop = site(collected)
    later: list[events.Event] = []
    before = shop.sessions.on_event

    shop.visit(cart=1)
    shop.sessions.on_event = later.append
    shop.visit(cart=2)
    shop.sessions.on_event = None
    shop.visit(cart=3)

    assert before == shop.events.append
    assert len(shop.told(events.Created)) == 1
    assert [type(event) for event in later] == [events.Opened, events.Saved]
    assert collected.numbers("hardtack.session.opened") == {(): 2}


def test_who_instruments_twice_counts_once(collected: Collected) -> None:
    """An application factory may be called again."""
    shop = site(collected, StoreEngine(MemoryStore()))

    collected.instrument(shop.sessions)
    shop.visit(cart=1)

    assert collected.numbers("hardtack.session.created") == {(): 1}
    assert collected.numbers("hardtack.store.operation.duration", telemetry.OPERATION) == {"put": 1}


def test_two_managers_are_told_apart_by_their_purpose(collected: Collected) -> None:
    """Also where they share an engine; what has none has no attribute for it."""
    engine = StoreEngine(MemoryStore())
    shop, admin = site(collected, engine), site(collected, engine, purpose="admin")

    shop.visit(cart=1)
    admin.visit(cart=1)
    admin.visit(cart=2)
    telemetry.uninstrument(admin.sessions)
    shop.visit(cart=2)

    assert collected.numbers("hardtack.session.created", telemetry.PURPOSE) == {None: 1, "admin": 1}
    assert collected.numbers("hardtack.session.opened", telemetry.PURPOSE) == {None: 1, "admin": 1}
    assert type(shop.sessions.engine.store) is telemetry.InstrumentedStore


def test_it_can_be_taken_back(collected: Collected) -> None:
    """The manager and its store are what they were."""
    store = MemoryStore()
    shop = site(collected, StoreEngine(store))
    shop.visit(cart=1)
    shop.sessions.count()

    telemetry.uninstrument(shop.sessions)
    telemetry.uninstrument(shop.sessions)
    shop.visit(cart=2)

    core = shop.sessions.core
    assert (core.store, core.engine.store, core.on_lines) == (store, store, None)
    assert core.teller.on_event == shop.events.append
    assert collected.points("hardtack.session.opened") == []
    assert collected.points("hardtack.session.count") == []


def test_the_providers_of_the_process_are_the_default() -> None:
    """Without any, nothing happens, as OpenTelemetry has it."""
    shop, other = Site(), Site()

    telemetry.instrument(shop.sessions)
    telemetry.instrument(other.sessions)
    shop.visit(cart=1)

    assert len(shop.told(events.Created)) == 1


def test_an_engine_that_keeps_its_store_is_told_of(collected: Collected, caplog: pytest.LogCaptureFixture) -> None:
    """One of another package may not let it be set: its events are counted, and its calls are not timed."""

    class Kept(StoreEngine):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "store" and "store" in self.__dict__:
                raise AttributeError(name)
            super().__setattr__(name, value)

    shop = site(collected, Kept(MemoryStore()))

    shop.visit(cart=1)

    assert collected.numbers("hardtack.session.created") == {(): 1}
    assert collected.points("hardtack.store.operation.duration") == []
    assert "the store of this Kept is not measured" in caplog.text


@pytest.mark.slow
def test_hardtack_itself_imports_no_telemetry() -> None:
    """Who does not use it pays nothing for it."""
    code = "import sys; import hardtack, hardtack.manager, hardtack.stores.memory; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert not [name for name in done.stdout.split() if name.startswith(("opentelemetry", "hardtack.telemetry"))]


# --- what is told, and what is not


def test_no_attribute_tells_who_it_is(collected: Collected) -> None:
    """Neither an id, nor a user, a key, an address or a cookie, in any metric or span."""
    shop = Site(StoreEngine(MemoryStore()), purpose="shop")
    collected.instrument(shop.sessions)
    seen: set[str] = set()

    for name in ("alice@example.org", "bob@example.org"):
        session = shop.sessions.open(shop.jar.header, Request(method="POST", path="/login", client="192.0.2.1"))
        session.login(name, label="Firefox")
        shop.commit(session)
        seen |= {str(session.id), name, *shop.jar.cookies.values()}
    shop.sessions.list("bob@example.org")
    shop.sessions.end_all("bob@example.org")
    shop.sessions.open(f"{shop.sessions.cookie.name}=rubbish").get("x")

    told = json.dumps([point.to_json() for name in collected.metrics() for point in collected.points(name)])
    told += "".join(span.to_json() for span in collected.spans.get_finished_spans())
    assert not [value for value in (*seen, "192.0.2.1", "Firefox", "rubbish") if value in told]
    values = {
        value for name in collected.metrics() for point in collected.points(name) for value in point.attributes.values()
    }
    assert values <= {
        "shop",
        "MemoryStore",
        "get",
        "put",
        "find",
        "rename",
        "delete",
        "login",
        "ended",
        "malformed",
        False,
    }


def all_of_them(collected: Collected) -> dict[str, Any]:
    """The metrics of a site at which everything happens once."""
    shop = site(
        collected,
        StoreEngine(MemoryStore()),
        ended=EndedSessions.from_url("memory://", key=KEY),
        count_every="1 hour",
    )
    log_in(shop, "alice")
    session = shop.open()
    session.logout()
    shop.commit(session)
    for event in (
        events.Opened("id"),
        events.Expired("id", "idle"),
        events.Rejected("malformed", "session"),
        events.Conflict("id", "merged"),
        events.StoreFailed("load", "StoreUnavailable"),
        events.StoreHangs("Redis", True),
    ):
        shop.sessions.core.teller.tell(event)
    found = collected.metrics()
    shop.sessions.close()
    return found


def test_what_is_listed_is_what_is_measured(collected: Collected) -> None:
    """Names, units and meanings."""
    found = all_of_them(collected)

    assert {(metric.name, metric.unit, metric.description) for metric in found.values()} == {
        (metric.name, metric.unit, metric.description) for metric in telemetry.METRICS
    }


def prometheus_names(metric: telemetry.Metric) -> set[str]:
    """What Prometheus calls a metric: OpenTelemetry's rules for it, which leave units in braces out."""
    unit = {"s": "_seconds", "By": "_bytes"}.get(metric.unit, "")
    name = metric.name.replace(".", "_") + unit
    if metric.kind == "counter":
        return {f"{name}_total"}
    return {f"{name}_{part}" for part in ("bucket", "sum", "count")} if metric.kind == "histogram" else {name}


def queries() -> list[str]:
    """What the dashboard asks Prometheus for."""
    board = json.loads((ROOT / "docs/grafana/hardtack.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_asks_for_what_is_measured(collected: Collected) -> None:
    """For each metric, by the name that Prometheus gives it, and by attributes that it has."""
    made = all_of_them(collected)
    names = {name for metric in telemetry.METRICS for name in prometheus_names(metric)}
    attributes = {
        str(key).replace(".", "_")
        for metric in made.values()
        for point in metric.data.data_points
        for key in point.attributes
    } | {telemetry.ERROR.replace(".", "_"), telemetry.PURPOSE.replace(".", "_"), "le"}

    asked = {name for query in queries() for name in re.findall(r"\bhardtack_[a-z_]+(?=\{)", query)}
    by = {
        name.strip()
        for query in queries()
        for group in re.findall(r"by \(([^)]+)\)", query)
        for name in group.split(",")
    }
    where = {name for query in queries() for name in re.findall(r"([a-z_]+)(?==~|!=|=\")", query)}

    assert asked <= names
    assert not [metric.name for metric in telemetry.METRICS if not prometheus_names(metric) & asked]
    assert by <= attributes
    assert where <= attributes


def test_the_page_has_every_metric() -> None:
    """With its kind and its unit."""
    text = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")

    for metric in telemetry.METRICS:
        assert f"| `{metric.name}` | {metric.kind} | `{metric.unit}` |" in text


class Answers(BaseHTTPRequestHandler):
    """What stands for a Prometheus: it notes what it is asked, and finds one line for all but what is to be missing."""

    asked: ClassVar[list[str]] = []
    missing = ""

    def do_GET(self) -> None:
        """A range of points, or the values of a label."""
        parameters = parse_qs(urlsplit(self.path).query)
        data: Any = ["office", "shop"]
        if parameters:
            (query,) = parameters["query"]
            self.asked.append(query)
            start = float(parameters["start"][0])
            line = {"metric": {"hardtack_deadline": "idle"}, "values": [[start, "1"], [start + 2, "NaN"]]}
            data = {"result": [] if self.missing and self.missing in query else [line]}
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["", "hardtack_store_hangs_total"])
def test_the_picture_asks_each_query_of_the_dashboard(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every variable filled in; and there is no picture where one of them finds nothing."""
    monkeypatch.setattr(Answers, "asked", [])
    monkeypatch.setattr(Answers, "missing", missing)
    program = runpy.run_path(str(ROOT / "docs/images/make_dashboard.py"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            asked = program["Asked"](f"http://127.0.0.1:{server.server_port}", 1000.0, 1100.0)
            panels = [panel for panel in asked.dashboard["panels"] if panel["type"] != "row"]
            if missing:
                with pytest.raises(SystemExit, match=f"Failures, C: nothing is found by .*{missing}"):
                    [asked.panel(panel) for panel in panels]
                return
            drawn = {panel["title"]: asked.panel(panel) for panel in panels}
        finally:
            server.shutdown()
            thread.join()

    assert len(Answers.asked) == len(queries())
    assert not [query for query in Answers.asked if "$" in query]
    assert 'hardtack_session_opened_total{hardtack_purpose=~".*"}[8s]' in Answers.asked[0]
    assert drawn["Too late"] == [("idle", [(1000.0, 1.0)])]
    assert asked.shown == [("Data source", "Prometheus"), ("Purpose", "All (office, shop)")]
