"""The commands: what they print, what they return, and how they fail."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import signal
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.cli.support import demo_process
from tests.servers import MemcachedServer, free_port

from hardtack import Key, __version__
from hardtack.cli import FAILED, OK, USAGE, main
from hardtack.stores.file import FileStore
from hardtack.stores.sqlalchemy import SQLAlchemyStore
from hardtack.stores.sqlite import SQLiteStore


def test_key_prints_a_new_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Each time another one, in the form that `Key.parse` takes."""
    codes = [main(["key"]), main(["key"])]

    keys = [Key.parse(line) for line in capsys.readouterr().out.splitlines()]
    assert codes == [OK, OK]
    assert keys[0] != keys[1]


def test_python_m_hardtack_is_the_same_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For where the scripts of an environment are not on the path."""
    monkeypatch.setattr(sys, "argv", ["hardtack", "key"])

    with pytest.raises(SystemExit) as stop:
        runpy.run_module("hardtack", run_name="__main__")

    assert stop.value.code == OK
    Key.parse(capsys.readouterr().out.strip())


def test_importing_the_main_module_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Tools that import every module of a package must not start one."""
    runpy.run_module("hardtack", run_name="hardtack.__main__")

    assert capsys.readouterr().out == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version of the package."""
    with pytest.raises(SystemExit) as stop:
        main(["--version"])

    assert stop.value.code == OK
    assert capsys.readouterr().out == f"hardtack {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["sail"], ["sweep"], ["demo", "--port", "x"], ["demo", "--port", "65536"]])
def test_arguments_that_cannot_be_read(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Argparse says what is wrong, and the exit code is its own."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)

    assert stop.value.code == USAGE
    assert "usage: hardtack" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["x", "65536", "-1", "1.5"])
def test_what_a_port_is(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what would be one."""
    with pytest.raises(SystemExit):
        main(["demo", f"--port={port}"])

    assert "a port is a number from 0 to 65535" in capsys.readouterr().err


# --- sweep


