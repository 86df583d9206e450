"""The shop: things to put into a cart, without an account; login and logout."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from hardtack import Session
from hardtack.cli.demo.state import (
    cart_total,
    exchange_of,
    render,
    see_other,
    session_cookie,
    visitor_of,
)
from hardtack.devices import describe
from hardtack.frameworks.starlette import load

MAX_QUANTITY: Final = 12
MAX_NAME: Final = 40

ADMINISTRATOR: Final = "Captain"
"""Who may log in as others."""


class Product(NamedTuple):
    """Something to buy."""

    name: str
    price: Decimal
    text: str


PRODUCTS: Final = {
    "biscuit": Product("Hardtack", Decimal("1.80"), "Baked twice. Survives the voyage."),
    "lime": Product("Limes, a dozen", Decimal("3.20"), "Against the scurvy."),
    "cheese": Product("Wedge of cheese", Decimal("6.50"), "Six months old, and patient."),
    "tea": Product("Tin of tea", Decimal("4.90"), "For the dog watch."),
    "rope": Product("Coil of rope", Decimal("12.00"), "Twenty fathoms of hemp."),
    "lantern": Product("Lantern", Decimal("24.00"), "Oil not included."),
}


async def field(request: Request, name: str) -> str:
    """One text field of a form."""
    async with request.form() as form:
        value = form.get(name)
    return value if isinstance(value, str) else ""  # else it is an uploaded file


def is_name(text: str) -> bool:
    """Whether somebody can be called so."""
    return bool(text) and len(text) <= MAX_NAME and text.isprintable()


async def show(request: Request) -> Response:
    """The shop's page."""
    session = await load(request)
    return await render(
        request, "shop.html", products=PRODUCTS, cart=session.get("cart", {}), total=cart_total(session)
    )


async def add(request: Request) -> Response:
    """Put one into the cart. Nested data is changed in place: nothing needs to be marked."""
    product = await field(request, "product")
    if product in PRODUCTS:
        session = await load(request)
        # The price as it was: the customer sees it change, and does not wonder.
        line = session.setdefault("cart", {}).setdefault(product, {"quantity": 0, "price": PRODUCTS[product].price})
        line["quantity"] = min(line["quantity"] + 1, MAX_QUANTITY)
        session["cart_changed"] = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return see_other("/#cart")


async def remove(request: Request) -> Response:
    """Take one kind of thing out of the cart. With the last one the session is empty, and ends."""
    session = await load(request)
    cart = session.get("cart", {})
    cart.pop(await field(request, "product"), None)
    if not cart:
        session.pop("cart", None)
        session.pop("cart_changed", None)
    return see_other("/#cart")


async def login_form(request: Request) -> Response:
    """The form to log in."""
    return await render(request, "login.html", administrator=ADMINISTRATOR)


async def login(request: Request) -> Response:
    """Log in, as anybody: the demo has no passwords. The id changes, so that one planted before is worth nothing."""
    name = (await field(request, "name")).strip()
    if not is_name(name):
        problem = f"A name of 1 to {MAX_NAME} letters."
        return await render(
            request, "login.html", 422, name=name[:MAX_NAME], problem=problem, administrator=ADMINISTRATOR
        )
    session = await load(request)
    before = None if session.is_new else session.id
    cart_stays = session.subject in (None, name) and "cart" in session
    label = describe(request.headers.get("user-agent"))
    session.login(name, persistent=await field(request, "remember") == "yes", label=label)
    session.flash(_welcome(session, before, cart_stays=cart_stays), "success")
    return see_other("/")


def _welcome(session: Session, before: str | None, *, cart_stays: bool) -> str:
    text = f"Welcome aboard, {session.subject}."
    if before is not None:
        text += f" Your session has a new id: {before[:6]}… became {session.id[:6]}…"
    return f"{text}, and your cart is still here." if cart_stays else text


async def logout(request: Request) -> Response:
    """Log out: the session ends. The demo keeps its cookie for an experiment, as somebody would who had copied it."""
    session, visitor = await load(request), visitor_of(request)
    if session.subject is None:
        return see_other("/")
    visitor.kept = session_cookie(request)
    session.logout()
    session.flash("You are logged out. The session has ended, and its cart with it.", "success")
    if visitor.copy is None or visitor.copy.left is not None:
        return see_other("/")
    exchange_of(request).afterwards.append(visitor.copy.leave)
    return see_other("/account#copy")
