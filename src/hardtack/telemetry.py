"""Telemetry: what sessions do, as metrics and spans of OpenTelemetry. One call: `instrument(sessions)`.

Needs opentelemetry-api: `pip install 'hardtack[otel]'`. docs/telemetry.md lists what is measured. No attribute holds an id, a
subject, a key or an address: they are few words of ours, the class of the store, and the application's `purpose`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, ref

from hardtack import __version__, events
from hardtack._extras import explain
from hardtack.errors import ConfigError, HardtackError
from hardtack.lifetime import Duration, seconds
from hardtack.protocols import VersionConflict, is_async

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import SpanKind, StatusCode, Tracer, TracerProvider
except ImportError as error:
    raise ImportError(explain("hardtack.telemetry", "otel", error)) from error

if TYPE_CHECKING:
    from hardtack.manager import SessionManager

__all__ = ["instrument", "uninstrument"]

PURPOSE: Final = "hardtack.purpose"
REASON: Final = "hardtack.rejection.reason"
CAUSE: Final = "hardtack.logout.cause"
DEADLINE: Final = "hardtack.deadline"
OUTCOME: Final = "hardtack.conflict.outcome"
IMPERSONATED: Final = "hardtack.login.impersonated"
STORE: Final = "hardtack.store.type"
OPERATION: Final = "hardtack.store.operation"
ERROR: Final = "error.type"
KIND: Final = "hardtack.ended_list.entry.kind"

_OTHER: Final = "_OTHER"  # as OpenTelemetry's own conventions have it
_MAX_REASONS: Final = 50
"""Formats of other packages have reasons of their own: beyond so many different ones they are one."""

_OPERATIONS: Final = ("get", "put", "delete", "rename", "touch", "find", "count", "resolve", "sweep", "reconnect")
"""The calls of a store that are measured, where it has them."""

_NO_FAILURES: Final = (VersionConflict, NotImplementedError)
"""What a store says in the ordinary course of its work."""

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BYTES: Final = (128, 256, 512, 1024, 1536, 2048, 2560, 3072, 3600, 4096)


class Metric(NamedTuple):
    """One metric: its name, kind, unit (UCUM) and meaning."""

    name: str
    kind: str
    unit: str
    description: str


METRICS: Final = (
    Metric("hardtack.session.opened", "counter", "{session}", "Requests that brought a good session, and looked at it"),
    Metric("hardtack.session.created", "counter", "{session}", "Sessions that were stored for the first time"),
    Metric("hardtack.session.logins", "counter", "{login}", "Logins"),
    Metric("hardtack.session.ended", "counter", "{session}", "Sessions that were ended, those of nobody included"),
    Metric("hardtack.session.logouts", "counter", "{session}", "Sessions of users that were ended, by their cause"),
    Metric("hardtack.session.expired", "counter", "{session}", "Good sessions that came after their deadline"),
    Metric("hardtack.session.rejected", "counter", "{cookie}", "Cookies that could not be used, by the reason"),
    Metric("hardtack.session.conflicts", "counter", "{conflict}", "Saves that another request came before"),
    Metric("hardtack.session.cookie.size", "histogram", "By", "Size of a Set-Cookie line that sets a cookie"),
    Metric("hardtack.session.count", "gauge", "{session}", "Sessions in the store, when they were last counted"),
    Metric("hardtack.store.operation.duration", "histogram", "s", "Duration of a call of the store"),
    Metric("hardtack.store.failures", "counter", "{failure}", "Requests that the store failed, by what they wanted"),
    Metric("hardtack.store.hangs", "counter", "{hang}", "Times that a server did not answer, and was left alone"),
    Metric("hardtack.ended_list.age", "gauge", "s", "Time since the list of ended sessions was read to its end"),
    Metric("hardtack.ended_list.entries", "gauge", "{entry}", "Entries of the list of ended sessions, by their kind"),
    Metric("hardtack.ended_list.waiting", "gauge", "{entry}", "Ends that could not be told to the list yet"),
)
"""All that is measured."""


def instrument(
    sessions: SessionManager,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    count_every: Duration | None = None,
) -> None:
    """Measure what a manager's sessions do, from now on: call it once, before the first request.

    Args:
        sessions: the manager. One that is instrumented already is left as it is.
        meter_provider: where metrics go; None: OpenTelemetry's global one.
        tracer_provider: where spans go; None: the global one.
        count_every: how often the store is asked at most how many sessions there are, by the thread that exports metrics:
            "1 minute". None: never; what `sessions.count()` and `acount()` find is reported all the same. All processes of
            an application would count the same, so let one do it.

    Raises:
        ConfigError: `count_every` is no duration, or the store is one for async code, which the exporter's thread cannot
            ask: call `await sessions.acount()` in a task there.
    """
    if sessions.core in _watched:
        return
    every = None if count_every is None else seconds(count_every, "count_every")
    if every is not None:
        store = sessions.core.store
        if store is None or not callable(getattr(store, "count", None)):
            message = "count_every: these sessions cannot be counted; they need a store with count(), or registry="
            raise ConfigError(message)
        if is_async(store):
            message = (
                f"count_every: {type(store).__name__} is for async code, and metrics are exported by a thread; call "
                "`await sessions.acount()` now and then in a task, and what it finds is reported"
            )
            raise ConfigError(message)
    tracer = trace.get_tracer("hardtack", __version__, tracer_provider)
    watch = _Watch(sessions, _instruments(meter_provider), tracer, every)
    _watched[sessions.core] = watch
    watch.begin()


def uninstrument(sessions: SessionManager) -> None:
    """Measure nothing of a manager any more."""
    watch = _watched.pop(sessions.core, None)
    if watch is not None:
        watch.end()


# --- the instruments of a provider: gauges can be made once, and not taken back


class _Instruments:
    """The metrics of one provider, and whom its gauges ask."""

    def __init__(self, meter: Meter) -> None:
        self.watches: WeakSet[_Watch] = WeakSet()
        self._made: dict[str, Any] = {}
        for metric in METRICS:
            about = {"unit": metric.unit, "description": metric.description}
            if metric.kind == "counter":
                self._made[metric.name] = meter.create_counter(metric.name, **about)
            elif metric.kind == "histogram":
                bounds = _SECONDS if metric.unit == "s" else _BYTES
                histogram = meter.create_histogram(metric.name, **about, explicit_bucket_boundaries_advisory=bounds)
                self._made[metric.name] = histogram
            else:
                meter.create_observable_gauge(metric.name, [self._observer(metric.name)], **about)

    def add(self, name: str, attributes: dict[str, Any]) -> None:
        """Count one more."""
        self._made[name].add(1, attributes)

    def record(self, name: str, value: float, attributes: dict[str, Any]) -> None:
        """Add a value to a histogram."""
        self._made[name].record(value, attributes)

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            for watch in list(self.watches):
                yield from watch.observe(name)

        return observe


_made: WeakKeyDictionary[Any, _Instruments] = WeakKeyDictionary()


class _Globally:
    """Stands for the global provider, which may be set after the first call."""


_GLOBALLY: Final = _Globally()


def _instruments(provider: MeterProvider | None) -> _Instruments:
    known = _GLOBALLY if provider is None else provider
    if known not in _made:
        _made[known] = _Instruments(metrics.get_meter("hardtack", __version__, provider))
    return _made[known]


# --- a manager that is watched


class _Watch:
    """Listens to one manager, and stands between its engine and its store."""

    def __init__(
        self, sessions: SessionManager, instruments: _Instruments, tracer: Tracer, every: int | None = None
    ) -> None:
        self._sessions = ref(sessions)
        self._instruments = instruments
        self._tracer = tracer
        self._every = every
        self._common: dict[str, Any] = {PURPOSE: sessions.purpose} if sessions.purpose else {}
        self._reasons: set[str] = set()
        self._counts: dict[int, int] = {}
        self._count_due = 0.0

    def begin(self) -> None:
        """Be told, and measure the store."""
        core = self._core()
        core.teller.listen_beside(self.tell)
        core.on_lines = self.measure_lines
        for engine in self._engines():
            if engine.store is not None and not isinstance(engine.store, InstrumentedStore):
                self._set_store(engine, InstrumentedStore(engine.store, self))
        self._instruments.watches.add(self)

    def end(self) -> None:
        """Undo it."""
        core = self._core()
        core.teller.listen_beside(None)
        core.on_lines = None
        for engine in self._engines():
            if isinstance(engine.store, InstrumentedStore) and engine.store.watch is self:
                self._set_store(engine, engine.store.measured_store)
        self._instruments.watches.discard(self)

    def _engines(self) -> list[Any]:
        """Those that may ask a store: the manager's own, that of the registry, and those that sessions move from."""
        core = self._core()
        return [
            each for each in (core.engine, core.registry, *(view.engine for view in core.accepted)) if each is not None
        ]

    def _set_store(self, engine: Any, store: Any) -> None:
        core = self._core()
        try:
            engine.store = store
        except AttributeError:
            core.warn_once(f"the store of this {type(engine).__name__} is not measured: its attribute cannot be set")
        core.store = core.engine.store if core.registry is None else core.registry.store
        for view in core.accepted:
            view.store = view.engine.store

    def _core(self) -> Any:
        sessions = self._sessions()
        assert sessions is not None  # who calls has it
        return sessions.core

    def _add(self, name: str, **attributes: Any) -> None:
        self._instruments.add(name, {**self._common, **attributes})

    # --- events

    def tell(self, event: events.Event) -> None:
        """Count an event."""
        match event:
            case events.Opened():
                self._add("hardtack.session.opened")
            case events.Created():
                self._add("hardtack.session.created")
            case events.LoggedIn(actor=actor):
                self._add("hardtack.session.logins", **{IMPERSONATED: actor is not None})
            case events.Destroyed():
                self._add("hardtack.session.ended")
            case events.LoggedOut(cause=cause):
                self._add("hardtack.session.logouts", **{CAUSE: cause})
            case events.Expired(deadline=deadline):
                self._add("hardtack.session.expired", **{DEADLINE: deadline})
            case events.Rejected(reason=reason):
                self._add("hardtack.session.rejected", **{REASON: self._known(reason)})
            case events.Conflict(outcome=outcome):
                self._add("hardtack.session.conflicts", **{OUTCOME: outcome})
            case events.StoreFailed(operation=operation, error=error):
                self._add("hardtack.store.failures", **{OPERATION: operation, ERROR: error})
            case events.StoreHangs(hangs=True):
                self._add("hardtack.store.hangs")
            case _:
                pass

    def _known(self, reason: str) -> str:
        if reason not in self._reasons:
            if len(self._reasons) >= _MAX_REASONS:
                return _OTHER
            self._reasons.add(reason)
        return reason

    def measure_lines(self, lines: Sequence[str]) -> None:
        """Measure the lines of a response that set a cookie; those that clear one are all alike."""
        for line in lines:
            if "; Max-Age=0" not in line:
                self._instruments.record("hardtack.session.cookie.size", len(line), self._common)

    # --- calls of the store

    @contextmanager
    def measure(self, store: str, operation: str) -> Iterator[None]:
        """Measure what runs inside, and make a span of it."""
        attributes: dict[str, Any] = {**self._common, STORE: store, OPERATION: operation}
        # Internal: what goes over the network is the driver's, whose own instrumentation has a span of a client for it. An
        # exception is named and not recorded: its text and its causes may quote a command, and session data with it.
        with self._tracer.start_as_current_span(
            f"{operation} {store}",
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            start = time.perf_counter()
            try:
                yield
            except Exception as error:  # what is no Exception, a cancellation, says nothing of the store
                if not isinstance(error, _NO_FAILURES):
                    attributes[ERROR] = type(error).__name__
                    span.set_attribute(ERROR, type(error).__name__)
                    span.set_status(StatusCode.ERROR)
                raise
            finally:
                duration = time.perf_counter() - start
                self._instruments.record("hardtack.store.operation.duration", duration, attributes)

    def counted(self, store: object, number: Any, subject: str | None = None) -> None:
        """Keep how many sessions a store has, where all were counted."""
        if subject is None:
            self._counts[id(store)] = int(number)

    # --- gauges

    def observe(self, name: str) -> Iterator[Observation]:
        """What a gauge reads now; nothing where nothing is known."""
        sessions = self._sessions()
        if sessions is None:
            return
        if name == "hardtack.session.count":
            self._count_if_due(sessions)
            if self._counts:
                yield Observation(sum(self._counts.values()), self._common)
        elif sessions.core.ended is not None:
            stats = sessions.core.ended.stats()
            if name == "hardtack.ended_list.age":
                if stats.age is not None:
                    yield Observation(stats.age, self._common)
            elif name == "hardtack.ended_list.waiting":
                yield Observation(stats.waiting, self._common)
            else:
                entries = {"session": stats.sessions, "subject": stats.subjects, "provider": stats.providers}
                for kind, number in entries.items():
                    yield Observation(number, {**self._common, KIND: kind})

    def _count_if_due(self, sessions: SessionManager) -> None:
        now = time.monotonic()
        if self._every is None or now < self._count_due:
            return
        self._count_due = now + self._every
        try:
            sessions.count()
        except (HardtackError, NotImplementedError) as error:
            self._counts.clear()  # a number that nobody knows any more
            sessions.core.teller.log_failure("count", error)


_watched: WeakKeyDictionary[Any, _Watch] = WeakKeyDictionary()


# --- a store that is measured


_PROTOCOL: Final = ("blocking", "close")
"""What the protocol of a store has beside its operations."""


class InstrumentedStore:
    """A store whose calls are measured. What else it has and can do is that of the store itself."""

    def __init__(self, store: Any, watch: _Watch) -> None:
        self.measured_store = store
        self.watch = watch
        wrap = _measured_async if is_async(store) else _measured
        for name in _OPERATIONS:
            method = getattr(store, name, None)
            if method is not None:
                setattr(self, name, wrap(name, method, store, watch))
        # What `isinstance` looks for, which from Python 3.12 on finds nothing that `__getattr__` makes.
        self.__dict__.update({name: getattr(store, name) for name in _PROTOCOL if hasattr(store, name)})

    def __getattr__(self, name: str) -> Any:
        if name == "measured_store":  # it is being copied, and has none yet
            raise AttributeError(name)
        return getattr(self.measured_store, name)


def _measured(name: str, method: Callable[..., Any], store: Any, watch: _Watch) -> Callable[..., Any]:
    kind = type(store).__name__

    @functools.wraps(method)  # its signature too: what a store can do is read from it
    def call(*args: Any, **options: Any) -> Any:
        with watch.measure(kind, name):
            answer = method(*args, **options)
            if name == "find":
                answer = list(answer)  # it may be a generator, which has asked nothing yet
        if name == "count":
            watch.counted(store, answer, *args, **options)
        return answer

    return call


def _measured_async(name: str, method: Callable[..., Any], store: Any, watch: _Watch) -> Callable[..., Any]:
    kind = type(store).__name__

    @functools.wraps(method)
    async def call(*args: Any, **options: Any) -> Any:
        with watch.measure(kind, name):
            answer = await method(*args, **options)
        if name == "count":
            watch.counted(store, answer, *args, **options)
        return answer

    return call
