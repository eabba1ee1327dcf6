"""An address to which email bounced hard is not written to again, until somebody says so."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from router.model import RecipientReport, Report, Result
from router.repository.bounces.reports import write_reports
from router.repository.database import Database
from router.repository.outgoing import outbox
from router.repository.retention import Retention, take_piece
from tests.support.crm import Crm
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import relay, sending

ULLA, ANN, BOB = "ulla@example.com", "ann@kunde.test", "bob@kunde.test"
STATES = "SELECT address, state, code, hard_bounces, soft_bounces FROM crm.address_state ORDER BY address"
WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"


async def marks(crm: Crm) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await crm.rows(STATES)]


async def deliveries(crm: Crm, email_id: UUID) -> dict[str, tuple[str, str]]:
    rows = await crm.rows("SELECT address, state, code FROM crm.delivery WHERE email_id = $1", email_id)
    return {row["address"]: (row["state"], row["code"]) for row in rows}


async def told(
    database: str,
    email_id: UUID,
    address: str,
    code: str = "5.1.1",
    *,
    proven: bool = True,
    final: str = "",
    kind: str = "bounce",
) -> None:
    """Write a report, as the way in does."""
    one = RecipientReport(address, kind, code, f"550 {code} so it is", final)  # type: ignore[arg-type]  # a literal
    report = Report(one.kind, (one,), proven=proven)
    async with Database(database) as opened, opened.transaction() as connection:
        await write_reports(connection, [(email_id, report)])


@pytest.fixture
async def sent(crm: Crm, database: str) -> UUID:
    """An email that a relay took for its lone recipient."""
    await crm.owner(ULLA)
    return await taken(crm, database, ANN)


async def taken(crm: Crm, database: str, *recipients: str) -> UUID:
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, recipients, "one")
        await crm.wait_for_status(email_id, "sent")
    return email_id


async def test_what_is_sent_to_an_address_that_bounced_fails_at_once_and_the_others_get_it(
    crm: Crm, database: str, sent: UUID
) -> None:
    await told(database, sent, ANN)
    assert await marks(crm) == [(ANN, "bounced", "5.1.1", 1, 0)]
    day = await crm.sql.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
    words = f"{ANN}: bounced on {day}: 550 5.1.1 so it is"
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        both = await crm.send(ULLA, [ANN, BOB], "two")
        email = await crm.wait_for_status(both, "sent")
        assert email["status_reason"] == words
        assert await deliveries(crm, both) == {ANN: ("refused", "5.1.1"), BOB: ("accepted", "2.0.0")}
        alone = await crm.send(ULLA, ANN, "three")
        email = await crm.wait_for_status(alone, "failed")
        assert email["status_reason"] == words
        assert [line for line in server.commands[0] if line.startswith("RCPT")] == [f"RCPT TO:<{BOB}>"]
        assert len(server.messages) == 1
    # Our own refusal is no bounce: the mark is as old as it was.
    assert await marks(crm) == [(ANN, "bounced", "5.1.1", 1, 0)]
    events = await crm.rows("SELECT details FROM crm.event WHERE kind = 'refused' AND email_id = $1", alone)
    assert [row["details"] for row in events] == [
        f'{{"code": "5.1.1", "reason": "bounced on {day}: 550 5.1.1 so it is", "address": "{ANN}"}}'
    ]


async def test_a_pending_email_tells_how_many_of_its_addresses_bounced(crm: Crm, database: str, sent: UUID) -> None:
    await told(database, sent, ANN)
    email_id = await crm.send(ULLA, [ANN, BOB], "two")
    [row] = await crm.rows("SELECT recipients, bounced FROM crm.email_progress WHERE email_id = $1", email_id)
    assert tuple(row) == (2, 1)


async def test_it_is_sent_anyway_where_the_crm_says_so(crm: Crm, database: str, sent: UUID) -> None:
    await told(database, sent, ANN)
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        email_id = await crm.send(ULLA, ANN, "two")
        await crm.wait_for_status(email_id, "failed")
        await crm.sql.execute(
            "UPDATE crm.email SET send_anyway = true, status = 'pending_send' WHERE id = $1", email_id
        )
        await crm.wait_for_status(email_id, "sent")
    assert len(server.messages) == 1
    assert await marks(crm) == [(ANN, "bounced", "5.1.1", 1, 0)]


async def test_the_crm_clears_the_mark_in_whatever_form_it_writes_the_address_and_can_erase_it(
    crm: Crm, database: str, sent: UUID
) -> None:
    await told(database, sent, ANN)
    assert await crm.sql.fetchval("SELECT crm.clear_address_state('Ann@KUNDE.test')") is True
    assert await crm.sql.fetchval("SELECT crm.clear_address_state($1)", ANN) is False
    assert await marks(crm) == [(ANN, "usable", "5.1.1", 1, 0)]
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        await crm.wait_for_status(await crm.send(ULLA, ANN, "two"), "sent")
    # The same report once more is no news.
    await told(database, sent, ANN)
    assert await marks(crm) == [(ANN, "usable", "5.1.1", 1, 0)]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await crm.sql.execute("UPDATE crm.address_state SET state = 'bounced'")
    await crm.sql.execute("DELETE FROM crm.address_state WHERE address = $1", ANN)
    assert await marks(crm) == []


async def test_a_mark_is_forgotten_when_nothing_has_bounced_there_for_long(crm: Crm, database: str, sent: UUID) -> None:
    await told(database, sent, ANN)
    await told(database, await taken(crm, database, BOB), BOB)
    await crm.admin.execute(
        "UPDATE crm.address_state SET since = now() - interval '9 days', "
        "last_at = now() - CASE address WHEN $1 THEN interval '8 days' ELSE interval '6 days' END",
        ANN,
    )
    async with Database(database) as opened:
        piece = await take_piece(opened, "addresses", Retention(bounces=timedelta(days=7)))
    assert piece.deleted == 1
    assert await marks(crm) == [(BOB, "bounced", "5.1.1", 1, 0)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("5.1.2", [(ANN, "bounced", "5.1.2", 1, 0)]),
        ("5.2.1", [(ANN, "bounced", "5.2.1", 1, 0)]),
        ("5.2.2", [(ANN, "usable", "5.2.2", 0, 1)]),
        ("4.4.7", [(ANN, "usable", "4.4.7", 0, 1)]),
        ("5.7.1", []),
        ("5.6.0", []),
    ],
)
async def test_only_a_hard_bounce_marks_a_soft_one_counts_and_a_policy_says_nothing(
    crm: Crm, database: str, sent: UUID, code: str, expected: list[tuple[object, ...]]
) -> None:
    await told(database, sent, ANN, code)
    assert await marks(crm) == expected
    assert (await deliveries(crm, sent))[ANN] == ("refused", code)


async def test_a_soft_bounce_takes_no_mark_away(crm: Crm, database: str, sent: UUID) -> None:
    other = await taken(crm, database, ANN)
    await told(database, sent, ANN)
    await told(database, other, ANN, "5.2.2")
    assert await marks(crm) == [(ANN, "bounced", "5.1.1", 1, 1)]


@pytest.mark.parametrize("kind", ["delay", "delivery", "complaint"])
async def test_what_is_no_bounce_marks_nothing(crm: Crm, database: str, sent: UUID, kind: str) -> None:
    await told(database, sent, ANN, kind=kind)
    assert await marks(crm) == []


async def test_a_report_that_proves_nothing_marks_nothing(crm: Crm, database: str, sent: UUID) -> None:
    await told(database, sent, ANN, proven=False)
    assert (await deliveries(crm, sent))[ANN] == ("refused", "5.1.1")
    assert await marks(crm) == []


async def test_none_of_several_recipients_can_tell_that_another_bounced(crm: Crm, database: str) -> None:
    """Each of them has seen the return path, and could write such a report."""
    await crm.owner(ULLA)
    email_id = await taken(crm, database, ANN, BOB)
    await told(database, email_id, BOB)
    assert (await deliveries(crm, email_id))[BOB] == ("refused", "5.1.1")
    assert await marks(crm) == []


async def test_the_same_report_many_times_at_once_is_counted_once(crm: Crm, database: str, sent: UUID) -> None:
    report = Report("bounce", (RecipientReport(ANN, "bounce", "5.1.1", "550 5.1.1 so it is"),), proven=True)

    async def tell(opened: Database) -> None:
        async with opened.transaction() as connection:
            await write_reports(connection, [(sent, report)])

    async with Database(database) as opened:
        async with crm.admin.transaction():  # so that all of them have begun before the first goes on
            await crm.admin.execute("SELECT FROM crm.delivery WHERE email_id = $1 FOR UPDATE", sent)
            telling = [asyncio.create_task(tell(opened)) for _ in range(4)]
            await crm.wait_for(4, WAITING)
        await asyncio.gather(*telling)
    assert await marks(crm) == [(ANN, "bounced", "5.1.1", 1, 0)]


async def test_a_refusal_that_is_recorded_again_is_counted_once(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the connection was lost after the commit, before its answer."""
    await crm.owner(ULLA)
    recorded = outbox.record

    async def record_twice(opened: Database, results: Sequence[Result], **more: float) -> None:
        await recorded(opened, results, **more)
        await recorded(opened, results, **more)

    monkeypatch.setattr(outbox, "record", record_twice)
    script = {"RCPT TO:<ann@": "550 5.1.1 nobody here"}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port)):
        await crm.wait_for_status(await crm.send(ULLA, ANN, "one"), "failed")
    assert await marks(crm) == [(ANN, "bounced", "5.1.1", 1, 0)]


