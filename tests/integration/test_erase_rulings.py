"""Rulings on who is erased: whatever is under way, the outcome is that of some order, and nothing is left."""

import asyncio
from uuid import UUID

import pytest

from router.operations.erase import Asked, Report, erase
from router.repository.erasure.taken_back import take_back
from router.repository.rulings import ruling_walks, rulings
from tests.support.crm import Crm
from tests.support.senders import Senders

KARL, BERTA, THIRD, DOMAIN = "karl@kunde.test", "berta@kunde.test", "third@other.test", "@kunde.test"


async def erased(senders: Senders, address: str = KARL) -> Report:
    return await erase(senders.database, Asked(address, "ann"))


async def nothing_is_left(crm: Crm, record_id: UUID) -> None:
    """Neither the address, nor a party of the record, nor a ruling on it."""
    events = await crm.admin.fetchval(f"SELECT count(*) FROM crm.event WHERE details::text LIKE '%{KARL}%'")
    parties = await crm.admin.fetchval("SELECT count(*) FROM crm.party WHERE record_id = $1", record_id)
    ruled = await crm.admin.fetchval("SELECT count(*) FROM router.ruling WHERE record_id = $1", record_id)
    ruled_parties = await crm.admin.fetchval("SELECT count(*) FROM router.ruled_party WHERE record_id = $1", record_id)
    work = await crm.admin.fetchval("SELECT count(*) FROM router.ruling_work WHERE subject NOT LIKE '@%'")
    assert (events, parties, ruled, ruled_parties, work) == (0, 0, 0, 0, 0)


async def test_what_was_taken_back_and_what_was_told_of_it_is_erased(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    emails = await senders.write(KARL, 2)
    await senders.write(THIRD, to=("staff@in.test", KARL))
    ruling = await senders.rule(KARL, karl)
    await take_back(senders.database, emails[0], senders.owner_id, "ann")
    assert (await erased(senders)).is_clean
    await nothing_is_left(crm, karl)
    assert await rulings.undo(senders.database, ruling, "ann") == f"there is no ruling {ruling}"


@pytest.mark.parametrize("pieces", [0, 1, 2])
async def test_a_ruling_that_is_being_carried_out_brings_nothing_back(
    crm: Crm, senders: Senders, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr(ruling_walks, "PIECE", 2)
    karl = await crm.record("contact", "Karl")
    await senders.write(KARL, 3)
    kept = await senders.write(THIRD, 3, to=("staff@in.test", KARL))
    ruling = await senders.rule(KARL, karl, done=False)
    for _ in range(pieces):
        await ruling_walks.carry_out(senders.database)
    undoing = rulings.undo(senders.database, ruling, "bob") if pieces == 2 else asyncio.sleep(0)
    report, _, _ = await asyncio.gather(erased(senders), senders.carry_out(), undoing)
    assert report.is_clean or (await erased(senders)).is_clean
    await senders.carry_out_all()
    await nothing_is_left(crm, karl)
    emails = await crm.rows("SELECT id FROM crm.email")
    assert {row["id"] for row in emails} == set(kept)


async def test_a_walk_through_a_domain_that_has_come_to_who_is_erased_leaves_nobody_out(
    crm: Crm, senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ruling_walks, "PIECE", 2)
    account = await crm.record("account", "Kunde")
    first, others = "a@kunde.test", ("b@kunde.test", "c@kunde.test", "d@kunde.test")
    await senders.write(first, 2)
    for other in others:  # they sort before the address that stands in the place of the first
        await senders.write(other)
    await senders.rule(DOMAIN, account, done=False)
    for _ in range(5):
        await ruling_walks.carry_out(senders.database)
        if await crm.admin.fetchval("SELECT after_address FROM router.ruling_work") == first:
            break
    assert await crm.admin.fetchval("SELECT after_address FROM router.ruling_work") == first
    assert (await erased(senders, first)).is_clean
    await senders.carry_out_all()
    assert [await senders.senders(other) for other in others] == [[account]] * 3
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruling_work") == 0
