"""The queue of unresolved senders as pages work with it: who waits, for whom, and what is done."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from router.errors import DatabaseError, UnknownName
from router.model import Classification, Mark, Mention, Verdict
from router.operations.backing import Backing
from router.operations.queue import Seen, care, held, live, mail, pages, ruling
from router.operations.queue.live import Changed, Live
from router.repository.database import Database
from router.repository.senders import fold
from tests.support.crm import Crm
from tests.support.senders import STAFF, Senders

LENA, JO, NEW, ANY = "lena@kestrel.test", "jo@kestrel.test", "new@new.test", "any@gmail.com"
SALES = "sales@in.test"


async def folded(senders: Senders) -> Database:
    """Bring the pages up to date."""
    while await fold.fold(senders.database):
        pass
    while await fold.read_words(senders.database):
        pass
    return senders.database


async def listed(senders: Senders, seen: Seen = None, **asked: object) -> dict[str, list[str]]:
    """The senders that the first page lists, by group."""
    found = await pages.groups(await folded(senders), seen, **asked)  # type: ignore[arg-type]
    return {one.part.part: [sender.address for sender in one.senders] for one in found.groups}


async def also_to(senders: Senders, owner_id: UUID, email_ids: list[UUID]) -> None:
    """Let another owner have received these emails, too."""
    await senders.crm.admin.executemany(
        "INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at) "
        "VALUES ($1, $2, 'sales', 'INBOX', $1::uuid::text, now())",
        [(one, owner_id) for one in email_ids],
    )


@pytest.fixture
async def sales(crm: Crm) -> UUID:
    return await crm.owner(SALES, "all")


async def test_senders_are_grouped_by_domain_and_newest_first(senders: Senders) -> None:
    await senders.write(LENA, 2, name="Lena Kestrel")
    await senders.write(ANY)
    await senders.write("other@gmail.com")
    await senders.write(NEW)
    await senders.write(JO)
    await senders.write("no-reply@shop.test")
    await senders.promote([senders.copy(senders.message("list@shop.test"), classification=Classification(bulk="list"))])

    assert await listed(senders) == {
        "@kestrel.test": [JO, LENA],
        "@new.test": [NEW],
        "other@gmail.com": ["other@gmail.com"],
        ANY: [ANY],
    }
    first = (await pages.groups(senders.database, None)).groups[0]
    assert (first.part.number, first.part.senders, first.domain) == (3, 2, "kestrel.test")
    row = first.senders[1]
    assert (row.name, row.number, row.owners, row.attached) == ("Lena Kestrel", 2, (STAFF,), False)
    assert (row.subject or "").startswith("number ")
    assert row.oldest_at < row.latest_at
    machines = await pages.senders(senders.database, None, "machines")
    assert {one.address for one in machines.senders} == {"no-reply@shop.test", "list@shop.test"}
    found = await pages.counts(senders.database, None)
    assert (found.waiting.senders, found.waiting.number, found.machines.number) == (5, 6, 2)
    assert [(one.mailbox, one.number) for one in found.owners] == [(STAFF, 6)]
    of_domain = await pages.senders_of(senders.database, None, domain="gmail.com")
    assert [one.address for one in of_domain.senders] == ["other@gmail.com", ANY]


async def test_senders_are_listed_and_counted_by_why_they_wait(crm: Crm, senders: Senders, sales: UUID) -> None:
    gone = await crm.record("contact", "Jo")
    await senders.rule(JO, gone)
    await crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", gone)
    denied = Classification(verdict=Verdict("mx.in.test", (("dmarc", "fail"),)))
    for sender in (LENA, JO):
        await senders.write(sender)
    await senders.write("nobody", mentions=(Mention("from", 0, "nobody", ""), Mention("to", 0, STAFF)))
    await senders.promote([senders.copy(senders.message(NEW), classification=denied)])
    [several] = await senders.write(ANY)
    await crm.admin.execute("UPDATE crm.party SET candidates = ARRAY[$2::uuid] WHERE email_id = $1", several, gone)
    await senders.write("no-reply@shop.test")
    database = await folded(senders)
    counts = await pages.counts(database, None, [timedelta(days=1)])
    expected = {
        "nobody": [LENA],
        "denied": [NEW],
        "several": [ANY],
        "ruling": [JO],
        "unreadable": ["nobody"],
        "stranger": [],
    }
    assert dict(counts.reasons) == {reason: len(found) for reason, found in expected.items()}
    for reason, found in expected.items():
        of_reason = await pages.senders_of(database, None, reason=reason)
        assert [one.address for one in of_reason.senders] == found, reason
    both = await pages.senders_of(database, None, reason="ruling", domain="kestrel.test")
    assert [one.address for one in both.senders] == [JO]
    assert (await pages.senders_of(database, frozenset((sales,)), reason="nobody")).senders == ()
    # The reason is that of the latest mail.
    await senders.write(NEW)
    await folded(senders)
    assert [one.address for one in (await pages.senders_of(database, None, reason="nobody")).senders] == [NEW, LENA]


async def test_what_leaves_the_queue_leaves_its_pages(crm: Crm, senders: Senders) -> None:
    """By a ruling, by the CRM's own SQL, with the email; and comes back."""
    await senders.write(LENA)
    [second] = await senders.write(JO)
    [third] = await senders.write(NEW)
    lena = await crm.record("contact", "Lena")
    ruled = await senders.rule(LENA, lena)
    await crm.sql.execute("UPDATE crm.party SET record_id = $1 WHERE email_id = $2 AND role = 'from'", lena, second)
    await crm.sql.execute("DELETE FROM crm.email WHERE id = $1", third)
    assert await listed(senders) == {}
    for table in ("sender_mail", "sender_waiting", "sender_part", "sender_words", "sender_change"):
        assert await crm.admin.fetchval(f"SELECT count(*) FROM router.{table}") == 0, table  # constants
    await senders.undo(ruled)
    assert await listed(senders) == {"@kestrel.test": [LENA]}
    assert (await pages.counts(senders.database, None)).waiting.number == 1


