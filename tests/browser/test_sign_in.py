"""Signing in, in a browser: the first administrator, everybody else, and whoever has no business there."""

from ipaddress import ip_network

from playwright.async_api import Browser, Page, expect

from router.operations import audit_log, people
from router.repository.database import Database
from router.web.forwarded import Proxies
from tests.support.browser import (
    NARROW,
    PASSWORD,
    Browse,
    browsing,
    check_accessible,
)
from tests.support.pages import ServedConsole, serving


async def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def choose_password(page: Page, button: str, password: str = PASSWORD, again: str = PASSWORD) -> None:
    await page.get_by_label("Password").fill(password)
    await page.get_by_label("The same again").fill(again)
    await page.get_by_role("button", name=button).click()


async def test_the_first_administrator_comes_by_a_link_and_adds_another(console: ServedConsole, browse: Browse) -> None:
    page = await browse()
    # Who opens the console before that is told how to come in, also with a link that is none any more.
    await page.goto("/sign-in")
    await expect(page.get_by_text("Nobody may use this console yet.")).to_be_visible()
    await check_accessible(page)
    await page.goto("/link/was-used")
    await expect(page.get_by_text("email-router staff link prints another")).to_be_visible()
    secret = await people.first_link(console.database)
    await page.goto(f"/link/{secret}")
    await check_accessible(page)
    await page.get_by_label("Name").fill("Ann")
    await choose_password(page, "Begin", again="another password")
    await expect(page.get_by_role("alert")).to_contain_text("not the same")
    await choose_password(page, "Begin")
    await page.get_by_role("link", name="People").click()
    await expect(page.get_by_role("heading", name="People")).to_be_visible()
    await check_accessible(page)
    # The link is used up, for everybody.
    other = await browse(viewport=NARROW)
    await other.goto(f"/link/{secret}")
    await expect(other.get_by_role("heading", name="not valid any more")).to_be_visible()
    await expect(other.get_by_text("Ask an administrator for another.")).to_be_visible()
    assert await people.first_link(console.database) is None
    await page.get_by_label("Name", exact=True).fill("ben")
    await page.get_by_role("combobox", name="Role").last.select_option("decide")
    await page.get_by_role("button", name="Add").click()
    link = await page.get_by_label("The link for ben").input_value()
    await check_accessible(page)
    await other.goto(link)
    await check_accessible(other)
    await choose_password(other, "Set password")
    await expect(other.get_by_role("heading", name="Unresolved")).to_be_visible()
    # What the role may not do is not shown, and not served either.
    await expect(other.get_by_role("link", name="People")).to_have_count(0)
    await other.goto("/people")
    await expect(other.get_by_role("heading", name="This is not for you")).to_be_visible()
    await check_accessible(other)
    done = [(one.by, one.action, one.subject) for one in await audit_log.list_before(console.database)]
    assert done[::-1] == [
        ("ann", "person-added", "ann"), ("ann", "password-chosen", "ann"), ("ann", "signed-in", "ann"),
        ("ann", "person-added", "ben"), ("ben", "password-chosen", "ben"), ("ben", "signed-in", "ben"),
    ]  # fmt: skip


async def test_a_day_of_sessions(console: ServedConsole, browse: Browse) -> None:
    page = await browse(viewport=NARROW)
    await page.goto(await console.add("ann"))
    await choose_password(page, "Set password")
    await page.get_by_text("ann", exact=True).first.click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await check_accessible(page)
    # Signed out, one comes back to where one wanted to go; never elsewhere.
    await page.goto("/account")
    await sign_in(page, "ann", "a wrong password")
    await expect(page.get_by_role("alert")).to_contain_text("do not go together")
    await check_accessible(page)
    await sign_in(page, "Ann")
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    assert page.url == f"{console.origin}/account"
    await check_accessible(page)
    cookies = {one["name"]: one for one in await page.context.cookies()}
    zone = cookies.pop("__Host-email-router-zone")  # as the page's own script has told it: no secret
    assert (zone["secure"], zone["sameSite"]) == (True, "Lax")
    assert set(cookies) == {"__Host-email-router", "__Host-email-router-device"}
    assert all(one["secure"] and one["httpOnly"] and one["sameSite"] == "Lax" for one in cookies.values())
    # A session in another browser is ended from here, and the page there says so with the next click.
    other = await browse(as_="ann", color_scheme="dark")
    await other.goto("/people")
    await check_accessible(other)
    await page.reload()
    await page.get_by_role("button", name="End the session in tests").click()
    await expect(page.get_by_text("The session has ended.")).to_be_visible()
    await other.get_by_role("link", name="People").click()
    await expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    await check_accessible(other)
    # A new password ends the others.
    await other.context.add_cookies(
        [{"name": "__Host-email-router", "value": await console.session("ann"), "url": "https://localhost/"}]
    )
    await page.get_by_label("The one you have now").fill(PASSWORD)
    await page.get_by_label("The new one").fill("another password")
    await page.get_by_label("The same again").fill("another password")
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_text("Your password is changed")).to_be_visible()
    await other.goto("/account")
    await expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.goto("/sign-in?to=//elsewhere.example/")
    assert page.url == f"{console.origin}/well"


async def test_light_and_dark_are_as_the_system_has_them_or_as_one_chooses(
    console: ServedConsole, browse: Browse
) -> None:
    await console.add("ann")
    page = await browse(as_="ann", color_scheme="dark", reduced_motion="reduce")
    await page.goto("/account")

    async def is_dark() -> bool:
        color: str = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        return color == "rgb(23, 25, 29)"

    assert await is_dark()
    await page.get_by_text("ann", exact=True).first.click()
    await check_accessible(page)
    await page.get_by_role("button", name="Light").click()
    await expect(page.locator("html[data-theme=light]")).to_be_visible()
    assert not await is_dark()
    assert page.url == f"{console.origin}/account"
    # The server knows it before the page is there: nothing flashes.
    assert 'data-theme="light"' in await (await page.request.get("/account")).text()
    await page.emulate_media(media="print")
    await expect(page.get_by_role("navigation")).to_be_hidden()


async def test_behind_a_proxy_with_a_prefix_that_says_who_it_is(chromium: Browser, opened: Database) -> None:
    proxies = Proxies([ip_network("127.0.0.0/8")], "Remote-User")
    async with serving(opened, proxies) as console, browsing(chromium, console) as browse:
        await console.add("ann")
        said = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/mail", "X-Forwarded-For": "203.0.113.9"}
        page = await browse(extra_http_headers=said)
        await page.goto("/mail/people")
        assert page.url == f"{console.origin}/mail/sign-in?to=/people"
        await page.set_extra_http_headers({**said, "Remote-User": "ann"})
        await page.goto("/mail/sign-in?to=/people")
        await expect(page.get_by_role("link", name="People")).to_have_attribute("href", "/mail/people")
        await page.get_by_label("Name", exact=True).fill("ben")
        await page.get_by_role("button", name="Add").click()
        assert "/mail/link/" in await page.get_by_label("The link for ben").input_value()
        assert (await audit_log.list_before(console.database))[1].address == "203.0.113.9"
        # The proxy signs somebody else in, or out: the session was the other's.
        await page.set_extra_http_headers({**said, "Remote-User": "ben"})
        await page.goto("/mail/people")
        await expect(page.get_by_role("heading", name="This is not for you")).to_be_visible()
        await page.set_extra_http_headers({**said, "Remote-User": "nobody"})
        await page.goto("/mail/people")
        await expect(page.get_by_role("heading", name="You have no account here")).to_be_visible()
