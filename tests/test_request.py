"""What an adapter tells of a request, and what an event carries of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kit import Site

from hardtack.adapters import asgi_request
from hardtack.events import Opened
from hardtack.request import MAX_TEXT, EnvironRequest, Request, wsgi_request


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Shop.Example", "shop.example"),
        ("shop.example:8443", "shop.example"),
        ("shop.example.", "shop.example"),
        (" shop.example ", "shop.example"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("", ""),
    ],
)
def test_the_name_of_a_host(host: str, name: str) -> None:
    """Without the port, in lower case."""
    assert Request(host=host).hostname == name


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("192.0.2.77", "192.0.2.0"),
        ("2001:db8:1234:5678::1", "2001:db8:1234::"),
        ("unix:", ""),
        ("", ""),
    ],
)
def test_an_event_can_tell_the_network_alone(address: str, masked: str) -> None:
    """24 bits of IPv4, 48 of IPv6; what is no address is not told at all."""
    assert Request(client=address).told(mask=True).client == masked
    assert Request(client=address).told().client == address


def test_masking_is_a_setting() -> None:
    """With it no event of the manager has an address."""
    for mask, client in ((False, "192.0.2.77"), (True, "192.0.2.0")):
        site = Site(mask_addresses=mask)
        site.visit(n=1)
        session = site.sessions.open(site.jar.header, Request("GET", client="192.0.2.77"))
        assert session["n"] == 1
        (opened,) = [event for event in site.told(Opened) if event.request is not None]
        assert opened.request.client == client


def test_text_of_a_client_cannot_write_into_a_log() -> None:
    """Control characters are escaped, and long text is cut."""
    told = Request(path="/a\r\nfake line\x1b[2J", user_agent="x" * 5_000, origin="a\n", sec_fetch_site="\t").told()

    assert told.path == r"/a\r\nfake line\x1b[2J"
    assert len(told.user_agent) == MAX_TEXT
    assert (told.origin, told.sec_fetch_site) == ("a\\n", "\\t")


def test_requests_are_compared_by_what_they_say() -> None:
    """And shown by it."""
    assert Request("GET", path="/a") == Request("GET", path="/a")
    assert hash(Request("GET", path="/a")) == hash(Request("GET", path="/a"))
    assert Request("GET") != Request("POST")
    assert Request("GET") != "GET"
    assert repr(Request("GET", host="shop.example", passive=True)) == (
        "Request(host='shop.example', method='GET', passive=True)"
    )


def scope(**given: object) -> dict[str, object]:
    """An ASGI scope, of a request with the headers that are looked at, or some of its own."""
    headers = [
        (b"host", b"shop.example"),
        (b"accept", b"*/*"),
        (b"origin", b"https://shop.example"),
        (b"sec-fetch-site", b"same-origin"),
        (b"user-agent", b"caf\xe9"),
    ]
    return {"type": "http", "method": "POST", "path": "/pay", "client": ("192.0.2.1", 5), "headers": headers, **given}


def test_an_asgi_scope_tells_what_its_headers_say() -> None:
    """As latin-1, and an absent one is None, or empty where there is always one."""
    expected = Request(
        "POST", "http", "shop.example", "https://shop.example", "same-origin", "/pay", "192.0.2.1", "café"
    )
    websocket = scope(type="websocket", headers=[], client=None)

    assert asgi_request(scope()) == expected
    assert repr(asgi_request(scope())) == repr(expected)
    assert asgi_request(scope()).told() == expected
    assert asgi_request(websocket) == Request("GET", "ws", path="/pay")


def test_the_headers_of_a_scope_are_looked_for_once_and_when_they_are_asked_for() -> None:
    """A request that nobody asks about costs no search; and a name that no request has is an error as everywhere."""

    class Counted(list[tuple[bytes, bytes]]):
        searches = 0

        def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
            self.searches += 1
            return super().__iter__()

    headers = Counted([(b"host", b"shop.example")])
    request = asgi_request(scope(headers=headers))
    assert (request.method, request.path, request.is_unsafe, headers.searches) == ("POST", "/pay", True, 0)

    assert (request.host, request.origin, request.user_agent, headers.searches) == ("shop.example", None, "", 1)
    with pytest.raises(AttributeError, match="'ScopeRequest' object has no attribute 'cookies'"):
        _ = request.cookies  # type: ignore[attr-defined]


def test_a_request_of_an_environ_tells_what_was_there_when_it_was_made() -> None:
    """An application inside of the site may be given the same environ, with another path."""
    environ = {
        "REQUEST_METHOD": "POST",
        "wsgi.url_scheme": "https",
        "SCRIPT_NAME": "/shop",
        "PATH_INFO": "/cart",
        "HTTP_HOST": "shop.example",
        "HTTP_ORIGIN": "https://shop.example",
        "QUERY_STRING": "a=1",
        "REMOTE_ADDR": "192.0.2.1",
    }
    at_once, later = wsgi_request(environ), EnvironRequest(environ)

    environ |= {"SCRIPT_NAME": "/shop/cart", "PATH_INFO": "/inner"}

    assert (later.path, later.mount) == ("/shop/cart", "/shop")
    assert later == at_once
