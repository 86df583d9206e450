"""The errors of a session as the frameworks' own exceptions: each is both, and the application may handle either."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from hardtack.errors import CrossSiteRequest, SessionConflict, StoreUnavailable
from hardtack.frameworks import _flask, bottle, falcon

with warnings.catch_warnings():  # Pyramid imports pkg_resources, and WebOb cgi
    warnings.simplefilter("ignore")
    from hardtack.frameworks import pyramid

STATUSES: dict[Any, int] = {StoreUnavailable: 503, SessionConflict: 409, CrossSiteRequest: 403}


def status_of(error: Any) -> int:
    """As each framework says it."""
    for name in ("code", "status_code"):
        found = getattr(error, name, None)
        if isinstance(found, int):
            return found
    return int(str(error.status).partition(" ")[0])


@pytest.mark.parametrize("kind", STATUSES)
@pytest.mark.parametrize("framework", [_flask, bottle, falcon, pyramid], ids=lambda module: module.__name__)
def test_an_error_is_the_frameworks_own(framework: Any, kind: Any) -> None:
    """With the status that says what happened, its text, and the cookies that its answer is to carry."""
    error = kind("what happened")
    error.set_cookies = ["sid=; Max-Age=0"]

    translated = framework.ERRORS[kind](error)

    assert isinstance(translated, kind)
    assert status_of(translated) == STATUSES[kind]
    assert translated.args == error.args
    assert translated.set_cookies == ["sid=; Max-Age=0"]


def test_a_conflict_says_what_was_changed() -> None:
    """Translated or not."""
    translated: Any = _flask.ERRORS[SessionConflict](SessionConflict("stale", ["cart"]))

    assert list(translated.paths) == ["cart"]
