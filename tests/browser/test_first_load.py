"""What a page costs a browser that has nothing of it yet: bytes, and that nothing moves as it comes."""

import re
from typing import Final

from playwright.async_api import Page, expect

from router.repository.senders import fold
from tests.integration.test_sender_queue_large import fill
from tests.support.browser import NARROW, WIDE, Browse
from tests.support.crm import Crm
from tests.support.pages import ServedConsole
from tests.support.senders import STAFF

MOST: Final = 60_000  # bytes, as they go over the network with all headers

SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => {
  for (const { value, sources } of list.getEntries()) window.shifts.push([value, ...sources.map(one => one.node?.id)]);
}).observe({ type: "layout-shift", buffered: true });
"""
TRANSFERRED = """
() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .map(one => [new URL(one.name).pathname, one.transferSize])
"""
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(window.shifts))))"

PATHS: Final = (
    "/well", "/queue", "/queue?sender=one@one.test", "/held", "/outbox", "/dead-letters", "/sources", "/owners",
    "/profiles", "/rulings", "/rulings/log", "/why", "/people", "/account",
)  # fmt: skip


FORMATTERS: Final = """
window.formatters = 0;
const make = Intl.DateTimeFormat;
Intl.DateTimeFormat = new Proxy(make, {
  apply: (...given) => { window.formatters++; return Reflect.apply(...given); },
  construct: (...given) => { window.formatters++; return Reflect.construct(...given); },
});
const say = Date.prototype.toLocaleString;
Date.prototype.toLocaleString = function (...given) { window.formatters++; return say.apply(this, given); };
"""


async def _transferred(page: Page) -> dict[str, int]:
    return {path: size for path, size in await page.evaluate(TRANSFERRED) if path != "/queue/events"}


async def test_the_first_load_is_small_and_the_next_one_smaller(
    console: ServedConsole, office: Crm, browse: Browse
) -> None:
    await console.add("ann")
    owner_id = await office.owner(STAFF, "all")
    await fill(office, [fold.EVERYBODY, owner_id], 280)
    page = await browse(as_="ann")
    await page.goto("/queue")
    await expect(page.locator("main[data-live=yes]")).to_be_visible()
    assert await page.locator("li[data-address]").count() > 25
    first = await _transferred(page)
    assert all(first.values()), first
    assert sum(first.values()) < MOST, first
    await page.goto("/rulings")
    again = await _transferred(page)
    # Style sheet and scripts are kept.
    assert {path for path, size in again.items() if size} == {"/rulings"}, again


async def test_an_exact_time_is_put_once_one_points_at_it_by_one_formatter(
    console: ServedConsole, office: Crm, browse: Browse
) -> None:
    """To make a formatter is slow, and so is to put all times: either would put off the first paint."""
    await console.add("ann")
    owner_id = await office.owner(STAFF, "all")
    await fill(office, [fold.EVERYBODY, owner_id], 40)
    page = await browse(as_="ann")
    await page.add_init_script(FORMATTERS)
    await page.goto("/queue")
    await expect(page.locator("main[data-live=yes]")).to_be_visible()
    times = page.locator("time[datetime]")
    assert await times.count() > 10
    for place in (0, 1):
        await expect(times.nth(place)).to_have_attribute("title", re.compile("UTC"))
        await times.nth(place).hover()
        await expect(times.nth(place)).not_to_have_attribute("title", re.compile("UTC"))  # in the reader's own zone
    assert await page.evaluate("window.formatters") <= 3


async def test_what_is_below_the_fold_is_laid_out_once_it_is_scrolled_to(
    console: ServedConsole, office: Crm, browse: Browse
) -> None:
    await console.add("ann")
    owner_id = await office.owner(STAFF, "all")
    await fill(office, [fold.EVERYBODY, owner_id], 280)
    page = await browse(as_="ann")
    await page.goto("/queue")
    await expect(page.locator("main[data-live=yes]")).to_be_visible()
    # The list may be read anew meanwhile: what is looked at is what is there.
    await expect(page.locator("#rows .group").last).to_have_css("content-visibility", "auto")


async def test_nothing_moves_as_a_page_loads(console: ServedConsole, office: Crm, browse: Browse) -> None:
    await console.add("ann")
    owner_id = await office.owner(STAFF, "all")
    await fill(office, [fold.EVERYBODY, owner_id], 40)
    for screen in (WIDE, NARROW):
        page = await browse(as_="ann", viewport=screen)
        await page.add_init_script(SHIFTS)
        for path in PATHS:
            await page.goto(path)
            await page.wait_for_load_state("load")
            assert await page.evaluate(PAINTED) == [], (path, screen)
