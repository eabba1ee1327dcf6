"""Records are merged: all that names the one names the other, whoever writes, locks or is killed meanwhile."""

import asyncio
import json
import os
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from router.health import Health
from router.repository.erasure.taken_back import restore, take_back
from router.repository.records import merges
from router.repository.records.merge_kinds import ADDRESSES, KINDS, PIECE, RECORDS
from router.repository.retention import Retention
from router.upkeep import keep_up
from tests.support.command import Said, type_command
from tests.support.crm import Crm
from tests.support.flood import cost
from tests.support.forked import email_router
from tests.support.holds import RULING, holding
from tests.support.merging import carry_out, merged, named
from tests.support.senders import STAFF, Senders, flood_of

KARL, BERTA = "karl@kunde.test", "berta@kunde.test"
PRIVATE = "karl@privat.test"


async def test_all_that_names_the_merged_record_names_the_other_and_new_mail_is_its_own(
    crm: Crm, senders: Senders
) -> None:
    karl = await crm.record("contact", "Karl", KARL)
    double = await crm.record("contact", "Carl", PRIVATE, BERTA)
    await crm.sql.execute("INSERT INTO crm.address (address, record_id) VALUES ($1, $2)", BERTA, karl)
    stranger = "stranger@kunde.test"
    await senders.rule(stranger, double)
    mails = [*await senders.write(PRIVATE, 3), *await senders.write(stranger)]
    [both] = await senders.write(KARL, to=(STAFF, BERTA))
    assert (
        await crm.admin.fetchval("SELECT count(*) FROM crm.party WHERE email_id = $1 AND address = $2", both, BERTA)
        == 2
    )
    about = await crm.draft(STAFF, [PRIVATE], "Offer", "Chairs", regarding_id=double)
    record = await crm.record("case", "A case", owner_id=double)

    await merged(crm, senders.database, double, karl)

    assert await named(crm, double) == [
        "crm.record.id",
        "crm.record.owner_id",
    ]  # it is no user, so nothing belongs to it
    assert [await senders.sender_of(one) for one in (*mails, both)] == [karl] * 5
    assert (
        await crm.admin.fetchval("SELECT count(*) FROM crm.party WHERE email_id = $1 AND address = $2", both, BERTA)
        == 1
    )
    assert (await crm.email(about))["regarding_id"] == karl
    assert await crm.sql.fetchval("SELECT active FROM crm.record WHERE id = $1", double) is False
    assert await crm.sql.fetchval("SELECT owner_id FROM crm.record WHERE id = $1", record) == double
    rows = await crm.rows("SELECT address FROM crm.address WHERE record_id = $1 ORDER BY address", karl)
    assert [row["address"] for row in rows] == [BERTA, KARL, PRIVATE]
    [row] = await crm.rows("SELECT * FROM crm.merge")
    assert (row["from_id"], row["into_id"], row["is_done"], row["fault"]) == (double, karl, True, None)
    assert (row["parties"], row["emails"]) == (5, 1)
    for address in (PRIVATE, stranger, BERTA):
        assert await senders.sender_of((await senders.write(address))[0]) == karl
    told = await crm.rows("SELECT details FROM crm.event WHERE kind = 'resolved' AND email_id = $1", mails[0])
    assert len(told) == 1
    # What was ruled is undone as if it had been ruled of the other.
    await senders.undo(await crm.sql.fetchval("SELECT id FROM crm.ruling"))
    assert await senders.senders(stranger) == [None, None]

    # Again, it does nothing; and nothing is left of it.
    before = await crm.admin.fetch("SELECT * FROM crm.party ORDER BY email_id, role, position")
    await merged(crm, senders.database, double, karl)
    assert await crm.admin.fetch("SELECT * FROM crm.party ORDER BY email_id, role, position") == before


async def test_who_waited_since_two_records_had_the_address_is_resolved(crm: Crm, senders: Senders) -> None:
    await crm.admin.execute(
        "INSERT INTO crm.setting (name, value, by) VALUES ('several_matches', '\"unresolved\"', 'ann')"
    )
    one, two, three = [await crm.record("contact", name, KARL) for name in ("One", "Two", "Three")]
    [email_id] = await senders.write(KARL)
    candidates = "SELECT candidates FROM crm.party WHERE email_id = $1 AND role = 'from'"
    assert set(await crm.sql.fetchval(candidates, email_id)) == {one, two, three}
    await merged(crm, senders.database, two, one)
    assert set(await crm.sql.fetchval(candidates, email_id)) == {one, three}
    assert await senders.waiting() == [KARL]
    await merged(crm, senders.database, three, one)
    assert await crm.sql.fetchval(candidates, email_id) == []
    assert await senders.sender_of(email_id) == one
    assert await senders.waiting() == []


