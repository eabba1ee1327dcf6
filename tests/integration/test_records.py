"""T54, T120 to T126: records that rules want of mail are made, once each, whoever does what meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from router.errors import DatabaseAway, DatabaseError
from router.model import CreationRule, Decision
from router.repository.database import Database
from router.repository.erasure.taken_back import restore, take_back
from router.repository.incoming.registry import Source, register
from router.repository.records import creation, creation_lanes, creation_states
from router.repository.records.creation import Carried
from router.repository.records.creation_lanes import Begun
from tests.support.breaking import Breaking
from tests.support.command import type_command
from tests.support.crm import Crm
from tests.support.merging import carry_out
from tests.support.senders import STAFF, Senders

KARL = "karl@kunde.test"
CASES = CreationRule("support", "case", owners=(STAFF,))
CONTACTS = CreationRule("people", "contact", owners=(STAFF,))


class Records:
    def __init__(self, senders: Senders) -> None:
        self.senders = senders
        self.crm = senders.crm
        self.database = senders.database

    async def write(
        self, rules: Sequence[CreationRule] = (CASES,), sender: str = KARL, answers: UUID | None = None, **more: Any
    ) -> UUID:
        """Bring a message in, for which these rules are; the id of its email."""
        if answers is not None:
            parent = await self.crm.admin.fetchval("SELECT message_id FROM crm.email WHERE id = $1", answers)
            more["in_reply_to"] = (parent,)
        copy = self.senders.copy(self.senders.message(sender, **more))
        [decision] = await self.bring(replace(copy, creation_rules=tuple(rules)))
        assert decision.email_id is not None
        return decision.email_id

    async def bring(self, *copies: Any) -> list[Decision]:
        return await self.senders.promote(list(copies))

    async def make(self) -> list[Carried]:
        """Make all that is due, and what is put off, too."""
        made = []
        for _ in range(4):
            made += await self.make_due()
            await self.due()
        return made

    async def next(self) -> Carried | None:
        """Make what is due first, in the quick lane or else in the slow one."""
        more = True
        while more:
            carried, more = await creation.carry_out(self.database)
            if carried is not None:
                return carried
        return await creation.carry_out_apart(self.database)

    async def make_due(self) -> list[Carried]:
        """Make all that is due, and nothing that is put off."""
        made = []
        while one := await self.next():
            made.append(one)
        return made

    async def due(self) -> None:
        """Let all be due that is put off."""
        await self.crm.admin.execute("UPDATE router.creation SET due_at = now() WHERE state = 'wanted'")

    async def cases(self) -> list[asyncpg.Record]:
        return await self.crm.rows("SELECT * FROM crm.case ORDER BY opened_at, record_id")

    async def case(self) -> asyncpg.Record:
        [one] = await self.cases()
        return one

    async def about(self, email_id: UUID) -> UUID | None:
        return await self.crm.admin.fetchval("SELECT regarding_id FROM crm.email WHERE id = $1", email_id)  # type: ignore[no-any-return]

    async def close(self, case_id: UUID, days: int = 0) -> None:
        await self.crm.sql.execute("UPDATE crm.case SET status = 'closed' WHERE record_id = $1", case_id)
        await self.crm.admin.execute(
            """
            UPDATE crm.case SET closed_at = (SELECT max(received_at) FROM crm.email) - $2 * interval '1 day'
            WHERE record_id = $1
            """,
            case_id,
            days,
        )

    async def told(self, kind: str) -> int:
        return await self.crm.admin.fetchval("SELECT count(*) FROM crm.event WHERE kind = $1", kind)  # type: ignore[no-any-return]

    async def states(self) -> list[tuple[str, str | None]]:
        rows = await self.crm.rows("SELECT state, outcome FROM crm.creation ORDER BY id")
        return [(row["state"], row["outcome"]) for row in rows]


@pytest.fixture
def records(senders: Senders, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setattr(creation, "QUICK", 30.0)  # on a busy machine, too, only what a test slows down is slow
    return Records(senders)


@pytest.fixture
async def other(database: str) -> AsyncIterator[Database]:
    """Another process."""
    async with Database(database) as opened:
        yield opened


# --- T120: a case is opened ------------------------------------------------------------------------------------------


async def test_t120_a_case_is_opened_and_the_email_is_about_it(records: Records) -> None:
    karl = await records.crm.record("contact", "Karl", KARL)
    email_id = await records.write([replace(CASES, priority="high")], subject="My printer burns")
    assert await records.cases() == []
    await records.make()
    case = await records.case()
    assert (case["subject"], case["status"], case["priority"]) == ("My printer burns", "open", "high")
    assert (case["requester_id"], case["owner_id"], case["email_id"]) == (karl, records.senders.owner_id, email_id)
    assert await records.about(email_id) == case["record_id"]
    [record] = await records.crm.admin.fetch("SELECT kind, name FROM crm.record WHERE id = $1", case["record_id"])
    assert tuple(record) == ("case", "My printer burns")
    items = await records.crm.rows("SELECT email_id, owner_id, record_id FROM crm.queue_item")
    assert [tuple(item) for item in items] == [(email_id, records.senders.owner_id, case["record_id"])]
    assert await records.states() == [("done", "made")]
    assert await records.told("case_opened") == 1


async def test_t120_what_was_filled_in_stands_in_the_record_alone(records: Records) -> None:
    await records.write([replace(CASES, fields=(("subject", "Case: {subject}"), ("channel", "mail")))], name="Karl K")
    await records.make()
    [kept] = await records.crm.admin.fetch("SELECT sender_name, fields FROM router.creation")
    assert tuple(kept) == ("", "{}")
    filled = "SELECT attributes ->> 'channel' FROM crm.record WHERE kind = 'case'"
    assert await records.crm.admin.fetchval(filled) == "mail"
    assert (await records.case())["subject"].startswith("Case: number")


async def test_t102_a_case_of_a_private_email_does_not_tell_its_subject(records: Records) -> None:
    """Neither where it is private before the case is made, nor where it becomes so afterwards."""
    rule = replace(CASES, fields=(("subject", "Case: {subject}"), ("about", "{subject}"), ("channel", "mail")))
    hide = "UPDATE crm.email SET private = true WHERE id = $1"
    before = await records.write([rule], subject="my divorce")
    await records.crm.sql.execute(hide, before)
    await records.make()
    after = await records.write([rule], subject="my divorce", sender="jo@kunde.test")
    await records.make()
    await records.crm.sql.execute(hide, after)
    cases = await records.crm.rows(
        "SELECT k.subject, r.name, r.attributes ->> 'about' AS about, r.attributes ->> 'channel' AS channel "
        "FROM crm.case AS k JOIN crm.record AS r ON r.id = k.record_id"
    )
    assert [tuple(one) for one in cases] == [
        ("Case: Private email", "Case: Private email", "Private email", "mail")
    ] * 2
    # What the CRM calls it itself, it is called.
    await records.crm.sql.execute("UPDATE crm.record SET name = 'Ours' WHERE kind = 'case'")
    await records.crm.sql.execute("UPDATE crm.email SET private = false")
    await records.crm.sql.execute("UPDATE crm.email SET private = true")
    assert {row["name"] for row in await records.crm.rows("SELECT name FROM crm.record WHERE kind = 'case'")} == {
        "Ours"
    }


async def test_t102_a_case_of_an_email_that_becomes_private_meanwhile_does_not_tell_its_subject(
    records: Records,
) -> None:
    email_id = await records.write(subject="my divorce")
    async with records.crm.sql.transaction():
        await records.crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
        making = asyncio.create_task(records.next())
        await records.crm.wait_for(1, "SELECT count(*) FROM pg_locks WHERE NOT granted")
    await making
    await records.make()
    assert (await records.case())["subject"] == "Private email"


async def test_t120_what_the_thread_is_about_otherwise_stays(records: Records) -> None:
    """A thread about an opportunity stays about that; it has one case, however often somebody answers."""
    deal = await records.crm.record("opportunity", "Frames")
    first = await records.write([])
    await records.crm.sql.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", first, deal)
    answers = [await records.write(answers=first), await records.write(answers=first)]
    last = await records.write(answers=answers[0])
    await records.make()
    assert {await records.about(one) for one in (*answers, last)} == {deal}
    assert len(await records.cases()) == 2  # of two answers, neither answers the other
    await records.write(answers=last)
    await records.make()
    assert len(await records.cases()) == 2


async def test_t120_a_merged_requester_stays_one_and_a_merged_case_has_its_items(records: Records) -> None:
    karl = await records.crm.record("contact", "Karl", KARL)
    first = await records.write()
    second = await records.write()
    await records.make()
    cases = {await records.about(one) for one in (first, second)}
    keep, gone = cases
    assert keep is not None
    assert gone is not None
    berta = await records.crm.record("contact", "Berta")
    await records.crm.sql.execute("SELECT crm.merge_records($1, $2)", karl, berta)
    await records.crm.sql.execute("SELECT crm.merge_records($1, $2)", gone, keep)
    await carry_out(records.crm, records.database)
    assert {case["requester_id"] for case in await records.cases()} == {berta}
    assert {row["record_id"] for row in await records.crm.rows("SELECT record_id FROM crm.queue_item")} == {keep}


# --- T54, T121: the sender -------------------------------------------------------------------------------------------


async def test_t54_a_contact_is_made_of_its_sender(records: Records) -> None:
    earlier = await records.write([])
    email_id = await records.write([CONTACTS], name="Karl Kunde")
    await records.make()
    await records.senders.carry_out_all()
    contact = await records.senders.sender_of(email_id)
    assert contact is not None
    assert await records.senders.sender_of(earlier) == contact  # as by a ruling
    [record] = await records.crm.admin.fetch("SELECT kind, name, owner_id FROM crm.record WHERE id = $1", contact)
    assert tuple(record) == ("contact", "Karl Kunde", records.senders.owner_id)
    later = await records.write([CONTACTS])
    await records.make()
    assert await records.senders.sender_of(later) == contact
    assert await records.crm.admin.fetchval("SELECT count(*) FROM crm.record WHERE kind = 'contact'") == 1
    assert await records.told("record_made") == 1


async def test_t54_two_mails_of_one_stranger_make_one_contact(records: Records, other: Database) -> None:
    copies = [
        replace(records.senders.copy(records.senders.message(KARL)), creation_rules=(CONTACTS,)) for _ in range(6)
    ]
    await records.bring(*copies)
    async with asyncio.TaskGroup() as group:
        for database in (records.database, other) * 3:
            group.create_task(creation.carry_out(database))
    await records.make()
    assert await records.crm.admin.fetchval("SELECT count(*) FROM crm.record WHERE kind = 'contact'") == 1
    states = await records.states()
    assert states.count(("done", "made")) == 1
    assert states.count(("done", "known")) == 5


async def test_t54_what_a_person_ruled_on_the_sender_stays(records: Records) -> None:
    account = await records.crm.record("account", "Kunde")
    await records.write([])
    ruling = await records.senders.rule(KARL, account, done=False)
    await records.write([CONTACTS])
    await records.make()
    in_force = "SELECT id, record_id FROM crm.ruling WHERE subject = $1 AND in_force"
    [row] = await records.crm.rows(in_force, KARL)
    assert tuple(row) == (ruling, account)


async def test_t121_nobody_is_made_of_a_sender_whom_a_person_ignores(records: Records) -> None:
    await records.senders.rule(KARL, None)
    await records.write([CONTACTS])
    await records.write([replace(CASES, unknown_sender="contact")])
    await records.make()
    assert await records.crm.admin.fetchval("SELECT count(*) FROM crm.record WHERE kind = 'contact'") == 0
    assert await records.states() == [("done", "not_made"), ("done", "made")]
    assert (await records.case())["requester_id"] is None


async def test_t121_of_several_records_a_person_chooses_the_requester(records: Records) -> None:
    email_id = await records.write([replace(CASES, unknown_sender="contact")])
    await records.write([CONTACTS])
    several = [await records.crm.record(kind, kind, KARL) for kind in ("contact", "account")]
    await records.make()
    assert (await records.case())["requester_id"] is None
    assert await records.states() == [("done", "made"), ("done", "known")]
    assert await records.crm.admin.fetchval("SELECT count(*) FROM crm.record WHERE kind = 'contact'") == 1
    await records.crm.sql.execute(
        "UPDATE crm.party SET record_id = $2 WHERE email_id = $1 AND role = 'from'", email_id, several[1]
    )
    assert (await records.case())["requester_id"] == several[1]


async def test_t121_a_contact_is_made_for_the_case(records: Records) -> None:
    email_id = await records.write([replace(CASES, unknown_sender="contact")], name="Karl Kunde")
    await records.make()
    await records.senders.carry_out_all()
    case = await records.case()
    assert case["requester_id"] is not None
    assert await records.senders.sender_of(email_id) == case["requester_id"]


async def test_t121_a_case_opens_with_an_unresolved_requester(records: Records) -> None:
    await records.write()
    await records.make()
    case = await records.case()
    assert (case["requester_id"], case["requester_address"]) == (None, KARL)
    karl = await records.crm.record("contact", "Karl")
    ruling = await records.senders.rule(KARL, karl)
    assert (await records.case())["requester_id"] == karl
    await records.senders.undo(ruling)
    assert (await records.case())["requester_id"] is None


async def test_t121_a_case_waits_until_its_sender_is_resolved(records: Records) -> None:
    waits = replace(CASES, unknown_sender="wait")
    email_id = await records.write([waits])
    answer = await records.write([waits], answers=email_id)
    await records.make()
    assert await records.cases() == []
    assert await records.states() == [("waiting", None)] * 2
    assert await records.senders.waiting() == [KARL, KARL]
    karl = await records.crm.record("contact", "Karl")
    await records.senders.rule(KARL, karl)
    await records.make()
    case = await records.case()
    assert case["requester_id"] == karl
    assert {await records.about(email_id), await records.about(answer)} == {case["record_id"]}


async def test_t121_a_case_opens_when_the_crm_resolves_the_sender(records: Records) -> None:
    email_id = await records.write([replace(CASES, unknown_sender="wait")])
    await records.make()
    karl = await records.crm.record("contact", "Karl")
    await records.crm.sql.execute(
        "UPDATE crm.party SET record_id = $2 WHERE email_id = $1 AND role = 'from'", email_id, karl
    )
    await records.make()
    assert (await records.case())["requester_id"] == karl


async def test_t121_who_resolves_while_it_is_looked_at_is_not_overlooked(records: Records) -> None:
    email_id = await records.write([replace(CASES, unknown_sender="wait")])
    karl = await records.crm.record("contact", "Karl")
    begun, _ = await creation_lanes.begin(records.database)
    assert begun is not None
    async with records.database.transaction() as connection:
        assert await creation._make(connection, begun) == "waiting"
        resolving = asyncio.create_task(
            records.crm.sql.execute(
                "UPDATE crm.party SET record_id = $2 WHERE email_id = $1 AND role = 'from'", email_id, karl
            )
        )
        locked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        async with asyncio.timeout(20):
            while not await records.crm.admin.fetchval(locked):
                pass
    await resolving
    await records.make()
    assert (await records.case())["requester_id"] == karl


# --- T122: answers ---------------------------------------------------------------------------------------------------


async def test_t122_an_answer_is_on_the_open_case(records: Records) -> None:
    first = await records.write()
    await records.make()
    case = await records.case()
    answer = await records.write(answers=first)
    await records.make()
    assert await records.about(answer) == case["record_id"]
    assert len(await records.cases()) == 1
    assert await records.crm.admin.fetchval("SELECT count(*) FROM crm.queue_item") == 2


async def test_t122_mail_and_its_answer_in_one_batch_are_one_case(records: Records) -> None:
    first = records.senders.message(KARL)
    second = records.senders.message(KARL, in_reply_to=(first.message_id,))
    copies = [replace(records.senders.copy(one), creation_rules=(CASES,)) for one in (first, second)]
    await records.bring(*copies)
    # The second comes first, as where another process makes the first at this moment.
    await records.crm.admin.execute(
        "UPDATE router.creation SET due_at = now() + interval '1 minute' WHERE email_id = $1", copies[0].id
    )
    later = await records.next()
    assert later is not None
    assert later.outcome == "later"
    assert await records.next() is None
    await records.crm.admin.execute("UPDATE router.creation SET due_at = now()")
    await records.make()
    assert len(await records.cases()) == 1


async def test_t122_a_case_that_was_closed_lately_is_reopened(records: Records) -> None:
    first = await records.write()
    await records.make()
    case = await records.case()
    await records.close(case["record_id"], days=13)
    answer = await records.write(answers=first)
    await records.make()
    reopened = await records.case()
    assert (reopened["status"], reopened["closed_at"]) == ("open", None)
    assert reopened["reopened_at"] is not None
    assert await records.about(answer) == case["record_id"]
    assert await records.told("case_reopened") == 1


async def test_t122_a_case_that_was_closed_long_ago_is_followed_by_one_new(records: Records, other: Database) -> None:
    first = await records.write()
    await records.make()
    old = await records.case()
    await records.close(old["record_id"], days=15)
    answers = [await records.write(answers=first) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for database in (records.database, other):
            group.create_task(creation.carry_out(database))
    await records.make()
    [_, new] = await records.cases()
    assert new["follows_id"] == old["record_id"]
    assert {await records.about(one) for one in answers} == {new["record_id"]}
    assert await records.about(first) == old["record_id"]
    assert (await records.cases())[0]["status"] == "closed"


async def test_t122_a_case_whose_record_is_gone_is_none(records: Records) -> None:
    first = await records.write()
    await records.make()
    case = await records.case()
    await records.crm.sql.execute("DELETE FROM crm.record WHERE id = $1", case["record_id"])
    answer = await records.write(answers=first)
    await records.make()
    assert await records.about(answer) not in (None, case["record_id"])


# --- T124: which rule it was ---------------------------------------------------------------------------------------


async def test_t124_explain_names_the_rule_and_what_was_made(records: Records, database: str) -> None:
    email_id = await records.write(subject="My printer burns")
    await records.make()
    said = await type_command(database, "explain", "--email", str(email_id))
    assert said.status == 0, said.err
    assert "rule 'support' wants a case" in said.out
    assert "case by rule 'support', made: My printer burns" in said.out


# --- T125, T126: several queues --------------------------------------------------------------------------------------


async def test_t125_two_queues_have_one_email_and_one_case_and_an_item_each(records: Records, other: Database) -> None:
    second = await records.crm.owner("sales@in.test", "all")
    source = Source("staff", "sales@in.test", "imap:sales", "INBOX", second, "all")
    source_id = (await register(records.database, [source]))[source]
    message = records.senders.message(KARL)
    ours = replace(records.senders.copy(message), creation_rules=(CASES,))
    theirs = replace(records.senders.copy(message), creation_rules=(CASES,), owner_id=second, source_id=source_id)
    await records.bring(ours)
    await records.bring(theirs)
    async with asyncio.TaskGroup() as group:
        for database in (records.database, other):
            group.create_task(creation.carry_out(database))
    await records.make()
    case = await records.case()
    items = await records.crm.rows("SELECT owner_id, record_id FROM crm.queue_item")
    assert {tuple(item) for item in items} == {(one, case["record_id"]) for one in (records.senders.owner_id, second)}
    moved = replace(records.senders.copy(message), creation_rules=(CASES,))  # a person moved it: no second item
    await records.bring(moved)
    await records.make()
    assert sorted(await records.states()) == [("done", "joined"), ("done", "made")]


async def test_t126_internal_mail_opens_no_case(records: Records) -> None:
    await records.crm.owner("otto@in.test", "all")
    email_id = await records.write(sender="otto@in.test")
    await records.make()
    assert await records.cases() == []
    assert await records.about(email_id) is None
    await records.write([replace(CASES, internal=True)], sender="otto@in.test")
    await records.make()
    assert len(await records.cases()) == 1


# --- What goes wrong -------------------------------------------------------------------------------------------------


async def _refuse(crm: Crm, body: str, kind: str = "case") -> None:
    await crm.admin.execute(
        f"""
        CREATE FUNCTION crm.careless() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
        CREATE TRIGGER careless BEFORE INSERT ON crm.record FOR EACH ROW WHEN (NEW.kind = '{kind}')
            EXECUTE FUNCTION crm.careless();
        """
    )


async def test_t120_what_the_crm_refuses_keeps_no_mail_and_ends(records: Records) -> None:
    await _refuse(records.crm, "RAISE 'no cases on Sundays'")
    email_id = await records.write()
    tried = []
    for _ in range(creation_lanes.ATTEMPTS):
        await records.due()
        tried.append(await records.next())
    assert [one is not None and one.is_final for one in tried] == [False] * (creation_lanes.ATTEMPTS - 1) + [True]
    assert await records.next() is None
    found = await creation_states.read_open(records.database)
    assert found.failed == 1
    assert "no cases on Sundays" in (found.error or "")
    assert await records.states() == [("failed", None)]
    assert await records.told("record_not_made") == 1
    assert await records.about(email_id) is None
    await records.crm.admin.execute("DROP TRIGGER careless ON crm.record")
    creation_id = await records.crm.admin.fetchval("SELECT id FROM router.creation")
    await records.crm.sql.execute("SELECT crm.make_again($1)", creation_id)
    await records.make()
    assert await records.about(email_id) == (await records.case())["record_id"]
    assert (await creation_states.read_open(records.database)).failed == 0
    with pytest.raises(asyncpg.PostgresError, match="has not failed"):
        await records.crm.sql.execute("SELECT crm.make_again($1)", creation_id)


async def test_t120_a_record_that_the_crm_refuses_keeps_no_other_waiting(records: Records) -> None:
    refused = await records.write(subject="refused")
    await _refuse(records.crm, "IF NEW.name = 'refused' THEN RAISE 'no'; END IF")
    others = [await records.write() for _ in range(3)]
    answer = await records.write(answers=refused)
    tried = [await records.next() for _ in range(5)]
    assert [one.outcome for one in tried if one is not None] == [None, "made", "made", "made", "later"]
    assert None not in [await records.about(one) for one in others]
    # Its answer, which belongs on the same case, waits for some of its tries, and no longer.
    for _ in range(7):
        await records.due()
        await records.make_due()
    assert await records.about(answer) is not None
    assert await records.about(refused) == await records.about(answer)


async def test_t120_what_takes_too_long_waits_apart_with_its_owners_and_each_has_its_turn(
    records: Records,
) -> None:
    owners = [records.senders.owner_id, *[await records.crm.owner(f"{one}@in.test", "all") for one in "abc"]]
    # As PostgreSQL does where a limit is over.
    await _refuse(records.crm, "IF NEW.name = 'slow' THEN RAISE 'too slow' USING ERRCODE = '57014'; END IF")
    wanted = [("slow", 0), ("slow", 1), ("quick", 0), ("quick", 0), ("quick", 1), ("quick", 2)]
    for number, (subject, owner) in enumerate(wanted, 1):
        await records.write(subject=subject)
        await records.crm.admin.execute("UPDATE router.creation SET owner_id = $1 WHERE id = $2", owners[owner], number)
    quick = [await creation.carry_out(records.database) for _ in range(4)]
    assert [one and (one.id, one.outcome) for one, _ in quick] == [(1, None), (2, None), (6, "made"), None]
    # Once they are due again, one that was not tried yet comes first, and the owners take turns.
    await records.due()
    apart: list[Carried | None] = [None]
    for _ in range(6):
        apart.append(await creation.carry_out_apart(records.database, apart[-1]))
    made = {one.id for one in apart if one is not None and one.outcome == "made"}
    assert made == {3, 4, 5}
    ids = [one.id for one in apart if one is not None]
    assert {owners.index(one.owner_id) for one in apart[1:3] if one is not None} == {0, 1}
    assert ids.index(3) < ids.index(1)
    await records.due()
    failed = await creation.carry_out_apart(records.database, failed_first=True)
    assert failed is not None
    assert failed.id in (1, 2)


async def test_t120_many_slow_steps_are_bounded_together(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is quick enough, and all together are not; nor is what a trigger leaves for the end."""
    monkeypatch.setattr(creation, "QUICK", 0.5)
    await records.crm.admin.execute(
        """
        CREATE FUNCTION crm.slow() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON crm.record FOR EACH ROW EXECUTE FUNCTION crm.slow();
        CREATE TRIGGER slow BEFORE INSERT ON crm.case FOR EACH ROW EXECUTE FUNCTION crm.slow();
        """
    )
    await records.write()
    slow, _ = await creation.carry_out(records.database)
    assert slow is not None
    assert "took longer" in (slow.fault or "")
    await records.crm.admin.execute(
        """
        DROP TRIGGER slow ON crm.record; DROP TRIGGER slow ON crm.case;
        CREATE FUNCTION crm.later() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
        CREATE CONSTRAINT TRIGGER later AFTER INSERT ON crm.case DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION crm.later();
        UPDATE router.creation SET slow = false, due_at = now();
        """
    )
    later, _ = await creation.carry_out(records.database)
    assert later is not None
    assert later.fault is not None
    assert await records.cases() == []


