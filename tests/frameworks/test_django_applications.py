"""Django's own tests of what is built on its sessions: auth, messages, CSRF, the test clients, with hardtack's engines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.frameworks.support import source_of

APPLICATIONS = ("auth_tests", "messages_tests", "csrf_tests", "test_client", "test_client_regress", "async")

NEW_KEYS = {
    # The key of a session in a cookie is the cookie. Django's is the same if it is made in the same second.
    "auth_tests.test_views.LoginTest.test_session_key_flushed_on_login_after_password_change"
}

COUNTED_QUERIES = {
    # Django 6.1 counts the query that reads the session: this store makes none of the database.
    "auth_tests.test_middleware.TestLoginRequiredMiddleware.test_protected_view_logged_in_performance"
}


def _failures(tests: Path, engine: str) -> set[str]:
    here = Path(__file__).parent
    places = os.pathsep.join([str(here / "django_suite"), str(here.parents[1] / "src")])
    command = [sys.executable, "-W", "ignore", "runtests.py", "--settings=applications", "--parallel=1", *APPLICATIONS]
    outcome = subprocess.run(
        command,
        cwd=tests,
        env={**os.environ, "PYTHONPATH": places, "TESTED_ENGINE": engine},
        capture_output=True,
        text=True,
        check=False,
    )
    ran = re.search(r"^Ran (\d+) tests", outcome.stderr, re.MULTILINE)
    assert ran is not None, outcome.stderr[-2000:]
    assert int(ran[1]) > 1100  # Django 5.1 has 1,163, and each later one more
    return set(re.findall(r"^(?:FAIL|ERROR): \w+ \(([\w.]+)\)", outcome.stderr, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_applications_on_a_store(pytestconfig: pytest.Config) -> None:
    """Not one of Django's tests notices, but one that counts queries. (What else fails has to fail on Django's own.)"""
    tree = source_of("django", pytestconfig.cache.mkdir("sdists"))

    ours = _failures(tree / "tests", "hardtack.frameworks.django.store") - COUNTED_QUERIES

    assert not ours or ours <= _failures(tree / "tests", "django.contrib.sessions.backends.db")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_applications_on_a_cookie(pytestconfig: pytest.Config) -> None:
    """What passes with Django's signed_cookies passes with ours; several tests hold on to a session of before a request."""
    tree = source_of("django", pytestconfig.cache.mkdir("sdists"))

    theirs = _failures(tree / "tests", "django.contrib.sessions.backends.signed_cookies")
    ours = _failures(tree / "tests", "hardtack.frameworks.django.encrypted_cookie")

    assert ours - theirs == NEW_KEYS
