"""Merges beside what else becomes of records and emails: as if one came first, and nobody stops the rest."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from router.errors import DatabaseAway
from router.operations.erase import Asked, erase
from router.repository.database import Database
from router.repository.erasure.taken_back import restore, take_back
from router.repository.overview.status import read_status
from router.repository.records import merge_attempts, merges
from router.repository.records.merge_kinds import PIECE
from router.repository.rulings import ruling_walks, rulings
from tests.integration.test_records import Records
from tests.support.crm import Crm
from tests.support.flood import Lent
from tests.support.merging import carry_out, merged, named
from tests.support.senders import Senders

A, B, C = "a@kunde.test", "b@kunde.test", "c@kunde.test"
STRANGER = "stranger@kunde.test"
Sql = asyncpg.Connection


@pytest.fixture
async def other(database: str) -> AsyncIterator[Sql]:
    """Another session."""
    session = await asyncpg.connect(database)
    yield session
    await session.close()


async def refuse(crm: Crm, table: str, key: str, *keys: UUID, how: str = "RAISE EXCEPTION 'a mistake'") -> None:
    """Have the CRM refuse what changes these rows; or all of them."""
    condition = f"NEW.{key} = ANY('{{{','.join(map(str, keys))}}}')" if keys else "true"
    await crm.admin.execute(
        f"""
        CREATE OR REPLACE FUNCTION crm.refuses() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF {condition} THEN {how}; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuses BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION crm.refuses();
        """
    )


async def refuse_by_lock(crm: Crm) -> None:
    """Have a trigger of the CRM's wait for a table that others may lock."""
    await crm.admin.execute("CREATE TABLE crm.locked (n int)")
    await refuse(crm, "crm.party", "email_id", how="PERFORM FROM crm.locked")


# --- What the CRM refuses --------------------------------------------------------------------------------------------


async def test_what_the_crm_refuses_is_set_aside_and_told_and_all_else_goes_on(crm: Crm, senders: Senders) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    emails = await senders.write(A, PIECE + 5)
    await crm.admin.execute("UPDATE crm.email SET regarding_id = $1 WHERE id = ANY($2)", a, emails[:2])
    refused = emails[3]
    await refuse(crm, "crm.party", "email_id", refused)
    await merged(crm, senders.database, a, b)
    assert await senders.senders(A) == [a if one == refused else b for one in emails]
    assert [(await crm.email(one))["regarding_id"] for one in emails[:2]] == [b, b]
    [told] = await crm.rows("SELECT * FROM crm.merge")
    assert (told["is_done"], told["refused"], told["parties"]) == (False, 1, PIECE + 4)
    assert told["fault"] == f"crm.party.record_id of {refused}: a mistake (SQLSTATE P0001)"
    status = await read_status(senders.database, timedelta(seconds=15))
    assert status.merges == merges.StuckMerges(1, told["fault"])

    # Nothing is due at once, and each try is later than the one before, until it is once an hour, and then never.
    assert not await merges.carry_out(senders.database)
    waits = []
    for attempts in (1, 2, 3, 10):
        await crm.admin.execute("UPDATE router.merge_refused SET try_at = now(), attempts = $1", attempts)
        await crm.admin.execute("UPDATE router.merge SET try_at = now()")
        while await merges.carry_out(senders.database):
            pass
        wait = await crm.admin.fetchval("SELECT extract(epoch FROM try_at - now()) FROM router.merge_refused")
        waits.append(round(wait, -1))
    assert waits == [10, 20, 40, 3600]
    assert not await crm.sql.fetchval("SELECT has_failed FROM crm.merge")
    await crm.admin.execute("UPDATE router.merge_refused SET try_at = now(), attempts = 11")
    await crm.admin.execute("UPDATE router.merge SET try_at = now()")
    for _ in range(4):
        await merges.carry_out(senders.database)
    assert await crm.admin.fetchval("SELECT try_at = 'infinity' FROM router.merge")
    assert await crm.sql.fetchval("SELECT has_failed FROM crm.merge")
    assert (await read_status(senders.database, timedelta(seconds=15))).merges.failed == 1
    await crm.admin.execute("DROP TRIGGER refuses ON crm.party")
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)  # whoever does not want to wait
    while await merges.carry_out(senders.database):
        pass
    assert await named(crm, a) == ["crm.record.id"]
    [told] = await crm.rows("SELECT * FROM crm.merge")
    assert (told["is_done"], told["refused"], told["fault"]) == (True, 0, None)
    assert (await read_status(senders.database, timedelta(seconds=15))).merges.number == 0


