"""The device: what the browser proves of the key that its session is bound to, and what a thief has of copied cookies."""

from __future__ import annotations

from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from hardtack import values
from hardtack.adapters import state_of
from hardtack.cli.demo.state import Demo, demo_of, render
from hardtack.cli.demo.thief import second_client
from hardtack.cli.demo.visitors import record
from hardtack.frameworks.starlette import load

LATER: Final = 6 * 60
"""Seconds after which a copied pair of cookies is worth nothing: the age of a proof, and a minute."""


class Key(NamedTuple):
    """What is known of the device's key."""

    thumbprint: str
    proved_ago: int
    """Seconds since it was proved."""

    good_for: int
    """Seconds until the browser has to prove it again."""


class Theft(NamedTuple):
    """What somebody on another machine sees with copied cookies."""

    what: str
    subject: str | None
    binding: str


async def show(request: Request) -> Response:
    """The page."""
    await load(request)
    return await _page(request, [])


async def steal(request: Request) -> Response:
    """Open the copied session in a second client: at once, without the bound cookie, and a proof's age later."""
    demo, session = demo_of(request), await load(request)
    if not demo.binds or session.subject is None:
        return await _page(request, [])
    cookies = request.headers.get("cookie", "")
    alone = "; ".join(pair for pair in cookies.split("; ") if "-bound-" not in pair)
    return await _page(
        request,
        [
            await _open(demo, "all cookies, at once", cookies, 0),
            await _open(demo, "the session cookie alone", alone, 0),
            await _open(demo, "all cookies, six minutes later", cookies, LATER),
        ],
    )


async def _open(demo: Demo, what: str, cookies: str, later: int) -> Theft:
    """A second client: it has the cookies, and no key."""
    session = await second_client(demo, later, record).aopen(cookies)
    return Theft(what, session.subject, session.binding)


async def _page(request: Request, thefts: list[Theft]) -> Response:
    return await render(request, "device.html", key=await _key(request), thefts=thefts)


async def _key(request: Request) -> Key | None:
    demo, session = demo_of(request), await load(request)
    device, binding = state_of(session).device, demo.sessions.settings.binding
    bond = None if device is None else device.bond
    if device is None or bond is None or binding is None:
        return None
    ago = max(int(demo.clock()) - device.at // 1000, 0)
    return Key(values.encode_bytes(bond.thumbprint), ago, max(binding.every - ago, 0))