async def test_pages_go_on_where_the_last_ended_also_for_who_sees_several_owners(senders: Senders, sales: UUID) -> None:
    emails = [email_id for n in range(12) for email_id in await senders.write(f"a@d{n}.test")]
    await also_to(senders, sales, emails[::2])
    database = await folded(senders)
    for seen in (None, frozenset((senders.owner_id,)), frozenset((senders.owner_id, sales))):
        for older_than in (None, timedelta(days=-1000)):
            found: list[str] = []
            page = await pages.groups(database, seen, limit=5, older_than=older_than)
            found += [one.part.part for one in page.groups]
            while page.goes_on:
                page = await pages.groups(database, seen, limit=5, older_than=older_than, after=page.goes_on)
                found += [one.part.part for one in page.groups]
            expected = [f"@d{n}.test" for n in range(12)]
            assert found == (expected if older_than else expected[::-1])
    both = await pages.groups(database, frozenset((senders.owner_id, sales)))
    assert {one.part.number for one in both.groups} == {1}, "an email that two have received is one"


async def test_nobody_is_proposed_to_whom_nothing_can_be_linked(crm: Crm, senders: Senders) -> None:
    """Undo takes a record out of use that was made for a sender: what is proposed next is not that one."""
    gone = await crm.record("contact", "Lena Kestrel", "lena.k@kestrel.test")
    await crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", gone)
    await senders.write(LENA, name="Lena Kestrel")
    await folded(senders)
    for seen in (None, frozenset((senders.owner_id,))):
        assert (await mail.person(senders.database, seen, LENA)).candidates == ()


