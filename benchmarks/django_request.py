"""What sessions add to a Django request: hardtack's encrypted cookies against Django's signed ones, interleaved.

    python benchmarks/django_request.py

Each variant answers the same requests through Django's middleware chain; what the same chain takes without sessions is taken
off. `measure()` returns the times in microseconds, and the ratios of hardtack to Django.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import django
from django.conf import settings

PAYLOAD: dict[str, Any] = json.loads((Path(__file__).parent / "payloads.json").read_text(encoding="utf-8"))["M"]
ROUNDS = 60
REQUESTS = 50

ENGINES = {
    "django": "django.contrib.sessions.backends.signed_cookies",
    "hardtack": "hardtack.frameworks.django.encrypted_cookie",
}
MIDDLEWARE = {
    "django": "django.contrib.sessions.middleware.SessionMiddleware",
    "hardtack": "django.contrib.sessions.middleware.SessionMiddleware",
    "middleware": "hardtack.frameworks.django.SessionMiddleware",
}


def read(request: Any) -> Any:
    from django.http import HttpResponse

    return HttpResponse(str(request.session["user_id"]))


def write(request: Any) -> Any:
    from django.http import HttpResponse

    request.session["user_id"] += 1
    return HttpResponse("")


def chain(name: str, view: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], str]:
    """The view under the session middleware of one variant, and the Cookie header of a filled session, or one as long."""
    if name == "none":

        def bare(request: Any) -> Any:
            request.session = {"user_id": 1}
            return view(request)

        return bare, f"other={'x' * 600}"
    engine = import_module(ENGINES["hardtack" if name == "middleware" else name])
    settings.SESSION_ENGINE = engine.__name__
    module, _, kind = MIDDLEWARE[name].rpartition(".")
    session = engine.SessionStore()
    session.update(PAYLOAD)
    session.save()
    return getattr(import_module(module), kind)(view), f"sessionid={session.session_key}"


def requester(name: str, view: Callable[[Any], Any]) -> Callable[[], None]:
    """A function that answers one request and writes its headers out, as the WSGI handler does."""
    from django.core.handlers.wsgi import WSGIRequest
    from django.test import RequestFactory

    call, header = chain(name, view)
    environ = RequestFactory()._base_environ(PATH_INFO="/")
    environ["HTTP_COOKIE"] = header

    def request() -> None:
        response = call(WSGIRequest(dict(environ)))
        assert response.status_code == 200
        list(response.items())
        [cookie.OutputString() for cookie in response.cookies.values()]

    return request


def interleaved(requests: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Microseconds of processor time of each, round by round: what slows a round down slows all of its requests."""
    times: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(ROUNDS):
        for name, request in requests.items():
            begin = time.process_time()
            for _ in range(REQUESTS):
                request()
            times[name].append((time.process_time() - begin) / REQUESTS * 1e6)
    return times


def added(times: dict[str, list[float]], name: str) -> float:
    """What one adds to the request without sessions: the median of the differences within the rounds."""
    return median(mine - none for mine, none in zip(times[name], times["none"], strict=True))


def set_up() -> None:
    """Let Django have the settings that it needs."""
    if not settings.configured:
        settings.configure(SECRET_KEY="benchmark secret of at least 32 characters")
        django.setup()


def measure() -> dict[str, float]:
    """Microseconds that sessions add to a request, read and written, and the ratios.

    `hardtack` is the engine under Django's own middleware, `middleware` the same under hardtack's.
    """
    set_up()
    result: dict[str, float] = {}
    for scenario, view in (("read", read), ("write", write)):
        times = interleaved({name: requester(name, view) for name in ("none", "django", "hardtack", "middleware")})
        for name in ("django", "hardtack", "middleware"):
            result[f"{name}_{scenario}_us"] = added(times, name)
        for name in ("hardtack", "middleware"):
            result[f"ratio_{name}_{scenario}"] = result[f"{name}_{scenario}_us"] / result[f"django_{scenario}_us"]
    return result


if __name__ == "__main__":
    for label, value in measure().items():
        print(f"{label:24} {value:8.2f}")
