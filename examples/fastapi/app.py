"""A shopping cart as a typed session, with FastAPI.

    pip install 'hardtack[fastapi]' uvicorn

Then `uvicorn app:app` in this folder, and http://127.0.0.1:8000/docs.
"""

import os
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel

from hardtack import Cookie, Key, SessionManager
from hardtack.frameworks.fastapi import CurrentSession, SessionMiddleware, SessionView

# In production the key comes from the environment: python -c "import hardtack; print(hardtack.Key.generate().export())"
key = Key.parse(os.environ["HARDTACK_KEY"]) if "HARDTACK_KEY" in os.environ else Key.generate()
sessions = SessionManager(
    key, cookie=Cookie.for_development()
)  # behind https leave the cookie out: the default is safe

app = FastAPI(title="hardtack and FastAPI")
app.add_middleware(SessionMiddleware, sessions=sessions)


class Item(BaseModel):
    """What lies in the cart."""

    sku: str
    quantity: int = 1


class Cart(BaseModel):
    """What this application keeps in a session."""

    items: list[Item] = []


CurrentCart = Annotated[Cart, SessionView(Cart)]


@app.get("/cart")
async def show(cart: CurrentCart) -> Cart:
    """Reading stores nothing."""
    return cart


@app.post("/cart")
async def add(item: Item, cart: CurrentCart) -> Cart:
    """What is changed in the cart is saved with the response."""
    cart.items.append(item)
    return cart


@app.post("/login/{name}")
async def login(name: str, session: CurrentSession) -> str:
    """A new id, and the user whom the session belongs to; a real one would ask for a password."""
    session.login(name)
    return f"Hello {name}."


@app.post("/logout")
async def logout(session: CurrentSession) -> str:
    """The cart goes, and so does the cookie."""
    session.logout()
    return "Bye."