async def test_nobody_sees_what_other_owners_have(crm: Crm, senders: Senders, sales: UUID) -> None:
    """Neither rows nor numbers, subjects, words, owners, candidates, nor who looks at whom."""
    [shared] = await senders.write(LENA, subject="shared secret")
    [own] = await senders.write(LENA, subject="private matter", name="Elena")
    await senders.write(NEW)
    await also_to(senders, sales, [shared])
    nobody, of_sales = frozenset[UUID](), frozenset((sales,))
    await crm.record("contact", "Elena")

    assert await listed(senders, nobody) == {}
    assert await listed(senders, of_sales) == {"@kestrel.test": [LENA]}
    database = senders.database
    person = await mail.person(database, of_sales, LENA)
    assert (person.sender.number, person.sender.subject, person.sender.owners) == (1, "shared secret", (SALES,))
    assert [one.email_id for one in person.mails] == [shared]
    assert person.candidates == (), "the name stands in another's mail"
    assert [one.why for one in (await mail.person(database, None, LENA)).candidates] == [
        ("has the name of the sender",)
    ]
    assert (await mail.open_mail(database, of_sales, shared)).mail.mailboxes == (SALES,)
    assert (await pages.counts(database, of_sales)).waiting.number == 1
    assert [one.mailbox for one in (await pages.counts(database, of_sales)).owners] == [SALES]
    assert (await pages.find(database, of_sales, "matter")).mails == ()
    assert len((await pages.find(database, None, "matter")).mails) == 1
    asked = await ruling.ask(database, of_sales, LENA)
    assert (asked.past, [one.email_id for one in asked.examples]) == (1, [shared])
    await care.look(database, None, NEW, "ann")
    assert await care.lookers(database, of_sales, [NEW]) == {}
    for unseen in (
        mail.open_mail(database, of_sales, own),
        mail.person(database, of_sales, NEW),
        mail.person(database, nobody, LENA),
        ruling.ask(database, of_sales, NEW),
        ruling.ask(database, of_sales, "@new.test"),
        ruling.ignore(database, of_sales, NEW, "ann", None),
        ruling.ignore(database, of_sales, "<>", "ann", None),
        ruling.split(database, of_sales, own, "ann"),
        held.may_rule(database, of_sales, [1]),
        care.assign(database, of_sales, NEW, "bob", "ann", None),
        care.snooze(database, of_sales, NEW, None, "ann"),
        care.look(database, of_sales, NEW, "ann"),
    ):
        with pytest.raises(UnknownName):
            await unseen
    with pytest.raises(ruling.Refused, match="only who may see all mail"):
        await ruling.never_track(database, of_sales, LENA, None, "ann", None)
    # The receipt goes, and the mail with it.
    await crm.admin.execute("DELETE FROM crm.receipt WHERE email_id = $1 AND owner_id = $2", shared, sales)
    assert await listed(senders, of_sales) == {}


async def test_mail_without_a_sender_is_ignored_by_whom_decides_on_all_mail(senders: Senders) -> None:
    await senders.promote([senders.copy(senders.message(LENA, mentions=()))])
    database = await folded(senders)
    assert (await ruling.ask(database, frozenset((senders.owner_id,)), "<>")).past == 1
    with pytest.raises(ruling.Refused, match="others have mail without a sender, too"):
        await ruling.ignore(database, frozenset((senders.owner_id,)), "<>", "ann", None)
    await ruling.ignore(database, None, "<>", "ann", None)
    assert (await pages.counts(database, None)).waiting.number == 0


async def test_a_private_email_shows_its_sender_and_no_more(crm: Crm, senders: Senders) -> None:
    [email_id] = await senders.write(LENA, subject="tumor", text="biopsy")
    await crm.admin.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
    database = await folded(senders)
    [row] = await pages.senders_named(database, None, [LENA])
    assert row.subject is None
    opened = await mail.open_mail(database, None, email_id)
    assert (opened.mail.subject, opened.mail.text, opened.text, opened.mail.reasons) == (None, None, (), ())
    assert [one.role for one in opened.mail.parties] == ["from"]
    assert (await pages.find(database, None, "tumor")).mails == (await pages.find(database, None, "biopsy")).mails == ()
    assert len((await pages.find(database, None, "lena")).mails) == 1


