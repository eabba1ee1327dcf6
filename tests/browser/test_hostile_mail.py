"""Hostile mail can do nothing: no script of it runs, nothing is loaded, nothing moves, whatever its HTML is."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from playwright.async_api import Browser, Page, Route, expect

from router.operations import mail_content
from router.repository.database import Database
from router.web.console.guard import SESSION_COOKIE
from router.web.console.mail_html import SANDBOX
from tests.support import pieces
from tests.support.browser import NARROW, Browse, check_accessible
from tests.support.crm import Crm
from tests.support.pages import ServedConsole
from tests.support.shown import PNG, bring_in, html_mail
from tests.support.vectors import VECTORS

ANNA = "anna@in.test"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="top.hit=1"><script>top.hit=1</script></svg>'

# Puts one frame for each message into a page of the console, as the page of a message does, and waits for all of them.
FRAME_ALL = """
async ([ids, sandbox]) => {
  await Promise.all(ids.map(id => new Promise(done => {
    const frame = document.createElement("iframe");
    frame.className = "mail-frame";
    frame.setAttribute("sandbox", sandbox);
    frame.addEventListener("load", done, { once: true });
    frame.src = `/mail/${id}/html`;
    document.querySelector("main").append(frame);
  })));
  await new Promise(done => setTimeout(done, 0));
}
"""
FACTS = """
() => ({
  hit: window.hit === undefined ? null : String(window.hit),
  at: location.pathname,
  frames: [...document.querySelectorAll("iframe")].map(frame => frame.contentWindow.location.pathname),
  heights: [...document.querySelectorAll("iframe")].map(frame => frame.offsetHeight),
  page: document.getElementById("main").tagName,
})
"""


class Watched:
    """What a page did that it should not: requests, dialogs, windows, navigations."""

    def __init__(self, page: Page, origin: str) -> None:
        self.requests: list[str] = []
        self.elsewhere: list[str] = []
        self.did: list[str] = []
        page.context.on("request", lambda request: self._note(request.url, origin))
        page.on("websocket", lambda socket: self.elsewhere.append(socket.url))
        page.on("popup", lambda popup: self.did.append(f"opened {popup.url}"))
        page.on("download", lambda download: self.did.append(f"downloaded {download.url}"))
        page.on("dialog", lambda dialog: self.did.append(f"said {dialog.message}"))

    def _note(self, url: str, origin: str) -> None:
        (self.requests if url.startswith(f"{origin}/") else self.elsewhere).append(url)


async def brought_in(office: Crm, database: Database, htmls: Sequence[str]) -> list[UUID]:
    owner_id = await office.owner(ANNA, "all")
    parts = [("logo.png", "image/png", PNG, "logo"), ("x.svg", "image/svg+xml", SVG, "svg")]
    parts += [("x.png", "image/png", b"<html><script>top.hit=1</script></html>", "html")]
    return await bring_in(database, owner_id, ANNA, [html_mail(html, parts) for html in htmls])


async def test_a_gallery_of_hostile_html_does_nothing(
    console: ServedConsole,
    browse: Browse,
    chromium: Browser,
    office: Crm,
    opened: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await console.add("ann")
    ids = [str(one) for one in await brought_in(office, opened, VECTORS)]
    assert len(ids) == len(VECTORS) > 150
    page = await browse(as_="ann")
    await page.goto("/account")
    watched = Watched(page, console.origin)
    await page.evaluate(FRAME_ALL, [ids, SANDBOX])
    facts = await page.evaluate(FACTS)
    assert (facts["hit"], facts["at"], facts["page"]) == (None, "/account", "MAIN")
    assert facts["frames"] == [f"/mail/{one}/html" for one in ids]
    assert (watched.elsewhere, watched.did) == ([], [])
    # Nor is the console asked for anything but the messages, and what they have for a picture.
    # A picture that cannot be read is at times asked for twice: as the browser looks ahead, and as it comes to it.
    # The console's own page may ask for its icon only now.
    asked = {path for one in watched.requests if not (path := urlsplit(one).path).startswith("/static/icon.")}
    (picture,) = asked - {f"/mail/{one}/html" for one in ids}
    assert picture in {f"/mail/{one}/cid/2" for one in ids}
    assert len(asked) == len(ids) + 1

    # Policy and sandbox are enough by themselves, where nothing is left out of the HTML; a third of it will do.
    ids = ids[::3]
    monkeypatch.setattr(mail_content, "framed", pieces.as_it_is)
    async with unguarded(chromium, console) as (page, reached):
        watched = Watched(page, console.origin)
        # And what a message might do is noticed: outside of its frame it does.
        bare = VECTORS[16] + "<img src=https://evil.example/a.png>"
        await page.route(f"{console.origin}/bare", lambda route: route.fulfill(body=bare, content_type="text/html"))
        await page.goto("/bare")
        await page.wait_for_function("window.hit")
        assert (watched.did, reached) == (["said 1"], ["https://evil.example/a.png"])
        await page.goto("/account")
        watched.did.clear()
        reached.clear()
        await page.evaluate(FRAME_ALL, [ids, SANDBOX])
        facts = await page.evaluate(FACTS)
        assert (facts["hit"], facts["at"], facts["page"]) == (None, "/account", "MAIN")
        assert facts["frames"] == [f"/mail/{one}/html" for one in ids]
        assert (watched.did, reached) == ([], [])


@asynccontextmanager
async def unguarded(chromium: Browser, console: ServedConsole) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page that may complain of what its policy refuses; and what reached the network elsewhere."""
    context = await chromium.new_context(base_url=console.origin)
    reached: list[str] = []

    async def refuse(route: Route) -> None:
        reached.append(route.request.url)
        await route.abort()

    await context.route(lambda url: not url.startswith(f"{console.origin}/"), refuse)
    secret = await console.session("ann")
    await context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": "https://localhost/"}])
    page = await context.new_page()
    page.on("dialog", lambda dialog: dialog.dismiss())
    yield page, reached
    await context.close()


