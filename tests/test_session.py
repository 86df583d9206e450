"""The session as a handler sees it: a dict that loads itself, and never looks empty where it is not."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime as dt
import json
import operator
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import orjson
import pydantic
import pydantic_core
import pytest
from fastapi.encoders import jsonable_encoder
from tests.kit import OTHER_KEY, START, Site

from hardtack import CookieEngine, Session, StoreEngine
from hardtack.errors import ConfigError
from hardtack.events import Opened
from hardtack.lifetime import LATEST
from hardtack.stores.memory import MemoryStore

DATA = {"cart": ["bread"], "n": 1}


@pytest.fixture
def site() -> Site:
    site = Site()
    site.visit(**copy.deepcopy(DATA))
    site.events.clear()
    return site


READERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "json.dumps": (json.dumps, json.dumps(DATA)),
    "json.dumps, indented": (lambda session: json.dumps(session, indent=1), json.dumps(DATA, indent=1)),
    "FastAPI": (jsonable_encoder, DATA),
    "dict()": (dict, DATA),
    "**": (lambda session: {**session}, DATA),
    "call(**)": (lambda session: dict(**session), DATA),
    "|": (lambda session: session | {}, DATA),
    "| on the right": (lambda session: {} | session, DATA),
    "|=": (lambda session: dict(session.__ior__({})), DATA),
    "update": (lambda session: (target := {}, target.update(session))[0], DATA),
    "==": (lambda session: session == DATA, True),
    "== on the right": (lambda session: operator.eq(DATA, session), True),
    "!=": (lambda session: session != DATA, False),
    "copy.copy": (copy.copy, DATA),
    "deepcopy": (copy.deepcopy, DATA),
    "pickle": (lambda session: pickle.loads(pickle.dumps(session)), DATA),
    ".copy()": (lambda session: session.copy(), DATA),
    "len": (len, 2),
    "bool": (bool, True),
    "in": (lambda session: "cart" in session, True),
    "iter": (list, ["cart", "n"]),
    "reversed": (lambda session: list(reversed(session)), ["n", "cart"]),
    "get": (lambda session: session.get("n"), 1),
    "[]": (lambda session: session["n"], 1),
    "keys": (lambda session: list(session.keys()), ["cart", "n"]),
    "values": (lambda session: list(session.values()), [["bread"], 1]),
    "items": (lambda session: dict(session.items()), DATA),
    "pop": (lambda session: session.pop("n"), 1),
    "popitem": (lambda session: session.popitem(), ("n", 1)),
    "setdefault": (lambda session: session.setdefault("n", 2), 1),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_untouched_session_gives_its_data(site: Site, reader: tuple[Callable[[Any], Any], Any]) -> None:
    """Whoever reads a session that nobody touched before gets its data, and the session is accessed."""
    session = site.open()
    read, expected = reader

    result = read(session)

    assert result == expected
    assert type(result) is type(expected)
    assert session.accessed


@pytest.mark.parametrize("encode", [orjson.dumps, msgspec.json.encode], ids=["orjson", "msgspec"])
def test_encoders_in_c_fail_instead_of_seeing_nothing(site: Site, encode: Callable[[Any], bytes]) -> None:
    """Code that reads a dict past its methods gets an error, never an empty session; after a touch it gets the data."""
    session = site.open()

    with pytest.raises((TypeError, ValueError)):
        encode(session)
    len(session)

    assert json.loads(encode(session)) == DATA


def test_nobody_looked(site: Site) -> None:
    """Opening decrypts nothing: no event, no access, and repr does not load."""
    session = site.open()

    assert not session.accessed
    assert not session.modified
    assert repr(session) == str(session) == "<Session (not loaded)>"
    assert site.events == []
    assert not site.commit(session)


def test_repr_of_a_loaded_session(site: Site) -> None:
    """A touched session shows itself as a dict does."""
    session = site.open()
    session.get("n")

    assert repr(session) == "<Session {'cart': ['bread'], 'n': 1}>"


def test_touching_loads_once(site: Site) -> None:
    """From the first touch on it is a plain Session, whose dict methods are dict's own."""
    session = site.open()
    session.get("n")
    session.get("n")

    assert type(session) is Session
    assert Session.get is dict.get
    assert len(site.told(Opened)) == 1


def test_threads_that_touch_at_once_lose_nothing(site: Site) -> None:
    """The second of two threads does not load over what the first has written."""
    session = site.open()
    load = site.sessions.core.load
    started = threading.Barrier(2)

    def slow(session: Session) -> None:
        time.sleep(0.05)
        load(session)

    def write(key: str) -> None:
        started.wait()
        session[key] = 1

    site.sessions.core.load = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["b", "c"]))

    assert dict(session) == {**DATA, "b": 1, "c": 1}