async def test_t120_nothing_of_it_stays_where_its_last_step_fails(records: Records) -> None:
    """So it is where the process is killed, too: all of it is one transaction."""
    await records.crm.admin.execute(
        """
        CREATE FUNCTION crm.careless() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$;
        CREATE TRIGGER careless BEFORE INSERT ON crm.queue_item FOR EACH ROW EXECUTE FUNCTION crm.careless();
        """
    )
    email_id = await records.write([replace(CASES, unknown_sender="contact")])
    await records.make()
    made = "SELECT count(*) FROM crm.record WHERE kind IN ('case', 'contact')"
    assert await records.crm.admin.fetchval(made) == 0
    assert (await records.cases(), await records.about(email_id)) == ([], None)
    await records.crm.admin.execute("DROP TRIGGER careless ON crm.queue_item")
    await records.make()
    assert await records.crm.admin.fetchval(made) == 2
    assert await records.about(email_id) == (await records.case())["record_id"]


async def test_t120_what_ends_the_database_is_tried_a_few_times_and_not_for_ever(records: Records) -> None:
    await _refuse(records.crm, "PERFORM pg_terminate_backend(pg_backend_pid())")
    await records.write()
    tried = []
    for _ in range(creation_lanes.LOST):
        await records.due()
        tried.append(await records.next())
    assert [one and one.is_final for one in tried] == [False] * (creation_lanes.LOST - 1) + [True]
    assert await records.states() == [("failed", None)]
    [event] = await records.crm.rows(
        "SELECT details ->> 'fault' AS fault FROM crm.event WHERE kind = 'record_not_made'"
    )
    assert "lost" in event["fault"] or "terminat" in event["fault"]


