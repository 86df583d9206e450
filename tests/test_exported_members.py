"""The public names: what is added or taken away changes this file as well, and with it the changelog."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import hardtack
from hardtack import errors, events

NAMES: dict[ModuleType, str] = {
    hardtack: (
        "Cookie CookieEngine DeviceBinding EncryptedToken EndedSessions Key Keyring KnownDevices Record Request Session "
        "SessionManager SignedToken StoreEngine errors events"
    ),
    errors: (
        "ConfigError CrossSiteRequest HardtackError InvalidToken ProofNeeded ProofOutstanding SessionConflict SessionFinished "
        "SessionNotLoaded SessionTooLarge StoreError StoreFull StoreUnavailable TooManySessions UnsupportedValue"
    ),
    events: (
        "Bound CacheControlReplaced ChannelLost Confirmed Conflict CookiesLost Created CrossSite Destroyed EndsKept "
        "EntriesSkipped Event Expired IdChanged KeysStale LateWrite LimitsRaised ListFresh ListStale Listener LoggedIn "
        "LoggedOut Opened ProofFailed Rejected Renewed Saved StoreFailed StoreHangs TakenOver"
    ),
}

SESSION = (
    "accessed actor authenticated_at binding check_csrf confirm confirmed created_at csrf_token degraded destroy "
    "errors expires_at flash flashes id impersonate is_new joined knows_device load login logout mark_accessed "
    "mark_modified modified once passive prove regenerate seen_at stop_impersonating subject translate view"
)

MANAGER = (
    "aabort abort accept acommit aclose acount aend aend_all aend_everything afinish alist aopen astart aupdate clock close "
    "commit cookie count end end_all end_everything engine finish idle_timeout lifetime list on_event open persistent purpose "
    "start update"
)


def defined(module: ModuleType) -> set[str]:
    """The names that a module defines itself; its imports do not count."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", module.__name__) in (module.__name__, "collections.abc")
        and name not in ("Callable", "Sequence", "TYPE_CHECKING", "annotations")
    }


def test_the_package_exports_its_public_names_and_nothing_else() -> None:
    """`from hardtack import *` gives what the documentation names."""
    assert sorted(hardtack.__all__) == NAMES[hardtack].split()
    given: dict[str, object] = {}
    exec("from hardtack import *", given)
    assert {name for name in given if not name.startswith("_")} == set(hardtack.__all__)
    assert set(dir(hardtack)) >= set(hardtack.__all__)
    with pytest.raises(AttributeError, match="module 'hardtack' has no attribute 'Sessions'"):
        _ = hardtack.Sessions


@pytest.mark.parametrize("module", [errors, events], ids=lambda module: module.__name__)
def test_the_errors_and_events_are_pinned(module: ModuleType) -> None:
    """Programs catch and match them by name."""
    assert sorted(defined(module)) == sorted(NAMES[module].split())


def test_the_members_of_a_session_are_pinned() -> None:
    """What a session has beside the methods of a dict."""
    members = {name for name in dir(hardtack.Session) if not name.startswith("_")} - set(dir(dict))

    assert sorted(members) == SESSION.split()


def test_the_members_of_a_manager_are_there() -> None:
    """All that the documentation names; what engines and adapters ask beside is not for applications."""
    members = {name for name in dir(hardtack.SessionManager(hardtack.Key.generate())) if not name.startswith("_")}

    assert members >= set(MANAGER.split())
    assert members - set(MANAGER.split()) == {"core", "settings"}


def test_the_package_says_its_version() -> None:
    """As text, of three numbers."""
    assert [part.isdecimal() for part in hardtack.__version__.split(".")] == [True, True, True]


@pytest.mark.slow
def test_importing_the_core_imports_nothing_that_is_optional() -> None:
    """No framework, no driver of a store, no async library and no test tool comes with `import hardtack`."""
    # What measures the coverage of subprocesses has imported modules of its own before.
    code = "import sys; had = {*sys.modules}; import hardtack; print(*{*sys.modules} - had)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    unwanted = {
        *(
            "starlette",
            "fastapi",
            "flask",
            "quart",
            "django",
            "litestar",
            "aiohttp",
            "sanic",
            "falcon",
            "bottle",
            "pyramid",
        ),
        *(
            "tornado",
            "redis",
            "pymemcache",
            "aiomcache",
            "sqlalchemy",
            "sqlite3",
            "yaml",
            "pydantic",
            "msgspec",
            "markupsafe",
        ),
        *("anyio", "asyncio", "pytest", "jinja2", "uvicorn"),
    }
    assert unwanted & {name.partition(".")[0] for name in done.stdout.split()} == set()
