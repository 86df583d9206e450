"""A real browser that binds sessions: Chromium 150, as `tools/chromium_dbsc.py` fetches it, on both engines.

All that a site is asked in each way happens at once, in one browser, on a host of its own: each waits for its cookies to end.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from playwright.async_api import BrowserContext, Page, Response, async_playwright
from playwright.async_api import Error as PlaywrightError
from tests.servers import certify, free_port

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "build" / "chromium-dbsc" / "usr" / "lib" / "chromium" / "chromium"
EVERY = 5
GRACE = 5
FEATURES = "DeviceBoundSessions{},EnableBoundSessionCredentialsSoftwareKeysForManualTesting"
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
)

pytestmark = [pytest.mark.program("chromium"), pytest.mark.slow]


class Kind(NamedTuple):
    """A site: where its sessions are, and how it is reached."""

    engine: str
    scheme: str


KINDS = [Kind("store", "http"), Kind("cookie", "https"), Kind("store", "https"), Kind("cookie", "http")]

PATIENCE = 60.0
"""Seconds within which a browser does what it does at once, on a machine that has much else to do."""


class Visit:
    """One visitor: a page on a host of its own, and what the server says of that host."""

    def __init__(self, context: BrowserContext, page: Page, kind: Kind, port: int, name: str) -> None:
        self.context = context
        self.page = page
        self.kind = kind
        self.port = port
        self.host = f"{name}.localhost"
        self.base = f"{kind.scheme}://{self.host}:{port}"

    async def go(self, path: str) -> str:
        """What a page says of who is there."""
        while True:
            try:
                await self.page.goto(self.base + path)
                break
            except PlaywrightError as error:  # the browser's own page about the failure before may come only now
                if "is interrupted by another navigation" not in str(error):
                    raise
        return await self.page.inner_text("p")

    async def log_in(self) -> None:
        """Log in, and wait until the browser has bound the session."""
        await self.go("/login")
        await self.registered()
        assert await self.go("/") == "alice bound 0"

    async def registered(self) -> None:
        """Wait until the browser has registered a key, and has the bound cookie."""
        await until(self.has_bound_cookie, "the browser has registered no key")

    async def has_bound_cookie(self) -> bool:
        return "-bound-" in await self.cookies()

    async def try_to_go(self, path: str) -> None:
        """Ask for a page whose answer is lost."""
        try:
            await self.page.goto(self.base + path)
        except PlaywrightError as error:
            assert "net::ERR_" in str(error), error  # noqa: PT017 - a browser may also have tried once more

    async def comes_to(self, path: str, says: str) -> None:
        """Ask for a page until it says so: the first requests may come before the browser has got over a failure."""

        async def is_so() -> bool:
            return await self.go(path) == says

        await until(is_so, f"{path} does not come to say {says!r}")

    async def post(self, path: str, body: str) -> str:
        """POST by a script of the page."""
        script = "async ([path, body]) => await (await fetch(path, {method: 'POST', body})).text()"
        return str(await self.page.evaluate(script, [path, body]))

    async def cookies(self) -> str:
        """The Cookie header of now."""
        return "; ".join(f"{each.get('name')}={each.get('value')}" for each in await self.context.cookies(self.base))

    async def bound_names(self) -> list[str]:
        """The names of the bound cookies, which are made of the binding's id."""
        return [each.get("name", "") for each in await self.context.cookies(self.base) if "-bound-" in str(each)]

    async def control(self, **asked: Any) -> list[Any]:
        """What the server was asked since the last call, and what is to fail next."""
        return list(json.loads(await asyncio.to_thread(self.send, "/control", "", json.dumps(asked))))

    async def wait_for(self, end: str, times: int = 1) -> list[Any]:
        """What the server was asked, once it was asked for something that ends so."""
        seen: list[Any] = []

        async def is_asked() -> bool:
            seen.extend(await self.control())
            return len([entry for entry in seen if str(entry[1]).endswith(end)]) >= times

        await until(is_asked, f"the browser asked for no {end}")
        return seen

    async def steal(self, cookies: str) -> str:
        """What another machine sees with copied cookies."""
        text = await asyncio.to_thread(self.send, "/", cookies)
        return text.removeprefix("<p>").removesuffix("</p>")

    def send(self, path: str, cookies: str, body: str = "") -> str:
        """A request that no browser sends."""
        connection: http.client.HTTPConnection
        if self.kind.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Host": f"{self.host}:{self.port}", **({"Cookie": cookies} if cookies else {})}
        connection.request("POST" if body else "GET", path, body or None, headers)
        text = connection.getresponse().read().decode()
        connection.close()
        return text