def test_writing_first_keeps_the_rest(site: Site) -> None:
    """Setting, deleting and clearing load the session first."""
    session = site.open()
    session["x"] = 1
    assert dict(session) == {**DATA, "x": 1}

    session = site.open()
    del session["n"]
    assert dict(session) == {"cart": ["bread"]}

    session = site.open()
    session.clear()
    assert dict(session) == {}


def test_modified_sees_nested_changes(site: Site) -> None:
    """modified compares encodings: nested changes count, a change that was taken back does not."""
    session = site.open()
    session["cart"].append("milk")
    assert session.modified

    session["cart"].pop()
    assert not session.modified


def test_modified_is_assignable(site: Site) -> None:
    """True forces a save; False withdraws that force, and no real change."""
    session = site.open()
    session.modified = True
    assert session.modified
    session.modified = False
    assert not session.modified

    session["n"] = 2
    session.modified = False
    assert session.modified

    untouched = site.open()
    untouched.modified = False
    assert not untouched.accessed
    untouched.mark_modified()
    assert untouched.modified
    assert len(site.commit(untouched).set_cookies) == 1


def test_id_is_stable_and_creates_nothing() -> None:
    """A new session has an id as soon as somebody asks, and is not stored for that."""
    site = Site()
    session = site.open()

    assert len(session.id) == 22
    assert session.id == session.id
    assert session.is_new
    assert site.commit(session).set_cookies == []


def test_id_survives_storing(site: Site) -> None:
    """The id that was handed out is the one that is stored, and stays."""
    other = Site()
    session = other.open()
    early = session.id
    session["a"] = 1
    other.commit(session)

    assert session.id == early
    assert other.open().id == early
    assert not other.open().is_new


def test_times(site: Site) -> None:
    """Aware datetimes in UTC; None while there is nothing to say."""
    new = Site().open()
    assert (new.created_at, new.authenticated_at, new.seen_at, new.expires_at, new.subject) == (None,) * 5

    session = site.open()
    begin = dt.datetime.fromtimestamp(START, dt.UTC)
    assert (session.created_at, session.authenticated_at, session.seen_at) == (begin, None, begin)
    assert session.expires_at == begin + dt.timedelta(days=14)


def test_deadline_beyond_what_a_datetime_can_say() -> None:
    """A clock that is off by thousands of years is no error when the end is asked for."""
    site = Site(lifetime="100 years")
    site.clock.now = LATEST - 1
    session = site.visit(a=1)

    assert session.expires_at.year == 9999


def test_flashes_are_shown_once(site: Site) -> None:
    """A message is there for the next page that asks, and then gone."""
    session = site.open()
    session.flash("Saved")
    session.flash("Careful", "warning")
    site.commit(session)

    session = site.open()
    flashes = session.flashes()
    site.commit(session)

    assert [(flash.category, flash.message) for flash in flashes] == [("message", "Saved"), ("warning", "Careful")]
    assert str(flashes[0]) == "Saved"
    assert site.open().flashes() == []
    assert dict(site.open()) == DATA


def test_flashes_of_one_category(site: Site) -> None:
    """Asking for a category leaves the others."""
    session = site.open()
    session.flash("a")
    session.flash("b", "error")

    assert [str(flash) for flash in session.flashes("error")] == ["b"]
    assert [str(flash) for flash in session.flashes("error")] == []
    assert [str(flash) for flash in session.flashes()] == ["a"]


@dataclasses.dataclass
class Item:
    sku: str
    qty: int = 1


@dataclasses.dataclass
class Basket:
    items: list[Item] = dataclasses.field(default_factory=list)
    named: dict[str, Item] = dataclasses.field(default_factory=dict)
    first: Item | None = None
    note: str = ""
    best: Item = dataclasses.field(default_factory=lambda: Item("none"))
    total: int = dataclasses.field(default=0, init=False)


class Profile(msgspec.Struct):
    name: str = ""
    visits: int = 0
    shown: str = msgspec.field(name="as", default="")


class Settings(pydantic.BaseModel):
    theme: str = "light"
    size: int = pydantic.Field(default=1, alias="fontSize")


def test_view_of_a_dataclass_is_folded_back() -> None:
    """Changes of the object are changes of the session, nested dataclasses included; other keys are left alone."""
    site = Site()
    site.visit(other=1)
    session = site.open()
    basket = session.view(Basket)
    basket.items.append(Item("bread", 2))
    basket.named["x"] = Item("x")
    basket.best.qty = 7
    assert session.view(Basket) is basket
    assert session.modified
    site.commit(session)

    again = site.open()

    assert again["items"] == [{"sku": "bread", "qty": 2}]
    assert again["other"] == 1
    assert again.view(Basket).items == [Item("bread", 2)]
    assert again.view(Basket).named == {"x": Item("x")}
    assert again.view(Basket).best == Item("none", 7)


