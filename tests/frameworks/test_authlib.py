"""Authlib's tutorial for Starlette, word for word, against an OpenID provider that is made for it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from authlib.integrations.starlette_client import OAuth, OAuthError  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.frameworks.gateway_kit import KEY, AsyncMemoryStore

from hardtack import Cookie, CookieEngine, SessionManager, StoreEngine
from hardtack.frameworks.starlette import SessionMiddleware
from hardtack.stores.memory import MemoryStore

ISSUER = "https://id.example"
CLAIMS = {"sub": "248289761001", "name": "Jane Doe", "email": "janedoe@example.org", "email_verified": True}


class Provider:
    """An OpenID provider where Jane is always logged in: discovery, keys, the redirect back, and tokens for codes."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one"})
        self.asked: dict[str, dict[str, str]] = {}
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/keys", self.keys),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def discovery(self, request: Request) -> Response:
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        signing = {"id_token_signing_alg_values_supported": ["ES256"]}
        return JSONResponse({"issuer": ISSUER, **signing, **{name: f"{ISSUER}/{path}" for name, path in paths.items()}})

    async def keys(self, request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    def authorize(self, location: str) -> str:
        """Where the provider sends the browser that was sent to `location`."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        code = f"code-{len(self.asked)}"
        self.asked[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    async def token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        asked = self.asked.pop(form["code"][0])
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": asked["client_id"],
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 60,
            **CLAIMS,
        }
        id_token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, self.key)
        return JSONResponse({"access_token": "an access token", "token_type": "Bearer", "id_token": id_token})


def tutorial(provider: Provider, sessions: SessionManager) -> Starlette:
    """The application of the tutorial: what it keeps is the library's own `UserInfo`."""
    oauth: Any = OAuth()
    oauth.register(
        name="provider",
        server_metadata_url=f"{ISSUER}/.well-known/openid-configuration",
        client_id="a client",
        client_secret="a secret of the client",
        client_kwargs={"scope": "openid email profile", "transport": httpx2.ASGITransport(provider.app)},
    )

    async def homepage(request: Request) -> Response:
        return JSONResponse(request.session.get("user"))

    async def login(request: Request) -> Response:
        response: Response = await oauth.provider.authorize_redirect(request, request.url_for("auth"))
        return response

    async def auth(request: Request) -> Response:
        try:
            token = await oauth.provider.authorize_access_token(request)
        except OAuthError as error:
            return JSONResponse({"error": error.error}, 400)
        user = token.get("userinfo")
        if user:
            request.session["user"] = user
        return RedirectResponse(url="/")

    async def logout(request: Request) -> Response:
        request.session.pop("user", None)
        return RedirectResponse(url="/")

    pages = {"/": homepage, "/login": login, "/auth": auth, "/logout": logout}
    routes = [Route(path, page) for path, page in pages.items()]
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, sessions=sessions)])


@pytest.fixture(params=["cookie", "store", "async store"])
def sessions(request: pytest.FixtureRequest) -> SessionManager:
    """A manager of each engine."""
    engines: dict[str, Any] = {
        "cookie": lambda: CookieEngine(KEY),
        "store": lambda: StoreEngine(MemoryStore()),
        "async store": lambda: StoreEngine(AsyncMemoryStore()),
    }
    return SessionManager(engines[request.param](), cookie=Cookie(name="session", secure=False))


def test_the_tutorial(sessions: SessionManager) -> None:
    """State and nonce come back from the session, and the user stays in it until the logout."""
    provider = Provider()
    browser = TestClient(tutorial(provider, sessions))

    sent = browser.get("/login", follow_redirects=False)
    shown = browser.get(provider.authorize(sent.headers["location"]))

    assert {name: shown.json()[name] for name in CLAIMS} == CLAIMS
    assert browser.get("/").json() == shown.json()
    assert browser.get("/logout").json() is None
    assert browser.get("/").json() is None


def test_another_browser_cannot_bring_the_answer(sessions: SessionManager) -> None:
    """The state is in the session of who began, so that nobody is logged in as somebody else."""
    provider = Provider()
    app = tutorial(provider, sessions)
    sent = TestClient(app).get("/login", follow_redirects=False)

    other = TestClient(app)
    answer = other.get(provider.authorize(sent.headers["location"]))

    assert (answer.status_code, answer.json()) == (400, {"error": "mismatching_state"})
    assert other.get("/").json() is None


def test_an_answer_is_taken_once(sessions: SessionManager) -> None:
    """Authlib takes the state out of the session, and that is saved."""
    provider = Provider()
    browser = TestClient(tutorial(provider, sessions))
    back = provider.authorize(browser.get("/login", follow_redirects=False).headers["location"])
    browser.get(back)

    again = browser.get(back)

    assert (again.status_code, again.json()) == (400, {"error": "mismatching_state"})