async def test_one_message_is_shown_with_what_is_around_it(crm: Crm, senders: Senders) -> None:
    text = "Dear Anna,\nfine.\n\n> Do you\n> agree?\n\n-- \nLena Kestrel\nKestrel Tours GmbH\n"
    signature = Mark(text.index("-- "), len(text), "signature")
    marks = (Mark(text.index("> "), text.index("\n\n-- "), "quote"), signature)
    message = senders.message(LENA, text=text, subject="Frames", html="<p>Hi<script>x</script></p>")
    [decision] = await senders.promote([senders.copy(message, marks=marks)])
    assert decision.email_id is not None
    answer = senders.message(LENA, in_reply_to=(message.message_id,), subject="Re: Frames")
    [answered] = await senders.promote([senders.copy(answer)])
    kestrel = await crm.record("account", "Kestrel Tours", "info@kestrel.test")

    database = await folded(senders)
    opened = await mail.open_mail(database, None, decision.email_id)
    assert [(one.kind, one.lines) for one in opened.text] == [(None, 2), ("quote", 2), ("signature", 3)]
    assert opened.mail.sender == mail.Party("from", LENA, "", None, None)
    assert (opened.mail.waits, opened.mail.mailboxes, opened.denied, opened.vouching) == (True, (STAFF,), None, None)
    assert opened.mail.reasons
    assert [one.email_id for one in opened.thread] == [decision.email_id, answered.email_id]
    person = await mail.person(database, None, LENA)
    assert [one.record_id for one in person.candidates] == [kestrel]
    assert (person.guess.name, person.reason) == ("Lena", "no record has the address")
    assert person.in_force == ()


@pytest.mark.parametrize(
    ("results", "vouching", "denied"),
    [
        ((("spf", "fail"), ("dkim", "pass"), ("dmarc", "pass")), "vouched for by mx.in.test (DMARC pass)", False),
        ((("spf", "pass"), ("x", "y")), "mx.in.test does not vouch for the sender (SPF pass)", False),
        ((), "mx.in.test does not vouch for the sender (it has checked nothing)", False),
        ((("dmarc", "fail"),), "mx.in.test says that it is not from the domain in From (DMARC fail)", True),
    ],
)
async def test_one_message_says_what_our_mail_server_says_of_its_sender(
    senders: Senders, results: tuple[tuple[str, str], ...], vouching: str, denied: bool
) -> None:
    said = Classification(verdict=Verdict("mx.in.test", results))
    [decision] = await senders.promote([senders.copy(senders.message(LENA), classification=said)])
    assert decision.email_id is not None
    opened = await mail.open_mail(await folded(senders), None, decision.email_id)
    assert (opened.vouching, opened.denied is not None) == (vouching, denied)


async def test_nobody_is_vouched_for_where_from_names_several_domains(senders: Senders) -> None:
    said = Classification(verdict=Verdict("mx.in.test", (("dmarc", "pass"),)))
    message = senders.message(LENA)
    both = replace(message, mentions=(*message.mentions, Mention("from", 1, "a@other.test", "")))
    [decision] = await senders.promote([senders.copy(both, classification=said)])
    assert decision.email_id is not None
    opened = await mail.open_mail(await folded(senders), None, decision.email_id)
    assert opened.denied is not None
    assert "DMARC" not in (opened.vouching or "")


