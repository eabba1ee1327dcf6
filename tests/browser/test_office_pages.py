"""Why?, owners, profiles, rulings, the audit log and templates, in a browser: what each role sees, and may do."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from router.model import Rule
from router.operations import audit_log, people, unresolved
from router.operations.backing import Backing
from router.profile import Profiles
from router.read import read
from router.repository.database import Database
from router.settings import Settings
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.support.browser import NARROW, Browse, browsing, check_accessible
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.pages import ServedConsole, serving
from tests.support.promoting import Promoting

LENA = "lena@kestrel.example"
ANNA, SALES = "anna@velo.example", "sales@velo.example"
FIRST, SECOND, SECRET = "<first@kestrel.example>", "<second@kestrel.example>", "<secret@kestrel.example>"

PROFILES = """
[incoming.staff]
transport = "maildir"
path = "/var/mail/{mailbox}"
owners = ["*@velo.example"]

[incoming.broken]
transport = "imap"
hostt = "mail.velo.example"
owners = ["*@elsewhere.example"]
"""


@pytest_asyncio.fixture(loop_scope="session")
async def console(opened: Database, tmp_path: Path) -> AsyncIterator[ServedConsole]:
    """A console with workers, and a folder of profiles of which one is broken."""
    (tmp_path / "office.toml").write_text(PROFILES)
    backing = Backing(lambda: Profiles((), ()), Settings(profiles=tmp_path))
    async with AsyncExitStack() as stack:
        backing.use_workers(await stack.enter_async_context(Workers(read, unwrap, limit=10, size=1)))
        yield await stack.enter_async_context(serving(opened, backing=backing))


@pytest_asyncio.fixture(loop_scope="session")
async def browse(chromium: Browser, console: ServedConsole) -> AsyncIterator[Browse]:
    async with browsing(chromium, console) as open_page:
        yield open_page


async def check_in_all_looks(page: Page) -> None:
    """Expect it to be accessible, and in the dark on a narrow screen, too."""
    await check_accessible(page)
    await check_narrow(page)


async def check_narrow(page: Page) -> None:
    """Expect it to be accessible in the dark on a narrow screen."""
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a dictionary of these two
    await check_accessible(page)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 1280, "height": 800})


async def test_why_a_message_is_there_in_words_and_only_of_mail_that_one_may_see(
    console: ServedConsole, browse: Browse, opened: Database, office: Crm
) -> None:
    anna = await office.owner(ANNA, "replies", name="Anna Velo")
    await office.owner(SALES, "all", kind="queue", name="Sales")
    await office.record("contact", "Lena Kestrel", LENA)
    mail = Promoting(opened)
    await mail.promote(SALES, letter(LENA, SALES, "Frames for the spring season", Message_ID=FIRST), rule=Rule.ALL)
    answer = letter(LENA, f"{SALES}, {ANNA}", "Re: Frames for the spring season", Message_ID=SECOND, In_Reply_To=FIRST)
    await mail.promote(SALES, answer, rule=Rule.ALL)
    await mail.promote(ANNA, answer, rule=Rule.REPLIES)
    await mail.promote(SALES, letter(LENA, SALES, "Only for sales", Message_ID=SECRET), rule=Rule.ALL)
    await console.add("ann", "administer")
    await console.add("ben", "view", [anna])

    page = await browse(as_="ann")
    await page.goto("/why")
    await page.get_by_label("Message-ID").fill(SECOND)
    await page.get_by_role("button", name="Look").click()
    await expect(page.get_by_role("heading", name="Re: Frames for the spring season")).to_be_visible()
    await expect(page.get_by_role("heading", name=f"Copy in {SALES} promoted")).to_be_visible()
    await expect(page.get_by_role("heading", name=f"Copy in {ANNA} duplicate")).to_be_visible()
    await expect(page.get_by_text("It became the email in the CRM").first).to_be_visible()
    await expect(page.get_by_text("it names that email as what it answers").first).to_be_visible()
    await check_in_all_looks(page)
    # From there to the email that it answers; and by what is known of it.
    await page.get_by_role("link", name="Frames for the spring season", exact=True).click()
    await expect(page.get_by_role("heading", name="Frames for the spring season", exact=True)).to_be_visible()
    await page.goto("/why?sender=@kestrel.example&days=366")
    await expect(page.get_by_role("row")).to_have_count(4)
    await page.goto("/why?message_id=nobody@nowhere.example")
    await expect(page.get_by_text("Not in the CRM").first).to_be_visible()
    await expect(page.get_by_text("Compare the Message-ID")).to_be_visible()
    await check_narrow(page)
    # An address of a person looks like one, and is put into the first field.
    await page.goto(f"/why?message_id={LENA}")
    await page.get_by_role("link", name=f"Look for mail from {LENA}").click()
    await expect(page.get_by_role("row")).to_have_count(4)
    await page.goto("/why?sender=nonsense")
    await expect(page.get_by_role("alert")).to_contain_text("'nonsense' is no address")

    # Ben reads Anna's mail: he sees the email that she received, her copy of it, and nothing of the others.
    staff = await browse(as_="ben")
    await staff.goto(f"/why?message_id={SECOND}")
    await expect(staff.get_by_role("heading", name=f"Copy in {ANNA}")).to_be_visible()
    await expect(staff.get_by_role("heading", name=f"Copy in {SALES}")).to_have_count(0)
    await expect(staff.get_by_text("Frames for the spring season", exact=True)).to_have_count(0)  # what it answers
    for query in (f"message_id={SECRET}", "subject=Only", f"recipient={SALES}&subject=sales"):
        await staff.goto(f"/why?{query}&days=366")
        await expect(staff.get_by_text("Not in the CRM").first).to_be_visible()
        await expect(staff.get_by_role("main")).not_to_contain_text("Only for sales")
    await office.sql.execute("UPDATE crm.email SET private = true WHERE message_id = $1", SECOND.strip("<>"))
    for query in ("subject=Frames", f"message_id={SECOND}"):
        await staff.goto(f"/why?{query}&days=366")
        await expect(staff.get_by_role("main")).not_to_contain_text("Frames for the spring")
    await expect(staff.get_by_role("heading", name="A private email")).to_be_visible()
    await expect(staff.get_by_role("navigation").get_by_role("link")).to_have_text(["Unresolved", "Held", "Why?"])
    for path in ("/owners", "/owners/simulate", "/profiles", "/profiles/templates", "/rulings", "/rulings/log"):
        await staff.goto(path)
        await expect(staff.get_by_role("heading", name="This is not for you")).to_be_visible()


async def test_a_day_of_an_administrator(console: ServedConsole, browse: Browse, opened: Database, office: Crm) -> None:
    await office.owner(ANNA, "replies", name="Anna Velo")
    await office.owner("ben@velo.example", name="Ben", approved=False)
    lena = await office.record("contact", "Lena Kestrel")
    await unresolved.rule(opened, LENA, lena, "carl", None)
    await unresolved.rule(opened, "@spam.example", None, "ann", None)
    await office.sql.execute(
        """
        INSERT INTO crm.template (name, subject, text_body, html_body) VALUES
            ('thanks', 'Re: {{ email.subject }}', 'Dear {{ record.name }}',
             '<p style="color: teal">Dear {{ record.name }}</p>'),
            ('wrong', '{{ nothing.there }}', 'x', NULL)
        """
    )
    await console.add("ann", "administer")
    await console.add("carl", "decide")
    page = await browse(as_="ann")

    await page.goto("/owners")
    await expect(page.get_by_role("row")).to_have_count(3)
    await check_in_all_looks(page)
    await page.get_by_label("State").select_option("not approved")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_label("Change ben@velo.example").click()
    await check_accessible(page)
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_text("ben@velo.example is approved.")).to_be_visible()
    await page.goto("/owners?search=anna")
    await page.get_by_label(f"Change {ANNA}").click()
    await page.get_by_label("Rule").select_option("known")
    await page.get_by_role("button", name="Set the rule").click()
    await expect(page.get_by_role("row", name=ANNA)).to_contain_text("known ann, just now staff")

    await page.get_by_role("link", name="Profiles").click()
    await expect(page.get_by_role("heading", name="Mistakes in the files 2")).to_be_visible()
    await expect(page.get_by_text("office.toml:9").first).to_be_visible()
    await check_narrow(page)

    await page.goto("/profiles/templates")
    await check_narrow(page)
    await page.get_by_role("link", name="thanks").click()
    await expect(page.get_by_text("Re: My order <4711> & the invoice")).to_be_visible()
    await expect(page.frame_locator("iframe").get_by_text("Dear Berta Büro")).to_have_css("color", "rgb(0, 128, 128)")
    await check_narrow(page)
    await page.goto("/profiles/templates/preview?name=wrong")
    await expect(page.get_by_role("alert")).to_contain_text("Nothing can be made of it")

    await page.get_by_role("link", name="Rulings").click()
    await check_narrow(page)
    await page.get_by_label("By").fill("carl")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_role("button", name="Undo ruling 1").click()
    await expect(page.get_by_role("row", name=LENA)).to_contain_text("undone by ann")

    await page.goto("/rulings/log?by=ann")
    await expect(page.get_by_role("row", name="undid ruling 1")).to_be_visible()
    await check_narrow(page)
    done = [(one.action, one.subject) for one in await audit_log.list_before(opened, by="ann")]
    done.remove(("signed-in", "ann"))
    assert done == [
        ("ruling-undone", "ruling 1"), ("rule-set", ANNA), ("owner-approved", "ben@velo.example"),
        ("ruling-made", "ruling 2"),
    ]  # fmt: skip

    # Who decides sees own rulings alone, and undoes no other.
    staff = await browse(as_="carl")
    await staff.goto("/rulings?by=ann")
    await expect(staff.get_by_role("row")).to_have_count(2)
    await expect(staff.get_by_role("row", name="@spam.example")).to_have_count(0)
    # How many emails it touched tells of those, too, that somebody may not see.
    await expect(staff.get_by_role("columnheader", name="Emails")).to_be_visible()
    await people.grant(opened, "carl", await people.grants_named(opened, "decide", [ANNA]))
    await staff.reload()
    await expect(staff.get_by_role("columnheader")).to_have_text(["Sender", "Ruling", "When", "State", "Undo"])
    csrf = await staff.locator("input[name=csrf]").first.input_value()
    refused = await staff.request.post(
        "/rulings/undo", form={"csrf": csrf, "ruling": "2"}, headers={"Origin": console.origin}
    )
    assert (refused.status, "no ruling 2 of yours" in await refused.text()) == (409, True)


async def test_on_a_narrow_screen_the_row_of_pages_begins_where_one_is(console: ServedConsole, browse: Browse) -> None:
    await console.add("ann")
    page = await browse(as_="ann", viewport=NARROW)
    await page.goto("/people")
    pages = page.get_by_role("navigation").first
    await expect(pages.get_by_role("link", name="People")).to_be_in_viewport(ratio=1)
    await expect(pages.get_by_role("link", name="All well?")).not_to_be_in_viewport()


async def test_what_is_seldom_needed_is_in_the_menu_more(console: ServedConsole, browse: Browse) -> None:
    await console.add("ann", "administer")
    await console.add("ben", "decide")
    page = await browse(as_="ann")
    for name, path in (("Audit log", "/rulings/log"), ("Templates of answers", "/profiles/templates")):
        await page.goto("/rulings")
        await page.locator("summary", has_text="More").click()
        await check_accessible(page)
        await page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a dictionary of these two
        await check_accessible(page)
        await expect(page.get_by_role("link", name=name).first).to_be_in_viewport(ratio=1)
        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.get_by_label("More pages").get_by_role("link", name=name).click()
        await expect(page).to_have_url(re.compile(f"{path}$"))
        # The page itself is marked, and not the one above it.
        await expect(page.locator("header [aria-current=page]")).to_have_text([name])
        await expect(page.locator("summary.here")).to_have_text("More")
    staff = await browse(as_="ben")
    await staff.goto("/queue")
    await expect(staff.locator("summary", has_text="More")).to_have_count(0)
