"""Pages for administrators: whether all is well, mailboxes, what is sent, and what could not be read."""

from pathlib import Path
from uuid import UUID

from playwright.async_api import expect

from router.operations import audit_log
from tests.support.browser import Browse, check_accessible, shown
from tests.support.crm import Crm
from tests.support.house import a_day_of_numbers, dead, furnish
from tests.support.letters import letter
from tests.support.pages import ServedConsole
from tests.support.unsent import KARL, ULLA, ended


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
    await expect(findings.nth(1).get_by_role("link", name="Held")).to_be_visible()
    await expect(page.get_by_role("img")).to_have_count(4)
    await expect(page.get_by_role("img", name="Copies of mail that came in: ")).to_be_visible()
    await shown(page, "well")
    await page.emulate_media(color_scheme="dark")
    await check_accessible(page)
    await page.set_viewport_size({"width": 320, "height": 640})
    await shown(page, "well-narrow")
    await check_accessible(page)
    # A listener is no mailbox, and nothing of it is audited.
    await office.admin.execute("UPDATE router.source SET folder = ''")
    await page.reload()
    await expect(verdict).to_contain_text("1 listener")
    await expect(verdict).not_to_contain_text("audit")
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
    await office.admin.execute("UPDATE router.source_count SET lag = interval '2.6 seconds'")
    await office.admin.execute(
        "UPDATE router.audit SET missing = 2, missing_since = now() "
        "WHERE source_id = (SELECT id FROM router.source WHERE mailbox = 'jan@velo.example')"
    )
    page = await browse(as_="ann")
    await page.goto("/sources")
    await expect(page.get_by_role("row")).to_have_count(1 + 12 + 2)
    ben = page.get_by_role("row", name="ben@velo.example")
    await expect(ben).to_contain_text("at fault")
    await expect(ben).to_contain_text("3 h ago")
    await expect(ben).to_contain_text("lag 3 s")
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


async def test_what_waits_failed_or_is_unknown_is_ruled_on_after_a_question(
    console: ServedConsole, browse: Browse, office: Crm
) -> None:
    await console.add("ann")
    await office.owner(ULLA)
    failed, unknown = await ended(office, "failed"), await ended(office, "unknown", state="unknown")
    waiting = await office.send(ULLA, [KARL, "lena@kestrel.example"], "Frames for the spring season", "Chairs")
    await office.admin.execute(
        "INSERT INTO router.relay (profile, state, fault, failures, next_try_at, fault_since) VALUES ('relay', "
        "'login_refused', '535 5.7.8 authentication failed', 3, now() + interval '10 minutes', now())"
    )
    page = await browse(as_="ann")

    async def status(email_id: UUID) -> str:
        return str((await office.email(email_id))["status"])

    await page.goto("/outbox")
    await expect(page.get_by_role("link", name="unknown 1")).to_have_attribute("aria-current", "true")
    await expect(page.get_by_role("list", name="Relays")).to_contain_text("refuses the login")
    await shown(page, "outbox")
    await check_accessible(page)
    # What cannot be undone is asked first.
    await page.get_by_role("link", name="Offer").click()
    await expect(page.get_by_text("no such user").first).to_be_visible()
    await shown(page, "outbox-email")
    await check_accessible(page)
    await page.get_by_role("button", name="It arrived").click()
    await expect(page.get_by_role("heading", name="It arrived?")).to_be_visible()
    await check_accessible(page)
    assert await status(unknown) == "unknown"
    await page.get_by_role("button", name="It arrived").click()
    await expect(page.get_by_role("status").first).to_contain_text("It counts as sent.")
    assert await status(unknown) == "sent"
    # Later, and undone.
    await page.goto(f"/outbox/{waiting}")
    await page.get_by_label("When").select_option("in a day")
    await page.get_by_role("button", name="Send later").click()
    await expect(page.get_by_text("Not before")).to_be_visible()
    assert (await office.email(waiting))["send_after"] is not None
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_text("Not before")).to_have_count(0)
    assert (await office.email(waiting))["send_after"] is None
    # All of a list; a number in the address says nothing but numbers.
    await page.goto("/outbox?state=failed")
    await page.get_by_role("button", name="Try now: all").click()
    await page.get_by_role("button", name="Try now: 1").click()
    await expect(page.get_by_text("Done: 1.")).to_be_visible()
    assert await status(failed) == "pending_send"
    await page.emulate_media(color_scheme="dark")
    await page.goto("/outbox?state=pending")
    await expect(page.get_by_role("row")).to_have_count(3)
    await shown(page, "outbox-pending")
    await check_accessible(page)
    await page.set_viewport_size({"width": 320, "height": 640})
    await shown(page, "outbox-narrow")
    await check_accessible(page)
    # Sending as a whole, with why.
    await page.get_by_role("button", name="Stop").click()
    await page.get_by_label("Why, for your colleagues").fill("the wrong price list")
    await page.get_by_role("button", name="Stop sending").click()
    await expect(page.get_by_text("by ann: the wrong price list")).to_be_visible()
    noted = [(one.by, one.action, one.email_id) for one in await audit_log.list_before(console.database)][::-1]
    assert noted[-5:] == [
        ("ann", "email-sent", unknown), ("ann", "email-later", waiting), ("ann", "email-later", waiting),
        ("ann", "emails-retry", None), ("ann", "sending-stopped", None),
    ]  # fmt: skip