async def test_search_finds_beginnings_of_words_without_their_marks(senders: Senders) -> None:
    [first] = await senders.write(LENA, subject="Das Büro ist zu", name="Łukasz")
    [second] = await senders.write(JO, subject="hello", text="Die Rechnung 4711 für Иван")
    database = await folded(senders)
    for typed, found in (
        ("buro", [first]), ("BÜ", [first]), ("lukasz", [first]), ("rechn 47", [second]), ("иван", [second]),
        ("jo@kestrel", [second]), ("kestrel", [second, first]), ("rechn büro", []), ("%' | :*", []), ("", []),
    ):  # fmt: skip
        mails = (await pages.find(database, None, typed)).mails
        assert [one.email_id for one, _ in mails] == found, typed
        assert all(sender is not None for _, sender in mails)


async def test_records_are_found_as_they_are_typed(crm: Crm, senders: Senders) -> None:
    lena = await crm.record("contact", "Lena Kestrel", "lena.k@firm.test")
    buro = await crm.record("account", "Büro Kestrel GmbH")
    old = await crm.record("contact", "Lena Old")
    await crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", old)
    for typed, kinds, found in (
        ("len", None, [lena, old]), ("kes le", None, [lena]), ("buro", None, [buro]), ("b", None, [buro]),
        ("kestrel", ["account"], [buro]), ("firm.te", None, [lena]), ("LENA.K@", None, [lena]), ("ena", None, []),
        ("le", ["account"], []), ("&|!", None, []),
    ):  # fmt: skip
        assert [one.record_id for one in await pages.records(senders.database, typed, kinds)] == found, typed
    [one] = await pages.records(senders.database, "kes le")
    assert (one.name, one.kind, one.address, one.active) == ("Lena Kestrel", "contact", "lena.k@firm.test", True)


async def test_a_ruling_says_what_it_touches_and_who_was_first(crm: Crm, senders: Senders) -> None:
    await senders.write(LENA, 22)
    await senders.write(JO)
    lena, other = await crm.record("contact", "Lena"), await crm.record("contact", "Other")
    account = await crm.record("account", "Kestrel")
    draft = uuid4()
    await crm.admin.execute(
        "INSERT INTO crm.email (id, direction, status, owner_id) VALUES ($1, 'out', 'draft', $2)",
        draft,
        senders.owner_id,
    )
    await crm.admin.execute(
        "INSERT INTO crm.party (email_id, role, position, address) VALUES ($1, 'to', 0, $2)", draft, LENA
    )
    database = await folded(senders)

    asked = await ruling.ask(database, None, LENA)
    assert (asked.past, asked.sent, asked.confirm, len(asked.examples), asked.in_force) == (22, 1, True, 1, None)
    small = await ruling.ask(database, None, JO)
    assert (small.past, small.sent, small.confirm) == (1, 0, False)
    domain = await ruling.ask(database, None, "@kestrel.test")
    assert (domain.past, domain.confirm, len(domain.examples)) == (23, True, 2)

    made = await ruling.link(database, None, LENA, lena, "ann", None)
    assert (made.touched, made.is_done) == (23, made.is_done)
    assert await listed(senders) == {"@kestrel.test": [JO]}, "the page that asked has it at once"
    # Who rules on the domain rules on those without a ruling of their own.
    assert (await ruling.ask(database, None, "@kestrel.test")).past == 1
    await senders.write(LENA)
    await crm.admin.execute("UPDATE crm.record SET active = false WHERE id = $1", lena)
    await senders.write(LENA)
    await folded(senders)
    with pytest.raises(ruling.Overtaken, match="ann ruled on") as raised:
        await ruling.link(database, None, LENA, other, "bob", None)
    assert raised.value.first is not None
    assert (raised.value.first.by, raised.value.first.record_id) == ("ann", lena)
    await ruling.link(database, None, LENA, other, "bob", made.id)
    await ruling.link(database, None, "@kestrel.test", account, "bob", None)
    assert await listed(senders) == {}
    assert [one.by for one in await ruling.recent(database, "bob")] == ["bob", "bob"]
    assert len(await ruling.recent(database, None)) == 3
    await ruling.undo(database, (await ruling.recent(database, "bob"))[0].id, "bob")
    assert await listed(senders) == {"@kestrel.test": [JO]}


