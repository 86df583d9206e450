"""The table of docs/values.md: what becomes of the objects that applications put into sessions, here and elsewhere.

`python -m tests.docs.values_matrix --write` puts it into the page; without an argument the rows are printed as JSON, with the
missing library in the place of its rows' cells.
"""

from __future__ import annotations

import array
import dataclasses
import datetime as dt
import enum
import http
import importlib
import ipaddress
import json
import math
import sys
import time
import types
import uuid
import warnings
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache
from http.cookies import SimpleCookie
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from hardtack import values
from hardtack.errors import UnsupportedValue

PAGE: Final = Path(__file__).parents[2] / "docs" / "values.md"
BEGIN: Final = "<!-- matrix: begin -->\n"
END: Final = "<!-- matrix: end -->\n"
NOON: Final = dt.datetime(2031, 5, 9, 12, 30, tzinfo=dt.UTC)


class Row(NamedTuple):
    """One object: how the page calls it, the library that it needs, and a function that makes it."""

    label: str
    library: str
    make: Callable[[], Any]


class Color(enum.Enum):
    RED = "red"


class Role(enum.StrEnum):
    ADMIN = "admin"


class OldRole(str, enum.Enum):  # noqa: UP042 - what many applications have
    ADMIN = "admin"


class Level(enum.IntEnum):
    LOW = 1


class Permission(enum.IntFlag):
    READ = 1
    WRITE = 2


class Bits(enum.Flag):
    ONE = 1


@dataclasses.dataclass
class Point:
    x: int = 0


class Pair(NamedTuple):
    one: int
    two: int


def _in(module: str, use: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: use(importlib.import_module(module))


def _row(label: str, module: str, use: Callable[[Any], Any]) -> Row:
    return Row(label, module.partition(".")[0], _in(module, use))


@cache
def _django() -> Any:
    import django  # type: ignore[import-untyped]
    from django.conf import settings  # type: ignore[import-untyped]

    settings.configure(USE_TZ=True, SECRET_KEY="x" * 50, INSTALLED_APPS=[], USE_I18N=False)
    django.setup()
    return django


def _of_django(module: str, use: Callable[[Any], Any]) -> Callable[[], Any]:
    def make() -> Any:
        _django()
        return use(importlib.import_module(module))

    return make


def _cleaned(forms: Any) -> Any:
    kinds = {
        "name": forms.CharField(),
        "day": forms.DateField(),
        "price": forms.DecimalField(),
        "n": forms.IntegerField(),
    }
    form = type("Order", (forms.Form,), kinds)({"name": "bread", "day": "2031-05-09", "price": "1.80", "n": "2"})
    assert form.is_valid()
    return form.cleaned_data


def _serialized(many: bool) -> Callable[[Any], Any]:
    def make(serializers: Any) -> Any:
        kind = type(
            "Order", (serializers.Serializer,), {"name": serializers.CharField(), "n": serializers.IntegerField()}
        )
        one = {"name": "bread", "n": 2}
        return kind([one], many=True).data if many else kind(one).data

    return make


def _table(sqlalchemy: Any) -> Any:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        return connection.execute(sqlalchemy.text("select 1 as id, 'bread' as name")).one()


def _mapped(orm: Any) -> Any:
    import sqlalchemy

    base = orm.declarative_base()
    fields = {"__tablename__": "orders", "id": sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)}
    return type("Order", (base,), fields)(id=1)


def _frozen(freezegun: Any, kind: str) -> Any:
    with freezegun.freeze_time("2031-05-09 12:30"):
        return dt.datetime.now(dt.UTC) if kind == "datetime" else dt.date.today()


def _attested(fido2: Any) -> Any:
    key = importlib.import_module("fido2.cose").ES256({1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)})
    return fido2.AttestedCredentialData.create(bytes(16), b"credential", key)


