"""Managers from mappings, files and the environment: every setting, and every way to get one wrong."""

from __future__ import annotations

import inspect
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hardtack import (
    Cookie,
    CookieEngine,
    DeviceBinding,
    EncryptedToken,
    EndedSessions,
    Key,
    KnownDevices,
    SessionManager,
    SignedToken,
    StoreEngine,
    config,
)
from hardtack._settings import FOR_BINDING, FOR_LISTS, FROM_FILE, SETTINGS
from hardtack.cli import main
from hardtack.errors import ConfigError
from hardtack.stores.memory import MemoryStore
from hardtack.tokens.keyfile import FileKeyring

KEY, OTHER, THIRD = (Key(sha256(name).digest()) for name in (b"bread", b"butter", b"beer"))
TEXT = KEY.export()

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"


def cookie_engine(manager: SessionManager) -> CookieEngine:
    assert isinstance(manager.engine, CookieEngine)
    return manager.engine


def store_engine(manager: SessionManager) -> StoreEngine:
    assert isinstance(manager.engine, StoreEngine)
    return manager.engine


def token(manager: SessionManager) -> EncryptedToken | SignedToken:
    found = cookie_engine(manager).token
    assert isinstance(found, EncryptedToken | SignedToken)
    return found


def error(settings: dict[str, Any], **overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config.from_mapping(settings, **overrides)
    return str(caught.value)


# --- what is built


def test_a_key_is_all_that_is_needed() -> None:
    """The rest are the manager's own defaults."""
    manager = config.from_mapping({"key": TEXT})
    default = SessionManager(KEY)

    assert token(manager).keys.current == KEY
    assert manager.cookie == default.cookie
    assert (manager.lifetime, manager.idle_timeout) == (default.lifetime, default.idle_timeout)
    assert (manager.persistent, manager.purpose) == (default.persistent, default.purpose)


def test_every_setting_of_a_cookie_session() -> None:
    """Each arrives where it belongs."""
    manager = config.from_mapping(
        {
            "key": TEXT,
            "accept_keys": [OTHER.export(), THIRD],
            "token": "signed",
            "overflow": "chunk",
            "max_set_cookie": 4000,
            "max_header": 7000,
            "cross_site": "refuse",
            "trusted_origins": ["https://login.example.org"],
            "cross_site_paths": "/saml, /paid",
            "strict_values": "yes",
            "lifetime": "8 hours",
            "idle_timeout": 900,
            "persistent": True,
            "purpose": "shop",
            "cookie_name": "__Secure-shop",
            "cookie_path": "/shop",
            "cookie_domain": "example.org",
            "cookie_secure": "on",
            "cookie_httponly": "no",
            "cookie_samesite": "strict",
            "cookie_partitioned": "yes",
            "cookie_development": "no",
            "cookie_formerly": [{"name": "shop", "domain": "example.org"}],
        }
    )

    assert isinstance(token(manager), SignedToken)
    assert set(token(manager).keys) == {KEY, OTHER, THIRD}
    assert (cookie_engine(manager).max_set_cookie, cookie_engine(manager).max_header) == (4000, 7000)
    assert (manager.settings.cross_site, manager.settings.strict_values) == ("refuse", True)
    assert manager.settings.trusted_origins == {"https://login.example.org"}
    assert manager.settings.cross_site_paths == ("/saml", "/paid")
    assert (manager.lifetime, manager.idle_timeout, manager.persistent, manager.purpose) == (28800, 900, True, "shop")
    assert manager.cookie == Cookie(
        name="__Secure-shop",
        path="/shop",
        domain="example.org",
        httponly=False,
        samesite="Strict",
        partitioned=True,
        formerly=(Cookie(name="shop", domain="example.org"),),
    )


def test_every_setting_of_a_list_of_ended_sessions() -> None:
    """By its URL, under the key of the sessions; or as an object."""
    ended: Any = config.from_mapping(
        {"key": TEXT, "ended": "memory://", "ended_max_stale": "2 minutes", "ended_on_stale": "open"}
    ).core.ended
    given = EndedSessions.from_url("memory://")
    store: Any = config.from_mapping({"store": MemoryStore(), "key": TEXT, "seal": "no", "ended": "memory://"})

    assert (ended.max_stale, ended.on_stale) == (120, "open")
    assert config.from_mapping({"key": TEXT, "ended": given}).core.ended is given
    assert store.core.ended is not None


def test_every_setting_of_a_binding_to_the_device() -> None:
    """Under the keys of the sessions, where no object of code is given."""
    settings = {"key": TEXT, "accept_keys": OTHER.export(), "ended": "memory://"}
    binding: Any = config.from_mapping(
        {**settings, "binding": "yes", "binding_every": "10 minutes", "binding_observe": "on"}
    ).settings.binding
    plain: Any = config.from_mapping({"store": MemoryStore(), "key": TEXT, "seal": "no", "binding": True})
    given = DeviceBinding(keys=KEY, required=lambda session: True)

    assert (binding.every, binding.observe, list(binding.keys)) == (600, True, [KEY, OTHER])
    assert plain.settings.binding.keys.current == KEY
    assert config.from_mapping({**settings, "binding": "no"}).settings.binding is None
    assert config.from_mapping({**settings, "binding": "no", "binding_observe": "yes"}).settings.binding is None
    assert config.from_mapping(settings, binding=given).settings.binding is given
    assert config.from_mapping({"store": MemoryStore()}, binding=given).settings.binding is given


def test_for_how_long_a_device_is_known() -> None:
    """Under the keys of the sessions, in cookies or in a store, where no object of code is given."""
    cookies = config.from_mapping({"key": TEXT, "accept_keys": OTHER.export(), "known_devices": "90 days"})
    stored = config.from_mapping({"store": MemoryStore(), "key": TEXT, "seal": "no", "known_devices": "90 days"})
    given = KnownDevices(keys=KEY)

    for manager in (cookies, stored):
        devices: Any = manager.settings.known_devices
        assert devices.lifetime == 90 * 86_400
        assert devices.keys.current == KEY
    assert list(cookies.settings.known_devices.keys) == [KEY, OTHER]  # type: ignore[union-attr, arg-type]
    assert config.from_mapping({"store": MemoryStore()}, known_devices=given).settings.known_devices is given
    assert config.from_mapping({"key": TEXT}).settings.known_devices is None


def test_every_setting_of_a_store_session() -> None:
    """A store as an object, or as a URL."""
    store = MemoryStore()
    manager = config.from_mapping(
        {
            "store": store,
            "key": TEXT,
            "seal": True,
            "merge": "cart, seen",
            "on_store_error": "anonymous",
            "max_size": "1 MB",
        }
    )
    engine = store_engine(manager)

    assert engine.store is store
    assert (engine.on_conflict, engine.on_store_error) == ("merge", "anonymous")
    assert engine.merge.names == {"cart", "seen"}
    assert manager.settings.max_size == 1_000_000
    assert engine.seal is not None
    assert engine.seal.current == KEY


def test_a_size_may_be_text() -> None:
    """As the environment has it: a number of bytes, or a size with its unit."""
    sizes = [config.from_mapping({"store": MemoryStore(), "max_size": size}) for size in (" 1024 ", "1 KiB", 1024)]

    assert [each.settings.max_size for each in sizes] == [1024] * 3


def test_a_store_by_its_url(tmp_path: Path) -> None:
    """What `hardtack.stores.from_url` makes of it."""
    from hardtack.stores.sqlite import SQLiteStore

    with config.from_mapping({"store": f"sqlite:///{tmp_path}/sessions.db"}) as manager:
        assert isinstance(store_engine(manager).store, SQLiteStore)


def test_the_async_twin_of_a_store_by_its_url() -> None:
    """For async code, where the store is given as text; nothing is connected to yet."""
    from hardtack.stores.redis import AsyncRedisStore, RedisStore

    settings = {"store": "redis://localhost:1/0"}

    assert isinstance(store_engine(config.from_mapping(settings)).store, RedisStore)
    assert isinstance(store_engine(config.from_mapping(settings, asynchronous=True)).store, AsyncRedisStore)


def test_a_key_beside_a_store_seals_the_records() -> None:
    """The safe reading of a key that is there: a stolen store is worth nothing. It can be refused, and needs a key."""
    sealed = config.from_mapping({"store": MemoryStore(), "key": TEXT})
    refused = config.from_mapping({"store": MemoryStore(), "key": TEXT, "seal": "no"})
    without = config.from_mapping({"store": MemoryStore()})

    assert store_engine(sealed).seal is not None
    assert store_engine(refused).seal is None
    assert store_engine(without).seal is None
    assert "seal needs a key" in error({"store": MemoryStore(), "seal": "yes"})


def test_the_cookie_in_a_section_of_its_own() -> None:
    """`cookie: {name: …}` and a Cookie object are the same as `cookie_name` and so on."""
    cookie = Cookie(name="shop", samesite=None)

    assert config.from_mapping({"key": KEY, "cookie": {"name": "shop", "samesite": None}}).cookie == cookie
    assert config.from_mapping({"key": KEY, "cookie": cookie}).cookie == cookie
    assert config.from_mapping({"key": KEY, "cookie_name": "x"}, cookie=cookie).cookie == cookie
    assert "cookie must be a section" in error({"key": KEY, "cookie": "shop"})


def test_overrides_win() -> None:
    """What code says goes before the mapping, and it can say what text cannot."""
    events: list[object] = []
    manager = config.from_mapping(
        {"key": TEXT, "lifetime": "1 day", "accept_keys": OTHER.export()},
        lifetime="1 hour",
        accept_keys=THIRD,
        on_event=events.append,
        clock=lambda: 7.0,
        accept=[],
    )

    assert manager.lifetime == 3600
    assert set(token(manager).keys) == {KEY, THIRD}
    assert manager.on_event == events.append
    assert manager.clock() == 7.0


def test_an_override_replaces_a_file_of_the_same_setting(tmp_path: Path) -> None:
    """`key=` in code wins over `key_file` in the mapping, which is then not read."""
    manager = config.from_mapping({"key_file": str(tmp_path / "missing")}, key=KEY)

    assert token(manager).keys.current == KEY


@pytest.mark.parametrize("separator", [",", " ", ", ", "\n", " ,\t"])
def test_accepted_keys_in_one_text(separator: str) -> None:
    """Commas and white space separate keys."""
    text = separator.join([OTHER.export(), THIRD.export()]) + separator

    assert set(token(config.from_mapping({"key": TEXT, "accept_keys": text})).keys) == {KEY, OTHER, THIRD}


@pytest.mark.parametrize("empty", ["", " ", [], ","])
def test_no_accepted_keys(empty: Any) -> None:
    """An empty list of further keys is what most sites have."""
    assert len(token(config.from_mapping({"key": TEXT, "accept_keys": empty})).keys) == 1


@pytest.mark.parametrize("word", ["yes", "TRUE", "on", "1", " Yes ", True, 1])
def test_words_for_yes(word: Any) -> None:
    """Text, as the environment has it, or a real bool."""
    assert config.from_mapping({"key": TEXT, "persistent": word}).persistent is True


@pytest.mark.parametrize("word", ["no", "False", "OFF", "0", False, 0])
def test_words_for_no(word: Any) -> None:
    """Text, as the environment has it, or a real bool."""
    assert config.from_mapping({"key": TEXT, "persistent": word}).persistent is False


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "key is missing, and so is store; make a key with: python -c"),
        ({"key": ""}, "key is empty"),
        ({"key": None}, "key is empty"),
        ({"key": "secret"}, "key: this is not a hardtack key"),
        ({"key": 5}, "key is of type int; write text"),
        ({"key": TEXT, "accept_keys": "secret"}, "accept_keys: this is not a hardtack key"),
        ({"key": TEXT, "accept_keys": 5}, "accept_keys is of type int; write a list of keys"),
        ({"accept_keys": TEXT, "store": MemoryStore()}, "accept_keys needs key, the key that issues"),
        ({"key": TEXT, "liftime": 5}, "liftime is not a setting; did you mean lifetime?"),
        ({"key": TEXT, "cookie": {"nam": "x"}}, "cookie.nam is not a setting; did you mean cookie_name?"),
        ({"key": TEXT, "LIFETIME": 5}, "LIFETIME is not a setting; did you mean lifetime?"),
        ({"key": TEXT, "idle-timeout": 5}, "idle-timeout is not a setting; did you mean idle_timeout?"),
        ({"key": TEXT, "path": "/"}, "path is not a setting; the nearest is cookie_path, and docs/configuration.md"),
        ({"key": TEXT, 5: 5}, "5 is not a setting"),
        ({"key": TEXT, "cookie": {"name": "x"}, "cookie_name": "y"}, "cookie_name and cookie.name are one setting"),
        ({"key": TEXT, "key_file": "x"}, "key_file and key are one setting"),
        ({"key": TEXT, "lifetime": "soon"}, "lifetime='soon' is not a duration"),
        ({"key": TEXT, "lifetime": "0"}, "lifetime is '0'; write a second or more"),
        ({"key": TEXT, "lifetime": None}, "lifetime is empty"),
        ({"key": TEXT, "idle_timeout": True}, "idle_timeout=True is not a duration"),
        ({"key": TEXT, "persistent": "maybe"}, "persistent is 'maybe'; write yes or no"),
        ({"key": TEXT, "persistent": ""}, "persistent is empty"),
        ({"key": TEXT, "purpose": 5}, "purpose is of type int"),
        (
            {"key": TEXT, "token": "encripted"},
            "token is 'encripted' (did you mean 'encrypted'?); write encrypted or sig",
        ),
        ({"key": TEXT, "overflow": "xyz"}, "overflow is 'xyz'; write raise or chunk"),
        ({"key": TEXT, "max_header": "many"}, "max_header is 'many'; write a whole number"),
        ({"key": TEXT, "max_set_cookie": True}, "max_set_cookie is True; write a whole number"),
        ({"key": TEXT, "max_set_cookie": "1"}, "max_set_cookie=1 must be a number from 500 to 4096"),
        ({"key": TEXT, "trusted_origins": 5}, "trusted_origins is 5; write a list of words"),
        ({"key": TEXT, "trusted_origins": "example.org"}, "trusted_origins='example.org' must be made of origins"),
        ({"key": TEXT, "cross_site_paths": ["saml"]}, "cross_site_paths='saml' must be made of paths"),
        ({"key": TEXT, "cookie_formerly": "/shop"}, "cookie_formerly is '/shop'; write a list of sections"),
        ({"key": TEXT, "cookie_formerly": {"paths": "/"}}, "cookie_formerly: cookie_formerly has 'paths'"),
        ({"store": MemoryStore(), "max_size": "much"}, "max_size='much' must be a number of bytes"),
        ({"store": MemoryStore(), "max_size": True}, "max_size is True; write a whole number"),
        ({"key": TEXT, "cookie_secure": "no"}, "cookie_…: cookie name='__Host-Http-session' needs secure=True"),
        ({"key": TEXT, "cookie_samesite": "loose"}, "cookie_…: cookie samesite='loose'"),
        ({"store": object()}, "store: StoreEngine takes a store"),
        ({"store": "nowhere://x"}, "store: "),
        (
            {"store": MemoryStore(), "token": "signed"},
            "token is for sessions in the cookie itself, and store keeps them",
        ),
        ({"store": MemoryStore(), "overflow": "chunk"}, "overflow is for sessions in the cookie itself"),
        ({"store": MemoryStore(), "max_header": 3}, "max_header is for sessions in the cookie itself"),
        ({"key": TEXT, "seal": "yes"}, "seal is for sessions in a store, and no store is set"),
        ({"key": TEXT, "on_conflict": "merge"}, "on_conflict is for sessions in a store"),
        ({"key": TEXT, "on_store_error": "raise"}, "on_store_error is for sessions in a store"),
        ({"key": TEXT, "ended": "nowhere://x"}, "ended: the URL of the list of ended sessions begins with 'nowhere'"),
        ({"key": TEXT, "ended": "memory://", "ended_max_stale": "1 second"}, "ended: max_stale=1 is too short"),
        ({"key": TEXT, "ended_on_stale": "open"}, "ended_on_stale is for a list of ended sessions"),
        ({"key": TEXT, "binding": "yes"}, "binding needs ended: copies from before"),
        ({"store": MemoryStore(), "binding": "yes"}, "binding needs key: challenges"),
        ({"store": MemoryStore(), "key": TEXT, "binding": "maybe"}, "binding is 'maybe'; write yes or no"),
        (
            {"store": MemoryStore(), "key": TEXT, "binding": "yes", "binding_every": "2 hours"},
            "binding: DeviceBinding(every)=7200",
        ),
        ({"key": TEXT, "binding_every": "5 minutes"}, "binding_every is for sessions that are bound"),
        (
            {"store": MemoryStore(), "binding": DeviceBinding(keys=KEY), "binding_observe": True},
            "binding_observe is for sessions that are bound",
        ),
        ({"store": MemoryStore(), "known_devices": "1 year"}, "known_devices needs key: the cookie of known devices"),
        ({"key": TEXT, "known_devices": "2 years"}, r"known_devices: KnownDevices(lifetime)=63072000 must be 400 days"),
        ({"key": TEXT, "known_devices": "yes"}, "known_devices"),
        ({"key": TEXT, "ended": 1}, "ended=int must be a EndedSessions"),
        ({"store": MemoryStore(), "ended": "memory://"}, "the list of ended sessions needs a key"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[Any, Any], message: str) -> None:
    """The error begins with the setting and says what to do."""
    assert error(settings).startswith(message)