async def until(is_so: Callable[[], Awaitable[bool]], failure: str) -> None:
    """Wait for what a browser is about to do."""
    ends = time.monotonic() + PATIENCE
    while not await is_so():
        assert time.monotonic() < ends, failure
        await asyncio.sleep(0.1)


# --- what happens


async def a_login_binds_and_copies_die(visit: Visit) -> None:
    """A login that answers 303; a POST of 200 KB after the cookie's end; a copied pair; a logout."""
    await visit.log_in()
    copied = await visit.cookies()
    assert await visit.steal(copied) == "alice bound 0"
    alone = "; ".join(pair for pair in copied.split("; ") if "-bound-" not in pair)
    assert await visit.steal(alone) == "None unproven 0"

    await asyncio.sleep(EVERY + GRACE + 1)

    assert await visit.steal(copied) == "None unproven 0"
    assert await visit.post("/upload", "x" * 200_000) == "<b>200000</b><p>alice bound 0</p>"
    assert await visit.go("/logout") == "None bound 0"
    assert await visit.go("/") == "None unbound 0"
    assert await visit.cookies() == ""


async def images_after_the_end_prove_once(visit: Visit) -> None:
    """Eight images at once after the cookie's end: none is unproven."""
    await visit.log_in()
    await asyncio.sleep(EVERY + 1)
    await visit.control()
    await visit.go("/images")
    seen = await visit.wait_for("image/7")
    pages = [entry for entry in seen if "/image" in entry[1]]

    assert len(pages) == 9
    assert all(entry[2] == "" and any("-bound-" in name for name in entry[4]) for entry in pages)


async def images_at_the_login_agree(visit: Visit) -> None:
    """Eight images on the landing page, while the browser registers its key: nobody is logged out."""
    await visit.go("/login/images")
    await visit.registered()

    assert await visit.go("/") == "images bound 0"
    await asyncio.sleep(EVERY + GRACE + 1)
    assert await visit.go("/") == "images bound 0"


async def a_copy_from_before_the_registration_dies(visit: Visit) -> None:
    """The cookie that the login set, on another machine."""
    lines: list[str] = []

    async def note(response: Response) -> None:
        if response.url.endswith("/login"):
            lines.append(str(await response.header_value("set-cookie")))

    visit.page.on("response", note)
    await visit.log_in()
    copied = lines[0].partition(";")[0]

    await asyncio.sleep(11)

    assert await visit.steal(copied) == "None unbound 0"
    assert await visit.go("/") == "alice bound 0"


async def a_lost_answer_to_the_registration(visit: Visit) -> None:
    """The server has answered, and the connection broke, also where the browser tried once more: the next offer binds."""
    await visit.control(lost={"start": 2})
    await visit.go("/login")
    await visit.wait_for("start")
    assert (await visit.go("/")).startswith("alice ")

    await asyncio.sleep(21)

    await visit.comes_to("/", "alice bound 0")


