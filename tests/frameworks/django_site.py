"""The Django site of the tests: its settings, views and urls."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

from hardtack.errors import StoreUnavailable

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


MIDDLEWARE = [
    "hardtack.frameworks.django.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

_SETTINGS: dict[str, Any] = {
    "SECRET_KEY": SECRET,
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": __name__,
    "DATABASES": {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(_folder.name) / "django.sqlite3")}
    },
    "INSTALLED_APPS": [f"django.contrib.{name}" for name in ("contenttypes", "auth", "messages", "sessions")],
    "MIDDLEWARE": MIDDLEWARE,
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


meanwhile: Callable[[], object] | None = None
"""What another request does while `race` and its like are at work; once."""

ameanwhile: Callable[[], Awaitable[object]] | None = None


def _let_others() -> None:
    global meanwhile
    others, meanwhile = meanwhile, None
    if others is not None:
        others()


def race(request: Any, read: str, written: str) -> Any:
    value = request.session.get(read)
    _let_others()
    request.session[written] = value
    return HttpResponse()


async def async_race(request: Any, read: str, written: str) -> Any:
    global ameanwhile
    value = await request.session.aget(read)
    others, ameanwhile = ameanwhile, None
    if others is not None:
        await others()
    await request.session.aset(written, value)
    return HttpResponse()


def race_and_save(request: Any, read: str, written: str) -> Any:
    response = race(request, read, written)
    request.session.save()
    return response


def read_slowly(request: Any, read: str) -> Any:
    value = request.session.get(read)
    _let_others()
    return HttpResponse(str(value).encode())


def message_slowly(request: Any) -> Any:
    from django.contrib import messages  # type: ignore[import-untyped]

    list(messages.get_messages(request))
    _let_others()
    return message(request)


def nested_slowly(request: Any) -> Any:
    basket = request.session["basket"]
    _let_others()
    basket.append("bread")
    return HttpResponse()


def taken_back(request: Any) -> Any:
    request.session["a"] = 2
    request.session.modified = False
    return HttpResponse()


def save(request: Any) -> Any:
    request.session.get("a")
    request.session.save()
    return HttpResponse()


def delete(request: Any) -> Any:
    request.session.delete()
    return HttpResponse()


async def adelete(request: Any) -> Any:
    await request.session.adelete()
    return HttpResponse()


def create(request: Any) -> Any:
    request.session.create()
    return HttpResponse()


def create_and_login(request: Any, name: str) -> Any:
    request.session.create()
    return login(request, name)


def cdn(request: Any) -> Any:
    request.session["a"] = 1
    return HttpResponse(headers={"CDN-Cache-Control": "max-age=60"})


def private(request: Any) -> Any:
    return HttpResponse(str(request.session.get("a")).encode(), headers={"Cache-Control": "private"})


async def async_login(request: Any, pk: int) -> Any:
    from django.contrib import auth

    user = await auth.get_user_model().objects.aget(pk=pk)
    await auth.alogin(request, user, "django.contrib.auth.backends.ModelBackend")
    return HttpResponse()


def login_slowly(request: Any, name: str) -> Any:
    request.session.get("a")
    _let_others()
    return login(request, name)


def logout_slowly(request: Any) -> Any:
    request.session.get("a")
    _let_others()
    return logout(request)


def flush_slowly(request: Any) -> Any:
    request.session.get("a")
    _let_others()
    return flush(request)


def whoami_slowly(request: Any) -> Any:
    request.session.get("a")
    _let_others()
    return whoami(request)


def password(request: Any, new: str) -> Any:
    from django.contrib import auth

    request.user.set_password(new)
    request.user.save()
    auth.update_session_auth_hash(request, request.user)
    return HttpResponse()


def logout_and_fail(request: Any) -> Any:
    logout(request)
    request.session["a"] = 1
    raise RuntimeError


async def async_logout(request: Any) -> Any:
    from django.contrib import auth

    await auth.alogout(request)
    return HttpResponse()


def logout_and_apologize(request: Any) -> Any:
    try:
        return logout(request)
    except StoreUnavailable:
        return HttpResponse(status=502)


async def async_logout_and_fail(request: Any) -> Any:
    from django.contrib import auth

    await auth.alogout(request)
    raise RuntimeError


async def logout_and_leave(request: Any) -> Any:
    await request.session.aflush()
    raise asyncio.CancelledError


def visitor(request: Any) -> Any:
    if not request.session.session_key:
        request.session.save()
    return HttpResponse(str(request.session.session_key).encode())


def save_and_save(request: Any) -> Any:
    request.session["a"] = request.session.get("a", 0) + 1
    request.session.save()
    request.session.save()
    return HttpResponse(str(request.session.session_key).encode())


def key_after_login(request: Any, name: str) -> Any:
    login(request, name)
    return HttpResponse(str(request.session.session_key).encode())


def patient(request: Any) -> Any:
    try:
        request.session.get("a")
    except StoreUnavailable:
        return HttpResponse(f"{request.session.get('a')} {request.user}".encode(), status=503)
    return HttpResponse()


async def async_patient(request: Any) -> Any:
    try:
        await request.session.aget("a")
    except StoreUnavailable:
        user = await request.auser()
        return HttpResponse(f"{await request.session.aget('a')} {user}".encode(), status=503)
    return HttpResponse()


def impatient(request: Any) -> Any:
    try:
        request.session.get("a")
    except StoreUnavailable:
        return HttpResponse(str(request.user).encode())
    return HttpResponse()


def late(request: Any) -> Any:
    kept.append(request.session)
    return HttpResponse(str(request.session.get("a")).encode())


kept: list[Any] = []


def login_after_all_ended(request: Any, name: str) -> Any:
    """Somebody else ends the user's sessions while this request logs in again."""
    from hardtack.frameworks.django import current_manager

    request.session.get("a")
    current_manager().end_all(str(user(name).pk))
    return login(request, name)


