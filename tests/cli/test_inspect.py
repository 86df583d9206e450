"""`hardtack inspect`: it shows a session without its values, when it ends and its key, and names the check that failed."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.servers import free_port

from hardtack import (
    Cookie,
    CookieEngine,
    EncryptedToken,
    EndedSessions,
    Key,
    Keyring,
    SessionManager,
    SignedToken,
    StoreEngine,
)
from hardtack.cli import FAILED, OK, USAGE, inspection, main
from hardtack.stores.sqlite import SQLiteStore
from hardtack.tokens import keyfile, schedule

KEY, OLD = Key.generate(), Key.generate()
DATA = {"cart": ["hardtack", "rum"], "note": "hunter2", "address": {"ship": "Erebus"}, "n": 3}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"{KEY.export()}\n{OLD.export()}\n")
    return path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'sessions.db'}"


def cookie_of(engine: Any, at: float | None = None, data: dict[str, Any] | None = None, **settings: Any) -> str:
    """The Cookie header of a browser after a login."""
    sessions = SessionManager(engine, clock=time.time if at is None else lambda: at, **settings)
    session = sessions.open("")
    session.login("Ada Lovelace")
    session.csrf_token()
    session.update(DATA if data is None else data)
    lines = sessions.commit(session).set_cookies
    return "; ".join(line.partition(";")[0] for line in lines)


def ran(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["inspect", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize("token", [EncryptedToken, SignedToken])
def test_a_session_in_the_cookie(token: Any, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, kinds, times and the key; no value, and not the user."""
    cookie = cookie_of(CookieEngine(token(KEY)))

    code, out, err = ran(capsys, cookie, "--keys", keys, "--idle-timeout", "1 hour")

    assert (code, err) == (OK, "")
    assert f"with the key {KEY.id.hex()}, which issues." in out
    assert "'cart': list of 2 items" in out
    assert "'note': str of 7 characters" in out
    assert "'n': int" in out
    assert "user            str of 12 characters" in out
    assert "--lifetime of 1209600 s" in out
    assert "--idle-timeout of 3600 s" in out
    for secret in ("hunter2", "rum", "Erebus", "Ada"):
        assert secret not in out