async def answers_to_all_else_that_are_lost(visit: Visit) -> None:
    """Of the login, of the page that binds the session, and of a proof: nobody is logged out."""
    await visit.control(lost={"login": 1})
    await visit.try_to_go("/login")
    await visit.go("/login")
    await visit.registered()
    await visit.control(lost={"": 1})
    await visit.try_to_go("/")
    await visit.comes_to("/", "alice bound 0")

    await asyncio.sleep(EVERY + GRACE + 1)
    await visit.control(lost={"refresh": 1})

    assert (await visit.go("/")).startswith("alice ")
    await visit.comes_to("/", "alice bound 0")


async def a_rolled_back_deploy(visit: Visit) -> None:
    """Without binding the session opens as any other, and when binding is back the browser proves the key of before."""
    await visit.log_in()
    before = await visit.bound_names()
    await visit.control(rolled_back=True)
    await asyncio.sleep(EVERY + GRACE + 1)

    assert await visit.go("/count") == "alice unbound 1"
    assert await visit.go("/count") == "alice unbound 2"
    seen = await visit.control(rolled_back=False)
    assert {entry[3] for entry in seen if entry[1].endswith("/refresh")} == {503}
    await visit.comes_to("/", "alice bound 2")
    assert await visit.bound_names() == before


async def a_server_error_at_the_proof(visit: Visit) -> None:
    """The page is served to read, and the next one is proved."""
    await visit.log_in()
    await asyncio.sleep(EVERY + GRACE + 1)
    await visit.control(broken={"refresh": 1})

    assert await visit.go("/") == "alice unproven 0"
    assert await visit.go("/count") == "alice bound 1"


async def a_proof_at_once(visit: Visit) -> None:
    """`prove()`: the browser proves its key and sends the POST again."""
    await visit.log_in()

    assert (await visit.post("/prove", "x" * 1000)).startswith("<b>True</b>")


async def a_restarted_browser(visit: Visit) -> None:
    """The session is persistent, and bound as before: the key is still there."""
    await visit.comes_to("/", "alice bound 0")


Scenario = Callable[[Visit], Awaitable[None]]

SCENARIOS: list[Scenario] = [
    a_login_binds_and_copies_die,
    images_after_the_end_prove_once,
    images_at_the_login_agree,
    a_copy_from_before_the_registration_dies,
    a_lost_answer_to_the_registration,
    answers_to_all_else_that_are_lost,
    a_rolled_back_deploy,
    a_server_error_at_the_proof,
    a_proof_at_once,
]


def kinds_of(number: int) -> list[Kind]:
    """The sites on which a scenario happens: each engine and each scheme once, and for the first scenario all four."""
    return KINDS if number == 0 else KINDS[:2] if number % 2 else KINDS[2:]


CASES = {
    f"{scenario.__name__}-{'-'.join(kind)}": (kind, scenario)
    for number, scenario in enumerate(SCENARIOS)
    for kind in kinds_of(number)
}


# --- the browser, and the site


def browser_program() -> str:
    """The path of a Chromium that binds; where there is none, the test is skipped."""
    if not PROGRAM.exists():
        pytest.skip("no Chromium that binds sessions: `python tools/chromium_dbsc.py` fetches one where it can")
    return str(PROGRAM)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A self-signed certificate, with its key."""
    directory = tmp_path_factory.mktemp("tls")
    certify(directory, x509.DNSName("*.localhost"))
    path = directory / "localhost.pem"
    path.write_bytes((directory / "key.pem").read_bytes() + (directory / "certificate.pem").read_bytes())
    return str(path)


def start_site(kind: Kind, certificate: str) -> tuple[subprocess.Popen[bytes], int]:
    """A server process, once it listens."""
    port = free_port()
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    tls = certificate if kind.scheme == "https" else "-"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.binding.app", str(port), kind.engine, str(EVERY), tls],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
    )
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        assert process.poll() is None, "the site has ended"
        time.sleep(0.05)
    raise AssertionError("the site does not listen")


def features(*, quota: bool) -> str:
    """The flags under which Chromium binds on Linux; `quota`: as many proofs as it allows its users."""
    return "--enable-features=" + FEATURES.format("" if quota else ":RefreshQuota/false")


async def visit_all(ports: dict[Kind, int], profile: Path) -> dict[str, BaseException | None]:
    """Let everything happen at once, in one browser."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            profile,
            executable_path=browser_program(),
            args=[*OPTIONS, features(quota=False)],
            ignore_https_errors=True,
            timeout=1000 * PATIENCE,
        )
        context.set_default_timeout(1000 * PATIENCE)

        async def one(kind: Kind, scenario: Scenario) -> BaseException | None:
            name = f"{scenario.__name__.replace('_', '-')}-{'-'.join(kind)}"
            try:
                await scenario(Visit(context, await context.new_page(), kind, ports[kind], name[-60:].strip("-")))
            except Exception as error:
                return error
            return None

        done = await asyncio.gather(*(one(kind, scenario) for kind, scenario in CASES.values()))
        await context.close()
    return dict(zip(CASES, done, strict=True))


