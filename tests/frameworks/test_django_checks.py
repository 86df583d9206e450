"""`manage.py check` finds broken settings before the first request does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings  # type: ignore[import-untyped]
from tests.frameworks import django_site

from hardtack import Key

django_site.configure()

from hardtack.frameworks.django.apps import HardtackConfig  # noqa: E402
from hardtack.frameworks.django.checks import check_settings  # noqa: E402

PACKAGE = "hardtack.frameworks.django"
OURS = [f"{PACKAGE}.SessionMiddleware"]
DJANGOS = ["django.contrib.sessions.middleware.SessionMiddleware"]
COOKIE = {"SESSION_ENGINE": f"{PACKAGE}.encrypted_cookie", "MIDDLEWARE": OURS}
STORE = {"SESSION_ENGINE": f"{PACKAGE}.store", "MIDDLEWARE": OURS}

BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("E001", {**STORE, "HARDTACK_STORE": None}, "HARDTACK_STORE is not set"),
    ("E001", {**STORE, "HARDTACK_STORE": "radis://localhost"}, "radis"),
    ("E001", {**STORE, "HARDTACK_STORE": "nowhere.store"}, "nowhere"),
    ("E001", {**COOKIE, "HARDTACK_LIFETME": "8 hours"}, "did you mean HARDTACK_LIFETIME"),
    ("E001", {**COOKIE, "HARDTACK_LIFETIME": "soon"}, "HARDTACK_LIFETIME"),
    ("E001", {**COOKIE, "HARDTACK_ENDED": "memory://"}, "HARDTACK_ENDED needs"),
    ("E001", {**COOKIE, "HARDTACK_SESSIONS": Key.generate()}, "HARDTACK_SESSIONS must be"),
    ("E001", {**COOKIE, "HARDTACK_OVERFLOW": "chunks"}, "overflow"),
    ("E001", {**COOKIE, "SECRET_KEY_FALLBACKS": "secret"}, "must be a list of keys"),
    ("E001", {**COOKIE, "SESSION_COOKIE_NAME": "__Host-sessionid", "SESSION_COOKIE_SECURE": False}, "__Host-"),
    ("E001", {**COOKIE, "SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": False}, "(?i)secure"),
    ("E001", {**COOKIE, "SESSION_ENGINE": f"{PACKAGE}.cookies"}, "SESSION_ENGINE cannot be imported"),
    ("E002", {**COOKIE, "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"}, "needs an engine"),
    ("E003", {**COOKIE, "HARDTACK_PASSIVE": "nowhere.polls"}, "HARDTACK_PASSIVE cannot be imported"),
    ("E003", {**COOKIE, "HARDTACK_PASSIVE": ["/poll"]}, "must be a function"),
    ("W001", {**COOKIE, "MIDDLEWARE": DJANGOS, "HARDTACK_OVERFLOW": "chunk"}, "HARDTACK_OVERFLOW does nothing"),
    (
        "W001",
        {**COOKIE, "MIDDLEWARE": DJANGOS, "HARDTACK_KNOWN_DEVICES": "1 year"},
        "HARDTACK_KNOWN_DEVICES does nothing",
    ),
    ("E001", {**COOKIE, "HARDTACK_KNOWN_DEVICES": "soon"}, "HARDTACK_KNOWN_DEVICES"),
]


@pytest.mark.parametrize(("code", "changed", "said"), BROKEN, ids=[f"{each[0]}-{each[2]}" for each in BROKEN])
def test_a_broken_setting_is_found(code: str, changed: dict[str, Any], said: str) -> None:
    """One message, with its id, and the words that the first request would have failed with."""
    with override_settings(**changed):
        (found,) = check_settings()

    assert found.id == f"hardtack.{code}"
    with pytest.raises(ValueError, match=said):
        raise ValueError(found.msg)


@pytest.mark.parametrize(
    "changed",
    [
        COOKIE,
        {**STORE, "HARDTACK_STORE": "memory://"},
        {**COOKIE, "HARDTACK_OVERFLOW": "chunk", "HARDTACK_PASSIVE": lambda request: False},
        {**COOKIE, "MIDDLEWARE": DJANGOS},
        {"SESSION_ENGINE": "django.contrib.sessions.backends.db", "MIDDLEWARE": DJANGOS},
        {**COOKIE, "MIDDLEWARE": [*OURS, "nowhere.Middleware", f"{__name__}.passes"]},
    ],
)
def test_good_settings_are_left_alone(changed: dict[str, Any]) -> None:
    """Neither is another engine, nor a middleware that Django will say cannot be imported, or is a function."""
    with override_settings(**changed):
        assert check_settings() == []


def passes(get_response: Any) -> Any:
    """A middleware that is a function."""
    return get_response


@pytest.mark.slow
def test_manage_py_check_asks(tmp_path: Path) -> None:
    """With the application in INSTALLED_APPS, the command fails and says what to do."""
    lines = [
        f"INSTALLED_APPS = ['{HardtackConfig.name}']",
        f"MIDDLEWARE = {OURS}",
        f"SESSION_ENGINE = '{PACKAGE}.store'",
        "SECRET_KEY = 'a secret key of thirty-two characters or more'",
    ]
    (tmp_path / "broken_site.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "django", "check", "--settings", "broken_site"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 1
    assert "(hardtack.E001)" in done.stderr
    assert "write the URL of a store" in done.stderr