async def _seen(records: Records, kind: str) -> list[int]:
    """How many events of this kind each email has for which something was wanted."""
    rows = await records.crm.admin.fetch(
        """
        SELECT (SELECT count(*) FROM crm.event AS e WHERE e.email_id = c.email_id AND e.kind = $1) AS number
        FROM router.creation AS c ORDER BY c.id
        """,
        kind,
    )
    return [row["number"] for row in rows]


@pytest.mark.parametrize("how", ["killed", "lost"])
@pytest.mark.parametrize("kind", ["case_opened", "record_not_made", "record_wanted"])
async def test_t120_each_event_is_told_once_wherever_its_maker_ends(
    records: Records, database: str, kind: str, how: str
) -> None:
    """Before each statement the process is killed, or its connection is; whoever comes next brings it to its end."""
    rules = (replace(CASES, unknown_sender="contact") if kind == "case_opened" else CONTACTS,)
    if kind == "record_wanted":
        await elsewhere_of(records)
    elif kind == "record_not_made":
        await _refuse(records.crm, "RAISE 'no'", kind="contact")
    number = 0

    async def write(count: int) -> None:
        nonlocal number
        messages = [records.senders.message(f"{number + one}@kunde.test") for one in range(count)]
        await records.bring(*(replace(records.senders.copy(one), creation_rules=rules) for one in messages))
        number += count
        if kind == "record_not_made":
            attempts = creation_lanes.ATTEMPTS - 1
            await records.crm.admin.execute("UPDATE router.creation SET attempts = $1 WHERE state = 'wanted'", attempts)

    async with Breaking(database) as broken:
        await write(1)
        await creation.carry_out(broken)
        assert await _seen(records, kind) == [1]
        statements = sum(broken.ran.values())
        await write(statements)
        for ends_before in range(1, statements + 1):
            left = [ends_before]

            def breaks(_place: str, _arguments: object, left: list[int] = left) -> str | BaseException | None:
                left[0] -= 1
                return None if left[0] else asyncio.CancelledError() if how == "killed" else "lost"

            broken.breaks = breaks
            # Or what was lost would take its owner's others with it, apart.
            await records.crm.admin.execute("UPDATE router.creation SET slow = false")
            with suppress(asyncio.CancelledError, DatabaseError):
                await creation.carry_out(broken)
            assert left[0] <= 0
    assert 0 in await _seen(records, kind)
    await records.make()
    for one in (kind, "record_made") if kind == "case_opened" else (kind,):
        assert await _seen(records, one) == [1] * (statements + 1)
    assert {state for state, _ in await records.states()} <= {"done", "failed", "asked"}
    assert {row["attempts"] for row in await records.crm.rows("SELECT attempts FROM crm.creation")} <= {1, 2, 12}