async def test_a_report_on_an_address_behind_the_recipients_marks_neither(crm: Crm, database: str, sent: UUID) -> None:
    """One member of a list is gone: the list is not."""
    await told(database, sent, ANN, final="gone@elsewhere.test")
    assert (await deliveries(crm, sent))[ANN] == ("refused", "5.1.1")
    await told(database, sent, "stranger@kunde.test")
    assert await marks(crm) == []


async def test_our_own_relays_word_on_an_address_marks_it(crm: Crm, database: str) -> None:
    await crm.owner(ULLA)
    script = {"RCPT TO:<ann@": "550 5.1.1 nobody here", "RCPT TO:<bob@": "550 5.7.1 not you"}
    async with ScriptedSmtp(script) as server, sending(database, relay(server.port)):
        await crm.wait_for_status(await crm.send(ULLA, [ANN, BOB, "eve@kunde.test"], "one"), "sent")
    assert await marks(crm) == [(ANN, "bounced", "5.1.1", 1, 0)]


@pytest.mark.parametrize("stage", ["MAIL", "DATA", "."])
async def test_a_refusal_of_the_message_says_nothing_of_its_addresses(crm: Crm, database: str, stage: str) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp({stage: "550 5.1.1 nobody here"}) as server, sending(database, relay(server.port)):
        await crm.wait_for_status(await crm.send(ULLA, [ANN, BOB], "one"), "failed")
    assert await marks(crm) == []
