"""The console in a browser: Debian's Chromium, and the console's application on a port of its own, in this process.

async def test_…(console: ServedConsole, browse: Browse) -> None:
    await console.add("ann", "decide")
    page = await browse(as_="ann")
    await page.goto("/queue")
    await check_accessible(page)
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import axe_playwright_python
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from router.app import parsers_of
from router.repository.database import Database
from router.settings import Settings
from router.web.console.guard import SESSION_COOKIE
from tests.servers.installed import missing
from tests.support.crm import Crm, opened_crm
from tests.support.databases import Postgres
from tests.support.pages import ServedConsole, serving

CHROMIUM: Final = Path("/usr/bin/chromium")
PASSWORD: Final = "correct horse battery"
WIDE: Final = {"width": 1280, "height": 800}
NARROW: Final = {"width": 320, "height": 640}

_AXE: Final = Path(axe_playwright_python.__file__).with_name("axe.min.js")
_RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


class Browse(Protocol):
    """`await browse(as_="ann")` opens a page in a browser of its own, where ann is signed in; without, nobody is."""

    async def __call__(self, as_: str | None = None, **context: Any) -> Page: ...


@pytest_asyncio.fixture(loop_scope="session")
async def opened(database: str) -> AsyncIterator[Database]:
    """The test's database, as a console has it."""
    async with Database(database, connections=4) as shared:
        yield shared


@pytest_asyncio.fixture(loop_scope="session")
async def office(postgres: Postgres, database: str) -> AsyncIterator[Crm]:
    """The CRM of the test's database."""
    async with opened_crm(postgres, database) as crm:
        yield crm


@pytest_asyncio.fixture(loop_scope="session")
async def console(opened: Database, tmp_path: Path) -> AsyncIterator[ServedConsole]:
    """A console on the test's database, whose profile folder is the test's."""
    settings = Settings(profiles=tmp_path)
    async with parsers_of(settings) as workers, serving(opened, settings=settings, workers=workers) as served:
        yield served


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for this test process."""
    if not CHROMIUM.exists():
        missing(f"there is no {CHROMIUM}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browse(chromium: Browser, console: ServedConsole) -> AsyncIterator[Browse]:
    """Open pages of the console; at the end none may have said that something is wrong with it."""
    async with browsing(chromium, console) as open_page:
        yield open_page


@asynccontextmanager
async def browsing(chromium: Browser, console: ServedConsole) -> AsyncIterator[Browse]:
    """Open pages of this console, each in a browser that knows nothing of the others."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    async def open_page(as_: str | None = None, **more: Any) -> Page:
        # A path of the console is a URL: page.goto("/people") is where the console is, under its prefix.
        # Without motion, so that no color is looked at halfway to another.
        still = {"base_url": console.origin, "viewport": WIDE, "reduced_motion": "reduce"}
        context = await chromium.new_context(**{**still, **more})
        context.set_default_timeout(10_000)
        contexts.append(context)
        if as_ is not None:
            # Not "url": for that of http no cookie may be Secure, though the browser sends it there.
            await context.add_cookies(
                [
                    {
                        "name": SESSION_COOKIE, "value": await console.session(as_), "url": "https://localhost/",
                        "httpOnly": True, "sameSite": "Lax",
                    }
                ]
            )  # fmt: skip
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if _is_fault(said.text) else None)
        return page

    try:
        yield open_page
    finally:
        for context in contexts:
            await context.close()
    assert not faults, faults


def _is_fault(said: str) -> bool:
    """Whether it is what a policy refused, or a script that broke; a status is what the test looks at."""
    return "Content Security Policy" in said or "Error" in said


async def shown(page: Page, name: str) -> None:
    """Where EMAIL_ROUTER_SCREENSHOTS names a folder, keep a picture of the page there, for people who look at it."""
    folder = os.environ.get("EMAIL_ROUTER_SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder, f"{name}.png"))


async def check_accessible(page: Page) -> None:
    """Expect that axe-core finds nothing that is against WCAG 2.2 AA."""
    # Not by a script of the page's: its policy would refuse that.
    session = await page.context.new_cdp_session(page)
    await session.send("Runtime.evaluate", {"expression": _AXE.read_text()})
    found = await session.send(
        "Runtime.evaluate",
        {
            "expression": f"axe.run({{runOnly: {json.dumps(_RULES)}}}).then(found => JSON.stringify(found.violations"
            ".map(one => [one.id, one.help, ...one.nodes.map(node => node.html)])))",
            "awaitPromise": True,
        },
    )
    against = json.loads(found["result"]["value"])
    assert not against, "\n".join(f"{rule}: {words}: {nodes}" for rule, words, *nodes in against)
    width = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1], f"it is {width[0]} pixels wide on a screen of {width[1]}"