async def test_where_everything_is_refused_few_are_set_aside_and_the_rest_waits_ever_longer(
    crm: Crm, senders: Senders
) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    await senders.write(A, 20)
    await refuse(crm, "crm.party", "email_id")
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    wait = "SELECT extract(epoch FROM try_at - now()) FROM router.merge"
    waits = []
    for _ in range(3):
        await crm.admin.execute("UPDATE router.merge SET try_at = now()")
        assert await merges.carry_out(senders.database)
        assert not await merges.carry_out(senders.database)
        waits.append(round(await crm.admin.fetchval(wait)))
    assert waits == [5, 10, 20]
    [told] = await crm.rows("SELECT * FROM crm.merge")
    assert (told["refused"], told["fault"]) == (9, "a mistake (SQLSTATE P0001)")


async def test_what_takes_too_long_in_the_crms_sql_is_set_aside(
    crm: Crm, senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merges, "_LIMITS", "SET LOCAL statement_timeout = '200ms'")
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    slow, _ = emails = await senders.write(A, 2)
    await refuse(crm, "crm.party", "email_id", slow, how="PERFORM pg_sleep(60)")
    await merged(crm, senders.database, a, b)
    assert [await senders.sender_of(one) for one in emails] == [a, b]
    assert await crm.sql.fetchval("SELECT refused FROM crm.merge") == 1


ENDS = "PERFORM pg_terminate_backend(pg_backend_pid())"


