"""The demo in a real browser: what a person clicks through, with an eye on the console and the layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, ViewportSize, expect, sync_playwright
from tests.cli.support import demo_process
from tests.needs import find_program

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
pytestmark = pytest.mark.program("chromium")

PAGES = ("/", "/login", "/account", "/anatomy")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
WIDE = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=360, height=740)

NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window, with a new profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program("chromium"), args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def cookie_demo() -> Iterator[str]:
    """The address of a demo whose sessions are in cookies."""
    with demo_process() as (_, address):
        yield address


@pytest.fixture(scope="module")
def store_demo() -> Iterator[str]:
    """The address of a demo whose sessions are in a store."""
    with demo_process("--store", "memory://") as (_, address):
        yield address


@pytest.fixture(scope="module")
def ended_demo() -> Iterator[str]:
    """The address of a demo whose sessions are in cookies, beside a list of ended sessions."""
    with demo_process("--ended", "memory://") as (_, address):
        yield address


@pytest.fixture
def new_page(browser: Browser) -> Iterator[NewPage]:
    """Opens pages, each as in a browser of its own. What the console, the network or a script complains of fails the test."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def note_failure(request: Request) -> None:
        # A page that is left stops loading its icon.
        if request.failure != "net::ERR_ABORTED":
            complaints.append(f"failed: {request.url} {request.failure}")

    def open_page(address: str, **settings: object) -> Page:
        context = browser.new_context(base_url=address, **settings)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
        page.on("requestfailed", note_failure)
        page.on(
            "response",
            lambda response: (
                complaints.append(f"{response.status}: {response.url}") if response.status >= 400 else None
            ),
        )
        page.goto("/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def add(page: Page, name: str) -> None:
    """Put something into the cart."""
    page.goto("/")
    with page.expect_navigation():
        page.get_by_role("button", name=f"Add {name} to the cart").click()


def log_in(page: Page, name: str = "Ada", *, remember: bool = False) -> None:
    """Log in, and arrive at the shop."""
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Remember me").set_checked(remember)
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def press(page: Page, button: str) -> None:
    """Press a button of the Anatomy page, and arrive there again."""
    page.goto("/anatomy")
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_url("**/anatomy#happened")


def cookie(page: Page) -> str:
    """The session cookie as the browser keeps it."""
    return "".join(each.get("value", "") for each in page.context.cookies() if each.get("name") == "session")


def session_id(page: Page) -> str:
    """The session's id, as the Anatomy page shows it."""
    page.goto("/anatomy")
    return page.locator(".facts dd code").first.inner_text()


def test_login_keeps_the_cart_and_changes_the_id(new_page: NewPage, cookie_demo: str) -> None:
    """A message says so, on one page only."""
    page = new_page(cookie_demo)
    add(page, "Lantern")
    before = session_id(page)

    log_in(page)

    expect(page.get_by_role("status")).to_contain_text("Welcome aboard, Ada. Your session has a new id")
    expect(page.locator("#cart")).to_contain_text("Lantern")
    assert session_id(page) != before
    expect(page.get_by_role("status")).to_have_count(0)


def test_scripts_cannot_read_the_session_cookie(new_page: NewPage, cookie_demo: str) -> None:
    """Nor the demo's own."""
    page = new_page(cookie_demo)
    add(page, "Lantern")

    seen = page.evaluate("document.cookie")

    assert cookie(page)
    assert seen == ""


def test_remember_me_sets_an_expiry(new_page: NewPage, cookie_demo: str) -> None:
    """Without it the browser forgets the cookie when it ends."""
    page = new_page(cookie_demo)

    log_in(page)
    forgotten = {each.get("name"): each.get("expires", 0) for each in page.context.cookies()}["session"]
    page.goto("/")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()
    log_in(page, remember=True)
    remembered = {each.get("name"): each.get("expires", 0) for each in page.context.cookies()}["session"]

    assert forgotten == -1
    assert remembered > 0


def test_a_flipped_bit_loses_the_session(new_page: NewPage, cookie_demo: str) -> None:
    """The page shows the event, and which character it was."""
    page = new_page(cookie_demo)
    add(page, "Lantern")
    log_in(page)

    press(page, "Flip a bit")

    expect(page.locator("#happened")).to_contain_text("You flipped one bit of the cookie")
    expect(page.locator("#happened")).to_contain_text("tampered")
    expect(page.locator(".token mark")).to_have_count(1)
    expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()
    page.goto("/")
    expect(page.get_by_role("status")).to_contain_text("could not be used (tampered)")
    expect(page.locator("#cart")).to_contain_text("Nothing in it")


def test_a_replayed_cookie_still_opens(new_page: NewPage, cookie_demo: str) -> None:
    """After a logout, and the page says what that means."""
    page = new_page(cookie_demo)
    add(page, "Lantern")
    log_in(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_contain_text("You are logged out")

    press(page, "Replay the old cookie")

    expect(page.locator("#happened")).to_contain_text("The old cookie still opens")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.goto("/")
    expect(page.locator("#cart")).to_contain_text("Lantern")


def test_a_rotated_key_changes_the_key_id(new_page: NewPage, cookie_demo: str) -> None:
    """The session stays."""
    page = new_page(cookie_demo)
    add(page, "Lantern")
    before, identifier = cookie(page), session_id(page)

    press(page, "Rotate the key")

    expect(page.locator("#happened .events")).to_contain_text("Renewed")
    assert cookie(page)[:8] != before[:8]
    assert session_id(page) == identifier


def test_a_session_goes_stale(new_page: NewPage) -> None:
    """In a demo of its own: the clock is put forward for all of its visitors."""
    with demo_process() as (_, address):
        page = new_page(address)
        add(page, "Lantern")

        press(page, "Go stale")

        expect(page.locator("#happened .events")).to_contain_text(re.compile(r"Expired\s+deadline idle"))
        expect(page.get_by_text("put forward by 1 d")).to_be_visible()
        page.goto("/")
        expect(page.get_by_role("status")).to_contain_text("away for too long")


def test_the_account_ends_the_sessions_of_other_browsers(new_page: NewPage, store_demo: str) -> None:
    """Two browsers, one user."""
    here, there = new_page(store_demo), new_page(store_demo)
    for page in (here, there):
        log_in(page, "Grace")

    here.goto("/account")
    expect(here.locator("tbody tr")).to_have_count(2)
    here.get_by_role("button", name="End the others").click()

    expect(here.get_by_role("status")).to_contain_text("Ended elsewhere: 1.")
    expect(here.locator("tbody tr")).to_have_count(1)
    there.goto("/")
    expect(there.get_by_role("link", name="Log in", exact=True)).to_be_visible()
    expect(there.get_by_role("status")).to_contain_text("This session was ended")


def test_a_replayed_store_cookie_is_dead(new_page: NewPage, store_demo: str) -> None:
    """The logout reached every copy of it."""
    page = new_page(store_demo)
    log_in(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_contain_text("You are logged out")

    press(page, "Replay the old cookie")

    expect(page.locator("#happened")).to_contain_text("every copy of its cookie is worth nothing")
    expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()


@pytest.mark.parametrize("demo", ["store_demo", "ended_demo"])
def test_the_account_logs_out_everywhere(new_page: NewPage, demo: str, request: pytest.FixtureRequest) -> None:
    """Two browsers under their names, one button, and both are out; in cookies as in a store."""
    address = request.getfixturevalue(demo)
    here, there = new_page(address), new_page(address, user_agent=FIREFOX)
    for page in (here, there):
        log_in(page, "Joan")

    here.goto("/account")
    devices = here.get_by_role("region", name="Where you are logged in")
    expect(devices.get_by_role("row", name="Firefox on Linux")).to_be_visible()
    expect(devices.get_by_role("row", name="this browser")).to_have_count(1)
    here.get_by_role("button", name="Log out everywhere").click()

    expect(here.get_by_role("status")).to_contain_text("here and everywhere else")
    there.goto("/")
    expect(there.get_by_role("link", name="Log in", exact=True)).to_be_visible()
    expect(there.get_by_role("status")).to_contain_text("This session was ended")


@pytest.mark.parametrize("demo", ["store_demo", "ended_demo"])
def test_a_copied_cookie_dies_with_the_logout(new_page: NewPage, demo: str, request: pytest.FixtureRequest) -> None:
    """In the demo's second client, which says how soon, and in a second browser that was given the cookies."""
    address = request.getfixturevalue(demo)
    page, thief = new_page(address), new_page(address)
    log_in(page, "Joan")
    page.goto("/account")
    page.get_by_role("button", name="Copy the cookie").click()
    expect(page.locator("#copy")).to_contain_text("opens as Joan")
    thief.context.add_cookies([{"name": "session", "value": cookie(page), "url": address}])
    thief.goto("/account")
    expect(thief.locator("header .user")).to_have_text("Joan")

    page.get_by_role("button", name="Log out, and look at the copy").click()

    expect(page.locator("#copy")).to_contain_text(re.compile(r"was refused \d+ ms after the logout"))
    thief.goto("/")
    expect(thief.get_by_role("link", name="Log in", exact=True)).to_be_visible()


def test_a_copied_cookie_of_nothing_but_a_cookie_lives_on(new_page: NewPage, cookie_demo: str) -> None:
    """The page waits for a second, and says what that means."""
    page = new_page(cookie_demo)
    log_in(page)
    page.goto("/account")
    page.get_by_role("button", name="Copy the cookie").click()

    page.get_by_role("button", name="Log out, and look at the copy").click()

    expect(page.locator("#copy")).to_contain_text("A second after the logout the second client is still Ada")


def test_closing_the_account_asks_again(new_page: NewPage, ended_demo: str) -> None:
    """The button comes with the confirmation."""
    page = new_page(ended_demo)
    log_in(page)
    page.goto("/account")
    expect(page.get_by_role("button", name="Close my account")).to_have_count(0)

    page.get_by_label("Your name again").fill("Ada")
    page.get_by_label("Your name again").press("Enter")
    page.get_by_role("button", name="Close my account").click()

    expect(page.get_by_role("status")).to_contain_text("The account of Ada is closed")
    expect(page.locator("#main")).to_contain_text("Nobody is logged in.")


@pytest.mark.parametrize("demo", ["cookie_demo", "store_demo", "ended_demo"])
def test_the_administrator_acts_and_comes_back(new_page: NewPage, demo: str, request: pytest.FixtureRequest) -> None:
    """Every page says so meanwhile, with the way back; her own cart has waited."""
    page = new_page(request.getfixturevalue(demo))
    log_in(page, "Captain")
    add(page, "Lantern")
    page.goto("/account")
    page.get_by_label("Name of the user").fill("Ada")
    page.get_by_role("button", name="Log in as").click()
    banner = page.get_by_role("complementary", name="Acting as another user")
    for path in PAGES:
        page.goto(path)
        expect(banner).to_contain_text("Captain acts as Ada")

    banner.get_by_role("button", name="Be Captain again").click()

    expect(page.get_by_role("status")).to_contain_text("You are Captain again.")
    expect(banner).to_have_count(0)
    page.goto("/")
    expect(page.locator("#cart")).to_contain_text("Lantern")


@pytest.mark.parametrize("demo", ["cookie_demo", "store_demo", "ended_demo"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_account_fits_and_can_be_read(
    new_page: NewPage, demo: str, scheme: str, viewport: ViewportSize, request: pytest.FixtureRequest
) -> None:
    """In each of its states: with several devices, a copy that opens and one that is refused, confirmed, and acting."""
    address = request.getfixturevalue(demo)
    log_in(new_page(address, user_agent=FIREFOX), "Captain")
    page = new_page(address, color_scheme=scheme, viewport=viewport)
    log_in(page, "Captain")
    page.goto("/account")

    def check() -> None:
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(LOW_CONTRAST) == []

    check()
    page.get_by_label("Your name again").fill("Captain")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("button", name="Close my account")).to_be_visible()
    page.get_by_role("button", name="Copy the cookie").click()
    expect(page.locator("#copy")).to_contain_text("opens as Captain")
    check()
    page.get_by_label("Name of the user").fill("Ada Augusta, Countess of Lovelace (1815)")
    page.get_by_role("button", name="Log in as").click()
    expect(page.get_by_role("button", name="Be Captain again")).to_be_visible()
    check()
    page.get_by_role("button", name="Be Captain again").click()
    expect(page.get_by_role("status")).to_contain_text("You are Captain again.")
    page.locator("header").get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in again")).to_be_visible()
    check()


@pytest.mark.parametrize("demo", ["cookie_demo", "store_demo"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_page_fits_and_can_be_read(
    new_page: NewPage, demo: str, scheme: str, viewport: ViewportSize, request: pytest.FixtureRequest
) -> None:
    """In both schemes and on a phone: no sideways scrolling, and text in contrast to what is behind it (WCAG 2.2, 1.4.3)."""
    page = new_page(request.getfixturevalue(demo), color_scheme=scheme, viewport=viewport)
    add(page, "Lantern")
    log_in(page, "Ada Augusta, Countess of Lovelace (1815)")
    press(page, "Flip a bit")
    add(page, "Hardtack")
    log_in(page)

    for path in PAGES:
        page.goto(path)

        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate(LOW_CONTRAST) == [], path
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")


def test_the_colours_can_be_chosen(new_page: NewPage, cookie_demo: str) -> None:
    """The choice stays on the next page, against the system's."""
    page = new_page(cookie_demo, color_scheme="light")

    page.get_by_role("button", name="Dark colours").click()
    page.goto("/anatomy")

    expect(page.get_by_role("button", name="Light colours")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_the_shop_works_by_keyboard(new_page: NewPage, cookie_demo: str) -> None:
    """The first stop skips the header, every stop can be seen, and a button can be pressed."""
    page = new_page(cookie_demo)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if page.evaluate("document.activeElement.ariaLabel") == "Add Hardtack to the cart":
            break
    with page.expect_navigation():
        page.keyboard.press("Enter")

    expect(page.locator("#cart")).to_contain_text("Hardtack")


def test_everything_works_without_scripts(new_page: NewPage, cookie_demo: str) -> None:
    """All but the choice of colours, whose button is not shown."""
    page = new_page(cookie_demo, java_script_enabled=False)

    add(page, "Lantern")
    log_in(page)

    expect(page.locator("#cart")).to_contain_text("Lantern")
    expect(page.locator("#theme")).to_be_hidden()


# Every text node that can be seen and has less than 4.5:1 to the nearest background (3:1 for large text); pieces of gradients
# and disabled buttons left out, as WCAG does the latter.
LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([red, green, blue]) =>
    [red, green, blue]
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
      .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      if (style.backgroundImage !== "none") return null;
      const colour = rgb(style.backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(":disabled, .hidden, script")) continue;
    const style = getComputedStyle(element);
    const background = behind(element);
    if (background === null) continue;
    const [darker, lighter] = [luminance(rgb(style.color)), luminance(background)].sort((a, b) => a - b);
    const ratio = (lighter + 0.05) / (darker + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${walker.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""