async def test_a_thread_is_about_the_record_that_stays(crm: Crm, senders: Senders) -> None:
    one, two, other = [await crm.record("contact", name) for name in ("One", "Two", "Other")]
    first = senders.message(KARL)
    [began] = [one.email_id for one in await senders.promote([senders.copy(first)])]
    kept = senders.message(KARL)
    [changed] = [one.email_id for one in await senders.promote([senders.copy(kept)])]
    await crm.sql.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", began, two)
    await crm.sql.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", changed, two)
    answer = senders.message(KARL, in_reply_to=(kept.message_id,))
    [answered] = [one.email_id for one in await senders.promote([senders.copy(answer)])]
    await crm.sql.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", answered, other)

    async def about(message_id: str | None) -> UUID | None:
        copy = senders.copy(senders.message(KARL, in_reply_to=(message_id,)))
        [decision] = await senders.promote([copy])
        assert decision.email_id is not None
        regarding_id: UUID | None = (await crm.email(decision.email_id))["regarding_id"]
        return regarding_id

    await crm.sql.execute("SELECT crm.merge_records($1, $2)", two, one)
    assert await about(first.message_id) == one  # before anything of it is moved
    await carry_out(crm, senders.database)
    assert await about(first.message_id) == one
    assert await about(kept.message_id) == other  # as was said last, before the merge
    assert await named(crm, two) == ["crm.record.id"]
    # The CRM takes the merged one up again: what is said from then on is meant.
    await crm.sql.execute("UPDATE crm.record SET active = true WHERE id = $1", two)
    await crm.sql.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", began, two)
    assert await about(first.message_id) == two


async def test_merges_of_merged_records_and_back(crm: Crm, senders: Senders) -> None:
    a, b, c = [await crm.record("contact", name, f"{name}@kunde.test") for name in ("a", "b", "c")]
    mails = [(await senders.write(f"{name}@kunde.test"))[0] for name in ("a", "b", "c")]
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", a, b)
    await merged(crm, senders.database, b, c)
    assert [await senders.sender_of(one) for one in mails] == [c, c, c]
    rows = await crm.rows("SELECT into_id, is_done FROM crm.merge")
    assert [(row["into_id"], row["is_done"]) for row in rows] == [(c, True), (c, True)]
    await crm.sql.execute("UPDATE crm.record SET active = true WHERE id = $1", a)
    await merged(crm, senders.database, c, a)
    assert [await senders.sender_of(one) for one in mails] == [a, a, a]
    rows = await crm.rows("SELECT from_id, into_id FROM crm.merge")
    assert {(row["from_id"], row["into_id"]) for row in rows} == {(b, a), (c, a)}


async def test_what_cannot_be_merged_is_refused_in_words(crm: Crm, senders: Senders) -> None:
    karl, user = await crm.record("contact", "Karl", KARL), await crm.owner("other@in.test")
    inactive = await crm.record("contact", "gone")
    await crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", inactive)
    for from_id, into_id, words in (
        (karl, karl, "name two records"),
        (karl, uuid4(), "there is no active record"),
        (karl, inactive, "there is no active record"),
        (uuid4(), karl, "there is no record"),
        (senders.owner_id, karl, "is an owner with a mailbox .staff@in.test.: merge the other record into it"),
        (senders.owner_id, user, "both records are owners with a mailbox"),
    ):
        with pytest.raises(asyncpg.PostgresError, match=words):
            await crm.sql.execute("SELECT crm.merge_records($1, $2)", from_id, into_id)
    # Who has no mailbox any more is merged with all that was theirs.
    [email_id] = await senders.write(KARL)
    record = await crm.record("case", "A case", owner_id=senders.owner_id)
    await crm.admin.execute("DELETE FROM crm.owner WHERE record_id = $1", senders.owner_id)
    await merged(crm, senders.database, senders.owner_id, user)
    assert (await crm.email(email_id))["owner_id"] == user
    assert await crm.sql.fetchval("SELECT owner_id FROM crm.receipt") == user
    assert await crm.sql.fetchval("SELECT owner_id FROM crm.record WHERE id = $1", record) == user


async def test_what_others_have_locked_or_not_yet_committed_is_moved_later(crm: Crm, senders: Senders) -> None:
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    locked, free = await senders.write(KARL, 2)
    async with senders.database.transaction() as theirs:
        await theirs.execute("SELECT FROM crm.party WHERE email_id = $1 FOR UPDATE", locked)
        late = await crm.draft(STAFF, [PRIVATE], "late")
        await theirs.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", late, double)
        await merged(crm, senders.database, double, karl)
        assert [await senders.sender_of(one) for one in (locked, free)] == [double, karl]
        assert await crm.sql.fetchval("SELECT is_done FROM crm.merge") is False
    await carry_out(crm, senders.database)
    assert await senders.sender_of(locked) == karl
    assert (await crm.email(late))["regarding_id"] == karl
    assert await crm.sql.fetchval("SELECT is_done FROM crm.merge") is True


