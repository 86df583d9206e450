"""`hardtack takeover`: it names the system, shows no value unasked, prints lines that work, and says which check failed."""

from __future__ import annotations

import base64
import hmac
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.foreign.python_support import record_of
from tests.foreign.web_formats import FORMATS, SECRET, UNTIL, app_key, key
from tests.foreign.web_support import laravel_unprefixed

from hardtack import Key
from hardtack.cli import FAILED, OK, USAGE, main
from hardtack.cli.takeover_attempts import attempts
from hardtack.foreign import etf
from hardtack.foreign.base import ForeignCookie
from hardtack.foreign.cookie_rs import RustPrivateCookie
from hardtack.foreign.express import KoaSessionCookie
from hardtack.foreign.flask import FlaskCookie
from hardtack.foreign.iron import H3Cookie
from hardtack.foreign.litestar import LitestarCookie
from hardtack.foreign.phoenix import PhoenixTokenCookie, sign
from hardtack.foreign.rack import RackSessionCookie
from hardtack.foreign.rails import RailsCookie
from hardtack.protocols import Context

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def header(cookie: ForeignCookie, data: dict[str, Any]) -> str:
    cookies = cookie.seal(record_of(data), Context(cookie.cookie_name, "", int(time.time())))
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


SYSTEMS: dict[str, tuple[str, str | bytes, list[str]]] = {
    "rails": ("Rails 7.0 and later (encrypted)", SECRET, []),
    "rails-expire-after": ("Rails 5.2 to 6.1 (encrypted)", SECRET, []),
    "rails-signed": ("Rails 7.0 and later (signed)", SECRET, []),
    "rack": ("rack-session (version 2, bound to no name)", SECRET, []),
    "rack-1": ("rack-session (version 1, bound to no name)", SECRET, []),
    "rack-hmac": ("Rack 2 (Rack::Session::Cookie)", SECRET, []),
    "cookie-session": ("Express (cookie-session)", SECRET, []),
    "koa": ("Koa (koa-session)", SECRET, []),
    "koa-session": ("Koa (koa-session)", SECRET, []),
    "express-session": ("Express (express-session: an id)", SECRET, []),
    "iron-session": ("iron-session, password 1", SECRET, []),
    "hapi": ("hapi, password k1", SECRET, []),
    "h3": ("h3 (Nuxt, Nitro)", SECRET, []),
    "fastify": ("Fastify (secure-session, key)", key(SECRET), []),
    "authjs": ("Auth.js 5", SECRET, []),
    "nextauth": ("NextAuth 4", SECRET, []),
    "phoenix": ("Phoenix (signed)", SECRET, ["signing_salt=salt"]),
    "phoenix-encrypted": (
        "Phoenix (encrypted, plug_crypto 2.1 and later)",
        SECRET,
        ["encryption_salt=salt", "signing_salt=other"],
    ),
    "phoenix-legacy": (
        "Phoenix (encrypted, plug_crypto before 2.1)",
        SECRET,
        ["encryption_salt=salt", "signing_salt=x"],
    ),
    "laravel": ("Laravel (cookie driver, AES-256-CBC)", app_key(SECRET), []),
    "laravel-gcm-json": ("Laravel (cookie driver, AES-256-GCM)", app_key(SECRET), []),
    "laravel-id": ("Laravel (an id, AES-256-CBC)", app_key(SECRET), []),
    "gorilla": ("gorilla/securecookie", SECRET, []),
    "remix": ("React Router, Remix", SECRET, []),
    "hono": ("Hono (signed, JSON)", SECRET, []),
    "hono-text": ("Hono (signed, text)", SECRET, []),
    "rust-private": ("Rust's cookie crate (private), actix-session, derived key", key(SECRET).hex(), []),
    "rust-signed": ("Rust's cookie crate (signed)", base64.b64encode(key(SECRET, 64)), []),
    "beaker": ("Beaker", SECRET, []),
    "beaker-encrypted": ("Beaker", SECRET, ["encrypt_key=encrypting " + SECRET, "timeout=60"]),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_system_is_named_and_its_lines_work(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five lines that are printed make a manager that takes the session over."""
    system, secret, options = SYSTEMS[name]
    chosen = next(each for each in FORMATS if each.name == name)
    path = tmp_path / "secret"
    path.write_bytes(secret if isinstance(secret, bytes) else secret.encode())
    cookies = header(chosen.cookie, chosen.sample)
    monkeypatch.setenv("HARDTACK_KEY", Key.generate().export())

    arguments = ["takeover", cookies, "--secret-file", str(path), *(f"--option={each}" for each in options)]
    code = main(arguments)

    out = capsys.readouterr().out
    assert code == OK, out
    assert out.splitlines()[0] == f"It is a session of {system}."
    lines = out.splitlines()[-5:]
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    session = names["sessions"].open(cookies)
    assert {each: session[each] for each in chosen.sample} == chosen.sample


@pytest.mark.parametrize("argument", ["{}", "Cookie: theme=dark; {}", "sess=x; {}"])
def test_a_name_with_a_colon(
    argument: str, secret_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """koa-session's default once; the lines that are printed name it, and take it over."""
    cookies = argument.format(header(KoaSessionCookie(SECRET, cookie_name="koa:sess"), {"user": "ada"}))
    monkeypatch.setenv("HARDTACK_KEY", Key.generate().export())

    assert main(["takeover", cookies, "--secret-file", str(secret_file), "--name", "koa:sess"]) == OK

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "It is a session of Koa (koa-session)."
    assert "cookie_name='koa:sess'" in lines[-2]
    names: dict[str, Any] = {}
    exec("\n".join(lines[-5:]), names)
    assert names["sessions"].open(cookies)["user"] == "ada"


def test_rack_session_with_its_name(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is told is what the cookie is bound to, though one that is bound to no name is read the same way."""
    cookie = RackSessionCookie(SECRET, cookie_name="shop", until=UNTIL)

    assert main(["takeover", header(cookie, {"a": 1}), "--secret-file", str(secret_file)]) == OK
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "It is a session of rack-session (version 2)."
    assert "purpose" not in out


def test_base64_in_lines_is_of_rack_alone(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Rack 1 and 2.0 made it; Rails, whose cookies have this shape as well, never did."""
    encoded = base64.encodebytes(json.dumps({"a": "b" * 99}).encode()).decode()
    value = quote(f"{encoded}--{hmac.digest(SECRET.encode(), encoded.encode(), 'sha512').hex()}")

    assert main(["takeover", f"rack.session={value}", "--secret-file", str(secret_file)]) == OK
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "It is a session of Rack 1 and 2.0 (Rack::Session::Cookie)."
    assert "digest='sha512'" in out
    assert len(list(attempts({"a": value}, "a"))) == 1


@pytest.mark.parametrize(
    ("settings", "system"),
    [
        ({"content": "actix"}, ", actix-session"),
        ({"content": "actix", "versioned": True}, ", actix-session"),
        ({}, ""),
    ],
    ids=["actix", "versioned", "json"],
)
@pytest.mark.parametrize("data", [{"a": 1}, {"a": "one"}], ids=["number", "text"])
def test_actix_session_is_told_from_plain_json(
    data: dict[str, Any], settings: dict[str, Any], system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which it reads as well, and does not write."""
    path = tmp_path / "secret"
    path.write_text(key(SECRET, 64).hex())
    cookie = RustPrivateCookie(key(SECRET, 64), until=UNTIL, **settings)

    assert main(["takeover", header(cookie, data), "--secret-file", str(path)]) == OK
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"It is a session of Rust's cookie crate (private){system}."


def _golden() -> Iterator[Any]:
    files = {
        "aiohttp-session": "aiohttp-session",
        "django-signed-cookies": "Django (signed cookies)",
        "plack_session_cookie": "Plack",
        "starlette": "Starlette, FastAPI",
        "tornado": "Tornado",
        "trickster": "Trickster",
        "session_storage_secure_v1": "Dancer, Dancer2 (Session::Storage::Secure)",
        "mojolicious_signed_949": "Mojolicious (signed)",
        "pyramid": "Pyramid",
    }
    for file, system in files.items():
        for entry in json.loads((VECTORS / f"{file}.json").read_text("utf-8")):
            if entry["expect"] == "accept" and isinstance(entry["secret"], str):
                yield pytest.param(entry, system, id=f"{file}-{entry['name']}")
                break


@pytest.mark.parametrize(("entry", "system"), list(_golden()))
def test_older_formats_are_named_too(
    entry: dict[str, Any],
    system: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of Python's and Perl's frameworks."""
    path = tmp_path / "secret"
    path.write_text(entry["secret"])
    options = entry.get("options") or {}
    name = entry.get("cookie_name") or options.get("cookie_name") or options.get("name") or "session"
    if entry.get("now") is not None:
        monkeypatch.setattr(time, "time", lambda: entry["now"])

    code = main(["takeover", f"{name}={entry['cookie_value']}", "--secret-file", str(path)])

    out = capsys.readouterr().out
    assert (code, out.splitlines()[0]) == (OK, f"It is a session of {system}."), out


def test_chunks_of_litestar_are_one_cookie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the other system puts between name and number; its key is bytes, here as they are."""
    path = tmp_path / "secret"
    path.write_bytes(bytes(range(16)))
    cookies = header(LitestarCookie(bytes(range(16))), {"pad": os.urandom(3000).hex()})

    assert main(["takeover", cookies, "--secret-file", str(path)]) == OK
    assert "Litestar" in capsys.readouterr().out


def test_a_secret_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is taken as its bytes."""
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe secret")

    assert main(["takeover", header(FlaskCookie(b"\xff\xfe secret"), {"a": 1}), "--secret-file", str(path)]) == OK
    assert "read_bytes()" in capsys.readouterr().out


DATA = {"user": "alice", "roles": ["admin"], "cart": {"a": 1}, "raw": b"\xff", "n": 42}


def test_values_are_hidden_unless_asked(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal is logged and looked over: types and lengths are enough to recognise a session."""
    phoenix = next(each for each in FORMATS if each.name == "phoenix").cookie
    arguments = ["takeover", header(phoenix, DATA), "--secret-file", str(secret_file), "--option=signing_salt=salt"]

    assert main(arguments) == OK
    hidden = capsys.readouterr().out
    assert main([*arguments, "--show"]) == OK
    shown = capsys.readouterr().out

    assert "'user': str of 5 characters" in hidden
    assert "'roles': list of 1 items" in hidden
    assert "'cart': dict of 1 keys" in hidden
    assert "'raw': bytes of 1 bytes" in hidden
    assert "'n': int" in hidden
    assert "alice" not in hidden
    assert "'user': 'alice'" in shown


def test_times_are_shown(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When it was made, and when it ends, where the cookie says so; an empty session is told."""
    rails = RailsCookie(SECRET, expire_after="1 day")
    flask = FlaskCookie(SECRET)
    old = flask.seal(record_of({}), Context("session", "", int(time.time()) - 60))["session"]

    assert main(["takeover", header(rails, {"a": 1}), "--secret-file", str(secret_file)]) == OK
    assert "It ends at 20" in capsys.readouterr().out
    assert main(["takeover", f"session={old}", "--secret-file", str(secret_file)]) == OK
    out = capsys.readouterr().out
    assert "It was made, or last written, at 20" in out
    assert "(empty)" in out


def test_which_check_failed(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every system that the shape allows, and why it is not that one."""
    cookies = header(RailsCookie("another secret", until=1 << 40), {"a": 1})

    assert main(["takeover", cookies, "--secret-file", str(secret_file)]) == FAILED
    out = capsys.readouterr().out
    assert "Nobody can read the cookie '_app_session' with this secret" in out
    assert "Rails 7.0 and later (encrypted): the signature, or the tag, is not of this secret" in out


def test_an_authentic_cookie_that_cannot_be_used(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told apart from a wrong secret."""
    flask = FlaskCookie(SECRET)
    old = flask.seal(record_of({}), Context("session", "", 1_000_000))["session"]

    assert main(["takeover", f"session={old}", "--secret-file", str(secret_file)]) == FAILED
    assert "It is of Flask, and cannot be used: it is authentic, and has ended." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cookie", "options", "system"),
    [
        (KoaSessionCookie(SECRET), [], "Koa (koa-session)"),
        (H3Cookie(SECRET, iterations=1), ["--option=max_age=60"], "h3 (Nuxt, Nitro)"),
    ],
    ids=["koa", "h3"],
)
def test_what_has_ended_is_not_another_systems(
    cookie: ForeignCookie,
    options: list[str],
    system: str,
    secret_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """cookie-session signs as Koa does and says no end, and hapi seals as h3: their lines would let it in."""
    record = record_of({"a": 1}).with_changes(created=1_000_000)
    cookies = cookie.seal(record, Context(cookie.cookie_name, "", 1_000_000))
    text = "; ".join(f"{name}={value}" for name, value in cookies.items())

    assert main(["takeover", text, "--secret-file", str(secret_file), *options]) == FAILED
    assert capsys.readouterr().out == f"It is of {system}, and cannot be used: it is authentic, and has ended.\n"


def test_a_block_key_that_is_missing_is_asked_for(
    secret_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for a gob, which would send the reader to the Go side."""
    monkeypatch.setattr(os, "urandom", lambda size: b"\xf0" * size)  # begins no JSON
    text = header(next(each for each in FORMATS if each.name == "gorilla-block").cookie, {"a": 1})

    assert main(["takeover", text, "--secret-file", str(secret_file)]) == FAILED
    assert "gorilla/securecookie: it is authentic, and encrypted; give it the block_key" in capsys.readouterr().out


def test_objects_are_told_by_their_name(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What hardtack never reads is named, with what to do on the other side."""
    token = PhoenixTokenCookie(SECRET, "salt", until=1 << 40)
    value = sign(b"\x83h\x01a\x01", token._signing[0])

    code = main(["takeover", f"x={value}", "--secret-file", str(secret_file), "--option=signing_salt=salt"])

    assert code == FAILED
    assert "it has a tuple in it" in capsys.readouterr().out


def test_a_token_without_an_end_needs_a_date(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Phoenix signs some with `:infinity`: without `until` a manager refuses those."""
    signing = PhoenixTokenCookie(SECRET, "salt")._signing[0]
    signed_at = etf.write(1_700_000_000_000)[1:]
    arguments = ["--secret-file", str(secret_file), "--option=salt=salt"]
    ends = sign(b"\x83h\x03a*" + signed_at + etf.write(1_000_000_000)[1:], signing)
    endless = sign(b"\x83h\x03a*" + signed_at + b"w\x08infinity", signing)

    assert main(["takeover", f"x={ends}", *arguments]) == OK
    assert "until=" not in capsys.readouterr().out
    assert main(["takeover", f"x={endless}", *arguments]) == OK
    out = capsys.readouterr().out
    assert "It does not say when it ends." in out
    assert "until=" in out


def test_a_cookie_from_before_laravels_prefix_needs_a_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says when it ends, and is bound to no name: its setting asks for `until`."""
    path = tmp_path / "secret"
    path.write_text("base64:" + base64.b64encode(bytes(range(32))).decode())
    identifier, content = "x" * 40, json.dumps({"data": 'a:1:{s:1:"a";i:1;}', "expires": 1 << 33})
    cookies = f"laravel_session={laravel_unprefixed(identifier)}; {identifier}={laravel_unprefixed(content)}"

    assert main(["takeover", cookies, "--secret-file", str(path)]) == OK
    out = capsys.readouterr().out
    assert "It is a session of Laravel before July 2020 (cookie driver, AES-256-CBC)." in out
    assert "legacy_unprefixed=True, " in out
    assert "until=datetime.date(" in out


def test_what_nobody_can_guess_is_asked_for(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A salt of the application's own."""
    phoenix = next(each for each in FORMATS if each.name == "phoenix").cookie

    assert main(["takeover", header(phoenix, {"a": 1}), "--secret-file", str(secret_file)]) == FAILED
    assert "not tried; give --option signing_salt=…" in capsys.readouterr().out


def test_a_secret_option_comes_from_a_file(
    secret_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second key stands neither on the command line nor in what is printed."""
    path = tmp_path / "encrypt"
    path.write_text("encrypting " + SECRET)
    beaker = next(each for each in FORMATS if each.name == "beaker-encrypted")
    arguments = ["takeover", header(beaker.cookie, {"a": 1}), "--secret-file", str(secret_file)]

    assert main([*arguments, f"--option=encrypt_key=@{path}"]) == OK
    out = capsys.readouterr().out
    assert f"encrypt_key=pathlib.Path({str(path)!r}).read_text().strip()" in out
    assert SECRET not in out
    assert main([*arguments, "--option=encrypt_key=@/nowhere"]) == USAGE


def test_atom_keys_are_a_list(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Separated by commas."""
    phoenix = next(each for each in FORMATS if each.name == "phoenix").cookie
    value = sign(b"\x83t\x00\x00\x00\x01w\x07user_ida\x2a", phoenix._signing[0])  # type: ignore[attr-defined]
    arguments = ["takeover", f"_app_key={value}", "--secret-file", str(secret_file), "--option=signing_salt=salt"]

    assert main([*arguments, "--option=atom_keys=user_id,other"]) == OK
    assert "atom_keys=['user_id', 'other']" in capsys.readouterr().out


def test_a_shape_that_nobody_has(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said so."""
    assert main(["takeover", "a=!", "--secret-file", str(secret_file)]) == FAILED
    assert "the shape of no system that hardtack knows" in capsys.readouterr().out


def test_one_of_several_cookies(secret_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first, unless another one is named."""
    cookies = f"theme=dark; {header(FlaskCookie(SECRET), {'a': 1})}"

    assert main(["takeover", cookies, "--secret-file", str(secret_file)]) == FAILED
    assert main(["takeover", cookies, "--secret-file", str(secret_file), "--name", "session"]) == OK
    assert main(["takeover", cookies, "--secret-file", str(secret_file), "--name", "other"]) == USAGE
    assert "--name other is none of the cookies: theme, session" in capsys.readouterr().err


def test_the_cookie_may_come_from_stdin(
    secret_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it stands in no list of processes, and in no history of a shell."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"Cookie: {header(FlaskCookie(SECRET), {'a': 1})}\n"))

    assert main(["takeover", "-", "--secret-file", str(secret_file)]) == OK
    assert "Flask" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no cookie"], "COOKIE is not NAME=VALUE"),
        ([""], "COOKIE is not NAME=VALUE"),
        (["a b=c"], "COOKIE is not NAME=VALUE"),
        (["a=b", "--option", "salt"], "--option salt is not NAME=VALUE"),
    ],
)
def test_a_wrong_command(
    arguments: list[str], message: str, secret_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told, and nothing is tried."""
    assert main(["takeover", *arguments, "--secret-file", str(secret_file)]) == USAGE
    assert message in capsys.readouterr().err


def test_without_the_secret_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that does not exist."""
    assert main(["takeover", "a=b", "--secret-file", "/nowhere"]) == USAGE
    assert "/nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["a", "eyJ!!!..a.b.c", "eyJx..a.b.c", "é", "Fe26.2*", "AAAAA", "%ff", '"'])
def test_a_shape_is_looked_at_without_an_error(value: str) -> None:
    """Whatever stands there."""
    list(attempts({"a": value, "a.sig": value}, "a"))


@pytest.mark.parametrize(
    ("value", "systems"),
    [
        ("QUJD-AAAAAAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAAA==", ["Mojolicious (encrypted)"]),
        ("Fe26.2**a*b*c*d*e*f", ["h3 (Nuxt, Nitro)", "hapi", "hapi (AES-128-CTR)", "hapi, a Buffer"]),
        ("Fe26.2*1*a*b*c*d*e*f", ["iron-session 4 and 5, password 1", "hapi, password 1"]),
        ("Fe26.2*k*a*b*c*d*e*f", ["hapi, password k", "hapi (AES-128-CTR), password k"]),
        ("Fe26.2*1*a*b*c*d*e*f~2", ["iron-session, password 1"]),
        (
            "XCP.AA",
            ["Phoenix (encrypted, plug_crypto 2.1 and later)", "Phoenix.Token (plug_crypto 2.1 and later)"],
        ),
        ("YQ==--" + "0" * 64, ["Rails 5.1 and before (encrypted)", "Rails 7.0 and later (signed)"]),
        ("YQ==;" + "A" * 32, ["Fastify (secure-session, key)", "Fastify (secure-session, secret)"]),
    ],
)
def test_every_system_of_a_shape_is_tried(value: str, systems: list[str]) -> None:
    """The likeliest first."""
    assert [each.system for each in attempts({"a": value}, "a")][: len(systems)] == systems


def test_every_cipher_of_laravel_is_tried() -> None:
    """The length of the key tells which of the two it is."""
    chosen = next(each for each in FORMATS if each.name == "laravel-id")
    ((name, value),) = chosen.cookie.seal(record_of(chosen.sample), Context("laravel_session", "", 0)).items()

    assert [each.system for each in attempts({name: value}, name)][:4:2] == [
        "Laravel (cookie driver, AES-256-CBC)",
        "Laravel (cookie driver, AES-128-CBC)",
    ]


WEB = {
    "rails-encrypted": "Rails ",
    "rails-signed": "Rails ",
    "rack-session-v1": "rack-session (version 1",
    "rack-session-v2": "rack-session (version 2",
    "rack-hmac-cookie": "Rack 2",
    "cookie-session": "Express (cookie-session)",
    "koa-session": "Koa",
    "express-session": "Express (express-session",
    "iron-session": "iron-session",
    "hapi-iron": "hapi",
    "h3-session": "h3",
    "authjs-jwe": "Auth.js 5",
    "laravel-encrypted": "Laravel (an id",
    "remix-cookie": "React Router",
    "hono-signed": "Hono",
    "gorilla-securecookie": "gorilla",
}


def _accepted() -> Iterator[Any]:
    for path in sorted(VECTORS.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        for entry in content if isinstance(content, list) else []:
            good = entry.get("expect") == "accept" or entry.get("valid")
            if entry.get("format") in WEB and good:
                yield pytest.param(entry, id=f"{path.name}-{entry['name']}")


def _configured(entry: dict[str, Any]) -> tuple[str | None, list[str]]:
    """The secret as a file has it, and options."""
    secret: Any = entry["secret"]
    if isinstance(secret, list):
        secret = secret[-1]
    if isinstance(secret, str):
        return secret, []
    if "hash_key" not in secret:
        secret = secret.get("2")
        return secret, []
    block = [f"--option=block_key={secret['block_key']}"] if secret["block_key"] else []
    return secret["hash_key"], [*block, "--option=max_age=90 years"]


@pytest.mark.parametrize("entry", list(_accepted()))
def test_golden_cookies_are_named(
    entry: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whatever version, digest and key: made by the real systems."""
    secret, options = _configured(entry)
    if secret is None:  # two passwords for one seal, which no file holds
        return
    path = tmp_path / "secret"
    path.write_text(secret)
    moment = (entry.get("valid_before_ms") or 1_796_000_000_000) / 1000 - 1
    monkeypatch.setattr(time, "time", lambda: moment)
    cookies = {entry["cookie_name"]: entry["cookie_value"], **(entry.get("companion") or {})}
    text = "; ".join(f"{name}={value}" for name, value in cookies.items() if value)

    code = main(["takeover", text, "--secret-file", str(path), *options])

    out = capsys.readouterr().out
    assert code == OK, out
    assert out.startswith(f"It is a session of {WEB[entry['format']]}")
