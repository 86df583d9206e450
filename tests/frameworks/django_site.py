"""The Django site of the tests: its settings, views and urls."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

SECRET = "a secret of Django of 32 characters or more"
STORE = "tests.frameworks.django_site.store"

_folder = tempfile.TemporaryDirectory()


def configure() -> None:
    """Django's settings, once a process."""
    if not settings.configured:
        settings.configure()
    for name, value in _SETTINGS.items():
        setattr(settings, name, value)
    django.setup()
    from django.core.management import call_command  # type: ignore[import-untyped]

    call_command("migrate", verbosity=0)


_SETTINGS: dict[str, Any] = {
    "SECRET_KEY": SECRET,
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": __name__,
    "DATABASES": {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(_folder.name) / "django.sqlite3")}
    },
    "INSTALLED_APPS": [f"django.contrib.{name}" for name in ("contenttypes", "auth", "messages", "sessions")],
    "MIDDLEWARE": [
        "hardtack.frameworks.django.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "MESSAGE_STORAGE": "django.contrib.messages.storage.session.SessionStorage",
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "SESSION_ENGINE": "hardtack.frameworks.django.encrypted_cookie",
    "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
    "USE_TZ": True,
}


def user(name: str) -> Any:
    """A user of the site."""
    from django.contrib.auth import get_user_model  # type: ignore[import-untyped]

    return get_user_model().objects.get_or_create(username=name)[0]


def nothing(request: Any) -> Any:
    return HttpResponse()


def assign(request: Any, key: str, value: int) -> Any:
    request.session[key] = value
    return HttpResponse()


def dump(request: Any) -> Any:
    return JsonResponse({key: value for key, value in request.session.items() if not key.startswith("_auth")})


def basket(request: Any) -> Any:
    request.session["basket"] = []
    return HttpResponse()


def nested(request: Any) -> Any:
    request.session["basket"].append("bread")
    return HttpResponse()


def nested_and_saved(request: Any) -> Any:
    request.session["basket"].append("bread")
    request.session.save()
    return HttpResponse()


async def nested_and_asaved(request: Any) -> Any:
    request.session["basket"].append("bread")
    await request.session.asave()
    return HttpResponse()


def login(request: Any, name: str) -> Any:
    from django.contrib import auth  # type: ignore[import-untyped]

    auth.login(request, user(name), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse()


def logout(request: Any) -> Any:
    from django.contrib import auth

    auth.logout(request)
    return HttpResponse()


def whoami(request: Any) -> Any:
    return HttpResponse(str(request.user).encode())


def message(request: Any) -> Any:
    from django.contrib import messages

    messages.info(request, "hello")
    return HttpResponse()


def messages_shown(request: Any) -> Any:
    from django.contrib import messages

    return JsonResponse([str(each) for each in messages.get_messages(request)], safe=False)


def stream(request: Any) -> Any:
    request.session["streamed"] = 1

    def body() -> Iterator[str]:
        yield str(request.session["streamed"])

    async def abody() -> AsyncIterator[str]:
        yield str(request.session["streamed"])

    return StreamingHttpResponse(abody() if getattr(request, "scope", None) else body())


def fail(request: Any) -> Any:
    request.session["failed"] = True
    raise RuntimeError


def error(request: Any, status: int) -> Any:
    request.session["error"] = status
    return HttpResponse(status=status)


def expiry(request: Any, seconds: int) -> Any:
    request.session["a"] = 1
    request.session.set_expiry(seconds)
    return HttpResponse()


def big(request: Any, size: int) -> Any:
    request.session["big"] = os.urandom(size)
    return HttpResponse()


def flush(request: Any) -> Any:
    request.session.flush()
    return HttpResponse()


def empty(request: Any) -> Any:
    request.session.clear()
    return HttpResponse()


def public(request: Any) -> Any:
    request.session["a"] = 1
    return HttpResponse(headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})


def without(request: Any) -> Any:
    del request.session
    return HttpResponse()


async def async_assign(request: Any, key: str, value: int) -> Any:
    await asyncio.sleep(0)
    await request.session.aset(key, value)
    return HttpResponse()


async def async_sync(request: Any) -> Any:
    await asyncio.sleep(0)
    return HttpResponse(str(request.session.get("a")).encode())


urlpatterns = [
    path("nothing", nothing),
    path("set/<key>/<int:value>", assign),
    path("dump", dump),
    path("basket", basket),
    path("nested", nested),
    path("nested-and-saved", nested_and_saved),
    path("nested-and-asaved", nested_and_asaved),
    path("login/<name>", login),
    path("logout", logout),
    path("whoami", whoami),
    path("message", message),
    path("messages", messages_shown),
    path("stream", stream),
    path("fail", fail),
    path("error/<int:status>", error),
    path("expiry/<int:seconds>", expiry),
    path("big/<int:size>", big),
    path("flush", flush),
    path("empty", empty),
    path("public", public),
    path("without", without),
    path("async/set/<key>/<int:value>", async_assign),
    path("async/sync", async_sync),
]