ROWS: Final[list[Row]] = [
    # as they are
    Row("`None`, `bool`, `int`, `float`, `str`, `list`, `dict`", "", lambda: {"a": [None, True, 1, 1.5, "x"]}),
    Row("`int` of 70 bits", "", lambda: 2**70),
    Row("`float('nan')`", "", lambda: math.nan),
    Row("`bytes`", "", lambda: b"\xff"),
    Row("`bytearray`", "", lambda: bytearray(b"x")),
    Row("`memoryview` of bytes", "", lambda: memoryview(b"x")),
    Row("`memoryview` of numbers", "", lambda: memoryview(array.array("i", [1]))),
    Row("`array.array`", "", lambda: array.array("i", [1])),
    Row("`tuple`", "", lambda: (1, 2)),
    Row("`set`", "", lambda: {1}),
    Row("`frozenset`", "", lambda: frozenset([1])),
    Row("`datetime` in UTC", "", lambda: NOON),
    Row("`datetime` without a zone", "", lambda: NOON.replace(tzinfo=None)),
    _row(
        "`datetime` with a `ZoneInfo`", "zoneinfo", lambda zoneinfo: NOON.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))
    ),
    _row("`datetime` with a zone of pytz", "pytz", lambda pytz: NOON.astimezone(pytz.timezone("Europe/Berlin"))),
    _row("`datetime` with a zone of dateutil", "dateutil.tz", lambda tz: NOON.astimezone(tz.gettz("Europe/Berlin"))),
    Row("`date`", "", lambda: NOON.date()),
    Row("`time`", "", lambda: dt.time(7, 30)),
    Row("`timedelta`", "", lambda: dt.timedelta(seconds=90)),
    Row("`Decimal`", "", lambda: Decimal("1.80")),
    Row("`UUID`", "", lambda: uuid.UUID(int=5)),
    _row("`markupsafe.Markup`", "markupsafe", lambda markupsafe: markupsafe.Markup("<b>")),
    # keys
    Row("`{1: …}`", "", lambda: {1: "one"}),
    Row("`{None: …}`", "", lambda: {None: 1}),
    Row("`{1.5: …}`", "", lambda: {1.5: 1}),
    Row("`{date: …}`", "", lambda: {NOON.date(): 1}),
    Row("`{UUID: …}`", "", lambda: {uuid.UUID(int=5): 1}),
    Row("`{StrEnum member: …}`", "", lambda: {Role.ADMIN: 1}),
    Row("`{(1, 2): …}`", "", lambda: {(1, 2): 1}),
    # of the standard library
    Row("`StrEnum` member", "", lambda: Role.ADMIN),
    Row("`(str, Enum)` member", "", lambda: OldRole.ADMIN),
    Row("`IntEnum` member", "", lambda: Level.LOW),
    Row("`IntFlag` member", "", lambda: Permission.READ | Permission.WRITE),
    Row("`Enum` member", "", lambda: Color.RED),
    Row("`Flag` member", "", lambda: Bits.ONE),
    Row("`http.HTTPStatus` member", "", lambda: http.HTTPStatus.OK),
    Row("`NamedTuple`", "", lambda: Pair(1, 2)),
    Row("`time.struct_time`", "", lambda: time.gmtime(0)),
    Row("`OrderedDict`", "", lambda: OrderedDict(a=1)),
    Row("`defaultdict`", "", lambda: defaultdict(list, a=[1])),
    Row("`Counter`", "", lambda: Counter("ab")),
    Row("`http.cookies.SimpleCookie`", "", lambda: SimpleCookie("a=1")),
    Row("`UserDict`", "", lambda: UserDict(a=1)),
    Row("`ChainMap`", "", lambda: ChainMap({"a": 1})),
    Row("`MappingProxyType`", "", lambda: types.MappingProxyType({"a": 1})),
    Row("`deque`", "", lambda: deque([1])),
    Row("`range`", "", lambda: range(3)),
    Row("`dict.keys()`", "", lambda: {"a": 1}.keys()),
    Row("generator", "", lambda: (each for each in [1])),
    Row("dataclass", "", Point),
    Row("`SimpleNamespace`", "", lambda: types.SimpleNamespace(a=1)),
    Row("`Fraction`", "", lambda: Fraction(1, 2)),
    Row("`complex`", "", lambda: 1j),
    Row("`ipaddress.IPv4Address`", "", lambda: ipaddress.ip_address("192.0.2.1")),
    Row("`pathlib.Path`", "", lambda: PurePosixPath("/a")),
    Row("function", "", lambda: _in),
    # logins
    _row("Authlib `UserInfo`", "authlib.oidc.core", lambda core: core.UserInfo(sub="ada")),
    _row(
        "Authlib `OAuth2Token`",
        "authlib.oauth2.rfc6749",
        lambda rfc: rfc.OAuth2Token({"access_token": "x", "expires_in": 60}),
    ),
    _row(
        "oauthlib `OAuth2Token`",
        "oauthlib.oauth2",
        lambda oauth2: oauth2.OAuth2Token({"access_token": "x", "scope": "a b"}),
    ),
    _row("python-fido2 state of a ceremony", "fido2", lambda _: {"challenge": "x", "user_verification": None}),
    _row("python-fido2 `AttestedCredentialData`", "fido2.webauthn", _attested),
    _row(
        "python-fido2 `UserVerificationRequirement` member",
        "fido2.webauthn",
        lambda w: w.UserVerificationRequirement.REQUIRED,
    ),
    _row(
        "python-fido2 `PublicKeyCredentialRpEntity`",
        "fido2.webauthn",
        lambda w: w.PublicKeyCredentialRpEntity(name="shop", id="example.org"),
    ),
    # Django
    Row("Django `SafeString`", "django", _of_django("django.utils.safestring", lambda s: s.mark_safe("<b>"))),
    Row("Django `gettext_lazy`", "django", _of_django("django.utils.translation", lambda t: t.gettext_lazy("bread"))),
    Row(
        "Django `TextChoices` member",
        "django",
        _of_django("django.db.models", lambda m: m.TextChoices("Size", "BIG").BIG),
    ),
    Row(
        "Django `IntegerChoices` member",
        "django",
        _of_django("django.db.models", lambda m: m.IntegerChoices("Size", "BIG").BIG),
    ),
    Row("Django `QueryDict`", "django", _of_django("django.http", lambda h: h.QueryDict("a=1&a=2"))),
    Row("Django `form.cleaned_data`", "django", _of_django("django.forms", _cleaned)),
    Row("Django `ErrorDict`", "django", _of_django("django.forms.utils", lambda u: u.ErrorDict(a=["wrong"]))),
    Row(
        "Django REST framework `serializer.data`",
        "rest_framework",
        _of_django("rest_framework.serializers", _serialized(False)),
    ),
    Row(
        "Django REST framework `serializer.data`, many",
        "rest_framework",
        _of_django("rest_framework.serializers", _serialized(True)),
    ),
    Row(
        "Django REST framework `ErrorDetail`",
        "rest_framework",
        _of_django("rest_framework.exceptions", lambda e: e.ErrorDetail("wrong", code="w")),
    ),
    # other frameworks
    _row(
        "Werkzeug `MultiDict` (`request.form`)",
        "werkzeug.datastructures",
        lambda d: d.MultiDict([("a", "1"), ("a", "2")]),
    ),
    _row("Werkzeug `Headers`", "werkzeug.datastructures", lambda d: d.Headers({"a": "1"})),
    _row("Starlette `FormData`", "starlette.datastructures", lambda d: d.FormData([("a", "1"), ("a", "2")])),
    _row("Starlette `URL`", "starlette.datastructures", lambda d: d.URL("https://example.org/")),
    _row("aiohttp `MultiDict`", "multidict", lambda multidict: multidict.MultiDict(a="1")),
    _row("aiohttp `istr`", "multidict", lambda multidict: multidict.istr("Host")),
    _row("`yarl.URL`", "yarl", lambda yarl: yarl.URL("https://example.org/")),
    # models and rows
    _row("pydantic model", "pydantic", lambda pydantic: pydantic.create_model("Order", n=(int, 1))()),
    _row("pydantic `SecretStr`", "pydantic", lambda pydantic: pydantic.SecretStr("x")),
    _row("pydantic `HttpUrl`", "pydantic", lambda pydantic: pydantic.HttpUrl("https://example.org/")),
    _row("msgspec `Struct`", "msgspec", lambda msgspec: msgspec.defstruct("Order", [("n", int, 1)])()),
    _row("attrs class", "attrs", lambda attrs: attrs.make_class("Order", {"n": attrs.field(default=1)})()),
    _row("SQLAlchemy `Row`", "sqlalchemy", _table),
    _row("SQLAlchemy `RowMapping`", "sqlalchemy", lambda sqlalchemy: _table(sqlalchemy)._mapping),
    _row("SQLAlchemy `quoted_name`", "sqlalchemy.sql.elements", lambda e: e.quoted_name("orders", quote=True)),
    _row("SQLAlchemy `MutableDict`", "sqlalchemy.ext.mutable", lambda m: m.MutableDict(a=1)),
    _row("SQLAlchemy mapped object", "sqlalchemy.orm", _mapped),
    _row("asyncpg `UUID`", "asyncpg.pgproto.pgproto", lambda pgproto: pgproto.UUID(str(uuid.UUID(int=5)))),
    # times and numbers
    _row("pendulum `DateTime`", "pendulum", lambda pendulum: pendulum.datetime(2031, 5, 9, tz="Europe/Berlin")),
    _row(
        "pendulum `DateTime` with an offset", "pendulum", lambda pendulum: pendulum.parse("2031-05-09T12:30:00+02:00")
    ),
    _row("pendulum `Date`", "pendulum", lambda pendulum: pendulum.date(2031, 5, 9)),
    _row("pendulum `Duration`", "pendulum", lambda pendulum: pendulum.duration(days=2)),
    _row("freezegun `FakeDatetime`", "freezegun", lambda freezegun: _frozen(freezegun, "datetime")),
    _row("freezegun `FakeDate`", "freezegun", lambda freezegun: _frozen(freezegun, "date")),
    _row("`arrow.Arrow`", "arrow", lambda arrow: arrow.get(NOON)),
    _row("`whenever.Instant`", "whenever", lambda whenever: whenever.Instant.from_utc(2031, 5, 9)),
    _row("numpy `float64`", "numpy", lambda numpy: numpy.float64(1.5)),
    _row("numpy `str_`", "numpy", lambda numpy: numpy.str_("x")),
    _row("numpy `int64`", "numpy", lambda numpy: numpy.int64(1)),
    _row("numpy `bool_`", "numpy", lambda numpy: numpy.bool_(True)),
    _row("numpy `datetime64`", "numpy", lambda numpy: numpy.datetime64("2031-05-09")),
    _row("numpy array", "numpy", lambda numpy: numpy.array([1, 2])),
    _row("pandas `Timestamp`", "pandas", lambda pandas: pandas.Timestamp(NOON)),
    _row(
        "pandas `Timestamp` with nanoseconds",
        "pandas",
        lambda pandas: pandas.Timestamp("2031-05-09T12:30:00.000000001"),
    ),
    _row("pandas `Timedelta`", "pandas", lambda pandas: pandas.Timedelta(days=1)),
    _row("pandas `NaT`", "pandas", lambda pandas: pandas.NaT),
    _row("pandas `Series`", "pandas", lambda pandas: pandas.Series([1])),
]