async def test_t120_what_is_made_while_the_answer_to_its_commit_is_lost_is_made_once(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = creation.make

    async def deaf(database: Database, begun: Begun, within: float) -> str:
        await make(database, begun, within)
        raise DatabaseAway("the connection was lost")

    monkeypatch.setattr(creation, "make", deaf)
    await records.write()
    await records.make()
    assert await records.states() == [("done", "made")]
    assert await records.told("case_opened") == 1


async def test_t113_what_is_taken_back_leaves_the_queue_and_comes_back_with_it(records: Records) -> None:
    email_id = await records.write()
    await records.make()
    case = await records.case()
    assert (await take_back(records.database, email_id, records.senders.owner_id, "ann")).gone
    assert await records.crm.rows("SELECT FROM crm.queue_item") == []
    await restore(records.database, email_id, records.senders.owner_id, "ann")
    assert len(await records.crm.rows("SELECT FROM crm.queue_item")) == 1
    assert await records.about(email_id) == case["record_id"]
    await records.make()
    assert len(await records.cases()) == 1


# --- A CRM that has its records elsewhere ----------------------------------------------------------------------------


async def elsewhere_of(records: Records) -> None:
    """Make `crm.record` a view."""
    await records.crm.admin.execute(
        """
        ALTER TABLE crm.record RENAME TO their_record;
        CREATE VIEW crm.record AS SELECT * FROM crm.their_record;
        GRANT SELECT ON crm.record TO PUBLIC;
        """
    )


@pytest.fixture
async def elsewhere(records: Records) -> Records:
    await elsewhere_of(records)
    return records


async def test_t120_a_crm_with_views_is_asked_and_answers(elsewhere: Records) -> None:
    email_id = await elsewhere.write([replace(CASES, priority="high")], subject="My printer burns", name="Karl")
    await elsewhere.make()
    assert await elsewhere.states() == [("asked", None)]
    [event] = await elsewhere.crm.rows(
        "SELECT email_id, details ->> 'creation_id' AS id, details ->> 'makes' AS makes, "
        "details ->> 'sender' AS sender, details ->> 'priority' AS priority, "
        "details -> 'fields' ->> 'subject' AS subject "
        "FROM crm.event WHERE kind = 'record_wanted'"
    )
    assert (event["email_id"], event["makes"], event["sender"], event["priority"], event["subject"]) == (
        email_id, "case", KARL, "high", "My printer burns",
    )  # fmt: skip
    answer = "SELECT crm.record_made($1, $2)"
    with pytest.raises(asyncpg.PostgresError, match="there is no record"):
        await elsewhere.crm.sql.execute(answer, int(event["id"]), UUID(int=7))
    theirs = [
        await elsewhere.crm.admin.fetchval("INSERT INTO crm.their_record (kind) VALUES ('case') RETURNING id")
        for _ in range(2)
    ]
    for _ in range(2):  # the second time nothing happens
        await elsewhere.crm.sql.execute(answer, int(event["id"]), theirs[0])
    assert await elsewhere.about(email_id) == theirs[0]
    assert await elsewhere.states() == [("done", "made")]
    with pytest.raises(asyncpg.PostgresError, match="is done: record"):
        await elsewhere.crm.sql.execute(answer, int(event["id"]), theirs[1])
    with pytest.raises(asyncpg.PostgresError, match="nothing is wanted"):
        await elsewhere.crm.sql.execute(answer, 99, theirs[1])


async def test_t121_a_contact_of_a_crm_with_views_resolves_its_mail(elsewhere: Records) -> None:
    email_id = await elsewhere.write([CONTACTS])
    await elsewhere.make()
    contact = await elsewhere.crm.admin.fetchval("INSERT INTO crm.their_record (kind) VALUES ('contact') RETURNING id")
    creation_id = await elsewhere.crm.admin.fetchval("SELECT id FROM crm.creation")
    await elsewhere.crm.sql.execute("SELECT crm.record_made($1, $2)", creation_id, contact)
    await elsewhere.senders.carry_out_all()
    assert await elsewhere.senders.sender_of(email_id) == contact


async def test_t102_a_crm_with_views_is_not_told_the_subject_of_a_private_email(elsewhere: Records) -> None:
    email_id = await elsewhere.write(subject="my divorce")
    await elsewhere.crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
    await elsewhere.make()
    [event] = await elsewhere.crm.rows("SELECT details::text AS told FROM crm.event WHERE kind = 'record_wanted'")
    assert "divorce" not in event["told"]
    assert "Private email" in event["told"]
