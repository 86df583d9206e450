"""Channels: what a page has put into the session and who has logged in there, seen and changed by a consumer."""

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack, get_user, login, logout
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.sessions import SessionMiddlewareStack
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


class Reader(AsyncJsonWebsocketConsumer):
    """Answers each message with what the session and the user are."""

    async def receive_json(self, content, **kwargs):
        user = self.scope.get("user")
        items = await sync_to_async(lambda: dict(self.scope["session"].items()))()
        kept = {name: value for name, value in items.items() if not name.startswith("_")}
        await self.send_json({"session": kept, "user": getattr(user, "username", None)})


class Writer(JsonWebsocketConsumer):
    """Puts each message into the session, saves it, and answers with its key."""

    def receive_json(self, content, **kwargs):
        self.scope["session"].update(content)
        self.scope["session"].save()
        self.send_json({"key": self.scope["session"].session_key})


class Gate(AsyncJsonWebsocketConsumer):
    """Logs a user in or out, as the message says."""

    async def receive_json(self, content, **kwargs):
        if content["in"]:
            await login(self.scope, await User.objects.aget(username=content["in"]))
        else:
            await logout(self.scope)
        await sync_to_async(self.scope["session"].save)()
        user = await get_user(self.scope)
        await self.send_json({"user": user.username, "key": self.scope["session"].session_key})


def headers_of(client):
    line = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    return [(b"cookie", line.encode())] if line else []


def headers_with(key):
    return [(b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode())]


async def asked(application, headers, message):
    """What a consumer answers to one message."""
    communicator = WebsocketCommunicator(application, "/", headers=headers)
    connected, _ = await communicator.connect(timeout=30)
    assert connected
    await communicator.send_json_to(message)
    answer = await communicator.receive_json_from(timeout=30)
    await communicator.disconnect(timeout=30)
    return answer


@pytest.fixture
def client():
    User.objects.create_user("alice", password="a password")
    return Client()


async def test_a_consumer_sees_no_session_where_there_is_none():
    """Without a cookie the session is empty, and nobody is logged in."""
    answer = await asked(AuthMiddlewareStack(Reader.as_asgi()), [], {})

    assert answer == {"session": {}, "user": ""}


async def test_a_consumer_sees_who_has_logged_in(client):
    """The session of a page is that of a websocket."""
    await sync_to_async(client.login)(username="alice", password="a password")

    answer = await asked(AuthMiddlewareStack(Reader.as_asgi()), headers_of(client), {})

    assert answer == {"session": {}, "user": "alice"}


async def test_a_forged_cookie_is_no_session():
    """What a client invents is not adopted."""
    answer = await asked(AuthMiddlewareStack(Reader.as_asgi()), headers_with("invented"), {})

    assert answer == {"session": {}, "user": ""}


async def test_a_consumer_writes():
    """What a consumer saves is there for the next one, under the key that it tells."""
    written = await asked(SessionMiddlewareStack(Writer.as_asgi()), [], {"cart": [1, 2], "name": "Ann"})
    read = await asked(SessionMiddlewareStack(Reader.as_asgi()), headers_with(written["key"]), {})

    assert read["session"] == {"cart": [1, 2], "name": "Ann"}


async def test_a_consumer_writes_into_the_session_of_a_page(client):
    """A login made by a page stays, with what a consumer has added."""
    await sync_to_async(client.login)(username="alice", password="a password")

    written = await asked(AuthMiddlewareStack(Writer.as_asgi()), headers_of(client), {"seen": 1})
    read = await asked(AuthMiddlewareStack(Reader.as_asgi()), headers_with(written["key"]), {})

    assert read == {"session": {"seen": 1}, "user": "alice"}


async def test_a_consumer_logs_in_and_out(client):
    """Channels' own login and logout."""
    gate = AuthMiddlewareStack(Gate.as_asgi())
    came = await asked(gate, [], {"in": "alice"})
    seen = await asked(AuthMiddlewareStack(Reader.as_asgi()), headers_with(came["key"]), {})
    went = await asked(gate, headers_with(came["key"]), {"in": ""})

    assert (came["user"], seen["user"], went["user"]) == ("alice", "alice", "")


async def test_http_answers_with_the_cookie():
    """Channels' middleware saves the session of an http request, and sends the cookie."""

    async def application(scope, receive, send):
        assert scope["session"].is_empty()
        scope["session"]["count"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    communicator = HttpCommunicator(SessionMiddlewareStack(application), "GET", "/")
    answer = await communicator.get_response(timeout=30)
    [line] = [value.decode() for name, value in answer["headers"] if name.lower() == b"set-cookie"]
    key = line.partition(";")[0].partition("=")[2]
    read = await asked(SessionMiddlewareStack(Reader.as_asgi()), headers_with(key), {})

    assert read["session"] == {"count": 1}