@pytest.fixture(scope="module")
def outcomes(certificate: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, BaseException | None]]:
    """What became of each case."""
    browser_program()
    started = {kind: start_site(kind, certificate) for kind in KINDS}
    try:
        ports = {kind: port for kind, (_, port) in started.items()}
        yield asyncio.run(visit_all(ports, tmp_path_factory.mktemp("profile")))
    finally:
        for process, _ in started.values():
            process.terminate()
            process.wait()


@pytest.mark.parametrize("case", CASES)
def test_in_a_real_browser(outcomes: dict[str, BaseException | None], case: str) -> None:
    """Each as its own sentence says."""
    error = outcomes[case]
    if error is not None:
        raise error


@pytest.mark.skipif(
    "HARDTACK_DBSC_QUOTA" not in os.environ, reason="`make dbsc-quota` runs it apart: it is allowed few proofs"
)
def test_a_browser_without_quota_reads(certificate: str, tmp_path: Path) -> None:
    """Six proofs in nine minutes: after them its requests say so, and are served to read."""
    kind = Kind("store", "http")
    program = browser_program()
    process, port = start_site(kind, certificate)

    async def use_up() -> None:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                tmp_path, executable_path=program, args=[*OPTIONS, features(quota=True)]
            )
            visit = Visit(context, await context.new_page(), kind, port, "quota")
            await visit.log_in()
            for _ in range(8):
                await visit.go("/")
            await visit.control()
            await asyncio.sleep(EVERY + GRACE + 1)
            assert await visit.go("/") == "alice unproven 0"
            seen = await visit.control()
            assert seen[-1][2].startswith("quota_exceeded")
            await context.close()

    try:
        asyncio.run(use_up())
    finally:
        process.terminate()
        process.wait()


def test_the_key_outlives_the_browser(certificate: str, tmp_path: Path) -> None:
    """The browser ends and starts again, on each engine and over each scheme: the sessions are bound as before."""
    program = browser_program()
    started = {kind: start_site(kind, certificate) for kind in KINDS[:2]}

    async def visit(scenario: Callable[[Visit], Awaitable[None]], *, lasting: float = 0) -> None:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                tmp_path,
                executable_path=program,
                args=[*OPTIONS, features(quota=False)],
                ignore_https_errors=True,
                timeout=1000 * PATIENCE,
            )
            context.set_default_timeout(1000 * PATIENCE)
            visits = [
                Visit(context, await context.new_page(), kind, port, f"again-{kind.engine}")
                for kind, (_, port) in started.items()
            ]
            await asyncio.gather(*map(scenario, visits))
            await asyncio.sleep(lasting)
            await context.close()

    try:
        asyncio.run(visit(Visit.log_in, lasting=EVERY + GRACE + 1))
        asyncio.run(visit(a_restarted_browser))
    finally:
        for process, _ in started.values():
            process.terminate()
            process.wait()
