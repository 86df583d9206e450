"""What protects the demo's pages: no form of another site is accepted, and nothing foreign runs in a page."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardtack.adapters import ENDPOINTS

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: Final = {
    # No inline script or style, nothing from elsewhere, no framing (clickjacking), no form that posts to another site.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers would then send "Origin: null" with the site's own forms.
    "Referrer-Policy": "same-origin",
}


def is_same_origin(headers: Headers, scheme: str) -> bool:
    """Whether a request comes from a page of this very site.

    Browsers say so in Sec-Fetch-Site, which no page can set; those before 2023, and every browser on plain http, in Origin.
    A request with neither is refused: every browser of the last years sends one of them with a POST.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return headers.get("origin") == f"{scheme}://{headers.get('host')}"


class SameOriginMiddleware:
    """Refuses every request that may change something and comes from elsewhere: cross-site request forgery.

    The cookie's SameSite=Lax is a second line, not the first: a sibling subdomain is the same site, and not the same origin.
    Unlike a token in the session, this needs no session before there is something to keep in one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Browsers prove a device's key without either header, and what answers them refuses whoever sends one.
        proves = scope.get("path", "").startswith(ENDPOINTS)
        safe = scope["type"] != "http" or scope["method"] in SAFE_METHODS or proves
        if safe or is_same_origin(Headers(scope=scope), scope["scheme"]):
            await self.app(scope, receive, send)
            return
        refusal = PlainTextResponse("This form was sent from another site, and nothing was done.\n", status_code=403)
        await refusal(scope, receive, send)


class SecurityHeadersMiddleware:
    """Adds the headers above to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)
