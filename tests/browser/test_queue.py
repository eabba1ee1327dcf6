"""The staff's day: who waits is settled by keys, as it comes, beside others, and by who may."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from router.model import Classification, Mark, Verdict
from router.operations.queue import ruling
from router.repository.database import Database
from router.repository.incoming.registry import Source, register
from router.repository.senders import fold
from router.repository.senders.fold import EVERYBODY
from tests.integration.test_sender_queue_large import fill
from tests.support.browser import NARROW, Browse, check_accessible
from tests.support.crm import Crm
from tests.support.pages import ServedConsole
from tests.support.senders import STAFF, Senders

LENA, JO, NEW, BEN = "lena@kestrel.test", "jo@kestrel.test", "new@new.test", "ben@heron.test"
SIGNED = "Dear Anna,\n\nthe frames are ready.\n\n> When are they?\n> Anna\n\nLena Kestrel\nKestrel Tours Ltd"
QUOTED, SIGNATURE = SIGNED.index(">"), SIGNED.index("Lena")


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


async def signed(writers: Senders, number: int) -> None:
    """Lena writes so often, with a quote and a signature."""
    marks = (Mark(QUOTED, SIGNATURE - 1, "quote"), Mark(SIGNATURE, len(SIGNED), "signature"))
    for _ in range(number):
        message = writers.message(LENA, name="Lena Kestrel", text=SIGNED)
        await writers.promote([writers.copy(message, marks=marks)])


async def shown(page: Page, address: str) -> None:
    """Expect that this sender is open, and keys are heard."""
    await expect(page.locator(f"#opened:not([aria-busy]) article[data-sender='{address}']")).to_be_visible()


def row(page: Page, address: str) -> Locator:
    return page.locator(f"li[data-address='{address}']")


async def test_a_day_by_keys(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "decide")
    lena = await writers.crm.record("contact", "Lena Kestrel")
    await writers.write(NEW)
    await folded(writers)
    page = await browse(as_="ann")
    await page.goto("/queue")
    await expect(page.locator("main[data-live=yes]")).to_be_visible()
    # Who is new learns all keys before anything is open.
    await page.keyboard.press("?")
    for words in ("New contact", "Whole domain", "Ignore the sender", "Undo", "Never track", "Search the mail"):
        await expect(page.locator("#keys")).to_contain_text(words)
    await check_accessible(page)
    await page.keyboard.press("Escape")
    # Mail comes while one looks, and a key opens it and another links it: with its siblings, and undone by a third.
    await signed(writers, 2)
    await folded(writers)
    await expect(row(page, LENA)).to_be_visible()
    await page.keyboard.press("j")
    await shown(page, LENA)
    await expect(page.get_by_role("button", name="Lena Kestrel contact")).to_be_visible()
    await expect(page.get_by_text("2 past and all future emails")).to_be_visible()
    await expect(page.get_by_text("When are they?")).to_be_hidden()
    await check_accessible(page)
    await page.keyboard.press("Enter")
    await expect(page.locator("#foot")).to_contain_text("2 emails, and all to come")
    await expect(row(page, LENA)).to_have_count(0)
    await shown(page, NEW)
    assert await writers.senders(LENA) == [lena, lena]
    await page.keyboard.press("z")
    await expect(page.locator("#foot")).to_contain_text("Undone")
    await shown(page, "lena@kestrel.test")
    assert await writers.senders(LENA) == [None, None]
    # A contact is made, as the signature and the name say, and as one puts it.
    await page.keyboard.press("n")
    name = page.get_by_label("Name", exact=True)
    await expect(name).to_have_value("Lena Kestrel")
    await expect(name).to_be_focused()
    await check_accessible(page)
    await page.keyboard.type("Lena Kestrel-Tours")  # in place of what was guessed
    await page.keyboard.press("Enter")
    await expect(page.locator("#foot")).to_contain_text("a new contact, Lena Kestrel-Tours")
    [made] = await writers.crm.rows("SELECT id FROM crm.record WHERE name = 'Lena Kestrel-Tours'")
    assert await writers.senders(LENA) == [made["id"], made["id"]]
    # Whom nobody can be is looked for by name; who is put off is gone until then; the list of keys names both.
    await shown(page, "new@new.test")
    await page.keyboard.press("f")
    await expect(page.get_by_label("A record by name or address")).to_be_focused()
    await writers.crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", made["id"])
    await page.keyboard.type("lena k")
    await expect(page.locator("#found .choice")).to_have_count(2)
    await expect(page.locator("#found .choice:disabled")).to_contain_text("Lena Kestrel-Tours contact, out of use")
    await page.keyboard.press("Escape")
    await page.keyboard.press("?")
    await expect(page.locator("#keys")).to_contain_text("Put off")
    await check_accessible(page)
    await page.keyboard.press("Escape")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("put off")
    await check_accessible(page)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="2 tomorrow 9:00").wait_for()
    await page.keyboard.press("2")
    await expect(page.locator("#foot")).to_contain_text("09:00")
    await expect(page.get_by_text("Nobody is waiting. The last one was settled at")).to_contain_text("by ann")
    await expect(page.get_by_text("1 ruling was made today.")).to_be_visible()
    await check_accessible(page)
    await page.goto("/rulings")
    await expect(page.get_by_role("row", name="lena@kestrel.test")).to_have_count(2)
    await check_accessible(page)
    await page.get_by_role("button", name="on lena@kestrel.test").click()
    await expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    assert await writers.senders(LENA) == [None, None]


async def test_a_sender_is_put_off_by_the_clock_of_the_person(
    console: ServedConsole, writers: Senders, browse: Browse
) -> None:
    await console.add("ann", "decide")
    await writers.write(LENA)
    await folded(writers)
    page = await browse(as_="ann", timezone_id="Asia/Tokyo")
    await page.goto(f"/queue?sender={LENA}")
    await expect(page.get_by_text("Nobody is waiting")).to_have_count(0)
    await page.keyboard.press("b")
    await expect(page.get_by_text("Times are those of Asia/Tokyo.")).to_be_visible()
    await check_accessible(page)
    day = (datetime.now(UTC) + timedelta(days=3)).date()
    await page.get_by_label("Or another time").fill(f"{day}T14:15")
    await page.get_by_role("button", name="Put off until then").click()
    await expect(page.locator("#foot")).to_contain_text("put off until")
    await expect(page.locator("#foot")).to_contain_text("14:15")
    until = await writers.crm.admin.fetchval("SELECT snoozed_until FROM router.sender_care")
    assert until == datetime(day.year, day.month, day.day, 5, 15, tzinfo=UTC)
    await page.goto("/queue?view=snoozed")
    await expect(row(page, LENA)).to_contain_text("back at 14:15 on")
    await check_accessible(page)


async def test_what_our_mail_server_says_of_a_sender(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "decide")
    page = await browse(as_="ann")
    said = {
        LENA: (Verdict("mail.in.test", (("dmarc", "pass"),)), "Vouched for by mail.in.test (DMARC pass)."),
        JO: (Verdict("mail.in.test", (("spf", "pass"),)), "mail.in.test does not vouch for the sender (SPF pass)."),
        BEN: (Verdict("mail.in.test", (("dmarc", "fail"),)), "Not vouched for: our server says that it is not from"),
        NEW: (None, "Our mail server has said nothing of its sender"),
    }
    ids = {}
    for sender, (verdict, _) in said.items():
        kind = Classification(verdict=verdict)
        [decision] = await writers.promote([writers.copy(writers.message(sender), classification=kind)])
        ids[sender] = decision.email_id
    await folded(writers)
    for sender, (_, words) in said.items():
        await page.goto(f"/queue?sender={sender}")
        await expect(page.get_by_text(words)).to_be_visible()
        await check_accessible(page)
    await page.goto(f"/why?email={ids[LENA]}")
    await expect(page.get_by_text(said[LENA][1])).to_be_visible()


async def test_two_people_and_one_sender(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    for name in ("ann", "ben"):
        await console.add(name, "decide")
    kestrel = await writers.crm.record("account", "Kestrel Tours", "office@kestrel.test")
    await writers.write(LENA)
    await writers.write(JO)
    await writers.write(BEN)
    await folded(writers)
    anns = await browse(as_="ann")
    bens = await browse(as_="ben", color_scheme="dark", viewport=NARROW)
    for page in (anns, bens):
        await page.goto("/queue")
        await expect(page.locator("main[data-live=yes]")).to_be_visible()
    await check_accessible(bens)
    await row(bens, LENA).click()
    await shown(bens, "lena@kestrel.test")
    await check_accessible(bens)
    await expect(row(anns, LENA)).to_contain_text("ben looks")
    await row(anns, LENA).click()
    await expect(bens.get_by_text("ann looks at this, too.")).to_be_visible()
    # The whole domain: one is told what that touches, and the same key again does it.
    # What Ben does at the same moment is refused below: his page does not hear of Ann's ruling.
    await bens.evaluate("stream.close()")
    await anns.keyboard.press("d")
    await expect(anns.locator("#found")).to_contain_text("Kestrel Tours")
    await anns.keyboard.press("ArrowDown")
    await anns.keyboard.press("Enter")
    await expect(anns.get_by_text("that touches 2 emails that wait")).to_be_visible()
    await check_accessible(anns)
    assert await writers.senders(LENA) == [None]
    await anns.keyboard.press("Enter")
    await expect(anns.locator("#foot")).to_contain_text("@kestrel.test is linked to Kestrel Tours: 2 emails")
    assert await writers.senders(JO) == [kestrel]
    await expect(row(anns, JO)).to_have_count(0)
    await shown(anns, "ben@heron.test")
    await bens.keyboard.press("x")
    await expect(bens.get_by_role("alert")).to_contain_text("ann was first: @kestrel.test is linked to Kestrel Tours.")
    assert await writers.senders(LENA) == [kestrel]
    await check_accessible(bens)
    # Who only reads is told when somebody settles what is read.
    await bens.evaluate("stream = null; listen()")
    await expect(bens.locator("main[data-live=yes]")).to_be_visible()
    await bens.get_by_role("link", name="Back to the list").click()
    await row(bens, BEN).click()
    await shown(bens, "ben@heron.test")
    heron = await writers.crm.record("contact", "Ben Heron")
    await ruling.link(writers.database, None, BEN, heron, "ann", None)
    await expect(bens.get_by_role("alert")).to_contain_text("ann linked the sender to Ben Heron")


async def test_who_may_not_see_or_decide_does_not(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    sales = await writers.crm.owner("sales@in.test", "all")
    await console.add("ann", "view", [writers.owner_id])
    await console.add("ben", "decide", [sales])
    [secret] = await writers.write(LENA, subject="a secret")
    await folded(writers)
    page = await browse(as_="ann")
    await page.goto(f"/queue?sender={LENA}")
    await expect(page.get_by_text("You may read this mail, and not decide on it.")).to_be_visible()
    await page.keyboard.press("x")
    await check_accessible(page)
    token = await page.locator("input[name=csrf]").first.input_value()
    same = {"Sec-Fetch-Site": "same-origin"}
    refused = await page.request.post(
        "/queue/rule", form={"csrf": token, "subject": LENA, "do": "ignore"}, headers=same, fail_on_status_code=False
    )
    assert refused.status == 409
    assert await writers.waiting() == [LENA]
    other = await browse(as_="ben")
    await other.goto("/queue")
    await expect(other.get_by_text("Nobody is waiting.")).to_be_visible()
    for path in (f"sender?sender={LENA}", f"sender?sender={LENA}&email={secret}", "list", f"rows?address={LENA}"):
        answer = await other.request.get(f"/queue/{path}")
        text = await answer.text()
        assert answer.ok, path
        assert "secret" not in text, path
        assert "hello" not in text, path
    await other.goto(f"/queue?sender={LENA}&q=secret")
    await expect(other.get_by_text("Nothing of lena@kestrel.test waits")).to_be_visible()


async def test_without_scripts_and_what_is_held(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "decide")
    await writers.crm.record("contact", "Lena Kestrel")
    await writers.write(LENA, 21, name="Lena Kestrel")
    await folded(writers)
    page = await browse(as_="ann", java_script_enabled=False)
    await page.goto("/queue")
    await page.get_by_role("link", name="Lena Kestrel").click()
    await page.get_by_role("button", name="Lena Kestrel contact").click()
    await expect(page.get_by_text("that touches 21 emails")).to_be_visible()
    await page.get_by_role("button", name="Yes, all of them").click()
    await expect(page.get_by_text("lena@kestrel.test is linked to Lena Kestrel")).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await page.goto("/queue")
    await expect(row(page, LENA)).to_be_visible()
    await folded(writers)
    await page.goto("/queue?q=number")
    await expect(row(page, LENA).first).to_be_visible()


async def test_whom_enter_takes_and_what_opens(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "decide")
    await writers.crm.record("contact", "Anna Kestrel", "anna@kestrel.test")
    await writers.write(LENA, 3, name="Lena Kestrel")
    await writers.promote([writers.copy(writers.message(LENA, mentions=()))])
    await folded(writers)
    page = await browse(as_="ann")
    await page.goto("/queue?q=number")
    # A row is a sender, however many emails are found; that one can be opened again.
    await expect(page.locator("li[data-address]")).to_have_count(2)
    await row(page, LENA).click()
    await shown(page, LENA)
    await expect(page).to_have_url(re.compile("q=number.*sender=lena%40kestrel.test"))
    # Of a colleague one is never by Enter alone; of the company one may be.
    await expect(page.get_by_text("None of these is likely.")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("[data-key~=Enter]")).to_have_count(0)
    kestrel = await writers.crm.record("account", "Zebra Tours", "office@kestrel.test")
    await page.reload()
    await shown(page, LENA)
    await expect(page.locator("[data-key~=Enter]")).to_contain_text("Zebra Tours account · office@kestrel.test")
    # What is proposed for the domain is chosen by its number.
    await page.keyboard.press("d")
    await expect(page.locator("#found .choice")).to_have_count(1)
    await page.keyboard.press("1")
    await page.get_by_text("that touches 3 emails").wait_for()
    await page.keyboard.press("1")
    await expect(page.locator("#foot")).to_contain_text("@kestrel.test is linked to Zebra Tours")
    assert await writers.senders(LENA) == [kestrel] * 3
    # Mail without a sender can be read; nobody is asked whose it is.
    await page.goto("/queue")
    await expect(page.locator("a[aria-current=true]")).to_have_count(0)
    await page.keyboard.press("j")
    await expect(page.get_by_text("These emails name no sender")).to_be_visible()
    await check_accessible(page)
    # But it can be ignored, all of it, and that is undone as well.
    await page.keyboard.press("x")
    await expect(page.locator("#foot")).to_contain_text("Mail without a sender is ignored: 1 email, and all to come.")
    await expect(page.get_by_text("Nobody is waiting.")).to_be_visible()
    await page.locator("#foot").get_by_role("button", name="Undo").click()
    await expect(page.locator("#foot")).to_contain_text("Undone: mail without a sender is as it was before.")
    await expect(page.get_by_text("These emails name no sender")).to_be_visible()
    await page.goto("/rulings")
    await expect(page.get_by_role("rowheader", name="mail without a sender")).to_be_visible()
    # Who decides on some mail alone is told who can.
    await console.add("bob", "decide", [writers.owner_id])
    page = await browse(as_="bob")
    await page.goto("/queue?sender=%3C%3E")
    await expect(page.get_by_text("Who decides on all mail can ignore them.")).to_be_visible()
    await expect(page.locator("[data-key=x]")).to_have_count(0)


async def test_what_was_only_forwarded_is_not_folded(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "view")
    text = (
        "---------- Forwarded message ---------\nFrom: Jo <jo@kestrel.test>\nSubject: Frames\n\nThe frames are ready."
    )
    message = writers.message(LENA, text=text)
    await writers.promote([writers.copy(message, marks=(Mark(0, len(text), "forward"),))])
    await folded(writers)
    page = await browse(as_="ann")
    await page.goto(f"/queue?sender={LENA}")
    await expect(page.get_by_text("The frames are ready.")).to_be_visible()


async def test_an_account_is_not_called_as_a_person(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "decide")
    await writers.write("lena@gmail.com", name="Lena Kestrel")
    await folded(writers)
    page = await browse(as_="ann")
    await page.goto("/queue?sender=lena@gmail.com&panel=new&kind=account")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("")
    await page.goto("/queue?sender=lena@gmail.com&panel=new&kind=contact")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Lena Kestrel")


async def test_what_is_held_is_decided_on_twice(console: ServedConsole, writers: Senders, browse: Browse) -> None:
    await console.add("ann", "decide")
    page = await browse(as_="ann")
    await page.goto("/held")
    await expect(page.get_by_role("heading", name="Nothing is held")).to_be_visible()
    for place in ("first", "second"):
        await writers.crm.admin.execute(
            """
            INSERT INTO router.decision (source_id, validity, place, owner_id, disposition, rule, reasons, received_at)
            SELECT min(id), '1', $1, $2, 'held', 'all', ARRAY['held for review'], now() FROM router.source
            """,
            place,
            writers.owner_id,
        )
    await page.reload()
    await page.keyboard.press("e")
    await expect(page.get_by_text("Its content is gone then").first).to_be_visible()
    await check_accessible(page)
    assert await writers.crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE disposition = 'held'") == 2
    await page.keyboard.press("e")
    await expect(page.get_by_role("status").first).to_contain_text("It is dropped")
    await expect(page.get_by_text("Held for review.")).to_have_count(1)
    # What cannot be released now says why, and is held as before.
    await page.keyboard.press("r")
    await page.get_by_role("button", name="Release it").wait_for()
    await page.keyboard.press("r")
    await expect(page.get_by_role("status").first).to_contain_text("It is held as before")
    await expect(page.get_by_text("Held for review.")).to_have_count(1)


async def test_the_queue_is_filtered_by_owner_domain_and_age_with_counts(
    console: ServedConsole, writers: Senders, browse: Browse
) -> None:
    await console.add("ann", "decide")
    sales = await writers.crm.owner("sales@in.test", "all", kind="queue")
    now = datetime.now(UTC)
    *_, decision = await writers.promote([
        replace(writers.copy(writers.message(sender)), received_at=now - timedelta(days=days))
        for sender, days in ((LENA, 0), (JO, 9), (NEW, 40))
    ])  # fmt: skip
    await writers.crm.admin.execute(
        "INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at) "
        "VALUES ($1, $2, 'sales', 'INBOX', '1', now())",
        decision.email_id,
        sales,
    )
    await folded(writers)
    page = await browse(as_="ann")
    await page.goto("/queue")
    queues = page.locator("optgroup[label=Queues] option")
    await expect(queues).to_have_text(["sales@in.test (1)"])
    await expect(page.locator("optgroup[label=People] option")).to_have_text([f"{STAFF} (3)"])
    ages = ["Any age", "Waiting over a day (2 domains)", "Over a week (2 domains)", "Over a month (1 domain)"]
    await expect(page.get_by_label("For how long").locator("option")).to_have_text(ages)
    await check_accessible(page)
    await page.get_by_label("Why").select_option("nobody")
    await expect(page.get_by_label("Why").locator("option:checked")).to_have_text("No record has the address (3)")
    await expect(page.locator("a.sender")).to_have_count(3)
    await page.get_by_role("link", name="All", exact=True).click()
    await page.get_by_role("link", name="kestrel.test", exact=True).click()
    await expect(page.get_by_label("Of which domain")).to_have_value("kestrel.test")
    await expect(page.locator("a.sender")).to_have_count(2)
    await check_accessible(page)
    await page.get_by_label("For how long").select_option("week")
    await expect(page.locator("a.sender")).to_have_count(1)
    await expect(row(page, JO)).to_be_visible()
    await page.get_by_label("Of which domain").fill("@NEW.test")
    await page.get_by_label("Of which domain").press("Enter")
    await expect(row(page, NEW)).to_be_visible()
    await page.get_by_role("link", name="All", exact=True).click()
    await page.get_by_label("For whom").select_option(str(sales))
    await expect(page.locator("a.sender")).to_have_count(1)
    await page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a dictionary of these two
    await check_accessible(page)


async def test_held_mail_is_worked_through_by_keys_and_filters_and_as_it_changes(
    console: ServedConsole, writers: Senders, browse: Browse
) -> None:
    await console.add("ann", "decide")
    sales = await writers.crm.owner("sales@in.test", "all")

    async def hold(place: str, owner_id: UUID, reason: str) -> int:
        made: int = await writers.crm.admin.fetchval(
            """
            INSERT INTO router.decision (source_id, validity, place, owner_id, disposition, rule, reasons, received_at)
            SELECT min(id), '1', $1, $2, 'held', 'all', ARRAY[$3], now() FROM router.source RETURNING id
            """,
            place,
            owner_id,
            reason,
        )
        return made

    first, second = await hold("1", sales, "loop: 11 an hour"), await hold("2", writers.owner_id, "forwarded by nobody")
    page = await browse(as_="ann")
    await page.goto("/held")
    await expect(page.get_by_role("heading", name="Held 2")).to_be_visible()
    await check_accessible(page)
    # A key is about the message that is marked: the second is dropped, and not the first.
    marked = page.locator("li[aria-current]")
    await expect(marked).to_have_attribute("data-held", str(second))
    await page.keyboard.press("j")
    await expect(marked).to_have_attribute("data-held", str(first))
    # What it says is read again, where it can be, and told beside it.
    await page.keyboard.press("o")
    await expect(marked.get_by_role("alert")).to_contain_text("Its bytes are not kept")
    await check_accessible(page)
    await page.keyboard.press("?")
    await expect(page.locator("#keys")).to_contain_text("Next message")
    await check_accessible(page)
    await page.keyboard.press("Escape")
    await page.keyboard.press("e")
    await expect(marked.get_by_text("Its content is gone then")).to_be_visible()
    await page.keyboard.press("e")
    await expect(page.get_by_role("status").first).to_contain_text("It is dropped")
    await expect(page.locator("li[data-held]")).to_have_count(1)
    third = await hold("3", sales, "loop: 11 an hour")
    await page.goto("/held")
    await page.get_by_label("Why").select_option("loop")
    await expect(page.get_by_role("heading", name="Held 1")).to_be_visible()
    await expect(page.get_by_label("For whom").locator("option")).to_have_text(["For anybody", "sales@in.test (1)"])
    await check_accessible(page)
    # What comes is told, and what others decide on is marked, while one looks.
    await hold("4", sales, "loop: 11 an hour")
    await writers.crm.admin.execute("UPDATE router.decision SET disposition = 'ignored' WHERE id = $1", third)
    await expect(page.get_by_role("link", name="1 new")).to_be_visible(timeout=20_000)
    await expect(page.get_by_text("It is not held any more")).to_be_visible()
    await check_accessible(page)
    await page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a dictionary of these two
    await check_accessible(page)


async def test_a_long_queue_is_read_as_one_scrolls_and_news_wait(
    console: ServedConsole, writers: Senders, browse: Browse
) -> None:
    await console.add("ann", "decide")
    await fill(writers.crm, [EVERYBODY, writers.owner_id], 280)
    page = await browse(as_="ann")
    await page.goto("/queue")
    await expect(page.locator("main[data-live=yes]")).to_be_visible()
    rows = page.locator("#rows")
    groups = page.locator("#rows .group")
    await expect(groups).to_have_count(25)
    await expect(page.get_by_role("link", name="67 more of half.test")).to_be_visible()
    for number in (50, 72):
        await rows.evaluate("rows => rows.scrollTop = rows.scrollHeight")
        await expect(groups).to_have_count(number)
    # What comes now does not move what one looks at.
    before = await rows.evaluate("rows => rows.scrollTop")
    came = writers.copy(writers.message(NEW))
    await writers.promote([replace(came, received_at=datetime.now(UTC))])
    await folded(writers)
    await expect(page.get_by_role("button", name="1 new")).to_be_visible()
    await expect(row(page, NEW)).to_have_count(0)
    assert await rows.evaluate("rows => rows.scrollTop") == before
    await page.get_by_role("button", name="1 new").click()
    await expect(row(page, NEW)).to_be_visible()
    # The rest of a domain is brought by a key, once one of it is open.
    await page.locator("li[data-address$='@half.test'] a").first.click()
    await expect(page.get_by_role("link", name="67 more of half.test m")).to_be_visible()
    await page.locator("#opened:not([aria-busy]) .empty h2").wait_for()
    await page.keyboard.press("m")
    await expect(page.locator("li[data-address$='@half.test']")).to_have_count(53)
