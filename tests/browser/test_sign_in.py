"""Signing in, in a browser: the first administrator, everybody else, and whoever has no business there."""

from playwright.async_api import expect

from router.operations import people
from tests.support.browser import NARROW, PASSWORD, Browse, ServedConsole, check_accessible


async def test_the_first_administrator_comes_by_a_link_and_adds_another(console: ServedConsole, browse: Browse) -> None:
    page = await browse()
    await page.goto("/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await check_accessible(page)
    secret = await people.first_link(console.database)
    await page.goto(f"/link/{secret}")
    await check_accessible(page)
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_label("Password").fill("correct horse")
    await page.get_by_label("The same again").fill("another horse")
    await page.get_by_role("button", name="Begin").click()
    await expect(page.get_by_role("alert")).to_contain_text("not the same")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)
    await page.get_by_role("button", name="Begin").click()
    await expect(page.get_by_role("heading", name="People")).to_be_visible()
    await check_accessible(page)
    # The link is used up, for everybody.
    other = await browse(viewport=NARROW)
    await other.goto(f"/link/{secret}")
    await expect(other.get_by_role("heading", name="not valid any more")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill("ben")
    await page.get_by_role("combobox", name="Role").last.select_option("decide")
    await page.get_by_role("button", name="Add").click()
    link = await page.get_by_label("The link for ben").input_value()
    await check_accessible(page)
    await other.goto(link)
    await check_accessible(other)
    await other.get_by_label("Password").fill("ben has a password")
    await other.get_by_label("The same again").fill("ben has a password")
    await other.get_by_role("button", name="Set password").click()
    await expect(other.get_by_role("heading", name="nothing here for you yet")).to_be_visible()
    await expect(other.get_by_role("link", name="People")).to_have_count(0)
    await other.goto("/people")
    await expect(other.get_by_role("heading", name="This is not for you")).to_be_visible()
    await check_accessible(other)