async def test_mail_that_was_decided_on_before_and_comes_in_after_is_moved(crm: Crm, senders: Senders) -> None:
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    async with senders.database.transaction() as old:
        await old.execute("SELECT pg_current_xact_id()")
        await merged(crm, senders.database, double, karl)
        assert await crm.sql.fetchval("SELECT is_done FROM crm.merge") is False
        email_id = await old.fetchval(
            "INSERT INTO crm.email (direction, status, owner_id) VALUES ('in', 'received', $1) RETURNING id",
            senders.owner_id,
        )
        await old.execute(
            "INSERT INTO crm.party (email_id, role, position, address, record_id) VALUES ($1, 'from', 0, $2, $3)",
            email_id,
            KARL,
            double,
        )
    await carry_out(crm, senders.database)
    assert await senders.sender_of(email_id) == karl
    assert await crm.sql.fetchval("SELECT is_done FROM crm.merge") is True


async def test_what_was_taken_back_meanwhile_is_restored_to_the_record_that_stays(crm: Crm, senders: Senders) -> None:
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    [email_id] = await senders.write(KARL)
    await crm.sql.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", email_id, double)
    assert (await take_back(senders.database, email_id, senders.owner_id, "ann")).fault is None
    await merged(crm, senders.database, double, karl)
    assert (await restore(senders.database, email_id, senders.owner_id, "ann")).fault is None
    await carry_out(crm, senders.database)
    assert await senders.sender_of(email_id) == karl
    assert (await crm.email(email_id))["regarding_id"] == karl


async def test_two_who_carry_out_and_new_mail_meanwhile_come_to_the_same(crm: Crm, senders: Senders) -> None:
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    await flood_of(crm, senders.owner_id, KARL, 2 * PIECE + 5)
    await crm.admin.execute("UPDATE crm.party SET record_id = $1 WHERE address = $2", double, KARL)
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", double, karl)

    async def work() -> None:
        while await merges.carry_out(senders.database):
            pass

    await asyncio.gather(work(), work(), senders.write(KARL, 20))
    await carry_out(crm, senders.database)
    assert set(await senders.senders(KARL)) == {karl}
    assert await named(crm, double) == ["crm.record.id"]


async def test_where_a_trigger_refuses_it_says_why_and_goes_on_when_it_is_gone(crm: Crm, senders: Senders) -> None:
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    [email_id] = await senders.write(KARL)
    await crm.admin.execute(
        """
        CREATE FUNCTION crm.mistake() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
        CREATE TRIGGER mistake BEFORE UPDATE ON crm.party FOR EACH ROW EXECUTE FUNCTION crm.mistake();
        """
    )
    await merged(crm, senders.database, double, karl)
    assert await crm.sql.fetchval("SELECT fault FROM crm.merge")
    assert await senders.sender_of((await senders.write(KARL))[0]) == karl
    await crm.admin.execute("DROP TRIGGER mistake ON crm.party")
    await carry_out(crm, senders.database)
    assert await senders.sender_of(email_id) == karl
    assert (await crm.rows("SELECT is_done, fault FROM crm.merge"))[0]["is_done"] is True


async def test_where_records_are_views_only_what_is_ours_is_moved(crm: Crm, senders: Senders) -> None:
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    [email_id] = await senders.write(KARL)
    await crm.admin.execute(
        """
        ALTER TABLE crm.record RENAME TO their_record; ALTER TABLE crm.address RENAME TO their_address;
        CREATE VIEW crm.record AS SELECT * FROM crm.their_record;
        CREATE VIEW crm.address AS SELECT * FROM crm.their_address WHERE true GROUP BY address, record_id;
        """
    )
    await merged(crm, senders.database, double, karl)
    assert await senders.sender_of(email_id) == karl
    assert await crm.admin.fetchval("SELECT active FROM crm.their_record WHERE id = $1", double) is True
    assert await crm.admin.fetchval("SELECT record_id FROM crm.their_address WHERE address = $1", KARL) == double
    assert await crm.sql.fetchval("SELECT is_done FROM crm.merge") is True


