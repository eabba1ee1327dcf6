"""Pages for administrators: whether all is well, mailboxes, what is sent, and what could not be read."""

from pathlib import Path

from playwright.async_api import expect

from tests.support.browser import Browse, check_accessible, shown
from tests.support.crm import Crm
from tests.support.house import a_day_of_numbers, furnish
from tests.support.pages import ServedConsole


async def test_an_administrator_begins_with_whether_all_is_well(
    console: ServedConsole, browse: Browse, office: Crm, tmp_path: Path
) -> None:
    await console.add("ann")
    await furnish(office, console.database, tmp_path)
    page = await browse(as_="ann")
    await page.goto("/")
    assert page.url == f"{console.origin}/well"
    verdict = page.get_by_role("heading", level=1)
    await expect(verdict).to_have_text("Everything is well: 12 mailboxes, last audit 2 h ago, 0 unaccounted")
    await expect(page.get_by_text("Nothing was noted yet")).to_have_count(4)
    await check_accessible(page)
    # Something is wrong, something else waits: the worst comes first, each with what to do.
    await a_day_of_numbers(office)
    await office.admin.execute(
        "UPDATE router.source SET fault = 'the server refuses the login of the mailbox', fault_since = now() "
        "WHERE mailbox = 'ben@velo.example'"
    )
    await office.admin.execute(
        "UPDATE router.source_count SET held = 3 WHERE last_at = (SELECT max(last_at) FROM router.source_count)"
    )
    await page.reload()
    await expect(verdict).to_contain_text("1 thing is wrong, 1 more to look at.")
    findings = page.get_by_role("list", name="What is wrong").get_by_role("listitem")
    await expect(findings.nth(0)).to_contain_text("the server refuses the login of the mailbox")
    await expect(findings.nth(0)).to_contain_text("email-router test staff")
    await expect(findings.nth(1)).to_contain_text("3 copies of mail")
    await expect(page.get_by_role("img")).to_have_count(4)
    await expect(page.get_by_role("img", name="Copies of mail that came in: ")).to_be_visible()
    await shown(page, "well")
    await page.emulate_media(color_scheme="dark")
    await check_accessible(page)
    await page.set_viewport_size({"width": 320, "height": 640})
    await shown(page, "well-narrow")
    await check_accessible(page)
    # Whoever does not administer all mail has no business here.
    await console.add("ben", "decide")
    other = await browse(as_="ben")
    await other.goto("/well")
    await expect(other.get_by_role("heading", name="This is not for you")).to_be_visible()
    await expect(other.get_by_role("link", name="All well?")).to_have_count(0)


async def test_sources_are_found_among_hundreds_and_each_ledger_adds_up(
    console: ServedConsole, browse: Browse, office: Crm, tmp_path: Path
) -> None:
    await console.add("ann")
    await furnish(office, console.database, tmp_path)
    await office.admin.execute(
        "UPDATE router.source SET fault = 'the server refuses the login of the mailbox', "
        "fault_since = now() - interval '3 hours', next_try_at = now() + interval '11 minutes' "
        "WHERE mailbox = 'ben@velo.example'"
    )
    await office.admin.execute(
        "UPDATE router.audit SET missing = 2, missing_since = now() "
        "WHERE source_id = (SELECT id FROM router.source WHERE mailbox = 'jan@velo.example')"
    )
    page = await browse(as_="ann")
    await page.goto("/sources")
    await expect(page.get_by_role("row")).to_have_count(1 + 12 + 2)
    ben = page.get_by_role("row", name="ben@velo.example")
    await expect(ben).to_contain_text("at fault")
    await expect(ben.get_by_role("img")).to_have_accessible_name("421 = 134 promoted + 7 duplicate + 280 ignored")
    jan = page.get_by_role("row", name="jan@velo.example")
    name = "1,279 = 1,094 promoted + 63 duplicate + 120 ignored + 2 unaccounted"
    await expect(jan.get_by_role("img")).to_have_accessible_name(name)
    await shown(page, "sources")
    await check_accessible(page)
    await page.get_by_role("link", name="in trouble 2").click()
    await expect(page.get_by_role("row")).to_have_count(1 + 2 + 2)
    await expect(page.get_by_text("next try in 1")).to_be_visible()
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 320, "height": 640})
    await shown(page, "sources-narrow")
    await check_accessible(page)
    # Hundreds: a page at a time, and what is sought at once.
    await office.admin.execute(
        "INSERT INTO router.source (profile, mailbox, folder, begins_at, account) "
        "SELECT 'old', 'box' || lpad(n::text, 3, '0') || '@velo.example', 'INBOX', now(), 'old' "
        "FROM generate_series(1, 250) AS n"
    )
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.goto("/sources")
    await page.get_by_role("link", name="Next 100").click()
    await page.get_by_role("link", name="Next 100").click()
    await expect(page.get_by_role("row")).to_have_count(1 + 50 + 12 + 2)
    await expect(page.get_by_role("link", name="Next")).to_have_count(0)
    await page.get_by_role("searchbox").fill("BOX17")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_role("row")).to_have_count(1 + 10)