TALL = (
    '<div style="position:fixed;top:-500px;left:0;width:3000px;height:3000px;background:#f00">covers</div>'
    '<p style="height:1500px">Dear Anna, <img src="cid:logo" width="40" height="40" alt="Kestrel">'
    '<img src="https://evil.example/1.gif" width="1" height="1"><img src="//evil.example/banner.png" alt="Banner">'
    '<img src="cid:svg" alt="drawing"></p>'
    '<p><a href="https://real.example/login" title="bank.example">https://bank.example/</a> '
    '<a id=out href="https://real.example/offer">Our offer</a></p>'
)


async def test_a_message_has_its_height_its_pictures_and_links_that_say_where_to(
    console: ServedConsole, browse: Browse, office: Crm, opened: Database
) -> None:
    await console.add("ann")
    email_id, *_ = await brought_in(office, opened, [TALL])
    page = await browse(as_="ann")
    watched = Watched(page, console.origin)
    await page.goto(f"/mail/{email_id}/body")
    frame = page.frame_locator("iframe.mail-frame")
    await expect(page.get_by_text("2 pictures were not loaded")).to_be_visible()
    await expect(page.get_by_text("1 picture of the message cannot be shown")).to_be_visible()
    await expect(frame.get_by_text("(leads to real.example)")).to_be_visible()
    await expect(frame.get_by_role("img", name="Kestrel")).to_have_js_property("naturalWidth", 1)
    assert watched.elsewhere == []
    # All of it is there without scrolling within it, and nothing of it is over the page's own words.
    await page.wait_for_function("document.querySelector('iframe').offsetHeight > 4500")
    inside = "(d => d.scrollHeight <= d.clientHeight)(document.querySelector('iframe').contentDocument.documentElement)"
    assert await page.evaluate(inside)
    assert await page.evaluate("document.querySelector('iframe').offsetHeight") < 4700
    covered = """(h => { const b = h.getBoundingClientRect();
        return document.elementFromPoint(b.x + 5, b.y + b.height / 2) !== h })(document.querySelector('h1'))"""
    assert not await page.evaluate(covered)
    await check_accessible(page)
    await page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # as Playwright has it
    await check_accessible(page)
    # A link opens beside the console, and tells the site nothing of it.
    asked: list[dict[str, str]] = []

    async def answer(route: Route) -> None:
        asked.append(await route.request.all_headers())
        await route.fulfill(body="<title>offer</title>", content_type="text/html")

    await page.context.route("https://real.example/**", answer)
    async with page.context.expect_page() as opening:
        await frame.get_by_role("link", name="Our offer").click()
    beside = await opening.value
    await beside.wait_for_load_state()
    assert (beside.url, await beside.evaluate("[opener, document.referrer]")) == (
        "https://real.example/offer", [None, ""],
    )  # fmt: skip
    assert "referer" not in asked[0]
    assert urlsplit(page.url).path == f"/mail/{email_id}/body"
