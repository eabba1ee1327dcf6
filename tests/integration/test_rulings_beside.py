"""Rulings beside what else becomes of an email: it is taken back and restored, erased, or kept by the CRM's own SQL."""

from datetime import timedelta

import asyncpg
import pytest

from router.operations.erase import Asked, erase
from router.repository.erasure.taken_back import restore, take_back
from router.repository.overview.status import read_status
from router.repository.rulings import ruling_walks, rulings
from router.repository.rulings.ruling_walks import PIECE
from tests.support.crm import Crm
from tests.support.senders import STAFF, Senders

KARL, DOMAIN, THIRD = "karl@kunde.test", "@kunde.test", "third@other.test"


async def test_t114_an_email_that_the_crm_does_not_let_be_changed_holds_up_no_other(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    emails = await senders.write(KARL, PIECE + 5)
    refused = emails[3]
    await crm.admin.execute(
        f"""
        CREATE FUNCTION crm.refuses() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.email_id = '{refused}' THEN
                RAISE EXCEPTION 'a mistake of the CRM''s';
            END IF;
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER refuses BEFORE UPDATE ON crm.party FOR EACH ROW EXECUTE FUNCTION crm.refuses();
        """
    )
    ruling = await senders.rule(KARL, karl)
    pauses = []
    for _ in range(5):
        await crm.admin.execute("UPDATE router.ruling_work SET try_at = now()")
        await senders.carry_out()
        pauses.append(
            await crm.admin.fetchval("SELECT round(extract(epoch FROM try_at - now())) FROM router.ruling_work")
        )
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 4 * pauses[0]
    assert (await senders.senders(KARL)).count(karl) == PIECE + 4
    assert await senders.sender_of(refused) is None
    status = await read_status(senders.database, timedelta(minutes=1))
    assert (status.rulings.count, status.rulings.subject) == (1, KARL)
    assert "a mistake of the CRM's" in (status.rulings.fault or "")
    [told] = await crm.rows("SELECT is_done, fault, next_at > now() AS is_later FROM crm.ruling WHERE id = $1", ruling)
    assert tuple(told) == (False, status.rulings.fault, True)
    # After about a day it is not tried any more, until somebody wants it.
    await crm.admin.execute("UPDATE router.ruling_work SET failures = $1", ruling_walks._TRIES - 1)
    await senders.carry_out_all()
    assert not await ruling_walks.carry_out(senders.database)
    assert await crm.sql.fetchval("SELECT next_at = 'infinity' AND fault IS NOT NULL FROM crm.ruling")
    ended = (await read_status(senders.database, timedelta(minutes=1))).rulings
    assert (ended.count, ended.failed, ended.next_try_at) == (1, 1, None)
    await crm.sql.execute("SELECT crm.rule_again($1)", ruling)
    assert await crm.admin.fetchval("SELECT try_at <= now() AND failures = 0 FROM router.ruling_work")
    assert await senders.waiting() == [KARL]
    await senders.rule("berta@kunde.test", karl)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruling_work WHERE subject <> $1", KARL) == 0

    await crm.admin.execute("DROP TRIGGER refuses ON crm.party")
    await senders.carry_out_all()
    assert set(await senders.senders(KARL)) == {karl}
    assert (await rulings.read_faulty(senders.database)).count == 0
    with pytest.raises(asyncpg.PostgresError, match="nothing is left to do"):
        await crm.sql.execute("SELECT crm.rule_again($1)", ruling)
    await crm.admin.execute(
        "CREATE TRIGGER refuses BEFORE UPDATE ON crm.party FOR EACH ROW EXECUTE FUNCTION crm.refuses()"
    )
    await senders.undo(ruling)
    await senders.carry_out_all()
    assert (await senders.senders(KARL)).count(None) == PIECE + 4
    assert await senders.sender_of(refused) == karl


@pytest.mark.parametrize("how", ["pg_terminate_backend(pg_backend_pid())", "pg_sleep(60)"])
async def test_t114_what_ends_the_database_or_takes_too_long_is_tried_later_and_later(
    crm: Crm, senders: Senders, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(ruling_walks, "_STATEMENT_TIMEOUT", "100ms")
    karl = await crm.record("contact", "Karl")
    [email] = await senders.write(KARL)
    await crm.admin.execute(
        f"""
        CREATE FUNCTION crm.careless() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM {how}; RETURN NEW; END $$;
        CREATE TRIGGER careless BEFORE UPDATE ON crm.party FOR EACH ROW EXECUTE FUNCTION crm.careless();
        """
    )
    await senders.rule(KARL, karl)
    pauses = []
    for _ in range(5):
        await crm.admin.execute("UPDATE router.ruling_work SET try_at = now()")
        await senders.carry_out()
        pauses.append(
            await crm.admin.fetchval("SELECT round(extract(epoch FROM try_at - now())) FROM router.ruling_work")
        )
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 8 * pauses[0]
    found = await rulings.read_faulty(senders.database)
    assert found.subject == KARL
    assert any(word in (found.fault or "") for word in ("lost", "terminating", "closed", "timeout"))
    # In the end it is not tried any more, and that is told, also where whoever tried could not say what happened.
    tries = ruling_walks._TRIES
    await crm.admin.execute("UPDATE router.ruling_work SET begun = $1, fault = NULL, try_at = now()", tries - 1)
    await ruling_walks._claim(senders.database, None)
    found = await rulings.read_faulty(senders.database)
    assert (found.failed, found.fault) == (1, ruling_walks._LOST)
    assert not await ruling_walks.carry_out(senders.database)
    await crm.admin.execute("DROP TRIGGER careless ON crm.party")
    await crm.admin.execute("UPDATE router.ruling_work SET begun = 0")
    await senders.carry_out_all()
    assert await senders.sender_of(email) == karl
    assert (await rulings.read_faulty(senders.database)).count == 0


@pytest.mark.parametrize("subject", [KARL, DOMAIN])
async def test_t113_what_was_ruled_is_not_restored_after_the_ruling_was_undone(
    crm: Crm, senders: Senders, subject: str
) -> None:
    karl = await crm.record("contact", "Karl")
    [email] = await senders.write(KARL)
    ruling = await senders.rule(subject, karl)
    assert (await take_back(senders.database, email, senders.owner_id, "ann")).gone
    await senders.undo(ruling)
    await crm.admin.execute("DELETE FROM router.ruling")  # as the upkeep does once no party has it
    await restore(senders.database, email, senders.owner_id, "ann")
    await senders.carry_out()
    assert await senders.sender_of(email) is None
    assert await senders.waiting() == [KARL]
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruled_party") == 0


async def test_t113_what_is_restored_has_what_was_ruled_meanwhile(crm: Crm, senders: Senders) -> None:
    karl, house = await crm.record("contact", "Karl"), await crm.record("account", "House")
    [email] = await senders.write(KARL)
    await senders.rule(DOMAIN, house)
    await take_back(senders.database, email, senders.owner_id, "ann")
    ruling = await senders.rule(KARL, karl)
    await restore(senders.database, email, senders.owner_id, "ann")
    await senders.carry_out()
    assert await senders.sender_of(email) == karl
    await senders.undo(ruling)
    assert await senders.sender_of(email) == house


async def test_t113_what_is_restored_stays_as_it_was_while_its_ruling_is_in_force(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    [email] = await senders.write(KARL)
    ruling = await senders.rule(KARL, karl)
    await take_back(senders.database, email, senders.owner_id, "ann")
    await restore(senders.database, email, senders.owner_id, "ann")
    assert await senders.sender_of(email) == karl
    await senders.undo(ruling)
    assert await senders.sender_of(email) is None


async def test_nobody_has_to_say_who_an_erased_sender_is(crm: Crm, senders: Senders) -> None:
    await crm.record("contact", "Known", "known@else.test")
    ruled = await crm.record("contact", "Ruled")
    for sender in (KARL, "known@else.test", "ruled@else.test"):
        await senders.write(sender, to=(STAFF, THIRD))
    await senders.rule("ruled@else.test", ruled)
    for sender in (KARL, "known@else.test", "ruled@else.test"):
        assert (await erase(senders.database, Asked(sender, "ann"))).emails["part"] == 1
    assert await senders.waiting() == []


@pytest.mark.parametrize(
    "subject",
    [None, "", "@", "@@", "karl@", "<karl@kunde.test>", "Karl <karl@kunde.test>", "@*", "@kunde test", "karl"],
)
async def test_t112_what_is_no_address_and_no_domain_is_refused_in_words(
    crm: Crm, senders: Senders, subject: str | None
) -> None:
    for query in ("SELECT crm.resolve($1, $2)", "SELECT crm.ignore_sender($1) FROM (SELECT $2::uuid) AS unused"):
        with pytest.raises(asyncpg.CheckViolationError, match="name an address, or @ and a domain"):
            await crm.sql.execute(query, subject, await crm.record("contact", "Karl"))
    assert not await rulings.list_rulings(senders.database, limit=1, undone=True)