# --- What each library does with a session that holds the object


def _hardtack(data: Any) -> Any:
    back = values.unpack(values.pack(data))
    assert repr(values.from_json(json.loads(json.dumps(values.to_json(data))))) == repr(
        back
    )  # one behaviour for both forms
    return back


def _flask(data: Any) -> Any:
    import flask
    from flask.json.tag import TaggedJSONSerializer

    del flask
    serializer = TaggedJSONSerializer()
    return serializer.loads(serializer.dumps(data))


def _starlette(data: Any) -> Any:
    return json.loads(json.dumps(data))


def _django_json(data: Any) -> Any:
    serializer = importlib.import_module("django.core.signing").JSONSerializer()
    return serializer.loads(serializer.dumps(data))


def _flask_session(data: Any) -> Any:
    import flask

    serializer = importlib.import_module("flask_session.base").MsgSpecSerializer(flask.Flask("shop"), "msgpack")
    return serializer.decode(serializer.encode(data))


def _litestar(data: Any) -> Any:
    from litestar.serialization import decode_json, encode_json
    from litestar.serialization.msgspec_hooks import default_serializer

    return decode_json(encode_json(data, default_serializer))


COLUMNS: Final[dict[str, Callable[[Any], Any]]] = {
    "hardtack": _hardtack,
    "Flask": _flask,
    "Starlette": _starlette,
    "Django": _django_json,
    "Flask-Session": _flask_session,
    "Litestar": _litestar,
}


