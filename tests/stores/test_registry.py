"""Stores of other packages, by a real distribution that is installed for the test: its entry points name schemes."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hardtack import config
from hardtack.errors import ConfigError
from hardtack.stores import from_url

MODULE = """
from hardtack.stores.memory import MemoryStore


class TeapotStore(MemoryStore):
    def __init__(self, url="", asynchronous=False):
        super().__init__()
        self.made_of = (url, asynchronous)

    @classmethod
    def from_url(cls, url, asynchronous):
        return cls(url, asynchronous)

    def sweep(self, now):
        return 418


class NoStore:
    @staticmethod
    def from_url(url, asynchronous):
        return object()


class NoFactory:
    pass


def from_url(url, asynchronous):
    return TeapotStore(url, asynchronous)
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Builds a wheel with these entry points, and installs it into a directory of its own, which joins the path."""

    def install(name: str = "hardtack-teapot", **points: str) -> None:
        module, target = name.replace("-", "_"), tmp_path / name
        wheel = tmp_path / f"{module}-1-py3-none-any.whl"
        references = {scheme: f"{module}:{value}" if value else module for scheme, value in points.items()}
        files = {
            f"{module}.py": MODULE,
            f"{module}-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
            f"{module}-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{module}-1.dist-info/entry_points.txt": "[hardtack.stores]\n"
            + "".join(f"{scheme} = {reference}\n" for scheme, reference in references.items()),
        }
        files[f"{module}-1.dist-info/RECORD"] = "".join(f"{path},,\n" for path in files)
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*command, "--disable-pip-version-check", "--target", target, wheel], check=True)
        monkeypatch.syspath_prepend(str(target))
        monkeypatch.setenv("PYTHONPATH", str(target), prepend=":")

    yield install
    for name in ("hardtack_teapot", "hardtack_kettle"):
        sys.modules.pop(name, None)


def test_an_installed_package_registers_a_scheme(install: Install) -> None:
    """Its class, or its module, makes the store, of the whole URL."""
    install(teapot="TeapotStore", kettle="")

    by_class: Any = from_url("teapot://user:p%40ss@host?x=1", asynchronous=True)
    by_module: Any = from_url("Kettle://host")

    assert by_class.made_of == ("teapot://user:p%40ss@host?x=1", True)
    assert by_module.made_of == ("Kettle://host", False)


def test_the_configuration_and_the_command_know_it(install: Install) -> None:
    """`HARDTACK_STORE` and `hardtack sweep`."""
    install(teapot="TeapotStore")

    with config.from_env({"HARDTACK_STORE": "teapot://host"}) as manager:
        assert type(manager.engine.store).__name__ == "TeapotStore"
    swept = subprocess.run(
        [sys.executable, "-m", "hardtack", "sweep", "teapot://host"], capture_output=True, text=True, check=False
    )

    assert (swept.stdout, swept.returncode) == ("deleted 418 expired sessions\n", 0)


def test_it_is_among_those_that_a_wrong_url_is_told(install: Install) -> None:
    """With hardtack's own."""
    install(teapot="TeapotStore")

    with pytest.raises(ConfigError, match=r"must begin with one of memory://.*, teapot://$"):
        from_url("mongodb://host")


def test_a_scheme_of_hardtack_cannot_be_taken_over(install: Install) -> None:
    """No package that happens to be installed gets the sessions of another store."""
    install(memory="TeapotStore", postgresql="TeapotStore")

    store = from_url("memory://")

    assert type(store).__name__ == "MemoryStore"
    with pytest.raises(ConfigError, match="SQLAlchemy"):
        from_url("postgresql+none://host/db")


def test_a_scheme_that_two_packages_register_is_refused(install: Install) -> None:
    """Which of them comes first is chance."""
    install("hardtack-teapot", pot="TeapotStore")
    install("hardtack-kettle", pot="TeapotStore")

    with pytest.raises(
        ConfigError, match="pot:// is registered more than once, by the package hardtack-kettle and the"
    ):
        from_url("pot://host")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("NoStore", r"the package hardtack-teapot gives no store for bad://: object has no get\(\)"),
        ("NoFactory", r"registers bad:// with hardtack_teapot:NoFactory, which has no from_url\(url, asynchronous\)"),
        ("Missing", "the package hardtack-teapot registers bad://, and cannot be loaded: AttributeError"),
    ],
)
def test_an_entry_point_that_leads_to_no_store_is_named(install: Install, value: str, problem: str) -> None:
    """With the package that has it."""
    install(bad=value)

    with pytest.raises(ConfigError, match=problem):
        from_url("bad://hunter2")


def test_an_entry_point_of_no_package_is_named_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a finder of one's own may give it."""
    point = importlib.metadata.EntryPoint("odd", "json", "hardtack.stores")
    monkeypatch.setattr("hardtack.stores.registry.entry_points", lambda group: [point])

    with pytest.raises(ConfigError, match=r"^json registers odd:// with json, which has no from_url"):
        from_url("odd://host")
