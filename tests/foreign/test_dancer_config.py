"""Managers from the configuration of Dancer applications, compared with what the real Dancer makes of the same files."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.needs import find_program
from tests.servers import MemcachedServer

from hardtack import Cookie, CookieEngine, SessionManager, StoreEngine, config
from hardtack.errors import ConfigError
from hardtack.foreign import dancer_config
from hardtack.foreign.dancer import Dancer2Cookie, DancerCookie
from hardtack.foreign.dancer_config import DANCER2_OPTIONS, DANCER_SETTINGS
from hardtack.stores.file import FileStore
from hardtack.stores.memcached import MemcachedStore
from hardtack.stores.memory import MemoryStore

DANCER = """
appname: shop
session: cookie
session_cookie_key: 00420
session_name: shop.session
session_expires: 2hrs
session_cookie_path: /shop
session_domain: example.org
session_secure: 1
session_same_site: strict
"""

DANCER2 = """
session: Cookie
engines:
  template: {x: y}
  session:
    Cookie:
      secret_key: 1e3
      cookie_name: shop.session
      cookie_path: /shop
      cookie_domain: example.org
      cookie_duration: 2 hours
      default_duration: 3 hours
      is_secure: 1
      is_http_only: 0
      cookie_same_site: strict
"""


def write(directory: Path, text: str, name: str = "config.yml") -> Path:
    file = directory / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, "utf-8", "surrogatepass")
    return file


def dancer2(directory: Path, engine: str, **options: Any) -> Path:
    """A config.yml of Dancer2 with these options of this engine. JSON is YAML."""
    settings = {"session": engine, "engines": {"session": {engine: options}}}
    return write(directory, json.dumps(settings, ensure_ascii=False))


def store_of(manager: SessionManager) -> Any:
    assert isinstance(manager.engine, StoreEngine)
    return manager.engine.store


def run_perl(directory: Path, script: str, *arguments: str, **environ: str) -> str:
    """What a real application prints."""
    file = write(directory, script, "app.pl")
    command = [find_program("perl"), str(file), *arguments]
    environment = {**os.environ, **environ}
    return subprocess.run(command, env=environment, capture_output=True, check=True, text=True, encoding="utf-8").stdout


# --- Dancer 1

DANCER_APPLICATION = r"""
use strict; use warnings; use utf8;
use Dancer;
set apphandler => 'PSGI';
get '/' => sub { my $seen = session('name'); session name => "zoë"; $seen // 'none' };
my $app = dance;
my %env = (REQUEST_METHOD => 'GET', PATH_INFO => '/', SCRIPT_NAME => '', SERVER_NAME => 'x', SERVER_PORT => 80,
    QUERY_STRING => '', 'psgi.url_scheme' => 'http', 'psgi.input' => \*STDIN, 'psgi.errors' => \*STDERR);
$env{HTTP_COOKIE} = $ARGV[0] if @ARGV;
my $response = $app->(\%env);
my %headers = @{ $response->[1] };
print "$headers{'Set-Cookie'}\n@{ $response->[2] }\n";
"""


def exchanged_with_dancer(manager: SessionManager, directory: Path) -> tuple[str, str]:
    """The Set-Cookie of the manager, which a real application has read, and the one that it answered, and was read here."""
    session = manager.open()
    session["name"] = "hardtack"
    (ours,) = manager.commit(session).set_cookies
    theirs, _, seen = run_perl(directory, DANCER_APPLICATION, ours.partition(";")[0]).partition("\n")

    assert seen.strip() == "hardtack"
    assert manager.open(theirs.partition(";")[0])["name"] == "zoë"
    return ours, theirs


@pytest.mark.perl("Dancer", "Dancer::Session::Cookie")
def test_dancer_and_the_manager_share_one_cookie(tmp_path: Path) -> None:
    """A real application opens what the manager sets, and the manager opens what it sets, by one config.yml."""
    manager = config.from_dancer(write(tmp_path, DANCER))
    ours, theirs = exchanged_with_dancer(manager, tmp_path)
    for attribute in ("Path=/shop", "Domain=example.org", "Secure", "HttpOnly"):
        assert f"; {attribute}" in ours
        assert f"; {attribute.lower()}" in theirs.lower()


@pytest.mark.perl("Dancer", "Dancer::Session::Cookie")
def test_a_secret_beyond_ascii_is_the_one_that_dancer_hashes(tmp_path: Path) -> None:
    """Perl decodes the file, and hashes one byte a character."""
    text = "session: cookie\nsession_cookie_key: 'clé secrète'\nsession_expires: 1h\n"
    manager = config.from_dancer(write(tmp_path, text))

    exchanged_with_dancer(manager, tmp_path)


def test_every_setting_of_dancer(tmp_path: Path) -> None:
    """Name, attributes, secret and the end that each use moves are the application's."""
    manager = config.from_dancer(write(tmp_path, DANCER))

    assert manager.cookie == Cookie(name="shop.session", path="/shop", domain="example.org", samesite="Strict")
    assert (manager.lifetime, manager.idle_timeout, manager.persistent) == (14 * 86400, 7200, True)
    assert isinstance(manager.engine, CookieEngine)
    assert isinstance(manager.engine.token, DancerCookie)


def test_the_defaults_of_dancer_are_said_to_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is done differently on purpose is logged, by the name of the setting, once."""
    with caplog.at_level(logging.WARNING, "hardtack"):
        manager = config.from_dancer(write(tmp_path, "session: Simple"))

    assert manager.cookie == Cookie(name="dancer.session")
    assert (manager.lifetime, manager.persistent) == (14 * 86400, False)
    assert isinstance(store_of(manager), MemoryStore)
    said = [message.partition(" ")[0] for message in caplog.messages]
    assert said == ["session_secure", "session_same_site", "session_expires"]


def test_settings_that_dancer_ignores_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt `session_…`; the settings of other parts of the application are none of our business."""
    with caplog.at_level(logging.WARNING, "hardtack"):
        config.from_dancer(write(tmp_path, DANCER + "\nsession_nmae: shop\nsession_store: x\ntemplate: tiny\n"))

    assert [message.partition(" in ")[0] for message in caplog.messages[:2]] == ["session_nmae", "session_store"]
    assert caplog.messages[0].endswith("is ignored; did you mean session_name?")


def test_a_lifetime_is_said_to_stand_still(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Dancer moves it with each use; nothing else is said where the configuration says everything."""
    text = DANCER.replace("session: cookie", "session: Simple").replace("session_cookie_path: /shop\n", "")

    manager = config.from_dancer(write(tmp_path, text))

    assert manager.lifetime == 7200
    (message,) = caplog.messages
    assert message.startswith("session_expires is enforced by the server: a session ends 7200 seconds")


def test_a_lifetime_of_dancer2_is_said_to_stand_still(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the name of the option that was set."""
    options = {"cookie_duration": "1 hour", "is_secure": "1", "cookie_same_site": "Lax", "secret_key": "x"}

    config.from_dancer2(dancer2(tmp_path, "Simple", **options))

    (message,) = caplog.messages
    assert message.startswith("cookie_duration is enforced by the server: a session ends 3600 seconds")


@pytest.mark.parametrize("engine", ["Cookie", "Simple"])
@pytest.mark.parametrize("option", ["cookie_duration", "session_duration", "default_duration"])
def test_the_duration_that_holds_is_named(
    tmp_path: Path, engine: str, option: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where only one is set it is that one; a lifetime that was passed is nothing to be told."""
    file = dancer2(tmp_path, engine, secret_key="x", is_secure="1", cookie_same_site="Lax", **{option: "1 hour"})

    config.from_dancer2(file)
    config.from_dancer2(file, lifetime="1 day")

    assert [message.partition(" ")[0] for message in caplog.messages] == [option]


@pytest.mark.parametrize(
    ("durations", "name", "last"),
    [
        ({"cookie_duration": "1 hour"}, "cookie_duration", 14 * 86400),
        ({"default_duration": "1 hour"}, "default_duration", 14 * 86400),
        ({"cookie_duration": "1 hour", "session_duration": "2 hours"}, "cookie_duration", 7200),
        ({"cookie_duration": "20 days"}, "cookie_duration", 20 * 86400),
    ],
)
def test_a_moving_end_is_said_to_have_a_limit(
    tmp_path: Path, durations: dict[str, str], name: str, last: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Dancer2 has none: the session_duration, or else 14 days, and never less than what one use gives."""
    options = {"is_secure": "1", "cookie_same_site": "Lax", "secret_key": "x", **durations}

    manager = config.from_dancer2(dancer2(tmp_path, "Cookie", **options))

    (message,) = caplog.messages
    assert message.startswith(f"{name} is moved by each use, as Dancer does, but for {last} seconds")
    assert manager.lifetime == last


def test_the_end_of_a_cookie_moves_with_each_use(tmp_path: Path) -> None:
    """People who are active stay, as in Dancer; the browser is told as well."""
    now = [1_800_000_000]
    manager = config.from_dancer(write(tmp_path, DANCER), clock=lambda: now[0])
    session = manager.open()
    session["a"] = 1
    (first,) = manager.commit(session).set_cookies
    now[0] += 1800
    session = manager.open(first.partition(";")[0])
    assert session["a"] == 1

    (second,) = manager.commit(session).set_cookies

    assert (first.split("~")[1], second.split("~")[1]) == ("1800007200", "1800009000")
    assert "; Max-Age=7200;" in second


DANCER_COOKIE = r"""
use strict; use warnings;
use Dancer;
set apphandler => 'PSGI'; set warnings => 0;
get '/' => sub { session name => 1; 'ok' };
my %env = (REQUEST_METHOD => 'GET', PATH_INFO => '/', SCRIPT_NAME => '', SERVER_NAME => 'x', SERVER_PORT => 80,
    QUERY_STRING => '', 'psgi.url_scheme' => 'http', 'psgi.input' => \*STDIN, 'psgi.errors' => \*STDERR);
my $app = dance;
my %headers = @{ $app->(\%env)->[1] };
print $headers{'Set-Cookie'};
"""


def attributes_of(line: str, *names: str) -> list[str]:
    """Those of a Set-Cookie line's attributes that have these names."""
    parts = [part.strip() for part in line.split(";")[1:]]
    return sorted(part.lower() for part in parts if part.partition("=")[0].lower() in names)


@pytest.mark.perl("Dancer", "YAML")
@pytest.mark.parametrize(
    "word", ["0", "''", "~", "1", "no", "off", "false", "null", "'00'", "'0.0'", "2x", "[]", "", "'~'"]
)
def test_switches_are_what_perl_makes_of_them(tmp_path: Path, word: str) -> None:
    """The real Dancer sends Secure for every true text, `no` as well, and HttpOnly unless the number is 0."""
    text = f"session: Simple\nsession_secure: {word}\nsession_is_http_only: {word}\nsession_same_site: lax\n"
    manager = config.from_dancer(write(tmp_path, text))
    session = manager.open()
    session["name"] = 1

    (ours,) = manager.commit(session).set_cookies
    theirs = run_perl(tmp_path, DANCER_COOKIE)

    assert attributes_of(ours, "secure", "httponly") == attributes_of(theirs, "secure", "httponly")


@pytest.mark.parametrize("word", ["yes", "true", "on"])
def test_http_only_is_on_where_that_is_meant(tmp_path: Path, word: str, caplog: pytest.LogCaptureFixture) -> None:
    """In Perl the word is the number 0, and Dancer leaves HttpOnly out; here it is safer, and said."""
    manager = config.from_dancer(write(tmp_path, DANCER + f"\nsession_is_http_only: {word}\n"))

    assert manager.cookie.httponly
    assert [message.partition(" ")[0] for message in caplog.messages] == ["session_is_http_only", "session_expires"]


@pytest.mark.perl("Dancer", "Dancer::Session::Cookie", "YAML")
@pytest.mark.parametrize(("engine", "path"), [("Cookie", "/shop"), ("Simple", "/"), ("YAML", "/")])
def test_the_path_is_for_the_cookie_engine_alone(
    tmp_path: Path, engine: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As the real Dancer sends it; that the setting is ignored is said."""
    text = DANCER.replace("session: cookie", f"session: {engine}").replace("session_domain: example.org\n", "")
    manager = config.from_dancer(write(tmp_path, text))

    theirs = run_perl(tmp_path, DANCER_COOKIE)

    assert manager.cookie.path == path
    assert attributes_of(theirs, "path") == [f"path={path}"]
    said = [message for message in caplog.messages if message.startswith("session_cookie_path ")]
    assert len(said) == (engine != "Cookie")


DURATIONS = [
    ("3600", 3600),
    ("+ 2h", 7200),
    ("2hrs", 7200),
    ("1mo", 2592000),
    ("1 mon 2 mons", 7776000),
    ("1 month", 2592000),
    ("1M", 2592000),
    ("5m", 300),
    ("1:30", 5400),
    ("2 days and 3 hours", 183600),
]


@pytest.mark.parametrize(("text", "expected"), DURATIONS)
def test_durations_of_dancer(tmp_path: Path, text: str, expected: int) -> None:
    """The grammar of Time::Duration::Parse, which knows a few words more than Dancer2's."""
    assert config.from_dancer(write(tmp_path, f"session: Simple\nsession_expires: '{text}'")).lifetime == expected


@pytest.mark.perl("Time::Duration::Parse")
def test_durations_are_those_of_the_real_parser() -> None:
    """Time::Duration::Parse says the same of each."""
    program = 'print join " ", map { Time::Duration::Parse::parse_duration($_) } @ARGV'
    command = [find_program("perl"), "-MTime::Duration::Parse", "-e", program, *(text for text, _ in DURATIONS)]

    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout

    assert [int(each) for each in output.split()] == [expected for _, expected in DURATIONS]


def test_an_environment_is_merged_over(tmp_path: Path) -> None:
    """`environments/NAME.yml`, as Dancer does; the directory is as good as the file."""
    write(tmp_path, DANCER)
    write(tmp_path, "session_name: live.session", "environments/production.yml")

    assert config.from_dancer(tmp_path).cookie.name == "shop.session"
    assert config.from_dancer(tmp_path, environment="production").cookie.name == "live.session"


def test_overrides_win(tmp_path: Path) -> None:
    """Arguments of SessionManager; a lifetime also ends the cookie that Dancer reads."""
    cookie = Cookie(name="other")
    manager = config.from_dancer(
        write(tmp_path, DANCER), lifetime="1 hour", cookie=cookie, purpose="x", persistent=False
    )
    session = manager.open()
    session["a"] = 1

    (line,) = manager.commit(session).set_cookies

    assert (manager.lifetime, manager.cookie, manager.purpose, manager.persistent) == (3600, cookie, "x", False)
    expires = int(line.split("~")[1])
    assert abs(expires - manager.clock() - 3600) < 5


# --- Dancer2

DANCER2_APPLICATION = r"""
use strict; use warnings;
use JSON::PP;
package App { use Dancer2; }
my $engine = App::app()->session_engine;
my @names = qw(cookie_name cookie_path cookie_domain cookie_duration is_secure is_http_only cookie_same_site);
print encode_json({ map { my $value = $engine->$_; $_ => defined $value ? "$value" : undef } @names });
"""


@pytest.mark.perl("Dancer2", "YAML::XS")
def test_options_are_those_of_the_real_dancer2(tmp_path: Path) -> None:
    """Merged and named as the real session engine has them: main file, local file, environment, its local file."""
    options = {
        "cookie_name": "a",
        "cookie_path": "/a",
        "cookie_domain": "a.example",
        "is_secure": "1",
        "is_http_only": "0",
    }
    write(tmp_path, json.dumps({"session": "simple", "engines": {"session": {"Simple": options}}}))
    for name, changes in {
        "config_local.yml": {"cookie_path": "/b", "cookie_duration": "2 hours"},
        "environments/live.yml": {"cookie_domain": "c.example"},
        "environments/live_local.yml": {"cookie_same_site": "Strict"},
    }.items():
        write(tmp_path, json.dumps({"engines": {"session": {"Simple": changes}}}), name)

    manager = config.from_dancer2(tmp_path, environment="live")
    real = json.loads(run_perl(tmp_path, DANCER2_APPLICATION, DANCER_ENVIRONMENT="live"))

    assert manager.cookie.name == real["cookie_name"] == "a"
    assert manager.cookie.path == real["cookie_path"] == "/b"
    assert manager.cookie.domain == real["cookie_domain"] == "c.example"
    assert manager.cookie.samesite == real["cookie_same_site"] == "Strict"
    assert [manager.cookie.secure, manager.cookie.httponly] == [True, False]
    assert [real["is_secure"], real["is_http_only"]] == ["1", "0"]
    assert (manager.lifetime, real["cookie_duration"]) == (7200, "2 hours")


DANCER2_SECRET = r"""
use strict; use warnings;
use Session::Storage::Secure;
package App { use Dancer2; }
my $secret = App::app()->config->{engines}{session}{Cookie}{secret_key};
my %options = (secret_key => $secret, sereal_encoder_options => {}, sereal_decoder_options => {});
print Session::Storage::Secure->new(%options)->encode({ name => 'dancer2' }, time + 60), "\n";
"""


@pytest.mark.perl("Dancer2", "YAML::XS", "Session::Storage::Secure")
def test_a_secret_beyond_ascii_is_the_one_that_dancer2_hashes(tmp_path: Path) -> None:
    """Dancer2's own reader of config.yml, and the module that seals its cookies."""
    manager = config.from_dancer2(dancer2(tmp_path, "Cookie", secret_key="clé secrète"))

    value = run_perl(tmp_path, DANCER2_SECRET).strip()

    assert manager.open(f"dancer.session={value}")["name"] == "dancer2"


@pytest.mark.perl("Dancer2", "YAML::XS")
@pytest.mark.parametrize("word", ["0", "1", "''", "~", "true", "false", "no", "off", "yes", "on", "2", "[]"])
def test_switches_of_dancer2(tmp_path: Path, word: str) -> None:
    """What Dancer2 takes for a boolean is one; what it dies of is a ConfigError."""
    text = f"session: Simple\nengines:\n  session:\n    Simple:\n      is_secure: {word}\n      is_http_only: {word}\n"
    file = write(tmp_path, text)

    try:
        real = json.loads(run_perl(tmp_path, DANCER2_APPLICATION))
    except subprocess.CalledProcessError:
        with pytest.raises(ConfigError, match=r"is_secure in .* is no switch that Dancer2 takes; write 1 or 0"):
            config.from_dancer2(file)
    else:
        cookie = config.from_dancer2(file).cookie
        assert [cookie.secure, cookie.httponly] == [real["is_secure"] == "1", real["is_http_only"] == "1"]


def test_every_option_of_the_cookie_engine(tmp_path: Path) -> None:
    """Name, attributes, secret and lifetime are the application's; the secret is text, though it looks like a number."""
    manager = config.from_dancer2(write(tmp_path, DANCER2))
    session = manager.open()
    session["cart"] = 1

    (line,) = manager.commit(session).set_cookies

    assert manager.cookie == Cookie(
        name="shop.session", path="/shop", domain="example.org", httponly=False, samesite="Strict"
    )
    assert (manager.lifetime, manager.idle_timeout, manager.persistent) == (14 * 86400, 7200, True)
    reader = SessionManager(
        CookieEngine(Dancer2Cookie("1e3", cookie_name="shop.session")), cookie=Cookie(name="shop.session")
    )
    assert reader.open(line.partition(";")[0]) == {"cart": 1}


@pytest.mark.parametrize(
    ("options", "lifetime", "persistent", "idle_timeout"),
    [
        ({}, 14 * 86400, False, None),
        ({"cookie_duration": "1 hour"}, 3600, True, None),
        ({"session_duration": "7200"}, 7200, False, None),
        ({"session_duration": "7200", "cookie_duration": "1 hour"}, 7200, True, 3600),
        ({"session_duration": "3600", "cookie_duration": "2 hours"}, 3600, True, None),
    ],
)
def test_durations_of_a_store(
    tmp_path: Path, options: dict[str, str], lifetime: int, persistent: bool, idle_timeout: int | None
) -> None:
    """session_duration is the session's, cookie_duration the browser's, and moves with each use."""
    manager = config.from_dancer2(dancer2(tmp_path, "Simple", **options))

    assert (manager.lifetime, manager.persistent, manager.idle_timeout) == (lifetime, persistent, idle_timeout)


@pytest.mark.parametrize(
    ("options", "expires"),
    [
        ({}, 14 * 86400),
        ({"default_duration": "1 hour"}, 3600),
        ({"session_duration": "1 hour"}, 3600),
        ({"default_duration": "2 hours", "cookie_duration": "1 hour"}, 3600),
    ],
)
def test_durations_of_the_cookie_engine(tmp_path: Path, options: dict[str, str], expires: int) -> None:
    """What Dancer2 seals into the cookie; where it seals no end, 14 days."""
    manager = config.from_dancer2(dancer2(tmp_path, "Cookie", secret_key="s" * 16, **options))
    session = manager.open()
    session["a"] = 1

    (line,) = manager.commit(session).set_cookies

    assert abs(int(line.split("~")[1]) - manager.clock() - expires) < 5


def test_the_defaults_of_dancer2_are_said_to_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the name of the option; without a session setting, Dancer2 keeps sessions in memory."""
    manager = config.from_dancer2(write(tmp_path, "appname: x"))

    assert isinstance(store_of(manager), MemoryStore)
    said = [message.partition(" ")[0] for message in caplog.messages]
    assert said == ["is_secure", "cookie_same_site", "cookie_duration"]


def test_options_that_dancer2_ignores_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Dancer2 is silent, and `same_site: Strict` is believed to work."""
    config.from_dancer2(dancer2(tmp_path, "Simple", same_site="Strict", frob="1", log_cb="x"))

    ignored = [message for message in caplog.messages if "is ignored" in message]
    assert len(ignored) == 2
    assert "same_site in" in ignored[0]
    assert ignored[0].endswith("did you mean cookie_same_site?")
    assert ignored[1].startswith("frob in")
    assert ignored[1].endswith("is ignored")


def test_the_address_of_the_request(tmp_path: Path) -> None:
    """With with_request_address, a cookie opens for its own address only, and hardtack must be told it."""
    path = dancer2(tmp_path, "Cookie", secret_key="s" * 16, with_request_address="1")
    address = ["10.0.0.1"]
    manager = config.from_dancer2(path, request_address=lambda: address[0])
    session = manager.open()
    session["a"] = 1
    header = manager.commit(session).set_cookies[0].partition(";")[0]

    assert manager.open(header) == {"a": 1}
    address[0] = "10.0.0.2"
    assert manager.open(header) == {}
    with pytest.raises(ConfigError, match=r"with_request_address in .* pass request_address="):
        config.from_dancer2(path)


# --- stores


@pytest.mark.parametrize("engine", ["YAML", "JSON"])
def test_file_engines(tmp_path: Path, engine: str) -> None:
    """Files in session_dir, or in `sessions` beside the configuration, in Dancer2's layout."""
    beside = config.from_dancer2(dancer2(tmp_path, engine))
    elsewhere = config.from_dancer2(dancer2(tmp_path, engine, session_dir=str(tmp_path / "x")))
    dancer = config.from_dancer(write(tmp_path, f"session: {engine}\nsession_dir: y"))

    assert all(isinstance(store_of(each), FileStore) for each in (beside, elsewhere, dancer))
    assert {each.name for each in tmp_path.iterdir() if each.is_dir()} == {"sessions", "x", "y"}


def test_memcached(tmp_path: Path, memcached_server: MemcachedServer) -> None:
    """A session is kept on the server that the configuration names."""
    server = memcached_server.url.removeprefix("memcached://")
    with config.from_dancer(write(tmp_path, f"session: Memcached\nmemcached_servers: {server}")) as manager:
        session = manager.open()
        session["a"] = 1
        header = manager.commit(session).set_cookies[0].partition(";")[0]

        assert isinstance(store_of(manager), MemcachedStore)
        assert manager.open(header) == {"a": 1}


def test_several_memcached_servers(tmp_path: Path) -> None:
    """Separated by commas, or a list in Dancer2; a path is a Unix socket, an IPv6 address stands in brackets."""
    first = config.from_dancer(write(tmp_path, "session: memcached\nmemcached_servers: '10.0.0.1:11211, [::1]:11212'"))
    second = config.from_dancer2(dancer2(tmp_path, "Memcached", memcached_servers=["/run/memcached.sock"]))

    servers = [sorted(store_of(each)._client.clients) for each in (first, second)]

    assert servers == [["10.0.0.1:11211", "::1:11212"], ["/run/memcached.sock"]]


@pytest.mark.parametrize(
    "servers", ["", "10.0.0.1", "'10.0.0.1:'", ":11211", "10.0.0.1:x", "a:1,", "[]", "{}", "[{}]", "['']"]
)
def test_memcached_without_servers(tmp_path: Path, servers: str) -> None:
    """A server without a port is an error in Dancer as well."""
    with pytest.raises(ConfigError, match=r"memcached_servers in .*config\.yml"):
        config.from_dancer(write(tmp_path, f"session: Memcached\nmemcached_servers: {servers}"))


def test_memcached_without_pymemcache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which extra to install."""
    monkeypatch.setitem(sys.modules, "pymemcache.client.hash", None)

    with pytest.raises(ImportError, match=r"pip install 'hardtack\[memcached\]'"):
        config.from_dancer(write(tmp_path, "session: Memcached\nmemcached_servers: a:1"))


# --- what is refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "session in {file} is not set"),
        ("appname: x", "session in {file} is not set: this application has no sessions"),
        ("session: redis", "session in {file} is 'Redis'; hardtack knows Cookie, YAML, JSON, Simple or Memcached"),
        ("session: [cookie]", "session in {file} must be one value"),
        ("session: cookie", "session_cookie_key in {file} is not set"),
        ("session: cookie\nsession_cookie_key: ''", "session_cookie_key in {file} is not set"),
        ("session: cookie\nsession_cookie_key: hunter2€", "session_cookie_key in {file} has a character above U+00FF"),
        ("session: Simple\nsession_expires: tomorrow", "session_expires in {file}='tomorrow' is not a duration"),
        ("session: Simple\nsession_expires: 0", "session_expires in {file} must be a second or more"),
        ("session: Simple\nsession_name: a b", "{file}: cookie name='a b' must"),
        ("session: Simple\nsession_same_site: loose", "{file}: cookie samesite='loose' must"),
        ("session: Simple\nsession_secure: 0\nsession_same_site: none", "{file}: cookie samesite='None' needs secure"),
        ("- session", "{file} holds no settings"),
        ("session: [hunter2", "{file} is not plain YAML (line 1)"),
        ("session: x\n\n\nsession_cookie_key: 'hunter2\n", "{file} is not plain YAML (line 5)"),
        ("session: Simple\nplugins: " + "[" * 2000 + "]" * 2000, "{file} is nested too deeply"),
        ('session: YAML\nsession_dir: "a\\0b"', "directory is "),
        ("session: \ud800", "{file} is not UTF-8"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The error says which setting of which file."""
    file = write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        config.from_dancer(file)

    assert str(caught.value).startswith(message.format(file=file))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    "engines", ["x", [], {"session": {"Cookie": []}}, {"session": {"Cookie": {}}}, {"session": "x"}]
)
def test_a_cookie_engine_without_its_options(tmp_path: Path, engines: Any) -> None:
    """Whatever stands in their place, it is a ConfigError that names the file."""
    file = write(tmp_path, json.dumps({"session": "Cookie", "engines": engines}))

    with pytest.raises(ConfigError, match=re.escape(str(file))):
        config.from_dancer2(file)


def test_an_empty_section_is_no_options(tmp_path: Path) -> None:
    """`Simple:` and nothing after it."""
    manager = config.from_dancer2(write(tmp_path, "session: Simple\nengines:\n  session:\n    Simple:\n"))

    assert manager.cookie.name == "dancer.session"


@pytest.mark.parametrize("environment", ["../config", ".hidden", "", "a/b"])
def test_an_environment_is_a_name(tmp_path: Path, environment: str) -> None:
    """It is no path."""
    with pytest.raises(ConfigError, match="environment="):
        config.from_dancer(write(tmp_path, DANCER), environment=environment)


@pytest.mark.parametrize("read", [config.from_dancer, config.from_dancer2])
def test_an_argument_that_does_not_exist_is_named(tmp_path: Path, read: Any) -> None:
    """As `from_mapping` says it."""
    with pytest.raises(ConfigError, match=r"^lifetme is not a setting; did you mean lifetime\?$"):
        read(write(tmp_path, DANCER), lifetme="1h")


def test_every_argument_of_the_manager_can_be_passed() -> None:
    """But the engine, which the configuration says."""
    arguments = list(inspect.signature(SessionManager).parameters)

    assert list(dancer_config._OVERRIDES) == [name for name in arguments if name != "engine"]


def test_a_name_with_a_nul_is_refused() -> None:
    """No file has one."""
    with pytest.raises(ConfigError, match="has a name that no file can have"):
        config.from_dancer("a\0b")


def test_missing_files_are_named(tmp_path: Path) -> None:
    """A configuration, or an environment that was asked for."""
    with pytest.raises(ConfigError, match=r"config\.yml cannot be read: No such file"):
        config.from_dancer2(tmp_path)
    write(tmp_path, DANCER)
    with pytest.raises(ConfigError, match=r"live\.yml cannot be read: No such file"):
        config.from_dancer(tmp_path, environment="live")


def test_without_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which extra to install."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(ImportError, match=r"pip install 'hardtack\[yaml\]'"):
        config.from_dancer(write(tmp_path, DANCER))


def test_the_documentation_names_every_setting() -> None:
    """Each setting of Dancer and each option of Dancer2 that is read."""
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
    section = text.partition("## From a Dancer application")[2]

    for name in (*DANCER_SETTINGS, *DANCER2_OPTIONS):
        assert f"`{name}`" in section
