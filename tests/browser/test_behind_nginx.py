"""The console behind a real nginx, with TLS and a prefix, by the very lines that docs/console.md has."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from router.operations import audit_log, people
from router.repository.database import Database
from router.settings import Settings
from router.web.forwarded import Proxies
from tests.browser.test_queue import folded, row, shown, writers
from tests.browser.test_sign_in import choose_password, sign_in
from tests.servers.nginx import Nginx
from tests.servers.ports import free_port
from tests.servers.tls import Tls
from tests.support.browser import browsing
from tests.support.pages import serving
from tests.support.senders import Senders

__all__ = ["writers"]

DOCS = Path(__file__).parents[2] / "docs" / "console.md"
PUBLIC = "https://crm.example.com/mail"
LENA = "lena@kestrel.test"


@pytest.fixture
def port() -> int:
    """Where the console is, behind nginx."""
    return free_port()


@pytest.fixture
def nginx(tls: Tls, port: int) -> Iterator[Nginx]:
    [location] = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert "127.0.0.1:8025" in location
    server = Nginx(tls, location.replace("127.0.0.1:8025", f"127.0.0.1:{port}"))
    yield server
    server.close()


async def test_a_day_behind_nginx(
    nginx: Nginx, port: int, chromium: Browser, opened: Database, writers: Senders
) -> None:
    proxies = Proxies([ip_network("127.0.0.1")])
    settings = Settings(console_url=PUBLIC)
    async with serving(opened, proxies, settings, port=port) as console, browsing(chromium, console) as browse:
        page = await browse(ignore_https_errors=True)
        await page.goto(f"{nginx.origin}/mail/link/{await people.first_link(opened)}")
        await page.get_by_label("Name").fill("ann")
        await choose_password(page, "Begin")
        await page.locator("summary", has_text="ann").click()
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page, "ann")
        assert page.url.startswith(f"{nginx.origin}/mail/")
        # Nobody can say of themselves where they come from.
        assert {one.address for one in await audit_log.list_before(opened)} == {"127.0.0.1"}
        # A link for somebody else leads to where people reach the console.
        await page.goto(f"{nginx.origin}/mail/people")
        await page.get_by_label("Name", exact=True).fill("ben")
        await page.get_by_role("button", name="Add").click()
        assert (await page.get_by_label("The link for ben").input_value()).startswith(f"{PUBLIC}/link/")
        # What comes is on the page by itself: nginx holds no event back.
        await page.goto(f"{nginx.origin}/mail/queue")
        await expect(page.locator("main[data-live=yes]")).to_be_visible()
        await writers.write(LENA)
        await folded(writers)
        await expect(row(page, LENA)).to_be_visible()
        await page.keyboard.press("j")
        await shown(page, LENA)
        await page.keyboard.press("x")
        await expect(page.locator("#foot")).to_contain_text("ignored")
        await expect(row(page, LENA)).to_have_count(0)
