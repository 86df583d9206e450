"""Takes docs/images/anatomy.png, the README's picture of the demo: `make screenshot`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURE = Path(__file__).with_name("anatomy.png")
WIDTH = 1280
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def main() -> None:
    """Start the demo, buy something, log in, and take the picture of what became of the session."""
    command = [sys.executable, "-m", "hardtack", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        address = demo.stdout.readline().split()[-1]
        try:
            take(address)
        finally:
            demo.terminate()
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")


def take(address: str) -> None:
    """The picture, in the light scheme, of the page down to the experiments."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        page = browser.new_page(base_url=address, viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        fill(page)
        below = page.get_by_role("heading", name="Your last requests").bounding_box()
        assert below is not None
        page.set_viewport_size({"width": WIDTH, "height": int(below["y"]) - 38})
        page.screenshot(path=PICTURE)
        browser.close()


def fill(page: Page) -> None:
    """Give the session something to show."""
    for name in ("Hardtack", "Hardtack", "Limes, a dozen"):
        page.goto("/")
        page.get_by_role("button", name=f"Add {name} to the cart").click()
        page.wait_for_url("**/#cart")
    page.goto("/login")
    page.get_by_label("Name").fill("Ada Lovelace")
    page.get_by_label("Remember me").check()
    page.get_by_label("Name").press("Enter")
    page.get_by_role("button", name="Log out").wait_for()
    page.goto("/anatomy")


if __name__ == "__main__":
    main()