def _cell(through: Callable[[Any], Any], make: Callable[[], Any]) -> str | None:
    """The type of what comes out; with ≠ where it is not equal to what went in. None: the session library is not installed."""
    value = make()
    try:
        back = through({"value": value})["value"]
    except UnsupportedValue as error:
        return f"refused: {error.problem}".replace("|", "\\|")
    except ModuleNotFoundError:
        return None
    except Exception:
        return "error"
    kind = type(back).__name__
    try:
        equal = bool(back == value) or (back != back and value != value)
    except Exception:
        equal = False
    return f"`{kind}`" if equal else f"≠ `{kind}`"


def cells(row: Row) -> list[str | None]:
    """A row's cells; an ImportError where its library is missing."""
    row.make()
    return [_cell(through, row.make) for through in COLUMNS.values()]


def computed() -> dict[str, list[str | None] | str]:
    """Each row's cells by its label, or the name of the library that is missing."""
    found: dict[str, list[str | None] | str] = {}
    for row in ROWS:
        try:
            found[row.label] = cells(row)
        except ImportError as error:
            found[row.label] = error.name or row.library
    return found


def on_the_page() -> dict[str, list[str]]:
    """Each row's cells as the page has them."""
    lines = PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def write() -> None:
    """Put the table into the page. Raises where a library is missing."""
    lines = [f"| what is put in | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for label, row in computed().items():
        assert isinstance(row, list), f"{row} is not installed"
        written = [cell for cell in row if cell is not None]
        assert len(written) == len(COLUMNS), "a session library is not installed"
        lines.append(f"| {label} | {' | '.join(written)} |")
    text = PAGE.read_text("utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after, "utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(json.dumps(computed()))