def test_what_is_no_mapping_is_refused() -> None:
    """The empty file of a loader that gives None, or a list of pairs."""
    with pytest.raises(ConfigError, match="settings are of type NoneType; from_mapping takes a mapping"):
        config.from_mapping(None)  # type: ignore[arg-type]


def test_errors_show_no_secret() -> None:
    """Neither a wrong key nor a wrong store is repeated."""
    assert "hunter2" not in error({"key": "hunter2"})
    assert "hunter2" not in error({"key": TEXT, "accept_keys": "hunter2"})
    assert "hunter2" not in error({"store": "nowhere://user:hunter2@host"})


# --- files


def test_a_toml_file(tmp_path: Path) -> None:
    """The settings are the whole file."""
    file = tmp_path / "sessions.toml"
    file.write_text(f'key = "{TEXT}"\nlifetime = "2 days"\npersistent = true\n[cookie]\nname = "__Host-shop"\n')

    manager = config.from_file(file)

    assert (manager.lifetime, manager.persistent, manager.cookie.name) == (172800, True, "__Host-shop")


@pytest.mark.parametrize("suffix", [".yml", ".yaml"])
def test_a_yaml_file(tmp_path: Path, suffix: str) -> None:
    """The settings may stand in a section, beside those of other libraries."""
    file = tmp_path / f"app{suffix}"
    file.write_text(f"database: x\nhardtack:\n  key: {TEXT}\n  lifetime: 2 days\n  cookie:\n    samesite: Strict\n")

    manager = config.from_file(str(file), purpose="shop")

    assert (manager.lifetime, manager.cookie.samesite, manager.purpose) == (172800, "Strict", "shop")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{}", "{file} is neither a .toml, .yaml nor .yml file"),
        ("a.toml", b"key = hunter2", "{file} is not TOML (at line 1, column 7)"),
        ("a.toml", b"key = \xff", "{file} is not UTF-8"),
        ("a.yml", b"key: [hunter2", "{file} is not plain YAML (line 1)"),
        ("a.yml", b"key: !!python/object:os.system hunter2", "{file} is not plain YAML (line 1)"),
        ("a.yml", b"key: 2020-13-45", "{file} is not plain YAML"),
        ("a.yml", b"key: x\n\npurpose: 'hunter2\n", "{file} is not plain YAML (line 4)"),
        ("a.yml", b"purpose: a\nlifetime: 5\npurpose: b", "{file} has purpose twice (line 3); remove one of them"),
        ("a.yml", b"purpose: a\n'purpose': a", "{file} has purpose twice (line 2)"),
        ("a.yml", b"cookie:\n  name: a\n  path: /\n  name: b", "{file} has name twice (line 4)"),
        ("a.yml", b"hardtack: {key: a, key: b}", "{file} has key twice (line 1)"),
        ("a.yml", b"[a]: 1\n[a]: 2", "{file} is not plain YAML (line 1)"),
        ("a.yml", b"purpose: " + b"[" * 2000 + b"]" * 2000, "{file} is nested too deeply"),
        ("a.toml", b"purpose = 'a'\npurpose = 'b'", "{file} is not TOML (at end of document)"),
        ("a.toml", b"[cookie]\nname = 'a'\nname = 'b'", "{file} is not TOML (at end of document)"),
        ("a.toml", b"[cookie]\nname = 'a'\n[cookie]\nname = 'b'", "{file} is not TOML (at line 3, column 8)"),
        ("a.toml", b"['(at hunter2)']\n['(at hunter2)']\n", "{file} is not TOML (at line 2, column 16)"),
        ("a.toml", b"purpose = " + b"[" * 2000 + b"]" * 2000, "{file} is nested too deeply"),
        ("a.yml", b"max_header: 1:30", "max_header in {file} is '1:30'; write a whole number"),
        ("a.yml", b"- key", "{file} holds no settings"),
        ("a.yml", b"", "key in {file} is missing, and so is store in {file}"),
        ("a.yml", b"hardtack: 5", "hardtack in {file} must be a section"),
        ("a.yml", b"lifetme: 5", "lifetme in {file} is not a setting; did you mean lifetime?"),
        ("a.yml", b"lifetime: soon", "lifetime in {file}='soon' is not a duration"),
        ("a.yml", b"cookie: {path: x}", "cookie_… in {file}: cookie path='x'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """The error begins with the file, or with the setting and the file, and never repeats what may be a secret."""
    file = tmp_path / name
    file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        config.from_file(file)

    assert str(caught.value).startswith(message.format(file=file))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8:00", 28800),
        ("1:30:00", 5400),
        ("0100", 100),
        ("100", 100),
        ("1_000", 1000),
        ("0x10", 16),
        ("0b11", 3),
        ("+60", 60),
        ("8 hours", 28800),
    ],
)
def test_numbers_of_yaml_are_what_they_seem(tmp_path: Path, text: str, seconds: int) -> None:
    """A duration is not a number to the base 60, and a zero before a number does not make it octal."""
    file = tmp_path / "a.yml"
    file.write_text(f"key: {TEXT}\nlifetime: {text}\n")

    assert config.from_file(file).lifetime == seconds


@pytest.mark.parametrize("text", ["1.5", ".5", "1:30.5", ".inf", ".nan", "1.0e+3"])
def test_fractions_of_yaml_are_no_durations(tmp_path: Path, text: str) -> None:
    """Said with what was read."""
    file = tmp_path / "a.yml"
    file.write_text(f"key: {TEXT}\nlifetime: {text}\n")

    with pytest.raises(ConfigError, match=r"^lifetime in .* is not a duration"):
        config.from_file(file)


def test_settings_of_yaml_can_be_merged(tmp_path: Path) -> None:
    """What a section takes over from another with `<<` and then says itself does not stand twice."""
    file = tmp_path / "a.yml"
    file.write_text(
        f"base: &base\n  key: {TEXT}\n  lifetime: 5\nhardtack: &mine\n  <<: *base\n  lifetime: 6\nlive:\n  <<: *mine\n"
    )

    assert config.from_file(file).lifetime == 6


@pytest.mark.parametrize("name", ["a\0b.toml", "a\0b.yml", "\ud800.toml"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    """A NUL, or what no file system encodes: Python has other errors for them than for a missing file."""
    with pytest.raises(ConfigError, match="has a name that no file can have"):
        config.from_file(name)


def test_a_secret_file_with_a_nul_is_refused() -> None:
    """With the name of the setting."""
    assert error({"key_file": "a\0b"}).startswith(
        "key_file names the file a\0b, which has a name that no file can have"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As the system says it."""
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        config.from_file(tmp_path / "none.toml")


def test_yaml_without_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which extra to install."""
    file = tmp_path / "a.yml"
    file.write_text("key: x")
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(ImportError, match=r"pip install 'hardtack\[yaml\]'"):
        config.from_file(file)


# --- the environment


def test_the_environment() -> None:
    """Variables with the prefix are settings, and no other is looked at."""
    manager = config.from_env(
        {
            "HOME": "/root",
            "HARDTACK_KEY": TEXT,
            "HARDTACK_ACCEPT_KEYS": f"{OTHER.export()}, {THIRD.export()}",
            "HARDTACK_IDLE_TIMEOUT": "30 minutes",
            "HARDTACK_COOKIE_SAMESITE": "Strict",
            "HARDTACK_PERSISTENT": "1",
        }
    )

    assert len(token(manager).keys) == 3
    assert (manager.idle_timeout, manager.cookie.samesite, manager.persistent) == (1800, "Strict", True)


def test_a_secret_file_by_its_path(tmp_path: Path) -> None:
    """A `Path` names a file as well as text does."""
    (tmp_path / "key").write_text(TEXT)

    manager = config.from_mapping({"key_file": tmp_path / "key"})

    assert isinstance(manager.engine, CookieEngine)


def test_a_key_file_is_followed(tmp_path: Path) -> None:
    """What `hardtack keys` makes and rotates is named like any other secret; the ring is the file's, not a copy of it."""
    file = tmp_path / "keys.toml"
    main(["keys", "init", str(file), "--lifetime", "14 days"])

    manager = config.from_env({"HARDTACK_KEY_FILE": str(file)})

    assert isinstance(token(manager).keys, FileKeyring)
    sealed = config.from_mapping({"key_file": file, "store": "memory://"})
    assert isinstance(sealed.engine, StoreEngine)
    assert isinstance(sealed.engine.seal, FileKeyring)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"accept_keys": TEXT}, "accept_keys is said by key_file"),
        ({"lifetime": "60 days"}, "lifetime"),
        ({"key": TEXT}, "key_file and key are one setting"),
    ],
    ids=["other keys", "longer sessions", "another key"],
)
def test_what_contradicts_a_key_file_is_refused(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    """It says itself which keys are accepted, and for how long."""
    file = tmp_path / "keys.toml"
    main(["keys", "init", str(file), "--lifetime", "14 days"])

    with pytest.raises(ConfigError, match=said):
        config.from_mapping({"key_file": str(file), **settings})


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """By the setting and by its path."""
    with pytest.raises(ConfigError, match=r"HARDTACK_KEY_FILE \(.*missing.toml\)"):
        config.from_env({"HARDTACK_KEY_FILE": str(tmp_path / "missing.toml")})


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be passed, and another prefix can be."""
    monkeypatch.setenv("SHOP_KEY", TEXT)

    assert token(config.from_env(prefix="SHOP_")).keys.current == KEY


def service(name: str) -> dict[str, str]:
    """What Kubernetes tells each container of a Service."""
    return {
        f"{name}_SERVICE_HOST": "10.0.0.7",
        f"{name}_SERVICE_PORT": "6379",
        f"{name}_SERVICE_PORT_REDIS_TLS": "6379",
        f"{name}_PORT": "tcp://10.0.0.7:6379",
        f"{name}_PORT_6379_TCP": "tcp://10.0.0.7:6379",
        f"{name}_PORT_6379_TCP_PROTO": "tcp",
        f"{name}_PORT_6379_TCP_PORT": "6379",
        f"{name}_PORT_6379_TCP_ADDR": "10.0.0.7",
    }


@pytest.mark.parametrize("name", ["SHOP", "SHOP_REDIS", "SHOP_KEY", "SHOP_SERVICE", "SHOP_PORT"])
def test_variables_of_kubernetes_are_no_settings(name: str) -> None:
    """A Service that is called as the prefix begins does not keep the application from starting."""
    manager = config.from_env({"SHOP_KEY": TEXT} | service(name), prefix="SHOP_")

    assert token(manager).keys.current == KEY


@pytest.mark.parametrize(
    "variable", ["SHOP_PORT", "SHOP_SERVICE_PORT", "SHOP_REDIS_PORT_6379_TCP", "SHOP_SERVICE_HOSTS"]
)
def test_only_variables_of_a_service_are_passed_over(variable: str) -> None:
    """What looks like Kubernetes' and stands alone is a setting that does not exist, as any other."""
    with pytest.raises(ConfigError, match=f"{variable} is not a setting"):
        config.from_env({"SHOP_KEY": TEXT, variable: "x", "SHOP_OTHER_SERVICE_HOST": "10.0.0.7"}, prefix="SHOP_")


def test_secrets_from_files(tmp_path: Path) -> None:
    """Docker and Kubernetes put secrets into files, with a newline at the end."""
    (tmp_path / "key").write_text(f"{TEXT}\n")
    (tmp_path / "old").write_text(f"{OTHER.export()}\n{THIRD.export()}\n")

    manager = config.from_env(
        {"HARDTACK_KEY_FILE": str(tmp_path / "key"), "HARDTACK_ACCEPT_KEYS_FILE": str(tmp_path / "old")}
    )

    assert set(token(manager).keys) == {KEY, OTHER, THIRD}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"HARDTACK_LIFETME": "5"}, "HARDTACK_LIFETME is not a setting; did you mean HARDTACK_LIFETIME?"),
        ({"HARDTACK_key": TEXT}, "HARDTACK_key is not a setting"),
        ({}, "HARDTACK_KEY is missing, and so is HARDTACK_STORE"),
        ({"HARDTACK_KEY": ""}, "HARDTACK_KEY is empty; give it a value, or remove it"),
        ({"HARDTACK_KEY": TEXT, "HARDTACK_LIFETIME": "x"}, "HARDTACK_LIFETIME='x' is not a duration"),
        ({"HARDTACK_KEY": TEXT, "HARDTACK_COOKIE_PATH": "x"}, "HARDTACK_COOKIE_…: cookie path='x'"),
        ({"HARDTACK_KEY_FILE": "/nowhere"}, "HARDTACK_KEY_FILE names the file /nowhere, which cannot be read: No such"),
        ({"HARDTACK_KEY_FILE": "/"}, "HARDTACK_KEY_FILE names the file /, which cannot be read: Is a directory"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], message: str) -> None:
    """The error begins with the variable."""
    with pytest.raises(ConfigError) as caught:
        config.from_env(environ)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", r"names the file .*/key, which is not UTF-8"),
        (b" \n", r"\(.*/key\) is empty"),
        (b"x", r"\(.*/key\): this"),
    ],
)
def test_a_wrong_secret_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """With its path, and never with what is in it."""
    (tmp_path / "key").write_bytes(content)

    with pytest.raises(ConfigError, match=r"^HARDTACK_KEY_FILE " + message):
        config.from_env({"HARDTACK_KEY_FILE": str(tmp_path / "key")})