async def test_dead_letters_are_looked_at_and_replayed(console: ServedConsole, browse: Browse, office: Crm) -> None:
    await console.add("ann")
    await office.owner(ULLA, "all")
    hostile = letter("Mallory <mallory@evil.example>", ULLA, "</pre><script>alert(1)</script>", "Chairs")
    first, second = await dead(office, ULLA, hostile), await dead(office, ULLA, b"From: <broken", place="2")
    page = await browse(as_="ann")
    await page.goto("/dead-letters")
    await expect(page.get_by_role("row")).to_have_count(3)
    await shown(page, "dead-letters")
    await check_accessible(page)
    await page.get_by_role("link", name=str(first), exact=True).click()
    source = page.get_by_role("region", name="Source as it came")
    await expect(source).to_contain_text("</pre><script>alert(1)</script>")
    await shown(page, "dead-letter")
    await check_accessible(page)
    saved = await page.request.get(f"/dead-letters/{first}/source")
    assert (await saved.body(), saved.headers["content-type"]) == (hostile, "application/octet-stream")
    assert saved.headers["content-disposition"].startswith("attachment")
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_role("heading", name="is one no more")).to_be_visible()
    [email] = await office.rows("SELECT subject FROM crm.email WHERE direction = 'in'")
    assert email["subject"] == "</pre><script>alert(1)</script>"
    # The others are dropped, all at once, after a question.
    await page.goto("/dead-letters")
    await page.get_by_role("button", name="Drop all").click()
    await expect(page.get_by_text("This cannot be undone.")).to_be_visible()
    await check_accessible(page)
    await page.get_by_role("button", name="Drop 1").click()
    await expect(page.get_by_text("Done: 1.")).to_be_visible()
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 320, "height": 640})
    await check_accessible(page)
    noted = [(one.action, one.subject) for one in await audit_log.list_before(console.database)][::-1]
    assert noted[-4:] == [
        ("raw-viewed", f"dead letter {first}"), ("raw-viewed", f"dead letter {first}"),
        ("dead-letter-replay", f"dead letter {first}"), ("dead-letters-drop", "dead letters"),
    ]  # fmt: skip
    gone = await page.goto(f"/dead-letters/{second}")
    assert gone is not None
    assert gone.status == 404, await gone.text()
    # None of it is for others, and nothing is done by looking.
    await console.add("ben", "decide")
    other = await browse(as_="ben")
    for path in ("/sources", "/outbox", "/dead-letters", f"/dead-letters/{first}/source"):
        refused = await other.request.get(path)
        assert refused.status == 403