async def test_a_trigger_that_ends_the_backend_is_tried_a_few_times_and_then_by_a_person(
    crm: Crm, senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever carries it out may not even come to say why; each try is counted before it begins."""
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    c, d = await crm.record("contact", "C", C), await crm.record("contact", "D")
    emails = await senders.write(A, 3)
    others = await senders.write(C, 3)
    await refuse(crm, "crm.party", "email_id", emails[1], how=ENDS)
    put_off = merge_attempts.put_off

    async def lost(*_: object) -> None:
        raise DatabaseAway("the database system is in recovery mode")

    monkeypatch.setattr(merge_attempts, "put_off", lost)
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", c, d)
    for tried in range(1, merge_attempts.LOST + 1):
        await crm.admin.execute("UPDATE router.merge SET try_at = now() WHERE from_id = $1", a)
        with pytest.raises(DatabaseAway):
            await merges.carry_out(senders.database, a)
        # It is not due again at once, and others do not wait for it; a person who asks does, for a while.
        while await merges.carry_out(senders.database):
            assert tried == 1
        assert await senders.senders(C) == [d] * len(others)
        assert await merge_attempts.is_due(senders.database, a)
    await crm.admin.execute("UPDATE router.merge SET try_at = now() WHERE from_id = $1", a)
    assert await merges.carry_out(senders.database)
    assert not await merge_attempts.is_due(senders.database, a)
    assert await crm.admin.fetchval("SELECT try_at = 'infinity' FROM router.merge WHERE from_id = $1", a)
    [told] = await crm.rows("SELECT * FROM crm.merge WHERE from_id = $1", a)
    assert (told["is_done"], told["has_failed"]) == (False, True)
    assert "ended while it was carried out, again and again" in told["fault"]

    # Where it comes to say why, it ends as soon.
    monkeypatch.setattr(merge_attempts, "put_off", put_off)
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    for _ in range(merge_attempts.LOST):
        await crm.admin.execute("UPDATE router.merge SET try_at = now() WHERE try_at < 'infinity'")
        assert await merges.carry_out(senders.database, a)
        assert not await merges.carry_out(senders.database, a)
    assert await crm.admin.fetchval("SELECT try_at = 'infinity' FROM router.merge WHERE from_id = $1", a)
    assert "lost" in await crm.sql.fetchval("SELECT fault FROM crm.merge WHERE from_id = $1", a)
    assert await senders.senders(A) == [a] * 3

    # Somebody has mended it, and says so.
    await crm.admin.execute("DROP TRIGGER refuses ON crm.party")
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    while await merges.carry_out(senders.database):
        pass
    assert await senders.senders(A) == [b] * len(emails)
    assert await senders.senders(C) == [d] * len(others)
    assert await crm.sql.fetchval("SELECT bool_and(is_done AND NOT has_failed) FROM crm.merge")


async def test_what_fails_again_and_again_ends_and_what_others_have_locked_does_not(
    crm: Crm, senders: Senders, other: Sql
) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    await senders.write(A, 60)
    await refuse(crm, "crm.party", "email_id")
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    for attempt in range(1, merge_attempts.ATTEMPTS + 1):
        assert not await crm.sql.fetchval("SELECT has_failed FROM crm.merge"), attempt
        await crm.admin.execute("UPDATE router.merge SET try_at = now()")
        assert await merges.carry_out(senders.database)
    assert await crm.sql.fetchval("SELECT has_failed FROM crm.merge")
    assert not await merges.carry_out(senders.database)
    assert await crm.sql.fetchval("SELECT refused FROM crm.merge") == 3 * merge_attempts.ATTEMPTS

    await crm.admin.execute("DROP TRIGGER refuses ON crm.party")
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    await refuse_by_lock(crm)
    async with other.transaction():
        await other.execute("LOCK TABLE crm.locked")
        for _ in range(merge_attempts.ATTEMPTS + 2):
            await crm.admin.execute("UPDATE router.merge SET try_at = now()")
            await crm.admin.execute("UPDATE router.merge_refused SET try_at = now()")
            assert await merges.carry_out(senders.database)
        assert not await crm.sql.fetchval("SELECT has_failed FROM crm.merge")
    await carry_out(crm, senders.database)
    assert await crm.sql.fetchval("SELECT is_done FROM crm.merge")


# --- Merges that cross -----------------------------------------------------------------------------------------------


async def crossing(
    crm: Crm, other: Sql, isolation: str, first: tuple[UUID, UUID], second: tuple[UUID, UUID]
) -> str | None:
    """Merge in two transactions at once, of which the second one waits for the first; return its error."""
    pid = other.get_server_pid()
    async with crm.sql.transaction(isolation=isolation):  # type: ignore[arg-type]
        await crm.sql.execute("SELECT crm.merge_records($1, $2)", *first)
        await other.execute(f"BEGIN ISOLATION LEVEL {isolation.replace('_', ' ')}; SELECT count(*) FROM crm.record")
        waiting = asyncio.ensure_future(other.execute("SELECT crm.merge_records($1, $2)", *second))
        await crm.wait_for(True, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1", pid)
    try:
        await waiting
    except asyncpg.PostgresError as error:
        await other.execute("ROLLBACK")
        return str(error)
    await other.execute("COMMIT")
    return None


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read"])
async def test_of_two_merges_that_cross_the_second_is_refused(
    crm: Crm, senders: Senders, other: Sql, isolation: str
) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B", B)
    await senders.write(A, 2)
    await senders.write(B, 2)
    refused = await crossing(crm, other, isolation, (a, b), (b, a))
    assert refused is not None
    assert ("could not serialize" if isolation == "repeatable_read" else "there is no active record") in refused
    await carry_out(crm, senders.database)
    assert await named(crm, a) == ["crm.record.id"]
    assert await senders.senders(A) + await senders.senders(B) == [b] * 4
    assert await crm.sql.fetchval("SELECT active FROM crm.record WHERE id = $1", b)


async def test_merges_in_a_row_at_once_are_as_if_one_came_first(crm: Crm, senders: Senders, other: Sql) -> None:
    a, b, c = [await crm.record("contact", one, one) for one in (A, B, C)]
    for one in (A, B, C):
        await senders.write(one)
    assert await crossing(crm, other, "read_committed", (a, b), (b, c)) is None
    await carry_out(crm, senders.database)
    assert [await senders.senders(one) for one in (A, B, C)] == [[c]] * 3
    d, e = await crm.record("contact", "D"), await crm.record("contact", "E")
    refused = await crossing(crm, other, "read_committed", (c, e), (d, c))
    assert refused is not None
    assert f"record {c} is being merged into record {e}" in refused
    await carry_out(crm, senders.database)
    with pytest.raises(asyncpg.PostgresError, match=f"record {c} was merged into record {e}: merge into that one"):
        await crm.sql.execute("SELECT crm.merge_records($1, $2)", d, c)


async def test_a_merge_goes_on_into_the_next_record_wherever_the_first_was_stopped(crm: Crm, senders: Senders) -> None:
    """Each number of pieces is where somebody may be killed."""
    for pieces in range(5):
        a, b, c = [await crm.record("contact", name, f"{name}{pieces}@kunde.test") for name in ("a", "b", "c")]
        [email] = await senders.write(f"a{pieces}@kunde.test")
        await crm.sql.execute("UPDATE crm.email SET regarding_id = $1 WHERE id = $2", a, email)
        case = await crm.record("case", "Case")
        await crm.sql.execute("INSERT INTO crm.case (record_id, requester_id) VALUES ($1, $2)", case, a)
        await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
        for _ in range(pieces):
            assert await merges.carry_out(senders.database)
        await merged(crm, senders.database, b, c)
        for gone in (a, b):
            assert await named(crm, gone) == ["crm.record.id"]
        assert await senders.sender_of(email) == c
        assert (await crm.email(email))["regarding_id"] == c
        assert await crm.sql.fetchval("SELECT requester_id FROM crm.case WHERE record_id = $1", case) == c


async def test_views_of_records_that_the_crm_did_not_end_are_merged_back_and_forth(
    crm: Crm, senders: Senders, other: Sql
) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B", B)
    mails = [*await senders.write(A), *await senders.write(B)]
    await crm.admin.execute(
        """
        ALTER TABLE crm.record RENAME TO their_record;
        CREATE VIEW crm.record AS SELECT * FROM crm.their_record WHERE true GROUP BY id;
        """
    )
    assert await crossing(crm, other, "read_committed", (a, b), (b, a)) is None
    await carry_out(crm, senders.database)
    assert [await senders.sender_of(one) for one in mails] == [a, a]
    assert [(row["from_id"], row["is_done"]) for row in await crm.rows("SELECT * FROM crm.merge")] == [(b, True)]


# --- What is written while a merge begins ----------------------------------------------------------------------------


async def while_it_begins(crm: Crm, other: Sql, a: UUID, b: UUID, write: Callable[[], Awaitable[object]]) -> None:
    """Write in a transaction that ends only after the merge was begun."""
    await other.execute("BEGIN")
    await write()
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    await other.execute("COMMIT")


async def test_an_address_and_a_ruling_that_were_written_meanwhile_are_those_of_the_record_that_stays(
    crm: Crm, senders: Senders, other: Sql
) -> None:
    a, b = await crm.record("contact", "A"), await crm.record("contact", "B")
    [waited] = await senders.write(C)

    async def write() -> None:
        await other.execute("INSERT INTO crm.address VALUES ($1, $2)", A, a)
        await other.execute("SELECT crm.resolve($1, $2)", C, a)
        await other.execute("INSERT INTO router.never_track (pattern, owner_id, by) VALUES ('x.test', $1, 'ann')", a)

    await while_it_begins(crm, other, a, b, write)
    await senders.carry_out_all()  # of a record that is not active, it resolves nothing
    await carry_out(crm, senders.database)
    await senders.carry_out_all()
    assert await named(crm, a) == ["crm.record.id"]
    assert await senders.sender_of(waited) == b
    assert [await senders.sender_of((await senders.write(one))[0]) for one in (A, C)] == [b, b]


@pytest.mark.parametrize("pieces", range(4))
async def test_a_ruling_and_its_undoing_beside_a_merge_are_as_if_one_came_first(
    crm: Crm, senders: Senders, pieces: int
) -> None:
    """Whoever carries out the one or the other may come in between, at each piece."""
    a, b = await crm.record("contact", "A"), await crm.record("contact", "B")
    waited = await senders.write(C, 3)
    ruling = await senders.rule(C, a, done=False)
    for _ in range(pieces):
        await ruling_walks.carry_out(senders.database)
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    for _ in range(3):
        await merges.carry_out(senders.database)
        await ruling_walks.carry_out(senders.database)
    await carry_out(crm, senders.database)
    await senders.carry_out_all()
    assert [await senders.sender_of(one) for one in waited] == [b] * 3
    await senders.undo(ruling, done=False)
    await merges.carry_out(senders.database)
    await senders.carry_out_all()
    await carry_out(crm, senders.database)
    assert [await senders.sender_of(one) for one in waited] == [None] * 3
    assert await named(crm, a) == ["crm.record.id"]


async def test_what_is_undone_between_two_pieces_stays_undone(crm: Crm, senders: Senders) -> None:
    a, b = await crm.record("contact", "A"), await crm.record("contact", "B")
    waited = await senders.write(C, 3)
    ruling = await senders.rule(C, a)
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    await senders.undo(ruling, done=False)
    await merges.carry_out(senders.database)
    await senders.carry_out_all()
    await carry_out(crm, senders.database)
    await senders.carry_out_all()
    assert [await senders.sender_of(one) for one in waited] == [None] * 3
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruled_party") == 0


# --- Records from mail -----------------------------------------------------------------------------------------------


async def test_an_answer_in_a_case_that_was_merged_is_on_the_other_case(crm: Crm, senders: Senders) -> None:
    records = Records(senders)
    first, second = await records.write(subject="one"), await records.write(subject="two")
    await records.make()
    gone, stays = [await records.about(one) for one in (first, second)]
    assert gone is not None
    assert stays is not None
    early = await records.write(answers=first)
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", gone, stays)
    await records.make()  # before anything of it is moved
    await carry_out(crm, senders.database)
    late = await records.write(answers=first)
    await records.make()
    assert [await records.about(one) for one in (first, early, late)] == [stays] * 3
    assert await named(crm, gone) == ['crm."case".record_id', "crm.record.id"]
    cases = {case["record_id"]: case["status"] for case in await records.cases()}
    assert cases == {gone: "closed", stays: "open"}


async def test_a_queue_without_a_mailbox_is_merged_with_its_cases_and_items(crm: Crm, senders: Senders) -> None:
    records = Records(senders)
    email = await records.write()
    await records.make()
    queue = await crm.record("queue", "Queue")
    await crm.admin.execute("DELETE FROM crm.owner WHERE record_id = $1", senders.owner_id)
    await merged(crm, senders.database, senders.owner_id, queue)
    assert (await records.case())["owner_id"] == queue
    assert await crm.sql.fetchval("SELECT owner_id FROM crm.queue_item WHERE email_id = $1", email) == queue
    assert await crm.sql.fetchval("SELECT owner_id FROM crm.creation WHERE email_id = $1", email) == queue


# --- Taken back and erased -------------------------------------------------------------------------------------------


async def test_what_is_restored_is_moved_and_what_the_crm_says_of_the_merged_record_since_stays(
    crm: Crm, senders: Senders
) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    first, second = await senders.write(A, 2)
    for one in (first, second):
        assert (await take_back(senders.database, one, senders.owner_id, "ann")).fault is None
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    assert await merges.carry_out(senders.database)  # found nothing
    assert (await restore(senders.database, first, senders.owner_id, "ann")).fault is None
    await carry_out(crm, senders.database)
    assert await crm.sql.fetchval("SELECT is_done FROM crm.merge")
    assert await senders.sender_of(first) == b

    await crm.sql.execute("UPDATE crm.record SET active = true WHERE id = $1", a)
    await crm.sql.execute("INSERT INTO crm.address VALUES ($1, $2)", C, a)
    [own, taken] = await senders.write(C, 2)
    assert (await take_back(senders.database, taken, senders.owner_id, "ann")).fault is None
    for one in (second, taken):
        assert (await restore(senders.database, one, senders.owner_id, "ann")).fault is None
    await carry_out(crm, senders.database)
    assert [await senders.sender_of(one) for one in (second, own, taken)] == [b, a, a]


async def test_whoever_restores_makes_a_merge_that_ends_look_again(crm: Crm, senders: Senders, other: Sql) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    [email] = await senders.write(A)
    assert (await take_back(senders.database, email, senders.owner_id, "ann")).fault is None
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    assert await merges.carry_out(senders.database)
    async with other.transaction():
        # The end of the merge is held, until somebody waits for it who restores.
        await other.execute("SELECT FROM router.merge FOR UPDATE")
        restoring = asyncio.ensure_future(restore(senders.database, email, senders.owner_id, "ann"))
        await crm.wait_for(
            True,
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'router.merge')",
        )
        await other.execute("UPDATE router.merge SET done_at = now(), boundary = NULL")
    assert (await restoring).fault is None
    assert await senders.sender_of(email) == b


async def test_erasing_and_merging_are_in_no_ones_way(crm: Crm, senders: Senders) -> None:
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    await senders.write(A, 3)
    await refuse(crm, "crm.party", "email_id")
    await merged(crm, senders.database, a, b)
    await crm.admin.execute("DROP TRIGGER refuses ON crm.party")
    assert (await erase(senders.database, Asked(A, "ann"))).emails["whole"] == 3
    await carry_out(crm, senders.database)
    assert await crm.sql.fetchval("SELECT is_done FROM crm.merge")
    assert await crm.admin.fetchval("SELECT count(*) FROM router.merge_refused") == 0


# --- Large merges ----------------------------------------------------------------------------------------------------


async def test_new_mail_of_the_record_waits_for_no_piece(crm: Crm, senders: Senders) -> None:
    """What a piece has locked, no new mail needs, also where it answers what is moved."""
    a, b = await crm.record("contact", "A", A), await crm.record("contact", "B")
    message = senders.message(A)
    await senders.promote([senders.copy(message)])
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    async with senders.database.transaction() as connection:
        await merges.carry_out(Lent(connection))
        assert await connection.fetchval("SELECT parties FROM router.merge") == 1
        async with asyncio.timeout(10):
            [email] = await senders.write(A, in_reply_to=(message.message_id,))
        assert await senders.sender_of(email) == b


async def write_some(senders: Senders, times: int) -> None:
    for one in (A, B, C, STRANGER) * times:
        await senders.write(one)


async def take_back_and_restore(senders: Senders, emails: Sequence[UUID]) -> None:
    for one in emails:
        assert (await take_back(senders.database, one, senders.owner_id, "ann")).fault is None
        assert (await restore(senders.database, one, senders.owner_id, "ann")).fault is None


async def test_whatever_comes_at_once_the_end_is_that_of_some_order(crm: Crm, senders: Senders, other: Sql) -> None:
    """Two carry out merges, and one rulings; meanwhile there are a ruling, merges in a row, and mail comes and goes."""
    a, b, c = [await crm.record("contact", one, one) for one in (A, B, C)]
    kept = {one: await senders.write(one, 40) for one in (A, B, C)}
    strange = await senders.write(STRANGER, 40)
    working = True

    async def work(carry_out: Callable[[Database], Awaitable[bool]]) -> None:
        while working:
            if not await carry_out(senders.database):
                await asyncio.sleep(0.01)

    async def merge() -> None:
        await other.execute("SELECT crm.merge_records($1, $2)", a, b)
        await asyncio.sleep(0)
        await other.execute("SELECT crm.merge_records($1, $2)", b, c)

    async def rule() -> int | None:
        made = await rulings.rule(senders.database, "resolve", STRANGER, a, "ann", None)
        return made.ruling_id

    workers = [asyncio.create_task(work(one)) for one in (merges.carry_out, merges.carry_out, ruling_walks.carry_out)]
    ruling, *_ = await asyncio.gather(
        rule(), merge(), write_some(senders, 5), take_back_and_restore(senders, [*kept[A][:3], *kept[B][:3]])
    )
    working = False
    await asyncio.gather(*workers)
    for _ in range(2):
        await carry_out(crm, senders.database)
        await senders.carry_out_all()
    assert [set(await senders.senders(one)) for one in (A, B, C)] == [{c}] * 3
    found = await senders.senders(STRANGER)
    # Where the merge was first, there was no record to rule that it is.
    assert found == [c if ruling else None] * (len(strange) + 5)
    assert await named(crm, a) == await named(crm, b) == ["crm.record.id"]
    assert await crm.sql.fetchval("SELECT bool_and(is_done) FROM crm.merge")