async def test_never_tracking_is_said_whole_or_not_at_all(crm: Crm, senders: Senders) -> None:
    """A sender who has left the queue is not found there again, to say the rest."""
    await senders.write(NEW)
    await folded(senders)
    await crm.admin.execute("ALTER TABLE router.never_track ADD CONSTRAINT nothing CHECK (false) NOT VALID")
    with pytest.raises(DatabaseError):
        await ruling.never_track(senders.database, None, NEW, None, "ann", None)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruling") == 0
    await crm.admin.execute("ALTER TABLE router.never_track DROP CONSTRAINT nothing")
    done = await ruling.never_track(senders.database, None, NEW, None, "ann", None)
    assert (done.pattern, done.is_new) == (NEW, True)
    assert await listed(senders) == {}


async def test_a_record_is_made_with_its_ruling_and_taken_out_of_use_with_it(crm: Crm, senders: Senders) -> None:
    [email_id] = await senders.write(LENA)
    database = await folded(senders)
    made = await ruling.create(database, None, LENA, ruling.NewRecord("contact", " Lena Kestrel "), "ann", None)
    assert (made.record, await senders.sender_of(email_id)) == ("Lena Kestrel", made.record_id)
    [row] = await crm.rows("SELECT record_id FROM crm.address WHERE address = $1", LENA)
    assert row["record_id"] == made.record_id
    await senders.write(JO)
    await folded(senders)
    await crm.admin.execute("UPDATE crm.record SET active = false WHERE id = $1", made.record_id)
    await ruling.undo(database, made.id, "ann")
    assert await listed(senders) == {"@kestrel.test": [JO, LENA]}
    assert await crm.rows("SELECT FROM crm.address WHERE address = $1", LENA) == []
    [record] = await crm.rows("SELECT active FROM crm.record WHERE id = $1", made.record_id)
    assert not record["active"]
    # Two at once make one.
    both = await asyncio.gather(
        *(ruling.create(database, None, JO, ruling.NewRecord("lead", "Jo"), by, None) for by in ("ann", "bob")),
        return_exceptions=True,
    )
    [overtaken] = [one for one in both if isinstance(one, ruling.Overtaken)]
    assert overtaken.first is not None
    assert [row["name"] for row in await crm.rows("SELECT name FROM crm.record WHERE kind = 'lead'")] == ["Jo"]


async def test_a_sender_is_put_off_and_called_back(crm: Crm, senders: Senders) -> None:
    await senders.write(LENA)
    await senders.write(JO)
    database = await folded(senders)
    await care.snooze(database, None, LENA, datetime.now(UTC) + timedelta(days=1), "ann")
    assert await listed(senders) == {"@kestrel.test": [JO]}
    await senders.write(LENA)
    assert await listed(senders) == {"@kestrel.test": [JO]}, "what comes meanwhile waits with the sender"
    assert (await pages.counts(database, None)).snoozed.number == 2
    [row] = (await pages.senders(database, None, "snoozed")).senders
    assert (row.address, row.snoozed_until is not None) == (LENA, True)
    await crm.admin.execute("UPDATE router.sender_care SET snoozed_until = now()")
    assert await listed(senders) == {"@kestrel.test": [LENA, JO]}
    await care.snooze(database, None, JO, datetime.now(UTC) + timedelta(days=1), "ann")
    await care.snooze(database, None, JO, None, "bob")
    assert await listed(senders) == {"@kestrel.test": [LENA, JO]}
    with pytest.raises(ruling.Refused):
        await care.snooze(database, None, JO, datetime.now(UTC), "ann")


