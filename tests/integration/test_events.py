"""What the CRM is told of each change, and by whom it was made."""

import json
import re
from typing import Any
from uuid import UUID

import pytest

from router.model.classification import RecipientReport, Report
from router.model.event import BEGINNING, Place
from router.repository.api.events import find_last, list_after
from router.repository.bounces.reports import write_reports
from router.repository.database import Database
from router.repository.outgoing.sending import set_sending
from router.repository.rulings import splits
from tests.support.crm import Crm
from tests.support.paths import ROOT

ULLA, KARL = "ulla@in.test", "karl@kunde.test"
PAGE = (ROOT / "docs/database.md").read_text(encoding="utf-8")


@pytest.fixture
async def draft(crm: Crm) -> UUID:
    await crm.owner(ULLA)
    return await crm.draft(ULLA, KARL, "Offer", "Chairs")


async def told(crm: Crm, email_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of an email as kind and details, in order."""
    rows = await crm.rows("SELECT kind, details FROM crm.events_after() WHERE email_id = $1", email_id)
    return [(row["kind"], json.loads(row["details"])) for row in rows]


async def by_router(crm: Crm, statement: str, *arguments: object) -> None:
    """Run a statement as a router does."""
    async with crm.admin.transaction():
        await crm.admin.execute("SET LOCAL email_router.knows_ids = 'yes'")
        await crm.admin.execute(statement, *arguments)


async def test_after_a_restore_who_follows_along_goes_on_and_misses_nothing(crm: Crm, database: str) -> None:
    """PostgreSQL numbers transactions anew where a dump is restored; those of a ruling that was under way are gone."""
    tell = "INSERT INTO crm.event (kind) VALUES ('promoted') RETURNING id"
    old = [await crm.admin.fetchval(tell) for _ in range(3)]
    # As in a dump of a database that had seen more transactions.
    ahead = "(4000000000 + transaction::text::bigint)::text::xid8"
    await crm.admin.execute(f"UPDATE crm.event SET transaction = {ahead}")
    await crm.admin.execute("UPDATE router.installation SET database_oid = NULL")
    await crm.admin.execute(
        "INSERT INTO router.ruling_work (subject, boundary) VALUES ('karl@kunde.test', '4000000000')"
    )
    seen = await crm.admin.fetchrow("SELECT transaction::text, id FROM crm.event ORDER BY id DESC LIMIT 1")
    assert seen is not None
    before = await crm.admin.fetchval(tell)
    async with Database(database) as opened:
        await set_sending(opened, on=True)
        after = await crm.admin.fetchval(tell)
        listed = [event.place.id for event in await list_after(opened, BEGINNING, 10)]
        assert listed == [*old, before, after]
        place = Place(int(seen["transaction"]), seen["id"])
        assert [event.place.id for event in await list_after(opened, place, 10)] == [before, after]
        assert (await find_last(opened)).id == after
        # The original goes on as it was: starting it is no restore.
        place = await find_last(opened)
        await set_sending(opened, on=True)
        later = await crm.admin.fetchval(tell)
        [event] = await list_after(opened, place, 10)
        assert event.place.id == later
        assert event.place.transaction - place.transaction < 1000
    assert await crm.admin.fetchval("SELECT boundary FROM router.ruling_work") is None


async def test_each_move_is_told_with_who_made_it_and_why(crm: Crm, draft: UUID) -> None:
    move = "UPDATE crm.email SET status = $2, status_reason = $3 WHERE id = $1"
    me = await crm.sql.fetchval("SELECT session_user")
    await crm.move(draft, "pending_send")
    await crm.move(draft, "draft")
    await crm.sql.execute("UPDATE crm.email SET send_after = '2030-01-01 00:00+00' WHERE id = $1", draft)
    await crm.move(draft, "pending_send")
    for status, reason in (
        ("sending", None),
        ("pending_send", None),  # given back, as nothing had happened
        ("sending", None),
        ("pending_send", "greylisted"),
        ("sending", None),
        ("unknown", "the relay never answered"),
    ):
        await by_router(crm, move, draft, status, reason)
    await crm.move(draft, "failed")
    await crm.move(draft, "canceled")
    assert await told(crm, draft) == [
        ("pending_send", {"old": "draft", "by": me}),
        ("draft", {"old": "pending_send", "by": me}),
        ("pending_send", {"old": "draft", "by": me, "send_after": "2030-01-01T00:00:00+00:00"}),
        (
            "pending_send",
            {"old": "sending", "by": "router", "reason": "greylisted", "send_after": "2030-01-01T00:00:00+00:00"},
        ),
        ("unknown", {"old": "sending", "by": "router", "reason": "the relay never answered"}),
        ("failed", {"old": "unknown", "by": me}),
        ("canceled", {"old": "failed", "by": me}),
    ]


async def test_what_a_trigger_of_the_crms_does_in_a_routers_transaction_is_not_the_routers(
    crm: Crm, draft: UUID
) -> None:
    await crm.move(draft, "pending_send")
    await crm.admin.execute(
        """
        CREATE FUNCTION public.cancel() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN UPDATE crm.email SET status = 'canceled' WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER zzz AFTER UPDATE ON crm.email FOR EACH ROW
            WHEN (NEW.status = 'failed') EXECUTE FUNCTION public.cancel();
        """
    )
    await by_router(crm, "UPDATE crm.email SET status = 'failed' WHERE id = $1", draft)
    assert [(kind, details["by"] == "router") for kind, details in await told(crm, draft)] == [
        ("pending_send", False),
        ("failed", True),
        ("canceled", False),
    ]


async def test_each_recipient_who_does_not_get_it_is_told_once(crm: Crm, draft: UUID) -> None:
    write = """
        INSERT INTO crm.delivery (email_id, address, state, code, text)
        SELECT $1, state || '@kunde.test', $2, '5.1.1', 'no such user' FROM unnest($3::text[]) AS s (state)
        ON CONFLICT (email_id, address) DO UPDATE SET state = excluded.state
    """
    await crm.admin.execute(write, draft, "accepted", ["a", "b", "c"])
    await crm.admin.execute(write, draft, "deferred", ["a"])
    await crm.admin.execute(write, draft, "refused", ["a", "d"])
    await crm.admin.execute(write, draft, "refused", ["a"])
    await crm.admin.execute(write, draft, "given_up", ["b"])
    details = [{"address": f"{name}@kunde.test", "code": "5.1.1", "reason": "no such user"} for name in ("a", "d", "b")]
    assert sorted(await told(crm, draft), key=str) == sorted(
        [("refused", details[0]), ("refused", details[1]), ("given_up", details[2])], key=str
    )


@pytest.mark.parametrize(("said", "state"), [("sent", "accepted"), ("failed", "given_up")])
async def test_o18_what_a_person_says_of_an_unknown_email_settles_its_unknown_recipients(
    crm: Crm, draft: UUID, said: str, state: str
) -> None:
    for step in ("pending_send", "sending", "unknown"):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", draft, step)
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state) SELECT $1, s || '@kunde.test', s "
        "FROM unnest('{unknown,refused,accepted}'::text[]) AS s",
        draft,
    )
    await crm.move(draft, said)
    states = {row["address"]: row["state"] for row in await crm.rows("SELECT address, state FROM crm.delivery")}
    assert states == {
        "unknown@kunde.test": state,
        "refused@kunde.test": "refused",
        "accepted@kunde.test": "accepted",
    }


async def test_what_a_router_hears_late_of_an_unknown_email_is_its_recipients_outcome(crm: Crm, draft: UUID) -> None:
    for step in ("pending_send", "sending", "unknown"):
        await by_router(crm, "UPDATE crm.email SET status = $2 WHERE id = $1", draft, step)
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state) VALUES ($1, $2, 'unknown')", draft, KARL
    )
    await by_router(crm, "UPDATE crm.email SET status = 'sent' WHERE id = $1", draft)
    [delivery] = await crm.rows("SELECT state FROM crm.delivery")
    assert delivery["state"] == "unknown"  # until the router writes it, refused perhaps


# --- The list --------------------------------------------------------------------------------------------------------

OF_THE_WAY_IN = {"promoted", "received", "acknowledged", "not_acknowledged"}
"""What is told of mail that comes in: tests/integration/test_promote.py and test_answers.py."""

OF_RULINGS = {"ruled", "ruling_undone", "resolved", "unresolved", "taken_back", "restored", "erased"}
"""What is told of rulings: tests/integration/test_rulings.py, test_taken_back.py and test_erase.py."""

OF_RECORDS = {"case_opened", "case_reopened", "record_made", "record_wanted", "record_not_made"}
"""What is told of records from mail: tests/integration/test_records.py."""


async def test_the_page_lists_every_kind_and_no_other(crm: Crm) -> None:
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", PAGE[PAGE.index("| kind |") :], re.MULTILINE)
    check = await crm.admin.fetchval("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'event_kind'")
    assert sorted(listed) == sorted(re.findall(r"'(\w+)'", check))


async def test_every_kind_happens_and_its_details_are_those_of_the_page(crm: Crm, draft: UUID, database: str) -> None:
    for status in ("pending_send", "sending", "failed", "draft", "pending_send", "sending", "unknown", "sent"):
        await by_router(crm, "UPDATE crm.email SET status = $2 WHERE id = $1", draft, status)
        await crm.admin.execute("DELETE FROM router.outbox WHERE $1 = 'failed'", status)
    await crm.move(await crm.draft(ULLA, KARL), "canceled")
    async with Database(database) as opened, opened.transaction() as connection:
        for kind in ("delivery", "delay", "bounce", "complaint"):
            report = Report(kind, (RecipientReport(KARL, kind, code="5.1.1", text="so it is"),))
            await write_reports(connection, [(draft, report)])
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state) VALUES ($1, 'x@kunde.test', 'given_up')", draft
    )
    answer = await crm.sql.fetchval(
        "INSERT INTO crm.email (direction, status, correlated_id) VALUES ('in', 'received', $1) RETURNING id", draft
    )
    async with Database(database) as opened:
        await splits.split(opened, answer, "Ann")
        await splits.undo(opened, answer, "Ann")
    rows = await crm.rows("SELECT kind, details FROM crm.event")
    listed = {
        kind: set(re.findall(r"`(\w+)`", details))
        for kind, details in re.findall(
            r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE[PAGE.index("| kind |") :], re.MULTILINE
        )
    }
    assert {row["kind"] for row in rows} == set(listed) - OF_THE_WAY_IN - OF_RULINGS - OF_RECORDS
    for row in rows:
        assert set(json.loads(row["details"])) <= listed[row["kind"]], row