def late_stream(request: Any) -> Any:
    request.session["a"] = 1

    def body() -> Iterator[str]:
        yield ""
        request.session["a"] = 2
        if "fail" in request.GET:
            raise ValueError

    async def abody() -> AsyncIterator[str]:
        yield ""
        request.session["a"] = 2
        if "fail" in request.GET:
            raise ValueError

    return StreamingHttpResponse(abody() if getattr(request, "scope", None) else body())


def file(request: Any) -> Any:
    request.session["a"] = 1
    return FileResponse(BytesIO(b"file"))


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
    from django.contrib import auth

    auth.login(request, user(name), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse()


def login_of_ones_own(request: Any, name: str) -> Any:
    """As sites do that know their users by other means: the signal of django.contrib.auth, and the user's id alone."""
    from django.contrib.auth.signals import user_logged_in  # type: ignore[import-untyped]

    request.session["_auth_user_id"] = str(user(name).pk)
    user_logged_in.send(sender=None, request=request, user=user(name))
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


def replaced(request: Any) -> Any:
    """What django-allauth does at the end of an OAuth flow, before the login."""
    request.session["state"] = 1
    request.session.save()
    request.session = type(request.session)(request.session.session_key)
    request.session.modified = True
    request.session["after"] = 2
    return HttpResponse()


def reopened(request: Any, before: int, after: int) -> Any:
    """The same, of a session that takes many bytes when it is saved, and then others; none: it ends."""
    request.session["big"] = secrets.token_urlsafe(before)
    request.session.save()
    request.session = type(request.session)(request.session.session_key)
    if after:
        request.session["big"] = secrets.token_urlsafe(after)
        request.session["after"] = after
    else:
        request.session.flush()
    return HttpResponse()


def reopened_and_saved(request: Any, size: int) -> Any:
    """It is saved by the view, while it is small, and then again by the response."""
    response = reopened(request, 10, 10)
    request.session.save()
    request.session["big"] = secrets.token_urlsafe(size)
    return response


def reopened_and_read(request: Any) -> Any:
    request.session = type(request.session)(request.session.session_key)
    return dump(request)


def reopened_for_nobody(request: Any) -> Any:
    request.session = type(request.session)(request.session.session_key)
    return HttpResponse()


def reopened_slowly(request: Any) -> Any:
    request.session = type(request.session)(request.session.session_key)
    request.session.modified = True
    _let_others()
    return HttpResponse()


def nobodys(request: Any) -> Any:
    """A session that is none takes the place of that of the request."""
    request.session = type(request.session)()
    return HttpResponse()


def of_django(request: Any) -> Any:
    """Another engine's session takes its place."""
    from django.contrib.sessions.backends.signed_cookies import SessionStore  # type: ignore[import-untyped]

    request.session = SessionStore()
    request.session["a"] = 1
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
    path("replaced", replaced),
    path("reopened/<int:before>/<int:after>", reopened),
    path("reopened-and-saved/<int:size>", reopened_and_saved),
    path("reopened-and-read", reopened_and_read),
    path("reopened-for-nobody", reopened_for_nobody),
    path("reopened-slowly", reopened_slowly),
    path("nobodys", nobodys),
    path("of-django", of_django),
    path("dump", dump),
    path("race/<read>/<written>", race),
    path("async/race/<read>/<written>", async_race),
    path("race-and-save/<read>/<written>", race_and_save),
    path("read-slowly/<read>", read_slowly),
    path("message-slowly", message_slowly),
    path("nested-slowly", nested_slowly),
    path("taken-back", taken_back),
    path("create", create),
    path("create-and-login/<name>", create_and_login),
    path("delete", delete),
    path("async/delete", adelete),
    path("save", save),
    path("cdn", cdn),
    path("private", private),
    path("async/login/<int:pk>", async_login),
    path("login-slowly/<name>", login_slowly),
    path("logout-slowly", logout_slowly),
    path("flush-slowly", flush_slowly),
    path("whoami-slowly", whoami_slowly),
    path("password/<new>", password),
    path("logout-and-fail", logout_and_fail),
    path("async/logout", async_logout),
    path("logout-and-apologize", logout_and_apologize),
    path("async/logout-and-fail", async_logout_and_fail),
    path("async/logout-and-leave", logout_and_leave),
    path("visitor", visitor),
    path("save-and-save", save_and_save),
    path("key-after-login/<name>", key_after_login),
    path("patient", patient),
    path("async/patient", async_patient),
    path("impatient", impatient),
    path("late", late),
    path("late-stream", late_stream),
    path("login-after-all-ended/<name>", login_after_all_ended),
    path("file", file),
    path("basket", basket),
    path("nested", nested),
    path("nested-and-saved", nested_and_saved),
    path("nested-and-asaved", nested_and_asaved),
    path("login/<name>", login),
    path("login-of-ones-own/<name>", login_of_ones_own),
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
