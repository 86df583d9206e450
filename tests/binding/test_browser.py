"""A real browser that binds sessions: Chromium 150, as `tools/chromium_dbsc.py` fetches it, on both engines.

All that a site is asked in each way happens at once, in one browser, on a host of its own: each waits for its cookies to end.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from playwright.async_api import BrowserContext, Page, Response, async_playwright
from tests.servers import free_port

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


KINDS = [Kind(engine, scheme) for engine in ("store", "cookie") for scheme in ("http", "https")]
"""Over https the first of what happens is enough: the names of the cookies are all that differs."""


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
        await self.page.goto(self.base + path)
        return await self.page.inner_text("p")

    async def log_in(self) -> None:
        """Log in, and wait until the browser has bound the session."""
        await self.go("/login")
        await self.wait_for("start")
        assert await self.go("/") == "alice bound 0"

    async def post(self, path: str, body: str) -> str:
        """POST by a script of the page."""
        script = "async ([path, body]) => await (await fetch(path, {method: 'POST', body})).text()"
        return str(await self.page.evaluate(script, [path, body]))

    async def cookies(self) -> str:
        """The Cookie header of now."""
        return "; ".join(f"{each.get('name')}={each.get('value')}" for each in await self.context.cookies(self.base))

    async def control(self, **asked: Any) -> list[Any]:
        """What the server was asked since the last call, and what is to fail next."""
        return list(json.loads(await asyncio.to_thread(self.send, "/control", "", json.dumps(asked))))

    async def wait_for(self, end: str, times: int = 1) -> list[Any]:
        """What the server was asked, once it was asked for something that ends so."""
        seen: list[Any] = []
        for _ in range(100):
            seen += await self.control()
            if sum(entry[1].endswith(end) for entry in seen) >= times:
                await asyncio.sleep(0.1)  # the answer has to arrive
                return seen
            await asyncio.sleep(0.05)
        raise AssertionError(f"the browser asked for no {end}: {seen}")

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
    await visit.wait_for("start")

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
    await visit.go("/")
    await asyncio.sleep(1)

    assert await visit.go("/") == "alice bound 0"


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


Scenario = Callable[[Visit], Awaitable[None]]

SCENARIOS: list[Scenario] = [
    a_login_binds_and_copies_die,
    images_after_the_end_prove_once,
    images_at_the_login_agree,
    a_copy_from_before_the_registration_dies,
    a_lost_answer_to_the_registration,
    a_server_error_at_the_proof,
    a_proof_at_once,
]
CASES = {
    f"{scenario.__name__}-{'-'.join(kind)}": (kind, scenario)
    for kind in KINDS
    for scenario in (SCENARIOS if kind.scheme == "http" else SCENARIOS[:1])
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
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("*.localhost")]), critical=False)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
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
    import socket

    for _ in range(200):
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
            profile, executable_path=browser_program(), args=[*OPTIONS, features(quota=False)], ignore_https_errors=True
        )

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
    """The browser ends and starts again: the session is persistent, and bound as before."""
    kind = Kind("store", "http")
    program = browser_program()
    process, port = start_site(kind, certificate)

    async def restart() -> None:
        async with async_playwright() as playwright:
            for begun in (False, True):
                context = await playwright.chromium.launch_persistent_context(
                    tmp_path, executable_path=program, args=[*OPTIONS, features(quota=False)]
                )
                visit = Visit(context, await context.new_page(), kind, port, "again")
                if begun:
                    assert await visit.go("/") == "alice bound 0"
                else:
                    await visit.log_in()
                    await asyncio.sleep(EVERY + GRACE + 1)
                await context.close()

    try:
        asyncio.run(restart())
    finally:
        process.terminate()
        process.wait()