async def test_a_piece_is_found_and_moved_by_indexes_however_much_there_is(crm: Crm, senders: Senders) -> None:
    """Also of a record that has most of the emails, of which PostgreSQL would rather read the whole table."""
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    await flood_of(crm, senders.owner_id, KARL, 3000)
    await crm.admin.execute("UPDATE crm.party SET record_id = $1 WHERE address = $2", double, KARL)
    await crm.admin.execute("UPDATE crm.email SET regarding_id = $1", double)
    await crm.admin.execute(
        "INSERT INTO crm.address SELECT 'carl' || n || '@kunde.test', $1 FROM generate_series(1, 3000) AS n", double
    )
    await crm.admin.execute(
        "INSERT INTO crm.record (kind, owner_id) SELECT 'lead', $1 FROM generate_series(1, 3000)", double
    )
    await crm.admin.execute("INSERT INTO router.merge (from_id, into_id, by) VALUES ($1, $2, 'ann')", double, karl)
    await crm.admin.execute("VACUUM ANALYZE crm.party, crm.email, crm.receipt, crm.address, crm.record")
    async with senders.database.transaction(planned_once=True) as connection:
        for kind in (ADDRESSES, *KINDS, RECORDS):
            keys = [row["key"] for row in await connection.fetch(kind.find, double, karl)]
            assert len(keys) in (0, PIECE), kind.name
            queries = [(one, (keys[:1],), 20) for one in (*kind.before, *kind.move)]
            for query, more, rows in ((kind.find, (), PIECE + 1), (f"{kind.left} LIMIT 1", (), 2), *queries):
                found = await cost(connection, query, double, karl, *more)
                assert not [scan for scan in found.rows if scan.startswith("Seq Scan")], query
                assert found.rows.total() <= rows, query


async def test_a_router_carries_it_out_and_the_promoted_mail_of_a_batch_never_waits(crm: Crm, senders: Senders) -> None:
    """A merge in a transaction that is still open holds up no mail."""
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    async with crm.sql.transaction():
        await crm.sql.execute("SELECT crm.merge_records($1, $2)", double, karl)
        async with asyncio.timeout(10):
            [email_id] = await senders.write(KARL)
        assert await senders.sender_of(email_id) == double
    await carry_out(crm, senders.database)
    assert await senders.sender_of(email_id) == karl


async def test_the_command_says_what_it_moves_asks_and_moves_it(crm: Crm, senders: Senders, database: str) -> None:
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    await senders.write(KARL, 3)

    async def run(*arguments: str, answer: bytes = b"") -> Said:
        return await type_command(database, "records", "merge", *arguments, answer=answer)

    (status, out, err), *unknown = await asyncio.gather(
        run(str(double), str(karl), answer=b"n\n"),
        run(str(uuid4()), str(karl), "--yes"),
        run(str(double), str(uuid4())),
    )
    assert (status, out.strip()) == (1, "")
    assert f"Carl (contact, {double}) goes, with 3 parties, 0 emails about it, 1 address, 0 rulings" in err
    assert f"and Karl (contact, {karl}) stays: go on?" in err
    # What is not there is told before anything is asked.
    for words, (refused, _, why) in zip(("there is no record", "there is no active record"), unknown, strict=True):
        assert (refused, words in why, "go on?" in why) == (2, True, False)
    assert await crm.sql.fetchval("SELECT count(*) FROM crm.merge") == 0
    status, out, err = await run(str(double), str(karl), "--yes", "--by", "ann", "--json")
    assert (status, json.loads(out)["parties"], json.loads(out)["by"]) == (0, 3, "ann"), err
    assert set(await senders.senders(KARL)) == {karl}


async def test_who_is_killed_while_it_is_carried_out_is_followed_by_a_router(
    crm: Crm, senders: Senders, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of a piece; what a router does beside its mail goes on, and new mail waits for neither."""
    karl, double = await crm.record("contact", "Karl"), await crm.record("contact", "Carl", KARL)
    await flood_of(crm, senders.owner_id, KARL, 2 * PIECE)
    await crm.admin.execute("UPDATE crm.party SET record_id = $1 WHERE address = $2", double, KARL)
    async with holding(crm, RULING) as hold:
        environment = os.environ | {"EMAIL_ROUTER_DATABASE_URL": database}
        process = await email_router("records", "merge", str(double), str(karl), "--yes", env=environment)
        await hold.reached()
        process.kill()
        await process.wait()
        [email_id] = await senders.write(KARL)
        await hold.undo()
    assert await senders.sender_of(email_id) == karl
    [merge] = await crm.rows("SELECT is_done, parties FROM crm.merge")
    assert (merge["is_done"], merge["parties"]) == (False, 0)
    monkeypatch.setattr("router.upkeep.EVERY", 0.05)

    async def note(*_: object) -> None: ...

    job = asyncio.create_task(keep_up(senders.database, Retention(), Health("", note, structlog.get_logger("test"))))
    await crm.wait_for(True, "SELECT is_done FROM crm.merge")
    job.cancel()
    assert await senders.senders(KARL) == [karl] * (2 * PIECE + 1)
