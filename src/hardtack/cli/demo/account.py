"""The account: where a user is logged in, what becomes of a copied cookie, closing the account, and "log in as"."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from hardtack import Session
from hardtack.cli.demo.shop import ADMINISTRATOR, MAX_NAME, field, is_name
from hardtack.cli.demo.state import Demo, demo_of, exchange_of, render, see_other, visitor_of
from hardtack.cli.demo.thief import Copy
from hardtack.frameworks.starlette import load

CONFIRMED_WITHIN: Final = "2 minutes"
"""How long it counts that the user has shown once more who it is."""


async def show(request: Request) -> Response:
    """The page."""
    demo, session, copy = demo_of(request), await load(request), visitor_of(request).copy
    found = await demo.sessions.alist(session.subject) if demo.finds and session.subject is not None else []
    return await render(
        request,
        "account.html",
        sessions=found,
        now=demo.clock(),
        copy=copy,
        copy_opens=None if copy is None else await copy.open(demo),
        confirmed=session.confirmed(within=CONFIRMED_WITHIN),
        administrator=ADMINISTRATOR,
    )


# --- devices


async def end_one(request: Request) -> Response:
    """End one session. An id is public: with the subject, nobody ends anybody else's."""
    demo, session = demo_of(request), await load(request)
    if demo.finds and session.subject is not None:
        done = await demo.sessions.aend(await field(request, "id"), subject=session.subject)
        session.flash("That device is logged out." if done else "That session had ended already.", "success")
    return see_other("/account")


async def end_others(request: Request) -> Response:
    """End the user's sessions in all other browsers."""
    demo, session = demo_of(request), await load(request)
    if demo.finds and session.subject is not None:
        others = len(await demo.sessions.alist(session.subject)) - 1
        await demo.sessions.aend_all(session.subject, keep=session.id)
        session.flash(f"Ended elsewhere: {others}." if others > 0 else "No other session was there.", "success")
    return see_other("/account")


async def end_everywhere(request: Request) -> Response:
    """Log the user out in all browsers, this one included."""
    demo, session = demo_of(request), await load(request)
    if demo.ends and session.subject is not None:
        await _leave(request, demo, session)
        session.flash("You are logged out, here and everywhere else.", "success")
    return see_other("/account")


async def _leave(request: Request, demo: Demo, session: Session) -> None:
    """End the user's sessions as far as they can be reached, and this one in any case."""
    assert session.subject is not None
    if demo.ends:
        await demo.sessions.aend_all(session.subject)
    session.logout()
    copy = visitor_of(request).copy
    if copy is not None:
        exchange_of(request).afterwards.append(copy.leave)


# --- a copied cookie


async def copy(request: Request) -> Response:
    """Hand this browser's cookies to a second client, as malware or a log would."""
    session = await load(request)
    if session.subject is not None:
        visitor_of(request).copy = Copy(request.headers.get("cookie", ""))
    return see_other("/account#copy")


# --- step-up


async def confirm(request: Request) -> Response:
    """Show once more who it is. The demo has no passwords, so the name has to do."""
    session = await load(request)
    if session.subject is not None and session.actor is None:
        if (await field(request, "again")).strip() == session.subject:
            session.confirm("name")
            session.flash("You have shown that it is you. That counts for two minutes.", "success")
        else:
            session.flash("That is not the name that you have logged in with.", "notice")
    return see_other("/account#close")


async def close(request: Request) -> Response:
    """Close the account: only for a user who has just shown who it is, and for nobody who acts as the user."""
    demo, session = demo_of(request), await load(request)
    if session.subject is None or session.actor is not None:
        return see_other("/account")
    if not session.confirmed(within=CONFIRMED_WITHIN):  # asked here, whatever the page has shown
        session.flash("First show once more that it is you.", "notice")
        return see_other("/account#close")
    name = session.subject
    await _leave(request, demo, session)
    session.flash(f"The account of {name} is closed, and all of its sessions have ended.", "success")
    return see_other("/account")


# --- log in as


async def act(request: Request) -> Response:
    """Log the administrator in as another user. Her own session waits."""
    session = await load(request)
    if session.subject == ADMINISTRATOR and session.actor is None:
        name = (await field(request, "name")).strip()
        if not is_name(name) or name == ADMINISTRATOR:
            session.flash(f"A name of 1 to {MAX_NAME} letters, and not your own.", "notice")
            return see_other("/account#act")
        session.impersonate(name)
        session.flash(f"You act as {name}, for half an hour at most. Your own session waits.", "success")
    return see_other("/account")


async def stop(request: Request) -> Response:
    """The way back."""
    session = await load(request)
    if session.actor is not None:
        session.stop_impersonating()
        session.flash(f"You are {session.subject} again.", "success")
    return see_other("/account")
