"""Requests that another site made the browser send: `SessionManager(cross_site="refuse")`."""

from __future__ import annotations

import pytest
from tests.kit import Site

from hardtack.errors import ConfigError, CrossSiteRequest, HardtackError
from hardtack.events import CrossSite
from hardtack.request import Request

HOST = "shop.example"
ELSEWHERE = "https://evil.example"


def site(**options: object) -> Site:
    """A site that refuses them, with one visitor who has a session."""
    made = Site(cross_site="refuse", **options)
    made.visit(n=1)
    return made


def post(**given: object) -> Request:
    """A POST over https as an adapter tells of it."""
    return Request(**{"method": "POST", "scheme": "https", "host": HOST, "path": "/pay", **given})  # type: ignore[arg-type]


ALLOWED = [
    post(),  # no browser: neither header
    post(sec_fetch_site="same-origin", origin=ELSEWHERE),
    post(sec_fetch_site="none"),
    post(origin=f"https://{HOST}"),
    post(origin=f"HTTPS://{HOST.upper()}:443"),
    post(origin=f"https://{HOST}", host=f"{HOST}:443"),
    post(origin=f"https://{HOST}:8443", host=f"{HOST}:8443"),
    post(sec_fetch_site="cross-site", origin="https://login.example.org"),
    post(sec_fetch_site="cross-site", origin="HTTPS://Login.Example.org"),
    post(sec_fetch_site="cross-site", path="/saml/acs", origin=ELSEWHERE),
    post(method="GET", sec_fetch_site="cross-site"),
    post(method="head", sec_fetch_site="cross-site"),
    post(method="GET", scheme="wss", origin=f"https://{HOST}"),
    post(method="GET", scheme="ws", origin=f"http://{HOST}:80"),
    post(method="GET", scheme="wss", sec_fetch_site="same-origin", origin=ELSEWHERE),
]

REFUSED = [
    post(origin=ELSEWHERE),
    post(origin="null"),
    post(origin=f"http://{HOST}"),  # another scheme is another site
    post(origin=f"https://{HOST}:8443"),
    post(origin=f"https://{HOST}.evil.example"),
    post(sec_fetch_site="cross-site"),
    post(sec_fetch_site="same-site", origin=f"https://user.{HOST}"),
    post(sec_fetch_site="", origin=f"https://{HOST}"),
    post(sec_fetch_site="Same-Origin", origin=f"https://{HOST}"),
    post(sec_fetch_site="cross-site", path="/saml/acs/", origin=ELSEWHERE),
    post(sec_fetch_site="cross-site", origin="https://login.example.org.evil.example"),
    post(method="delete", origin=ELSEWHERE),
    post(method="GET", scheme="wss", origin=ELSEWHERE),
    post(method="GET", scheme="ws", sec_fetch_site="cross-site"),
]


@pytest.mark.parametrize("request_", ALLOWED, ids=repr)
def test_what_comes_from_here_has_the_session(request_: Request) -> None:
    """So has what no browser sent, what only reads, and what is named as meant."""
    shop = site(trusted_origins=["https://login.example.org"], cross_site_paths=["/saml/acs"])

    session = shop.sessions.open(shop.jar.header, request_)
    session["n"] += 1
    shop.commit(session)

    assert dict(shop.open()) == {"n": 2}
    assert shop.told(CrossSite) == []


@pytest.mark.parametrize("request_", REFUSED, ids=repr)
def test_what_comes_from_elsewhere_has_an_empty_session(request_: Request) -> None:
    """It clears nothing, and refuses to be changed: the visitor's session stays as it was."""
    shop = site(trusted_origins=["https://login.example.org"], cross_site_paths=["/saml/acs"])

    session = shop.sessions.open(shop.jar.header, request_)

    assert dict(session) == {}
    for change in (
        lambda: session.update(n=5),
        lambda: session.login("mallory"),
        session.logout,
        session.clear,
        session.regenerate,
        lambda: session.flash("won"),
        session.csrf_token,
    ):
        with pytest.raises(CrossSiteRequest, match="trusted_origins"):
            change()
    changes = shop.commit(session)
    assert changes.set_cookies == []
    assert changes.accessed
    assert dict(shop.open()) == {"n": 1}
    (event,) = shop.told(CrossSite)
    assert event.host == HOST


def test_it_is_allowed_where_nothing_was_set() -> None:
    """By default the cookie's SameSite has to do."""
    shop = Site()
    shop.visit(n=1)

    assert dict(shop.sessions.open(shop.jar.header, post(origin=ELSEWHERE))) == {"n": 1}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"cross_site": "deny"}, "cross_site"),
        ({"trusted_origins": "https://login.example.org"}, "trusted_origins"),
        ({"trusted_origins": [1]}, "trusted_origins"),
        ({"trusted_origins": 5}, "trusted_origins"),
        ({"trusted_origins": ["login.example.org"]}, "trusted_origins"),
        ({"trusted_origins": ["https://login.example.org/"]}, "trusted_origins"),
        ({"trusted_origins": ["ftp://login.example.org"]}, "trusted_origins"),
        ({"cross_site_paths": ["saml"]}, "cross_site_paths"),
    ],
)
def test_a_wrong_setting_is_told(options: dict[str, object], names: str) -> None:
    """By its name, where the manager is made."""
    with pytest.raises(ConfigError, match=names):
        Site(**options)


def test_the_error_is_of_the_library() -> None:
    """So that one `except` catches all of them."""
    assert issubclass(CrossSiteRequest, HardtackError)