async def test_a_sender_is_assigned_to_one_person_at_a_time(crm: Crm, senders: Senders) -> None:
    await senders.write(LENA)
    database = await folded(senders)
    assert (await care.assign(database, None, LENA, "bob", "ann", None)).assigned_to == "bob"
    with pytest.raises(ruling.Refused, match=r"ann has given .* to bob"):
        await care.assign(database, None, LENA, "cid", "cid", None)
    [row] = await pages.assigned(database, None, "bob")
    assert (row.address, row.assigned_to) == (LENA, "bob")
    await care.assign(database, None, LENA, None, "bob", "bob")
    assert await pages.assigned(database, None, "bob") == ()
    await care.assign(database, None, LENA, "bob", "ann", None)
    await ruling.ignore(database, None, LENA, "ann", None)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.sender_care") == 0


class Opened(Backing):
    """What pages work with, on the test's database."""

    def __init__(self, database: Database) -> None:
        self._database = database


async def next_of(page: live.Page) -> Changed | None:
    return await page.next(20)


@pytest.fixture
async def feed(senders: Senders) -> AsyncIterator[Live]:
    opened = Live(Opened(senders.database))
    with opened.page(None) as page:
        # From the moment on that it listens.
        assert await next_of(page) == Changed(None)
        yield opened


async def test_open_pages_hear_of_what_they_may_see_by_one_connection(
    crm: Crm, senders: Senders, sales: UUID, feed: Live
) -> None:
    listeners = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'email-router listen' AND datname = current_database()"
    )
    with feed.page(None) as all_mail, feed.page(frozenset((sales,))) as of_sales:
        others = [feed.page(None) for _ in range(48)]
        for one in others:
            one.__enter__()
        assert await crm.admin.fetchval(listeners) == 1
        await senders.write(LENA)
        await folded(senders)
        assert await next_of(all_mail) == Changed(frozenset((LENA,)))
        [shared] = await senders.write(NEW)
        await also_to(senders, sales, [shared])
        await folded(senders)
        assert await next_of(of_sales) == Changed(frozenset((NEW,)))
        await next_of(all_mail)
        await care.look(senders.database, None, LENA, "ann")
        assert await next_of(all_mail) == Changed(frozenset((LENA,)))
        assert await care.lookers(senders.database, None, [LENA, NEW]) == {LENA: ["ann"]}
        await care.look(senders.database, None, LENA, "ann")
        assert await all_mail.next(0) is None, "it looks still: nothing new"
        await care.look(senders.database, None, LENA, "ann", away=True)
        assert await next_of(all_mail) == Changed(frozenset((LENA,)))
        for n in range(101):
            await senders.write(f"n{n}@many.test")
        await folded(senders)
        assert await next_of(all_mail) == Changed(None)
        for one in others:
            one.__exit__(None, None, None)


async def test_two_promotes_of_one_sender_wait_for_nothing_here(senders: Senders) -> None:
    """While one is not committed, nor the fold."""
    await senders.write(LENA)
    async with senders.database.transaction() as folding:
        await folding.execute("SELECT pg_advisory_xact_lock(hashtextextended('router.sender_change', 0))")
        await folding.execute(
            "LOCK TABLE router.sender_waiting, router.sender_part, router.sender_mail IN EXCLUSIVE MODE"
        )
        await senders.write(LENA)
        assert not await fold.fold(senders.database)
    assert await listed(senders) == {"@kestrel.test": [LENA]}
    [row] = await pages.senders_named(senders.database, None, [LENA])
    assert row.number == 2


async def test_what_waited_before_there_were_pages_is_on_them(crm: Crm, senders: Senders) -> None:
    await senders.write(LENA, 3)
    await crm.admin.execute("DELETE FROM router.sender_change; INSERT INTO router.sender_change DEFAULT VALUES")
    assert await listed(senders) == {"@kestrel.test": [LENA]}


