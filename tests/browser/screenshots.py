"""`make screenshots`: pictures of every page of the console for the documentation.

Starts the stores, the api and a simulated Twenty2 and CRM, fills them, signs in,
and looks at each page as people do. Everything on the pictures is made up.
"""

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from playwright.sync_api import Browser, Page, sync_playwright

from aftercall.db.schema import migrate
from aftercall.db.session import Database
from aftercall.embedded import embedded_stores
from aftercall.simulator import Simulator
from tests.api.server import Api, running_api
from tests.browser.conftest import SIZES
from tests.browser.filled import Filled, connect_hubspot, fill
from tests.browser.small_png import smaller
from tests.conftest import ADMIN_TOKEN, WORKSPACE, Clock, make_service, make_settings
from tests.console.crm import fake_hubspot
from tests.installed import why_not_installed

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
#: So large is a picture at most: what is longer is cut off below.
LONGEST: Final = 1600
MOST_BYTES: Final = 150_000
#: Of these there is one on a phone and one in the dark as well.
THOROUGHLY: Final = ("overview", "call")


def main() -> None:
    chromium = shutil.which("chromium-browser") or shutil.which("chromium")
    if chromium is None:
        sys.exit(why_not_installed("chromium", "chromium"))
    # What workers would say of each call is of no interest here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with filled_server() as (api, filled), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        pages = {"sign-in": "/sign-in", **paths(api, filled)}
        take(browser, api, pages, size="desktop", scheme="light")
        some = {name: pages[name] for name in THOROUGHLY}
        take(browser, api, some, size="phone", scheme="light")
        take(browser, api, some, size="desktop", scheme="dark")
        browser.close()


def paths(api: Api, filled: Filled) -> dict[str, str]:
    """Of every page, by the name of its picture."""
    destinations = api.get("/destinations")["items"]
    [crm] = [one["id"] for one in destinations if one["kind"] == "hubspot"]
    [leads] = [one["id"] for one in destinations if one["name"] == "leads-crm"]
    return {
        "overview": "/",
        "set-up": "/set-up",
        "calls": "/calls",
        "call": f"/calls/{filled.delivered_call}?workspace_id={WORKSPACE.id}",
        "deliveries": "/deliveries",
        "destinations": "/destinations",
        "destination": f"/destinations/{leads}",
        "new-destination": "/destinations/new",
        "crm": f"/destinations/{crm}",
        "crm-fields": f"/destinations/{crm}/sync",
        "new-crm": "/destinations/new/hubspot",
        "workspaces": "/workspaces",
        "workspace": f"/workspaces/{filled.blocked_workspace}",
        "audit": "/audit",
    }


def take(browser: Browser, api: Api, pages: dict[str, str], *, size: str, scheme: str) -> None:
    """Signs in where it must; a page that there is not is passed over, and said."""
    context = browser.new_context(
        viewport=SIZES[size],  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="en-IN",
        timezone_id="Asia/Kolkata",
        reduced_motion="reduce",
    )
    page = context.new_page()
    for name, path in pages.items():
        if path != "/sign-in" and not context.cookies():
            sign_in(page, api)
        answer = page.goto(f"{api.origin}{path}")
        if answer is None or answer.status != 200:
            _say(f"{name}: there is no such page")
            continue
        _shoot(page, FOLDER / f"{name}-{size}-{scheme}.png")
        if path == "/sign-in":
            sign_in(page, api)
    context.close()


def sign_in(page: Page, api: Api) -> None:
    page.goto(f"{api.origin}/sign-in")
    page.get_by_label("Token").fill(ADMIN_TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{api.origin}/")


def _shoot(page: Page, path: Path) -> None:
    if page.locator("[data-live-state]").count():
        page.locator("[data-live-state=open]").first.wait_for()
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, LONGEST)}
    png = smaller(page.screenshot(full_page=True, clip=clip))  # type: ignore[arg-type]
    path.write_bytes(png)
    size = len(png)
    _say(f"{path.name}: {size // 1_000} kB")
    if size > MOST_BYTES:
        sys.exit(f"{path.name} is too large for the repository")


@contextmanager
def filled_server() -> Iterator[tuple[Api, Filled]]:
    with (
        tempfile.TemporaryDirectory(prefix="aftercall-") as name,
        Simulator(seed=7, workspaces=[WORKSPACE]) as simulator,
        fake_hubspot() as hubspot,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        with embedded_stores(folder) as stores:
            migrate(stores.database_url)
            clock = Clock()
            settings = make_settings(TWENTYTWO_BASE_URL=simulator.twentytwo.base_url)
            database = Database(stores.database_url, pool_size=5)
            service = make_service(database, stores, settings, clock)
            filled = fill(service, simulator, clock)
            connect_hubspot(service, hubspot)
            with running_api(
                folder,
                AFTERCALL_DATABASE_URL=stores.database_url,
                AFTERCALL_REDIS_URL=stores.redis_url,
                TWENTYTWO_BASE_URL=simulator.twentytwo.base_url,
            ) as api:
                yield api, filled
            service.close()


def _say(line: str) -> None:
    print(line)  # noqa: T201 - what a command says


if __name__ == "__main__":
    main()
