"""The real gorilla/securecookie, of Debian's Go packages, in both directions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.foreign.others import lines
from tests.foreign.others.lines import HERE, OtherError, call, require
from tests.foreign.web_formats import JAVASCRIPT
from tests.foreign.web_support import read, refused, seal

from hardtack.foreign._text import read_javascript
from hardtack.foreign.gorilla import GorillaCookie

HASH = "a hash key of 32 bytes or more, as is asked"
BLOCK = "a block key of 32 bytes exactly."
DATA: dict[str, Any] = {"user": "zoë <b>&\u2028", "n": [1, 2.5, None, True, -7], "d": {"": {}}}
GOPATH = "/usr/share/gocode"
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[str]:
    """The compiled program."""
    require("go", "version")
    if not Path(GOPATH, "src/github.com/gorilla/securecookie").is_dir():
        message = "not installed: golang-github-gorilla-securecookie-dev"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    directory = tmp_path_factory.mktemp("gorilla")
    environment = {**os.environ, "GOPATH": GOPATH, "GO111MODULE": "off", "GOCACHE": str(directory), "GOFLAGS": ""}
    command = [shutil.which("go") or "go", "build", "-o", str(directory / "program"), str(HERE / "gorilla.go")]
    subprocess.run(command, env=environment, check=True)
    return (str(directory / "program"),)


def cookie(block: str) -> GorillaCookie:
    return GorillaCookie(HASH, block or None, cookie_name="shop")


@pytest.fixture(params=["", BLOCK], ids=["signed", "encrypted"])
def block(request: pytest.FixtureRequest) -> str:
    key: str = request.param
    return key


def ask(program: tuple[str], block: str, **more: Any) -> Any:
    return call(program, Hash=HASH, Block=block, Name="shop", **more)


def now_of() -> int:
    return int(time.time())


@pytest.mark.slow
def test_both_directions(program: tuple[str], block: str) -> None:
    """What the one writes the other reads."""
    theirs = ask(program, block, Op="write", Data=DATA)

    assert read(cookie(block), theirs, now_of()).data == DATA
    assert ask(program, block, Op="read", Value=seal(cookie(block), DATA, now_of())["shop"]) == DATA


def test_a_cookie_from_before_the_block_key_changed(program: tuple[str], block: str) -> None:
    """The hash key stayed: what was signed alone, or encrypted, opens beside the other kind."""
    theirs = ask(program, block, Op="write", Data=DATA)

    for current in ("another block key of 32 bytes...", None if block else BLOCK):
        old_keys = [(HASH, block or None)]
        assert read(GorillaCookie(HASH, current, old_keys=old_keys, cookie_name="shop"), theirs, now_of()).data == DATA


@many
@given(data=JAVASCRIPT)
def test_made_up_data(program: tuple[str], data: dict[str, Any]) -> None:
    """What we write, the real one reads as it was."""
    value = seal(cookie(BLOCK), data, now_of())["shop"]

    answer = lines.ask(
        json.dumps({"Hash": HASH, "Block": BLOCK, "Name": "shop", "Op": "read", "Value": value}), *program
    )

    assert read_javascript(answer)["result"] == data  # Go prints its doubles as JavaScript does
    theirs = ask(program, BLOCK, Op="write", Data=data)
    # We keep the digits, which may be those of an int64 of the application; those here are of a double.
    assert read_javascript(json.dumps(read(cookie(BLOCK), theirs, now_of()).data)) == data


def test_another_name_is_refused_by_both(program: tuple[str], block: str) -> None:
    """The name is under the MAC."""
    theirs = call(program, Hash=HASH, Block=block, Name="other", Op="write", Data=DATA)

    assert refused(cookie(block), theirs, now_of()) == "tampered"
    with pytest.raises(OtherError, match="not valid"):
        ask(program, block, Op="read", Value=theirs)


@pytest.mark.parametrize("hash_func", ["sha1", "sha384", "sha512"])
def test_another_hash_of_the_mac(program: tuple[str], block: str, hash_func: str) -> None:
    """As `HashFunc` of the codec says: a MAC of another length, which no other hash is read with."""
    ours = GorillaCookie(HASH, block or None, hash_func=hash_func, cookie_name="shop")
    theirs = ask(program, block, Op="write", Data=DATA, HashFunc=hash_func)

    assert read(ours, theirs, now_of()).data == DATA
    assert ask(program, block, Op="read", Value=seal(ours, DATA, now_of())["shop"], HashFunc=hash_func) == DATA
    assert refused(cookie(block), theirs, now_of()) == "tampered"


def test_gob_is_refused(program: tuple[str], block: str) -> None:
    """By its own reason, whatever gorilla/sessions wrote with it."""
    assert refused(cookie(block), ask(program, block, Gob=True), now_of()) == "unsafe"