# --- the documentation

TABLE = DOCS.read_text("utf-8").partition("## The settings")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", TABLE, re.MULTILINE)


def test_the_documentation_has_every_setting() -> None:
    """In the same order, with the variable of the environment."""
    assert [name for name, _, _ in ROWS] == list(SETTINGS)
    for name in FROM_FILE:
        assert f"`{name}`" in TABLE


@pytest.mark.parametrize(("name", "default"), [(name, default) for name, default, _ in ROWS])
def test_the_documented_default_is_the_real_one(name: str, default: str) -> None:
    """To set a setting to its default changes nothing."""
    value = re.fullmatch(r"`(.+)`", default)
    if value is None:
        assert default in ("", "none", "empty", "`yes` with a key")
        return
    store: dict[str, Any] = (
        {"store": MemoryStore()} if name in ("on_conflict", "on_store_error", "max_size") else {"key": TEXT}
    )

    if name in FOR_LISTS:
        store["ended"] = "memory://"
    if name in FOR_BINDING:
        store |= {"ended": "memory://", "binding": "yes"}
    unset, defaulted = config.from_mapping(store), config.from_mapping({**store, name: value[1]})

    assert _facts(unset) == _facts(defaulted)


def _facts(manager: SessionManager) -> list[Any]:
    engine: Any = manager.engine
    names = ("max_set_cookie", "max_header", "on_conflict", "on_store_error")
    kind = type(getattr(engine, "token", None))
    limits = [
        manager.lifetime,
        manager.idle_timeout,
        manager.persistent,
        manager.purpose,
        manager.cookie,
        manager.settings.max_size,
    ]
    ended: Any = manager.core.ended
    policy = [getattr(ended, name, None) for name in ("max_stale", "on_stale")]
    device = manager.settings.binding
    policy += [getattr(device, name, None) for name in ("every", "observe")]
    return [*limits, kind, *(getattr(engine, name, None) for name in names), *policy]


@pytest.mark.parametrize("setting", ["seal", "lifetime", "token", "cookie_secure", "max_header"])
def test_a_key_in_the_place_of_another_setting_is_not_shown(setting: str) -> None:
    """In code `seal=` takes a key, here it does not: whoever mixes that up should not find it in the log."""
    key = Key.generate().export()

    with pytest.raises(ConfigError) as caught:
        config.from_mapping({"key": key, setting: key, **({"store": "memory://"} if setting == "seal" else {})})

    assert setting in str(caught.value)
    assert key not in str(caught.value)


def test_the_environment_is_in_no_signature() -> None:
    """help() and documentation generators print defaults."""
    assert inspect.signature(config.from_env).parameters["environ"].default is None


def test_one_setting_is_for_development() -> None:
    """It takes Secure and the name's prefix away, and is refused on a site; what is set beside it stands."""
    sessions = config.from_env({"HARDTACK_KEY": TEXT, "HARDTACK_COOKIE_DEVELOPMENT": "yes"})
    named = config.from_mapping({"key": TEXT, "cookie": Cookie.for_development(name="shop")})

    assert sessions.cookie == Cookie.for_development()
    assert named.cookie == Cookie.for_development(name="shop")