def test_its_values_are_shown_when_asked(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The user's and the application's; never the token against forged requests."""
    cookie = cookie_of(CookieEngine(KEY))

    _, out, _ = ran(capsys, f"Cookie: {cookie}", "--keys", keys, "--show")

    assert "'note': 'hunter2'" in out
    assert "'Ada Lovelace'" in out
    assert "option 'csrf': str of 22 characters" in out
    assert "no --idle-timeout was given" in out


def test_an_accepted_key_and_an_empty_session(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that another one issues; a session without a login has nobody."""
    sessions = SessionManager(CookieEngine(OLD))
    session = sessions.open("")
    session["a"] = 1
    value = sessions.commit(session).set_cookies[0].partition(";")[0].partition("=")[2]

    code, out, _ = ran(capsys, value, "--keys", keys)

    assert code == OK
    assert f"{OLD.id.hex()}, which is accepted" in out
    assert "user            nobody" in out
    assert "logged in       never" in out


def test_a_key_file_with_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that `hardtack keys` makes."""
    file = tmp_path / "keys.toml"
    assert main(["keys", "init", str(file)]) == OK
    capsys.readouterr()
    cookie = cookie_of(CookieEngine(EncryptedToken(Keyring.from_file(file))), data={})

    code, out, _ = ran(capsys, cookie, "--keys", file)

    assert code == OK
    assert "(empty)" in out


@pytest.mark.parametrize("form", ["a key on each line", "a key file"])
def test_keys_from_a_pipe(form: str, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a shell's `<(…)`: what can be read once is read once."""
    if form == "a key file":
        keys = tmp_path / "keys.toml"
        keyfile.write(keys, schedule.begun(KEY, 14 * 86400, 86400, int(time.time())), new=True)
    reading, writing = os.pipe()
    os.write(writing, keys.read_bytes())
    os.close(writing)

    code, out, _ = ran(capsys, cookie_of(CookieEngine(KEY)), "--keys", f"/dev/fd/{reading}")
    os.close(reading)

    assert code == OK
    assert f"with the key {KEY.id.hex()}, which issues." in out


def test_keys_from_a_pipe_that_nobody_writes_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said so, and nobody waits for ever."""
    monkeypatch.setattr(inspection, "_WRITER", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    code, _, err = ran(capsys, "a=b", "--keys", pipe)

    assert code == USAGE
    assert f"--keys {pipe} is a pipe into which nobody has written for 0.1 seconds" in err


def test_a_session_in_chunks_on_standard_input(
    keys: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put together, whatever other cookies there are."""
    cookie = cookie_of(CookieEngine(KEY, overflow="chunk"), data={"long": "é" * 2500})
    monkeypatch.setattr("sys.stdin", io.StringIO(f"Cookie: theme=dark; {cookie}\n"))

    code, out, _ = ran(capsys, "-", "--keys", keys)

    assert code == OK
    assert "'long': str of 2500 characters" in out


def test_a_chunk_that_is_missing(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A proxy or a browser dropped it."""
    cookie = cookie_of(CookieEngine(KEY, overflow="chunk"), data={"long": "é" * 2500}).split("; ")[0]

    code, out, _ = ran(capsys, cookie, "--keys", keys)

    assert code == FAILED
    assert "a chunk is missing" in out


def test_two_cookies_of_one_name(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manager uses neither: each is shown, and that."""
    cookies = "; ".join(cookie_of(CookieEngine(KEY)) for _ in range(2))

    code, out, _ = ran(capsys, cookies, "--keys", keys)

    assert code == FAILED
    assert out.count("It is in the cookie itself") == 2
    assert "The request carries 2 cookies" in out


@pytest.mark.parametrize("token", [EncryptedToken, SignedToken])
def test_an_unknown_key(token: Any, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides are named."""
    other = Key.generate()

    code, out, _ = ran(capsys, cookie_of(CookieEngine(token(other))), "--keys", keys)

    assert code == FAILED
    assert f"unknown_key: it was sealed with the key {other.id.hex()}, and the file has" in out
    assert KEY.id.hex() in out
    assert OLD.id.hex() in out


def test_another_purpose(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The seal does not fit; with the right one it does."""
    cookie = cookie_of(CookieEngine(KEY), purpose="shop")

    wrong = ran(capsys, cookie, "--keys", keys)
    right = ran(capsys, cookie, "--keys", keys, "--purpose", "shop")

    assert wrong[0] == FAILED
    assert "tampered: the key" in wrong[1]
    assert "--purpose" in wrong[1]
    assert right[0] == OK


@pytest.mark.parametrize(
    ("ago", "options", "said"),
    [
        (15 * 86400, [], "expired: its absolute deadline was"),
        (7200, ["--idle-timeout", "1 hour"], "expired: its idle deadline was"),
        (-900, [], "future: it was made more than 5 minutes ahead"),
    ],
)
def test_a_time_that_does_not_fit(
    ago: int, options: list[str], said: str, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in it is shown all the same."""
    cookie = cookie_of(CookieEngine(KEY), at=time.time() - ago)

    code, out, _ = ran(capsys, cookie, "--keys", keys, *options)

    assert code == FAILED
    assert said in out
    assert "'cart': list of 2 items" in out


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("A" * 43, "has the shape of the id of a session in a store: give --store URL"),
        ("ht1", "malformed: it is no session in a cookie of hardtack"),
        ("ht1.", "malformed: it is no session in a cookie of hardtack"),
        ("~", "malformed: it is no session in a cookie of hardtack"),
        ("A" * 40000, "too_large: it is no session in a cookie of hardtack"),
    ],
)
def test_what_is_no_token(value: str, said: str, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it may be."""
    code, out, _ = ran(capsys, value, "--keys", keys)

    assert code == FAILED
    assert said in out


def test_a_record_without_a_seal_beside_sealed_ones(url: str, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is used until the date that the manager says, and no longer; what is sealed is used all the same."""
    store = SQLiteStore(url.removeprefix("sqlite:///"))
    plain, sealed = cookie_of(StoreEngine(store)), cookie_of(StoreEngine(store, seal=KEY))
    store.close()
    asked = ("--store", url, "--keys", keys)

    code, out, _ = ran(capsys, plain, *asked)
    assert (code, "say until when: --unsealed-until" in out) == (FAILED, True)
    code, out, _ = ran(capsys, plain, *asked, "--unsealed-until", "2999-01-01")
    assert (code, "not sealed, and accepted until " in out) == (OK, True)
    code, out, _ = ran(capsys, plain, *asked, "--unsealed-until", "2001-01-01")
    assert (code, "such ones are accepted no longer, since 2001-01-0" in out) == (FAILED, True)
    assert "user" not in out
    for until in ("2001-01-01", "2999-01-01"):
        code, out, _ = ran(capsys, sealed, *asked, "--unsealed-until", until)
        assert (code, "sealed with the key" in out) == (OK, True)
    code, out, _ = ran(capsys, plain, "--store", url, "--unsealed-until", "2001-01-01")
    assert (code, "are accepted no longer" in out) == (FAILED, True)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_session_in_a_store(sealed: bool, url: str, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sealed or not: the key is named where there is one."""
    path = url.removeprefix("sqlite:///")
    store = SQLiteStore(path)
    cookie = cookie_of(StoreEngine(store, seal=KEY if sealed else None))
    store.close()

    code, out, _ = ran(capsys, cookie, "--store", url, *(["--keys", str(keys)] if sealed else []))

    assert code == OK
    assert (
        f"sealed with the key {KEY.id.hex()}, which issues."
        if sealed
        else "It is in the store, not sealed: a manager with seal="
    ) in out
    assert "'note': str of 7 characters" in out


@pytest.mark.parametrize(
    ("seal", "given", "said"),
    [
        (KEY, False, f"sealed with the key {KEY.id.hex()}: give --keys FILE"),
        (None, True, "the record is not sealed, and a manager with seal= refuses it"),
        (Key.generate(), True, "the record was sealed with the key"),
    ],
    ids=["sealed", "unsealed", "other-key"],
)
def test_a_record_that_cannot_be_read(
    seal: Key | None, given: bool, said: str, url: str, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check that failed is named, with the keys on both sides."""
    store = SQLiteStore(url.removeprefix("sqlite:///"))
    cookie = cookie_of(StoreEngine(store, seal=seal))
    store.close()

    code, out, _ = ran(capsys, cookie, "--store", url, *(["--keys", str(keys)] if given else []))

    assert code == FAILED
    assert said in out


def test_a_record_that_was_moved(url: str, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody put one session's record under another's key: the seal tells."""
    store = SQLiteStore(url.removeprefix("sqlite:///"))
    engine = StoreEngine(store, seal=KEY)
    cookie, other = cookie_of(engine), cookie_of(engine)
    secrets = [engine.secret_in(each, "__Host-Http-session") for each in (cookie, other)]
    here, there = (engine.key(each, engine.raw_key(each, "")) for each in secrets if each is not None)
    moved, kept = store.get(here), store.get(there)
    assert moved is not None
    assert kept is not None
    expires_at = int(time.time()) + 60
    store.put(there, moved.data, expires_at=expires_at, if_version=kept.version, subject=None)
    store.close()

    code, out, _ = ran(capsys, other, "--store", url, "--keys", keys)

    assert code == FAILED
    assert "tampered: the record cannot be read: the record was changed, or moved from another key" in out


def test_an_ended_session_and_one_that_nobody_knows(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For a minute the store remembers that it ended; of others it knows nothing."""
    store = SQLiteStore(url.removeprefix("sqlite:///"))
    sessions = SessionManager(StoreEngine(store))
    cookie = cookie_of(StoreEngine(store))
    session = sessions.open(cookie)
    session.logout()
    sessions.commit(session)
    store.close()

    ended = ran(capsys, cookie, "--store", url)
    unknown = ran(capsys, "A" * 43, "--store", url)

    assert ended[0] == unknown[0] == FAILED
    assert "ended: the session was ended" in ended[1]
    assert "unknown_id: the store has no such session" in unknown[1]


def test_what_is_no_id_of_a_store(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mixed the engines up is told."""
    token = ran(capsys, cookie_of(CookieEngine(KEY)), "--store", url)
    other = ran(capsys, "~", "--store", url)

    assert token[0] == other[0] == FAILED
    assert "has the shape of a session in the cookie itself: give --keys FILE alone" in token[1]
    assert "malformed: it is no id of a session in this store" in other[1]


def test_an_async_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is awaited."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'sessions.db'}"
    assert main(["create-table", url]) == OK
    capsys.readouterr()

    code, out, _ = ran(capsys, "A" * 43, "--store", url)

    assert code == FAILED
    assert "unknown_id" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a=b"], "give --keys FILE"),
        (["a=b; c=d", "--keys", "KEYS"], "--name is to be one of the cookies: a, c"),
        (["a=b", "--name", "c", "--keys", "KEYS"], "--name is to be one of the cookies: a"),
        ([";", "--keys", "KEYS"], "--name is to be one of the cookies: there is none"),
        (["a=b", "--keys", "KEYS", "--lifetime", "long"], "--lifetime='long' is not a duration"),
        (["a=b", "--store", "kraken://deep"], "kraken"),
    ],
)
def test_arguments_that_do_not_fit(
    arguments: list[str], said: str, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says which."""
    code, out, err = ran(capsys, *[each.replace("KEYS", str(keys)) for each in arguments])

    assert (code, out) == (USAGE, "")
    assert said in err
    assert err.count("\n") == 1


def test_what_cannot_be_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, a server that is down: no traceback, and no password."""
    file = ran(capsys, "a=b", "--keys", tmp_path / "none")
    server = ran(capsys, f"a={'A' * 43}", "--store", f"redis://:hunter2@127.0.0.1:{free_port()}/0")

    assert file[0] == server[0] == FAILED
    assert file[2].startswith("hardtack: ")
    assert "hunter2" not in server[2]


def test_another_name(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The seal is bound to the cookie's name, which is taken from the header."""
    cookie = cookie_of(CookieEngine(KEY), cookie=Cookie("__Host-shop"))

    assert ran(capsys, cookie, "--keys", keys)[0] == OK
    assert ran(capsys, f"{cookie}; theme=dark", "--name", "__Host-shop", "--keys", keys)[0] == OK


# --- the list of ended sessions


@pytest.fixture
def ended_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'ended.sqlite'}"
    ended = EndedSessions.from_url(url, key=KEY)
    ended.bind(None, "", None, None)
    ended.create()
    ended.close()
    return url


def listed(url: str, act: Callable[[SessionManager, Any], object]) -> str:
    """The Cookie header of a session before something was done with it that the list is told of."""
    sessions = SessionManager(KEY, ended=EndedSessions.from_url(url))
    session = sessions.open("")
    session.login("Ada Lovelace", sid="at-the-provider")
    cookie = "; ".join(line.partition(";")[0] for line in sessions.commit(session).set_cookies)
    again = sessions.open(cookie)
    act(sessions, again)
    sessions.commit(again)
    sessions.close()
    return cookie


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda sessions, session: session.logout(), "this session was ended"),
        (lambda sessions, session: session.regenerate(), "it goes on under another id"),
        (lambda sessions, session: sessions.end_all("Ada Lovelace"), "all sessions of its user"),
        (
            lambda sessions, session: sessions.end_all(sid="at-the-provider"),
            "the login's session at its OpenID provider was ended",
        ),
        (lambda sessions, session: sessions.end_everything(), "everybody's sessions were ended"),
    ],
    ids=["logout", "regenerate", "user", "provider", "all"],
)
def test_a_session_on_the_list(
    act: Any, said: str, ended_url: str, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cookie is good, and no manager takes it: why, and since when."""
    cookie = listed(ended_url, act)

    code, out, _ = ran(capsys, cookie, "--keys", keys, "--ended", ended_url)
    without = ran(capsys, cookie, "--keys", keys)

    assert code == FAILED
    assert re.search(rf"cannot be used: revoked: the list has it: {said}.*, at \d{{4}}-.* UTC\.", out)
    assert without[0] == OK


@pytest.mark.slow
def test_a_session_that_is_not_on_the_list(ended_url: str, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And one that is no session, which is not looked up."""
    cookie = listed(ended_url, lambda sessions, session: None)

    good = ran(capsys, cookie, "--keys", keys, "--ended", ended_url)
    bad = ran(capsys, "rubbish", "--keys", keys, "--ended", ended_url)

    assert (good[0], bad[0]) == (OK, FAILED)
    assert "It is not on the list of ended sessions." in good[1]
    assert "malformed" in bad[1]


@pytest.mark.slow
def test_a_list_that_cannot_be_asked(tmp_path: Path, keys: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without its keys, or without its channel, nothing can be said of it."""
    cookie = cookie_of(CookieEngine(KEY))

    keyless = ran(capsys, cookie, "--store", url, "--ended", "memory://")
    nowhere = ran(capsys, cookie, "--keys", keys, "--ended", f"redis://127.0.0.1:{free_port()}")

    assert (keyless[0], nowhere[0]) == (USAGE, FAILED)
    assert "--ended needs the keys of the list: give --keys FILE" in keyless[2]
    assert "cannot be used" in nowhere[2]