@pytest.mark.parametrize(
    ("expired", "printed"), [(0, "0 expired sessions"), (1, "1 expired session"), (2, "2 expired sessions")]
)
def test_sweep_deletes_what_expired(
    expired: int, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says how much; living sessions stay."""
    path = tmp_path / "sessions.db"
    store = SQLiteStore(path)
    now = int(time.time())
    store.put("living", b"data", expires_at=now + 60, if_version=None, subject=None)
    for index in range(expired):
        store.put(f"expired{index}", b"data", expires_at=now - 60, if_version=None, subject=None)

    code = main(["sweep", f"sqlite:///{path}"])

    assert (code, capsys.readouterr().out) == (OK, f"deleted {printed}\n")
    assert store.get("living") is not None
    store.close()


class Terminal(io.StringIO):
    """A file that says that somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite", "file"])
def test_a_sweep_shows_on_a_terminal_how_far_it_is(
    scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar that grows, and nothing of it is left; what it says in the end is what it says to cron."""
    store: Any = FileStore(tmp_path) if scheme == "file" else None
    url = f"file://{tmp_path}" if scheme == "file" else f"{scheme}:///{tmp_path / 'sessions.db'}"
    if scheme == "sqlite":
        store = SQLiteStore(tmp_path / "sessions.db")
    elif store is None:
        store = SQLAlchemyStore.from_url(f"sqlite+pysqlite:///{tmp_path / 'sessions.db'}")
        store.create_table()
    for index in range(110):
        store.put(f"expired-expired-{index}", b"", expires_at=int(time.time()) - 60, if_version=None, subject=None)
    store.close()
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    code = main(["sweep", url])

    shown = terminal.getvalue().split("\r")
    assert (code, capsys.readouterr().out) == (OK, "deleted 110 expired sessions\n")
    assert f"[{'#' * 40}] 100 %" in shown
    assert shown[-2:] == [" " * len(shown[-3]), ""]


def test_a_sweep_of_nothing_is_done_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of none all are done."""
    SQLiteStore(tmp_path / "sessions.db").close()
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    assert main(["sweep", f"sqlite:///{tmp_path / 'sessions.db'}"]) == OK
    assert "100 %" in terminal.getvalue()
    assert capsys.readouterr().out == "deleted 0 expired sessions\n"


def test_a_sweep_on_a_terminal_of_a_store_that_tells_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`progress` is optional."""
    monkeypatch.setattr("sys.stderr", Terminal())

    assert main(["sweep", "memory://"]) == OK
    assert capsys.readouterr().out == "deleted 0 expired sessions\n"


def test_sweep_of_an_async_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is awaited."""
    path = tmp_path / "sessions.db"
    store = SQLAlchemyStore.from_url(f"sqlite+pysqlite:///{path}")
    store.create_table()
    store.put("expired", b"data", expires_at=int(time.time()) - 60, if_version=None, subject=None)
    store.close()

    code = main(["sweep", f"sqlite+aiosqlite:///{path}"])

    assert (code, capsys.readouterr().out) == (OK, "deleted 1 expired session\n")


def test_sweep_of_a_store_that_forgets_by_itself(
    memcached_server: MemcachedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to do, and that is no failure."""
    code = main(["sweep", f"memcached://127.0.0.1:{memcached_server.port}"])

    assert code == OK
    assert "forgets expired sessions by itself" in capsys.readouterr().out


def test_sweep_of_a_store_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""
    code = main(["sweep", "kraken://deep"])

    printed = capsys.readouterr()
    assert code == USAGE
    assert printed.err.startswith("hardtack: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite", "file"])
def test_sweep_makes_no_store(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt path in a crontab must fail, not leave an empty database there and report that nothing had expired."""
    path = tmp_path / ("sesions" if "+" in scheme else "sesions of the shop")

    code = main(["sweep", f"{scheme}://{'' if scheme == 'file' else '/'}{str(path).replace(' ', '%20')}"])

    assert code == FAILED
    assert capsys.readouterr().err == f"hardtack: {path} does not exist: there is no store to sweep\n"
    assert not path.exists()


@pytest.mark.parametrize(
    ("url", "said"), [("sqlite+pysqlite:///:memory:", "in memory"), ("sqlite:sessions.db", "three slashes")]
)
def test_sweep_tells_of_a_url_that_names_no_file(url: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the store says to it, and not that a file is missing."""
    code = main(["sweep", url])

    assert code == USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["passwd", "settings.json"])
def test_sweep_leaves_a_directory_of_other_files_alone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gets no lock files, and nobody believes that nothing had expired."""
    (tmp_path / name).touch()

    code = main(["sweep", f"file://{tmp_path}"])

    assert code == FAILED
    assert (
        capsys.readouterr().err == f"hardtack: {tmp_path} has other files and no session: there is no store to sweep\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("names", [[], ["K5UoYYDTXbNnkLO1yxGmvUTpDCwK8RrB.yml", "passwd"]])
def test_sweep_of_a_directory_that_hardtack_has_not_used_yet(
    names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty one, or that of a Dancer2 application."""
    for name in names:
        (tmp_path / name).touch()

    code = main(["sweep", f"file://{tmp_path}?layout=dancer2"])

    assert (code, capsys.readouterr().out) == (OK, "deleted 0 expired sessions\n")


def test_sweep_of_a_file_that_is_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""
    path = tmp_path / "sessions.json"
    path.touch()

    code = main(["sweep", f"file://{path}"])

    printed = capsys.readouterr()
    assert code == FAILED
    assert printed.err.count("\n") == 1


def test_sweep_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that is there."""
    FileStore(tmp_path).put("expired", b"data", expires_at=int(time.time()) - 60, if_version=None, subject=None)

    code = main(["sweep", f"file://{tmp_path}"])

    assert (code, capsys.readouterr().out) == (OK, "deleted 1 expired session\n")


def test_sweep_of_a_store_that_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback, and no password out of the URL."""
    code = main(["sweep", f"postgresql+psycopg://user:hunter2@127.0.0.1:{free_port()}/shop"])

    printed = capsys.readouterr()
    assert code == FAILED
    assert printed.err.startswith("hardtack: ")
    assert printed.err.count("\n") == 1
    assert "hunter2" not in printed.err


# --- demo


def get(address: str) -> str:
    """A page of a running demo."""
    with urllib.request.urlopen(address, timeout=10) as response:
        text: str = response.read().decode()
        return text


def test_the_demo_says_where_it_is_and_ends_on_an_interrupt() -> None:
    """The address works as soon as it is printed; Ctrl-C is no error."""
    with demo_process() as (process, address):
        page = get(address)
        process.send_signal(signal.SIGINT)
        code = process.wait(30)

    assert address.startswith("http://127.0.0.1:")
    assert "Provisions for the voyage" in page
    assert code == OK


def test_the_demo_runs_in_this_process_too(capsys: pytest.CaptureFixture[str]) -> None:
    """`main` returns when it is interrupted; the store that it opened is closed."""
    port = free_port()
    pages: list[str] = []

    def visit_and_interrupt() -> None:
        for _ in range(200):
            with contextlib.suppress(OSError):
                pages.append(get(f"http://127.0.0.1:{port}/"))
                os.kill(os.getpid(), signal.SIGINT)
                break
            time.sleep(0.05)

    visitor = threading.Thread(target=visit_and_interrupt)
    visitor.start()
    code = main(["demo", "--port", str(port), "--store", "memory://"])
    visitor.join()

    assert code == OK
    assert "MemoryStore" in pages[0]
    assert capsys.readouterr().out == f"hardtack demo: http://127.0.0.1:{port}/\n"


def test_the_demo_on_ipv6() -> None:
    """The address stands in brackets."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")

    with demo_process("--host", "::1") as (_, address):
        page = get(address)

    assert address.startswith("http://[::1]:")
    assert "Provisions" in page


def test_a_port_in_use_is_said_clearly(capsys: pytest.CaptureFixture[str]) -> None:
    """With the port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code = main(["demo", "--port", str(port)])

    printed = capsys.readouterr().err
    assert code == FAILED
    assert printed.startswith(f"hardtack: cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert "--port 0" in printed


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"])
def test_a_demo_on_a_database_creates_its_table(scheme: str, tmp_path: Path) -> None:
    """Whether its driver is sync or async."""
    with demo_process("--store", f"{scheme}:///{tmp_path / 'sessions.db'}") as (_, address):
        form = urllib.request.Request(
            f"{address}login", data=b"name=Ada", headers={"Sec-Fetch-Site": "same-origin"}, method="POST"
        )
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(form, timeout=10) as response:
            page = response.read().decode()

    assert "Welcome aboard, Ada." in page


def test_a_demo_whose_store_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not start, and shows no password."""
    code = main(["demo", "--store", f"postgresql+psycopg://user:hunter2@127.0.0.1:{free_port()}/shop"])

    printed = capsys.readouterr().err
    assert code == FAILED
    assert printed.count("\n") == 1
    assert "hunter2" not in printed


def test_a_demo_with_a_list_of_ended_sessions() -> None:
    """Its sessions are in cookies, and can be bound to the device."""
    with demo_process("--ended", "memory://") as (_, address):
        assert "Log in</a> first" in get(f"{address}device")


def test_a_demo_with_a_list_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """The URL is at fault."""
    code = main(["demo", "--ended", "kraken://deep"])

    assert code == 2
    assert "begins with 'kraken'" in capsys.readouterr().err


def test_a_demo_with_a_store_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not start."""
    code = main(["demo", "--store", "kraken://deep"])

    assert code == USAGE
    assert capsys.readouterr().err.startswith("hardtack: ")


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "jinja2", "python_multipart"])
def test_a_missing_package_is_named_by_its_extra(
    missing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line can be copied into a terminal."""
    monkeypatch.setitem(sys.modules, missing, None)
    for name in [name for name in sys.modules if name.startswith("hardtack.cli.demo")]:
        monkeypatch.delitem(sys.modules, name)

    code = main(["demo"])

    assert code == USAGE
    assert "pip install 'hardtack[demo]'" in capsys.readouterr().err


# --- create-table


@pytest.mark.parametrize("scheme", ["sqlite+pysqlite", "sqlite+aiosqlite"])
def test_create_table(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether the driver is sync or async; twice does no harm, and nothing is lost."""
    path = tmp_path / "sessions.db"
    codes = [main(["create-table", f"{scheme}:///{path}"])]
    store = SQLAlchemyStore.from_url(f"sqlite+pysqlite:///{path}")
    store.put("living", b"data", expires_at=int(time.time()) + 60, if_version=None, subject=None)
    codes.append(main(["create-table", f"{scheme}:///{path}"]))

    assert codes == [OK, OK]
    assert capsys.readouterr().out == "the table is there\n" * 2
    assert store.get("living") is not None
    store.close()


def test_create_table_where_none_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """That is no failure."""
    assert main(["create-table", "memory://"]) == OK
    assert capsys.readouterr().out == "MemoryStore needs no table: there is nothing to create\n"


def test_create_table_of_a_server_that_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback, and no password."""
    code = main(["create-table", f"postgresql+psycopg://user:hunter2@127.0.0.1:{free_port()}/shop"])

    printed = capsys.readouterr()
    assert (code, printed.out, printed.err.count("\n")) == (FAILED, "", 1)
    assert "hunter2" not in printed.err
