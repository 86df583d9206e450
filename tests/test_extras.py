"""An extra's package that cannot be imported: the error tells a missing one from one whose version does not fit."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hardtack import _yaml, config
from hardtack._extras import explain

IMPORTERS = [
    # module of hardtack, module that it imports, package that brings it, extra
    ("frameworks.aiohttp", "aiohttp", "aiohttp", "aiohttp"),
    ("frameworks.django", "django", "django", "django"),
    ("frameworks.falcon", "falcon", "falcon", "falcon"),
    ("frameworks.fastapi", "fastapi", "fastapi", "fastapi"),
    ("frameworks.flask", "flask", "flask", "flask"),
    ("frameworks.litestar", "litestar", "litestar", "litestar"),
    ("frameworks.pyramid", "pyramid", "pyramid", "pyramid"),
    ("frameworks.quart", "quart", "quart", "quart"),
    ("frameworks.sanic", "sanic", "sanic", "sanic"),
    ("frameworks.starlette", "starlette", "starlette", "starlette"),
    ("frameworks.tornado", "tornado", "tornado", "tornado"),
    ("stores.redis", "redis", "redis", "redis"),
    ("telemetry", "opentelemetry", "opentelemetry-api", "otel"),
    ("stores.memcached", "pymemcache", "pymemcache", "memcached"),
    ("stores.memcached", "aiomcache", "aiomcache", "memcached"),
    ("stores.sqlalchemy", "sqlalchemy", "sqlalchemy", "sqlalchemy"),
    ("testing.stores", "anyio", "anyio", "testing"),
]
NO_OTHER_NAMES = [  # imported as a whole: there is no version without it
    ("frameworks.bottle", "bottle", "bottle", "bottle"),
    ("testing.stores", "pytest", "pytest", "testing"),
    ("testing.engines", "pytest", "pytest", "testing"),
    ("cli.demo", "jinja2", "jinja2", "demo"),
    ("cli.demo", "python_multipart", "python-multipart", "demo"),
    ("cli.demo", "ua_parser", "ua-parser", "demo"),
    ("cli.demo", "uvicorn", "uvicorn", "demo"),
]


class Without:
    """A finder of modules that says of one that it is not there, as Python does."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.module:
            message = f"No module named {name!r}"
            raise ModuleNotFoundError(message, name=name)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, ModuleType | None], str]:
    """Import a module of hardtack anew, with another one or none in place of a package's, and give the error's text."""

    def text(importer: str, module: str, replacement: ModuleType | None) -> str:
        for name in list(sys.modules):
            parts = f"hardtack.{importer.replace('.', '._')}_"  # its underscored modules
            if name == module or name.startswith((f"{module}.", f"hardtack.{importer}", parts)):
                monkeypatch.delitem(sys.modules, name)
        if replacement is None:
            monkeypatch.setattr(sys, "meta_path", [Without(module), *sys.meta_path])
        else:
            monkeypatch.setitem(sys.modules, module, replacement)
        with pytest.raises(ImportError) as caught:
            importlib.import_module(f"hardtack.{importer}")
        return str(caught.value)

    return text


@pytest.mark.slow
@pytest.mark.parametrize(("importer", "module", "package", "extra"), [*IMPORTERS, *NO_OTHER_NAMES])
def test_a_missing_package_is_said_to_be_missing(
    fresh: Callable[..., str], monkeypatch: pytest.MonkeyPatch, importer: str, module: str, package: str, extra: str
) -> None:
    """By its name on PyPI, with the command that installs it."""
    hide(monkeypatch, package)

    text = fresh(importer, module, None)

    missing = re.search(rf" needs (.*), which (?:is|are) not installed: pip install 'hardtack\[{extra}\]'", text)
    assert missing is not None
    assert package in missing[1].split(" and ")


@pytest.mark.parametrize(("importer", "module", "package", "extra"), IMPORTERS)
def test_a_version_that_lacks_a_name_is_said_not_to_fit(
    fresh: Callable[..., str], importer: str, module: str, package: str, extra: str
) -> None:
    """With the version that is installed, what Python says of it, and the versions that the extra asks for."""
    text = fresh(importer, module, ModuleType(module))

    assert "not installed" not in text
    assert " does not work with " in text
    if extra != "testing":  # anyio is no package of the extra
        assert f"{package} {metadata.version(package)}" in text
        assert re.search(rf"{package}(\[\w+])?>=", text.partition("; it needs ")[2])
    assert f"'{module}" in text
    assert f": pip install 'hardtack[{extra}]'" in text


def test_yaml_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a file of settings and for a store of files, the error says what needs it."""
    file = pytest.importorskip("hardtack.stores.file", reason="FileStore is for POSIX systems", exc_type=ImportError)
    hide(monkeypatch, "pyyaml")
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(ImportError, match=r"^reading a\.yml needs pyyaml, which is not installed: pip install 'hardta"):
        _yaml.parse(Path("a.yml"), "a: 1")
    with pytest.raises(ImportError, match=r"format='yaml'\) needs pyyaml, which is not installed: pip install 'hardta"):
        file.FileStore(tmp_path, "yaml")


def test_memcached_of_a_dancer_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting that needs it."""
    (tmp_path / "config.yml").write_text("session: Memcached\nmemcached_servers: a:1")
    monkeypatch.setitem(sys.modules, "pymemcache.client.hash", None)

    with pytest.raises(ImportError, match=r"^session: Memcached does not work with .*pymemcache \d"):
        config.from_dancer(tmp_path)


def test_every_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One command installs them all, so one message is enough."""
    hide(monkeypatch, "pymemcache", "aiomcache")

    text = explain("MemcachedStore", "memcached", ModuleNotFoundError("No module named 'aiomcache'", name="aiomcache"))

    assert text == (
        "MemcachedStore needs aiomcache and pymemcache, which are not installed: pip install 'hardtack[memcached]'"
    )


def test_a_package_of_a_package_that_is_missing() -> None:
    """What the extra asks for is there; what that needs is not."""
    text = explain(
        "hardtack.frameworks.quart", "quart", ModuleNotFoundError("No module named 'hypercorn'", name="hypercorn")
    )

    assert text == "hardtack.frameworks.quart needs hypercorn, which is not installed: pip install 'hardtack[quart]'"


def test_sources_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from a checkout that is not installed, the error tells what Python says and the extra."""
    hide(monkeypatch, "hardtack")

    absent = explain("RedisStore", "redis", ModuleNotFoundError("No module named 'redis'", name="redis"))
    unfit = explain("RedisStore", "redis", ImportError("cannot import name 'x' from 'redis'", name="redis"))

    assert absent == "RedisStore needs redis, which is not installed: pip install 'hardtack[redis]'"
    assert unfit == (
        "RedisStore does not work with what is installed (cannot import name 'x' from 'redis'); it needs another version: "
        "pip install 'hardtack[redis]'"
    )


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Have the metadata of these packages not be found, as where they are not installed."""
    find = metadata.distribution

    def distribution(name: str) -> Any:
        if name in packages:
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