async def test_held_mail_is_listed_for_those_who_may_see_its_owner(crm: Crm, senders: Senders, sales: UUID) -> None:
    ids = [
        await crm.admin.fetchval(
            """
            INSERT INTO router.decision (source_id, validity, place, owner_id, disposition, rule, reasons, received_at)
            SELECT min(id), '1', $1, $2, 'held', 'all', ARRAY['held for review'], now() FROM router.source RETURNING id
            """,
            f"h{n}",
            owner_id,
        )
        for n, owner_id in enumerate((senders.owner_id, sales, sales, None))
    ]
    database, of_sales = senders.database, frozenset((sales,))
    assert [one.id for one in (await held.list_page(database, None)).held] == ids[::-1]
    page = await held.list_page(database, of_sales, limit=1)
    assert [(one.id, one.owner, one.reasons) for one in page.held] == [(ids[2], SALES, ("held for review",))]
    page = await held.list_page(database, of_sales, limit=2, before=page.goes_on)
    assert ([one.id for one in page.held], page.goes_on) == ([ids[1]], None)
    assert (await held.list_page(database, frozenset())).held == ()
    assert [one.id for one in (await held.list_page(database, None, owners=of_sales)).held] == ids[2:0:-1]
    await held.may_rule(database, of_sales, ids[1:3])
    with pytest.raises(UnknownName):
        await held.may_rule(database, of_sales, ids[:2])


async def test_held_mail_is_filtered_and_counted_by_owner_reason_and_age(
    crm: Crm, senders: Senders, sales: UUID
) -> None:
    deal = (await senders.write(LENA, subject="Offer"))[0]
    reasons = {"loop": "loop: 11 an hour", "stranger": "held for review, since the sender was never on that thread"}
    ids = [
        await crm.admin.fetchval(
            """
            INSERT INTO router.decision (
                source_id, validity, place, owner_id, disposition, rule, reasons, received_at, decided_at, candidates,
                verdict
            )
            SELECT min(id), '1', $1, $2, 'held', 'all', ARRAY['first', $3], now(), now() - $4 * interval '1 day',
                jsonb_build_array(jsonb_build_object(
                    'email_id', $5::uuid, 'method', 'token', 'why_not', '', 'score', null)),
                '{"server": "mx.in.test", "results": [["dmarc", "pass"]]}'
            FROM router.source RETURNING id
            """,
            f"h{n}", owner_id, reasons[kind], days, deal,
        )
        for n, (owner_id, kind, days) in enumerate(
            ((senders.owner_id, "loop", 9), (sales, "loop", 2), (sales, "stranger", 0))
        )
    ]  # fmt: skip
    database, of_sales = senders.database, frozenset((sales,))
    ages = [timedelta(days=1), timedelta(days=7)]
    counts = await held.count(database, None, ages)
    assert (counts.number, dict(counts.kinds), counts.ages) == (3, {"loop": 2, "stranger": 1}, (2, 1))
    assert {(one.mailbox, one.number) for one in counts.owners} == {(STAFF, 1), (SALES, 2)}
    counts = await held.count(database, of_sales, ages, kind="loop", age=1)
    assert (counts.number, dict(counts.kinds), counts.ages) == (1, {"loop": 1}, (1, 0))
    assert [(one.mailbox, one.number) for one in counts.owners] == [(SALES, 1)]

    async def ids_of(seen: Seen, **asked: Any) -> list[int]:
        return [one.id for one in (await held.list_page(database, seen, **asked)).held]

    assert await ids_of(None, kind="loop") == [ids[1], ids[0]]
    assert await ids_of(None, older_than=ages[1]) == [ids[0]]
    assert await ids_of(of_sales, kind="stranger") == [ids[2]]
    assert await held.news(database, of_sales, ids[0], [ids[1], 4711]) == (2, [4711])
    assert await held.news(database, of_sales, ids[1], [], kind="loop") == (0, [])
    # What it may answer is told to who may see that.
    [one] = (await held.list_page(database, None, kind="stranger")).held
    assert (one.may_answer, one.may_answer_subject, one.verdict is not None) == (deal, "Offer", True)
    [one] = (await held.list_page(database, of_sales, kind="stranger")).held
    assert one.may_answer is None
