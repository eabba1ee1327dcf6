"""The staff's day: who waits is settled by keys, as it comes, beside others, and by who may."""

import pytest_asyncio
from playwright.async_api import Page, expect

from router.repository.database import Database
from router.repository.registry import Source, register
from router.repository.senders import fold
from tests.support.browser import Browse, ServedConsole, check_accessible
from tests.support.crm import Crm
from tests.support.senders import STAFF, Senders

LENA, JO, NEW = "lena@kestrel.test", "jo@kestrel.test", "new@new.test"
SIGNED = "Dear Anna,\n\nthe frames are ready.\n\n> When are they?\n> Anna\n\nLena Kestrel\nKestrel Tours Ltd"


@pytest_asyncio.fixture(loop_scope="session")
async def writers(office: Crm, opened: Database) -> Senders:
    """An owner's mailbox, to whom strangers write."""
    owner_id = await office.owner(STAFF, "all")
    source = Source("staff", STAFF, "imap:staff", "INBOX", owner_id, "all")
    return Senders(office, opened, owner_id, (await register(opened, [source]))[source])


async def folded(writers: Senders) -> None:
    """Bring the pages up to date, as a router does a moment after the mail."""
    while await fold.fold(writers.database):
        pass
    while await fold.read_words(writers.database):
        pass


async def row(page: Page, address: str) -> None:
    await expect(page.locator(f"li[data-address='{address}']")).to_be_visible()


async def test_a_day_by_keys(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "decide")
    lena = await writers.crm.record("contact", "Lena Kestrel")
    await writers.write(NEW)
    await writers.write(LENA, 2, name="Lena Kestrel", text=SIGNED)
    await folded(writers)
    page = await browse(as_="ann")
    await page.goto("/queue")
    await row(page, LENA)
    await page.screenshot(path="/tmp/queuepage-1.png")
    await page.keyboard.press("j")
    await expect(page.get_by_role("button", name="Lena Kestrel contact")).to_be_visible()
    await page.screenshot(path="/tmp/queuepage-2.png")
    await check_accessible(page)
    await page.keyboard.press("Enter")
    await expect(page.locator("#foot")).to_contain_text("2 emails, and all to come")
    assert await writers.senders(LENA) == [lena, lena]
    await expect(page.locator(f"li[data-address='{LENA}']")).to_have_count(0)
    await page.screenshot(path="/tmp/queuepage-3.png")
    await page.keyboard.press("z")
    await row(page, LENA)
    assert await writers.senders(LENA) == [None, None]
