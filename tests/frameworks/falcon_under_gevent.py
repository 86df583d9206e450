"""A greenlet that serves a request of Falcon is killed after a logout: python -m tests.frameworks.falcon_under_gevent MOMENT

MOMENT is `handler`, `commit` or `error handler`. The process ends with 0 where the logout was carried out. What came before,
on the same connection, is over, and the greenlet's end is nothing to it.
"""

from __future__ import annotations

import sys
from typing import Any

import falcon
import gevent  # type: ignore[import-untyped]
from gevent.event import Event  # type: ignore[import-untyped]
from tests.frameworks.harness import TIMEOUT, WSGISite

from hardtack import Cookie, SessionManager, StoreEngine
from hardtack.frameworks.falcon import SessionMiddleware
from hardtack.stores.memory import MemoryStore


class SlowToKeep(MemoryStore):
    """A store in memory whose next write waits, as over a network, and lets gevent's other greenlets run."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Any = None

    def put(self, *args: Any, **named: Any) -> Any:
        waits, self.waits = self.waits, None
        if waits is not None:
            waits()
        return super().put(*args, **named)


def main(moment: str) -> None:
    reached = Event()

    def wait() -> None:
        reached.set()
        gevent.sleep(TIMEOUT)

    class Leaving:
        def on_get(self, req: Any, resp: Any) -> None:
            req.context.session.logout()
            if moment == "error handler":
                raise ValueError
            if moment == "handler":
                wait()

    class Page:
        def on_get(self, req: Any, resp: Any) -> None:
            req.context.session["page"] = 1

    def handle(*args: Any) -> None:
        wait()

    store = SlowToKeep()
    sessions = SessionManager(StoreEngine(store), cookie=Cookie.for_development())
    app = falcon.App(middleware=[SessionMiddleware(sessions)])
    app.add_route("/", Leaving())
    app.add_route("/page", Page())
    app.add_error_handler(ValueError, handle)
    session = sessions.open(None)
    session.login("ann")
    cookie = sessions.commit(session).set_cookies[0].partition(";")[0]
    site = WSGISite(app)

    def connection() -> None:
        site.call("/page", cookie)
        assert not greenlet.has_links()
        if moment == "commit":
            store.waits = wait
        site.call("/", cookie)

    greenlet = gevent.spawn(connection)
    assert reached.wait(TIMEOUT)
    assert sessions.open(cookie).subject == "ann"
    assert sessions.open(cookie)["page"] == 1
    greenlet.kill()

    with gevent.Timeout(TIMEOUT):
        while sessions.open(cookie).subject is not None:
            gevent.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1])
