"""The real cookie crate, of Debian's Rust packages, in both directions: signed cookies, and from Debian 13 on private ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from tests.foreign.others.lines import HERE, OtherError, ask, require
from tests.foreign.web_formats import BITS_64, UNTIL
from tests.foreign.web_support import read, refused, seal

from hardtack.foreign._text import percent_decode, percent_encode
from hardtack.foreign.cookie_rs import RustPrivateCookie, RustSignedCookie

REGISTRY = Path("/usr/share/cargo/registry")
KEY = bytes(range(100, 164))
DATA: dict[str, Any] = {"user": 'zoë <b>&;,="%\u2028 \U0001f980', "n": [1, 2.5, None, True, -7], "d": {"": {}}}
NAME = "shop"
MANIFEST = """
[package]
name = "program"
version = "0.0.0"
edition = "2018"

[[bin]]
name = "program"
path = "main.rs"

[features]
private = []

[dependencies]
cookie = { version = ">=0.16, <0.19", features = ["key-expansion", "percent-encode", FEATURES] }

[profile.dev]
debug = 0
incremental = false

[workspace]
"""
CONFIG = f"""
[source.crates-io]
replace-with = "debian"

[source.debian]
directory = "{REGISTRY}"
"""
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def has_private() -> bool:
    """Whether the crate that is installed can encrypt: Debian 12 has it without."""
    return any(REGISTRY.glob("aes-gcm-*"))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[str]:
    """The compiled program."""
    require("cargo", "--version")
    if not any(REGISTRY.glob("cookie-0.*")):
        message = "not installed: librust-cookie-dev"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    directory = tmp_path_factory.mktemp("cookie_rs")
    features = ["signed", "private"] if has_private() else ["signed"]
    (directory / "Cargo.toml").write_text(MANIFEST.replace("FEATURES", json.dumps(features)[1:-1]))
    (directory / ".cargo").mkdir()
    (directory / ".cargo/config.toml").write_text(CONFIG)
    shutil.copy(HERE / "cookie_rs.rs", directory / "main.rs")
    # Debian's own, which fit its crates, also where another toolchain comes first.
    path = os.pathsep.join(["/usr/bin", os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "CARGO_HOME": str(directory / "home"), "CARGO_TARGET_DIR": "target"}
    command = ["cargo", "build", "--offline", "--quiet", *(["--features=private"] if has_private() else [])]
    built = subprocess.run(
        [shutil.which("cargo", path=path) or "cargo", *command[1:]],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return (str(directory / "target/debug/program"),)


@pytest.fixture(params=["signed", "private"])
def kind(request: pytest.FixtureRequest) -> str:
    """What the crate calls it."""
    name: str = request.param
    if name == "private" and REGISTRY.is_dir() and not has_private():
        pytest.skip("not there: Debian's cookie crate is without private cookies here (librust-aes-gcm-dev)")
    return name


def cookie(kind: str, name: str = NAME, *, derive: bool = False) -> RustPrivateCookie | RustSignedCookie:
    made = RustPrivateCookie if kind == "private" else RustSignedCookie
    return made(KEY, derive=derive, cookie_name=name, until=UNTIL)


def call(
    program: tuple[str], action: str, kind: str, value: str, name: str = NAME, *, key: bytes = KEY, derive: bool = False
) -> str:
    """What the real one says; `OtherError` where it refuses."""
    words = [
        action,
        kind,
        "derived" if derive else "from",
        *(raw.hex() for raw in (key, name.encode(), value.encode())),
    ]
    answer = json.loads(ask(" ".join(words), *program))
    if "error" in answer:
        raise OtherError(answer["error"])
    return bytes.fromhex(answer["result"]).decode()


@pytest.mark.slow
@pytest.mark.parametrize("derive", [False, True], ids=["from", "derive_from"])
def test_both_directions(program: tuple[str], kind: str, derive: bool) -> None:
    """What the one writes the other reads, under a key as it is given and under one that is derived of it."""
    ours = cookie(kind, derive=derive)
    theirs = call(program, "write", kind, json.dumps(DATA, ensure_ascii=False), derive=derive)

    assert read(ours, theirs).data == DATA
    assert json.loads(call(program, "read", kind, seal(ours, DATA)[NAME], derive=derive)) == DATA


@many
@given(data=BITS_64)
@example(data=DATA)
def test_made_up_data(program: tuple[str], kind: str, data: dict[str, Any]) -> None:
    """What we write the real one reads as it was, and back; and both sign alike, but for what need not be encoded."""
    value = seal(cookie(kind), data)[NAME]

    text = call(program, "read", kind, value)

    assert json.loads(text) == data
    theirs = call(program, "write", kind, text)
    assert read(cookie(kind), theirs).data == data
    if kind == "signed":
        assert percent_decode(theirs) == percent_decode(value)


@pytest.mark.slow
def test_what_was_changed_is_refused_by_both(program: tuple[str], kind: str) -> None:
    """In its first character, and in its last but for the padding."""
    theirs = call(program, "write", kind, json.dumps({"user": "zoe"}))
    last = len(theirs.rstrip("%3D")) - 2

    for at in (0, last):
        changed = theirs[:at] + ("A" if theirs[at] != "A" else "B") + theirs[at + 1 :]

        assert refused(cookie(kind), changed) == "tampered"
        with pytest.raises(OtherError, match="refused"):
            call(program, "read", kind, changed)


@pytest.mark.slow
def test_another_key_is_refused_by_both(program: tuple[str], kind: str) -> None:
    """Whoever has it."""
    theirs = call(program, "write", kind, "{}", key=KEY[::-1])

    assert refused(cookie(kind), theirs) == "tampered"
    with pytest.raises(OtherError, match="refused"):
        call(program, "read", kind, seal(cookie(kind), {"a": 1})[NAME], key=KEY[::-1])


@pytest.mark.slow
def test_a_name_binds_a_private_cookie_alone(program: tuple[str], kind: str) -> None:
    """A signed one is good under every name, there as here."""
    theirs = call(program, "write", kind, '{"a":1}', "other")
    ours = seal(cookie(kind, "other"), {"a": 1})["other"]

    if kind == "private":
        assert refused(cookie(kind), theirs) == "tampered"
        with pytest.raises(OtherError, match="refused"):
            call(program, "read", kind, ours)
    else:
        assert read(cookie(kind), theirs).data == {"a": 1}
        assert call(program, "read", kind, ours) == '{"a":1}'


@pytest.mark.slow
def test_what_is_not_percent_encoded_is_read_by_both(program: tuple[str], kind: str) -> None:
    """Not every framework encodes it."""
    plain = percent_decode(call(program, "write", kind, '{"a":1}'))

    assert read(cookie(kind), plain).data == {"a": 1}
    assert call(program, "read", kind, plain) == '{"a":1}'
    assert call(program, "read", kind, percent_encode(plain)) == '{"a":1}'
