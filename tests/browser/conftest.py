"""Pages in a real browser: Debian's Chromium, driven by Playwright. Nothing is ever downloaded.

Where there is no Chromium these tests do not run, and say so. With
SCREENSHOTS set to a folder, `shoot` leaves its pictures there.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests.api.server import Api
from tests.conftest import ADMIN_TOKEN
from tests.console.conftest import _console, console, database, teller
from tests.installed import installed

__all__ = ["_console", "console", "database", "teller"]

SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}
SCHEMES = ("light", "dark")
#: Milliseconds, for whatever is to come: a page tells what is new after a second or two.
PATIENCE = 20_000
expect.set_options(timeout=PATIENCE)


# Not for the session: while it is open, a loop runs in this thread, and other tests run their own.
@pytest.fixture(scope="package")
def _browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium-browser") or installed("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


class Looked:
    """A page, and all that the browser complained about while it was open."""

    def __init__(self, context: BrowserContext, origin: str, *, name: str) -> None:
        self.origin = origin
        self.name = name
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.origin}{path}")
        return self.page

    def sign_in(self, token: str = ADMIN_TOKEN, *, onward: str = "/") -> Page:
        self.open(f"/sign-in?next={onward}")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.origin}{onward}")
        return self.page

    def check(self) -> None:
        """Nobody is shut out, nothing is wider than the screen, the browser does not complain."""
        found: dict[str, Any] = Axe().run(self.page).response
        grave = [
            f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes']]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert grave == []
        width, screen = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= screen, f"the page is {width} wide on a screen of {screen}"
        assert self.complaints == []

    def shoot(self, what: str) -> None:
        """A picture of the whole page, if anybody wants pictures."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            path = Path(folder, f"{what}-{self.name}.png")
            self.page.wait_for_load_state("load")
            self.page.screenshot(path=path, full_page=True)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


Look = Callable[..., Looked]


@pytest.fixture
def look(_browser: Browser, console: Api) -> Iterator[Look]:
    """Opens windows: `look()`, `look(size="phone", scheme="dark")`."""
    contexts: list[BrowserContext] = []

    def open_window(
        *, size: str = "desktop", scheme: str = "light", scripts: bool = True, **more: Any
    ) -> Looked:
        context = _browser.new_context(
            viewport=SIZES[size],  # type: ignore[arg-type]
            color_scheme=scheme,  # type: ignore[arg-type]
            java_script_enabled=scripts,
            locale="en-IN",
            timezone_id="Asia/Kolkata",
            reduced_motion="reduce",
            **more,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        return Looked(context, console.origin, name=f"{size}-{scheme}")

    yield open_window
    for context in contexts:
        context.close()


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in SCHEMES], ids="-".join)
def looked(request: pytest.FixtureRequest, look: Look) -> Looked:
    """One window of each kind: desktop and phone, light and dark."""
    size, scheme = request.param
    return look(size=size, scheme=scheme)