def test_view_of_a_struct_and_of_a_model() -> None:
    """msgspec Structs and pydantic models likewise, under their encoded names."""
    site = Site()
    session = site.open()
    session.view(Profile).name = "Zoë"
    session.view(Profile).shown = "Z"
    session.view(Settings).size = 3
    site.commit(session)

    again = site.open()

    assert dict(again) == {"name": "Zoë", "as": "Z", "fontSize": 3}
    assert again.view(Profile).shown == "Z"
    assert again.view(Settings).size == 3


class Read(pydantic.BaseModel):
    theme: str = pydantic.Field("light", validation_alias="the_theme")
    size: int = pydantic.Field(
        1, validation_alias=pydantic.AliasChoices("size", "fontSize", pydantic.AliasPath("a", 0))
    )
    tags: list[str] = pydantic.Field([], validation_alias="t", serialization_alias="tags_out")


class Named(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True, extra="forbid")

    theme: str = pydantic.Field("light", alias="the_theme")


class Unaliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(validate_by_alias=False, validate_by_name=True)

    theme: str = pydantic.Field("light", alias="the_theme")


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (Read, {"the_theme": "red", "fontSize": 2, "t": ["a"]}, {"the_theme": "x", "fontSize": 2, "t": ["a", "b"]}),
        (
            Read,
            {"the_theme": "red", "size": 2, "t": ["a"], "theme": 7},
            {"the_theme": "x", "t": ["a", "b"], "size": 2, "theme": 7},
        ),
        (Named, {"theme": "red"}, {"theme": "red", "the_theme": "x"}),
        (Named, {"the_theme": "red"}, {"the_theme": "x"}),
        (Unaliased, {"theme": "red", "the_theme": 7}, {"theme": "x", "the_theme": 7}),
    ],
)
def test_view_of_a_model_is_written_where_it_is_read(kind: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Whatever its fields are called for validation and for serialization: else the next request would read the defaults."""
    site = Site()
    site.visit(**before)
    session = site.open()
    view = session.view(kind)
    assert view.theme == "red"
    view.theme = "x"
    if kind is Read:
        assert (view.size, view.tags) == (2, ["a"])
        view.tags.append("b")
    site.commit(session)

    again = site.open()

    assert dict(again) == after
    assert again.view(kind).theme == "x"


def test_view_of_a_model_that_reads_a_part_of_a_key_is_refused(site: Site) -> None:
    """Nobody could say where to write it; it would be the default on every page."""

    class Part(pydantic.BaseModel):
        theme: str = pydantic.Field("light", validation_alias=pydantic.AliasPath("user", "theme"))

    with pytest.raises(ConfigError, match=r"view\(Part\): 'theme' is read from a part of a key"):
        site.open().view(Part)


def test_view_that_only_reads_changes_nothing() -> None:
    """An object that is like the data is no change."""
    site = Site()
    site.visit(name="Zoë", visits=1, **{"as": ""})
    session = site.open()
    session.view(Profile)

    assert not session.modified
    assert site.commit(session).set_cookies == []


def test_view_of_another_type_is_refused(site: Site) -> None:
    """Only the three kinds of types are views."""
    with pytest.raises(ConfigError, match=r"view\(int\)"):
        site.open().view(int)


def test_clearing_drops_views(site: Site) -> None:
    """A logout takes what views hold with it."""
    session = site.open()
    session.view(Profile).name = "Zoë"
    session.logout()
    site.commit(session)

    assert site.jar.cookies == {}


def test_unattached_session_works() -> None:
    """Without a manager it is a dict with the same members."""
    session = Session({"a": 1})
    session.flash("x")
    session.login("alice")
    session.regenerate()

    assert session.modified
    assert session.is_new
    assert session.subject == "alice"
    assert session.expires_at is None
    assert len(session.id) == 22
    assert [str(flash) for flash in session.flashes()] == ["x"]
    session.destroy()
    assert dict(session) == {}
    assert not Session().modified
    assert not session.degraded


def test_unattached_session_cannot_be_committed(site: Site) -> None:
    """It says so, where saving nothing would be a session lost in silence."""
    with pytest.raises(ConfigError, match=r"sessions\.open\(\)"):
        site.sessions.commit(Session({"a": 1}))


def test_sessions_that_nobody_touched_are_equal(site: Site) -> None:
    """dict compares another dict past its methods."""
    site.visit(a=1)

    assert site.open() == site.open()


def test_logout_clears_a_cookie_that_does_not_open_here() -> None:
    """During a change of keys it may open on another server."""
    site, ahead = Site(), Site(CookieEngine(OTHER_KEY))
    ahead.visit(a=1)

    session = site.sessions.open(ahead.jar.header)
    session.logout()

    assert site.sessions.commit(session).set_cookies == [site.sessions.cookie.clear_cookie("__Host-Http-session")]


def test_login_takes_no_text_for_persistent(site: Site) -> None:
    """The text "no" would be true."""
    with pytest.raises(ConfigError, match="persistent"):
        site.open().login("alice", persistent="no")


@pytest.mark.parametrize("subject", ["", None, 5, b"alice"])
def test_login_takes_a_user_id(site: Site, subject: Any) -> None:
    """The subject is a str that is not empty."""
    with pytest.raises(TypeError, match="str"):
        site.open().login(subject)


def test_login_refuses_wrong_arguments_before_it_changes_anything(site: Site) -> None:
    """A lifetime that is not understood, or a subject that UTF-8 cannot carry, leaves the session as it was."""
    session = site.open()

    with pytest.raises(ConfigError, match=r"login\(lifetime\)='soon'"):
        session.login("alice", lifetime="soon")
    with pytest.raises(ConfigError, match=r"login\(lifetime\)=0"):
        session.login("alice", lifetime=0)
    with pytest.raises(ConfigError, match="lone surrogate"):
        session.login("\ud800")

    assert session.subject is None
    assert not session.modified


def test_load_may_be_awaited_any_time(site: Site) -> None:
    """Where nothing was deferred, load() just touches the session."""
    session = site.open()

    asyncio.run(session.load())

    assert session.accessed
    assert dict(session) == DATA


def test_sessions_are_not_hashable(site: Site) -> None:
    """Like every dict."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(site.open())


def test_what_c_code_finds_in_an_unloaded_session(site: Site) -> None:
    """The one item of an unloaded session says what it is, wherever it shows up."""
    session = site.open()

    assert [repr(key) for key in dict.__iter__(session)] == ["<session not loaded>"]


def test_force_on_a_loaded_session(site: Site) -> None:
    """modified = True after the session was read forces a save as well."""
    session = site.open()
    session.get("n")
    session.modified = True

    assert len(site.commit(session).set_cookies) == 1


def test_a_session_that_was_handed_out_counts_as_looked_at(site: Site) -> None:
    """A framework that hands the session out says so; nothing needs to be loaded for that."""
    site.visit(n=1)
    session = site.open()
    session.mark_accessed()

    assert session.accessed
    assert repr(session) == "<Session (not loaded)>"
    assert dict(site.commit(session))["Vary"] == "Cookie"


def test_a_view_of_what_cannot_be_kept_counts_once_it_changes() -> None:
    """A field of a type of the application's own, which is put into the session only when it is another."""

    @dataclasses.dataclass
    class Shown:
        kind: Any = object
        name: str = ""

    session = Session()
    shown = session.view(Shown)
    assert not session.modified

    shown.name = "Z"
    assert session.modified
    assert dict(session) == {"name": "Z"}
    shown.kind = int
    assert session.modified
    assert session["kind"] is int


def test_an_endpoint_may_return_the_session() -> None:
    """Pydantic writes it as the plain dict of what it holds."""
    assert pydantic.TypeAdapter(Any).dump_json(Session({"n": [1]})) == b'{"n":[1]}'


@pytest.mark.parametrize("kind", [dict[str, object], dict[str, str]])
@pytest.mark.parametrize("mode", ["python", "json"])
@pytest.mark.parametrize("touch", [False, True])
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_pydantic_never_writes_a_session_that_it_reads_past_its_methods(kind: Any, mode: Any, touch: bool) -> None:
    """It would write a stand-in where the data is; what it is to be given stands in the error."""
    site = Site(StoreEngine(MemoryStore()))
    site.visit(user="alice", n=1)
    session = site.open()
    if touch:
        assert session["user"] == "alice"

    with pytest.raises(pydantic_core.PydanticSerializationError, match=r"give pydantic dict\(session\)"):
        pydantic.TypeAdapter(kind).dump_python(session, mode=mode)

    assert pydantic.TypeAdapter(dict[str, object]).dump_python(dict(session), mode=mode) == {"user": "alice", "n": 1}


def test_a_kind_of_session_with_an_order_of_its_own_is_saved_whole() -> None:
    """What is stored is what the dict holds, and not what its methods show."""

    class Shown(Session):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            return iter([name for name in dict.keys(self) if not name.startswith("_")])

    site = Site()
    session = site.sessions.open("", kind=Shown)
    session.update({"b": 1, "_a": 2})

    site.commit(session)

    assert dict(site.open()) == {"b": 1, "_a": 2}
