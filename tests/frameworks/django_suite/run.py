"""Runs Django's own session tests against hardtack's engines and middleware: `python run.py <Django's folder tests>`.

Prints one JSON object: how many tests ran, and what failed.
"""

from __future__ import annotations

import io
import json
import sys
import unittest
from typing import Any

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]

BACKENDS = ("encrypted_cookie", "signed_cookie", "store")

NOT_APPLICABLE = {
    # A browser's cookie cannot be taken back, and there is nothing to ask: Django skips these for its own signed_cookies.
    "cookie": {
        "test_session_save_does_not_resurrect_session_logged_out_in_other_context",
        "test_session_asave_does_not_resurrect_session_logged_out_in_other_context",
    },
    "store": set[str](),
}


def configure() -> None:
    from hardtack.stores.memory import MemoryStore

    settings.configure(
        SECRET_KEY="a secret of Django's tests of 32 characters or more",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "sessions_tests",
        ],
        HARDTACK_STORE=MemoryStore(),
        USE_TZ=False,
        SESSION_ENGINE="django.contrib.sessions.backends.db",
    )
    django.setup()


def mixin_cases(tests: Any) -> list[type[unittest.TestCase]]:
    """Django's SessionTestsMixin, on each engine."""
    from importlib import import_module

    from django.test import SimpleTestCase  # type: ignore[import-untyped]

    cases = []
    for name in BACKENDS:
        store = import_module(f"hardtack.frameworks.django.{name}").SessionStore
        members: dict[str, Any] = {"backend": store}
        for test in NOT_APPLICABLE["store" if name == "store" else "cookie"]:
            members[test] = None
        cases.append(type(f"Test_{name}", (tests.SessionTestsMixin, SimpleTestCase), members))
    return cases


def listed_cases(tests: Any) -> list[type[unittest.TestCase]]:
    """The same on the cookie engines, with a list of ended sessions: all of them apply."""
    from importlib import import_module

    from django.test import SimpleTestCase, override_settings

    listed = override_settings(HARDTACK_ENDED="memory://", HARDTACK_LIFETIME="1 year")
    cases = []
    for name in BACKENDS[:2]:
        store = import_module(f"hardtack.frameworks.django.{name}").SessionStore
        bases = (tests.SessionTestsMixin, SimpleTestCase)
        cases.append(listed(type(f"Listed_{name}", bases, {"backend": store})))
    return cases


def middleware_cases(tests: Any) -> list[type[unittest.TestCase]]:
    """Django's SessionMiddlewareTests: with our middleware, on each engine; and our engines under Django's middleware."""
    from django.test import override_settings

    cases = []
    for name in BACKENDS:
        engine = override_settings(SESSION_ENGINE=f"hardtack.frameworks.django.{name}")
        # It looks into the table of Django's own engine.
        members = {"test_empty_session_saved": None}
        cases.append(engine(type(f"Middleware_{name}", (tests.SessionMiddlewareTests,), dict(members))))
    return cases


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    configure()
    from django.test.utils import get_runner, setup_test_environment  # type: ignore[import-untyped]
    from sessions_tests import tests  # type: ignore[import-not-found]

    setup_test_environment()
    runner = get_runner(settings)(verbosity=0)
    databases = runner.setup_databases()
    from hardtack.frameworks.django import SessionMiddleware

    report: dict[str, Any] = {}
    for label, cases, middleware in (
        ("engines", mixin_cases(tests), tests.SessionMiddleware),
        ("engines with a list of ended sessions", listed_cases(tests), tests.SessionMiddleware),
        ("engines under Django's middleware", middleware_cases(tests), tests.SessionMiddleware),
        ("hardtack's middleware", middleware_cases(tests), SessionMiddleware),
    ):
        tests.SessionMiddleware = middleware
        loader = unittest.TestLoader()
        suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
        result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
        failed = {case.id(): trace for case, trace in result.failures + result.errors}
        report[label] = {"ran": result.testsRun, "failed": failed, "skipped": len(result.skipped)}
    runner.teardown_databases(databases)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
