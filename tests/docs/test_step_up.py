"""Each framework's page asks again before it deletes an account: its example is served, and tried from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.docs.examples import ROOT, examples
from tests.docs.test_examples import served as serve_wsgi
from tests.frameworks.harness import Loop
from tests.frameworks.sites import listening_socket

from hardtack import Key

PAGES = ROOT / "docs" / "frameworks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:websockets.*is deprecated:DeprecationWarning"),  # Sanic imports it
]


@contextmanager
def serve_asgi(app: Any) -> Iterator[str]:
    import uvicorn

    with listening_socket() as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def serve_on_loop(start: Callable[[Any, Loop], Any]) -> Iterator[str]:
    """What has a server of its own, which `start` starts on a loop, and which returns how it is stopped."""
    loop = Loop()
    with listening_socket() as listening:
        listening.setblocking(False)
        stop = loop.run(start(listening, loop))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            loop.run(stop())
            loop.close()


def serve_aiohttp(app: Any) -> AbstractContextManager[str]:
    from aiohttp import web

    async def start(listening: Any, loop: Loop) -> Any:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        return runner.cleanup

    return serve_on_loop(start)


def serve_sanic(app: Any) -> AbstractContextManager[str]:
    async def start(listening: Any, loop: Loop) -> Any:
        app.config.TOUCHUP = False  # it rewrites Sanic's own methods, once a process
        server = await app.create_server(sock=listening, return_asyncio_server=True, access_log=False)
        await server.startup()
        await server.start_serving()

        async def stop() -> None:
            await server.close()
            for connection in server.connections:
                connection.close_if_idle()

        return stop

    return serve_on_loop(start)


def serve_tornado(app: Any) -> AbstractContextManager[str]:
    from tornado.httpserver import HTTPServer

    async def start(listening: Any, loop: Loop) -> Any:
        server = HTTPServer(app)
        server.add_socket(listening)

        async def stop() -> None:
            server.stop()
            await server.close_all_connections()

        return stop

    return serve_on_loop(start)


SERVE: dict[str, Callable[[Any], AbstractContextManager[str]]] = {
    "aiohttp": serve_aiohttp,
    "asgi": serve_asgi,
    "bottle": serve_wsgi,
    "falcon": serve_wsgi,
    "fastapi": serve_asgi,
    "flask": serve_wsgi,
    "litestar": serve_asgi,
    "pyramid": serve_wsgi,
    "quart": serve_asgi,
    "sanic": serve_sanic,
    "starlette": serve_asgi,
    "tornado": serve_tornado,
    "wsgi": serve_wsgi,
}


class _AsAnswered(urllib.request.HTTPRedirectHandler):
    """Redirects come back as they are."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


_open = urllib.request.build_opener(_AsAnswered).open


def post(address: str, cookie: str = "", **form: str) -> tuple[int, str, list[str]]:
    """The status of what is answered, its text, and its cookies."""
    headers = {"Cookie": cookie} if cookie else {}
    request = urllib.request.Request(address, urlencode(form).encode(), headers)
    try:
        answer: Any = _open(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read().decode(), answer.headers.get_all("Set-Cookie") or []


def program(name: str) -> dict[str, Any]:
    """The page's program up to its step-up: what comes later is about other settings."""
    module = ModuleType(f"step_up_{name}")
    del module.__spec__  # see `run_page`
    sys.modules[module.__name__] = module  # frameworks look for the types of annotations there
    exec("import os", module.__dict__)
    for example in examples(PAGES / f"{name}.md"):
        if not example.compile_only:
            exec(example.compiled(), module.__dict__)
        if "/account/delete" in example.code:
            return module.__dict__
    raise AssertionError(name)


@pytest.mark.parametrize("name", SERVE)
def test_an_account_is_deleted_by_who_has_shown_the_password_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a login nor a wrong password is enough, and nobody at all gets nowhere."""
    monkeypatch.setenv("HARDTACK_KEY", Key.generate().export())
    page, deleted = program(name), list[str]()
    monkeypatch.setitem(page, "password_is_right", lambda user, password: (user, password) == ("alice", "right"))
    monkeypatch.setitem(page, "delete_user", deleted.append)
    session = page["sessions"].open()
    session.login("alice")
    cookie = page["sessions"].commit(session).set_cookies[0].partition(";")[0]

    with SERVE[name](page["app"]) as address:
        stranger = post(f"{address}account/delete"), post(f"{address}confirm", password="right")
        refused = post(f"{address}account/delete", cookie)
        wrong = post(f"{address}confirm", cookie, password="wrong")
        again = post(f"{address}account/delete", cookie)
        confirmed = post(f"{address}confirm", cookie, password="right")
        renewed = confirmed[2][0].partition(";")[0]
        before = list(deleted)
        done = post(f"{address}account/delete", renewed)

    for status, text, cookies in (*stranger, refused, wrong, again):
        assert (status, text, cookies) == (403, page["ASK"], [])
    assert confirmed[0] == 303
    assert renewed != cookie
    assert before == []
    assert (done[0], done[1], deleted) == (200, "Farewell.", ["alice"])
    assert "Max-Age=0" in done[2][0]


@pytest.mark.parametrize("middleware", ["hardtack.frameworks.django", "django.contrib.sessions.middleware"])
@pytest.mark.parametrize("engine", ["encrypted_cookie", "signed_cookie", "store"])
def test_the_same_on_a_django_site_with_users(engine: str, middleware: str) -> None:
    """Under each engine and each middleware."""
    command = [sys.executable, "-m", "tests.docs.step_up_django", engine, f"{middleware}.SessionMiddleware"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stderr


def test_each_page_of_a_framework_has_it() -> None:
    """A new page too."""
    assert {page.stem for page in PAGES.glob("*.md")} == {*SERVE, "django"}
