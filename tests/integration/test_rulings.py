"""Who a sender is, as persons rule: for the mail that waits, for what comes, and undone (T53, T110 to T117)."""

import asyncio
import json
import re
import threading
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.decide import decide_batch
from router.model import Copy, Decision, Disposition, Facts
from router.parse.addresses import read_addresses
from router.repository.retention import Retention, take_piece
from router.repository.rulings import rulings, unresolved
from router.repository.rulings.ruling_walks import PIECE
from tests.support.crm import Crm
from tests.support.paths import ROOT
from tests.support.senders import STAFF, Senders

PAGE = (ROOT / "docs/database.md").read_text(encoding="utf-8")

KARL, BERTA, DOMAIN = "karl@kunde.test", "berta@kunde.test", "@kunde.test"


async def done(crm: Crm) -> bool:
    """Whether no ruling is to be carried out any more."""
    left: int = await crm.admin.fetchval("SELECT count(*) FROM router.ruling_work")
    return left == 0


async def test_t53_a_sender_is_resolved_for_the_mail_that_waits_and_for_what_comes_and_undone(
    crm: Crm, senders: Senders
) -> None:
    karl = await crm.record("contact", "Karl")
    await senders.write(KARL, PIECE + 5)
    other = await senders.write(BERTA)
    ruling = await senders.rule(KARL, karl)
    assert set(await senders.senders(KARL)) == {karl}
    assert await senders.sender_of(other[0]) is None
    assert await senders.waiting() == [BERTA]
    await senders.write(KARL, to=(STAFF, KARL))
    assert set(await senders.senders(KARL)) == {karl}
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.party WHERE role = 'to' AND record_id = $1", karl) == 1
    [told] = await crm.rows("SELECT * FROM crm.ruling")
    assert (told["id"], told["touched"], told["parties"]) == (ruling, PIECE + 5, PIECE + 7)
    assert (told["in_force"], told["is_done"], told["by"]) == (True, True, "ann")
    await senders.undo(ruling)
    assert set(await senders.senders(KARL)) == {None}
    assert len(await senders.waiting()) == PIECE + 7
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruled_party") == 0
    await senders.write(KARL)
    assert set(await senders.senders(KARL)) == {None}
    assert await done(crm)


async def test_t53_parties_in_all_roles_and_of_sent_email_are_resolved(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    await senders.write(BERTA, to=(STAFF, KARL, KARL))
    sent = await crm.draft(STAFF, [KARL], "Offer", "Chairs")
    await crm.move(sent, "pending_send")
    for step in ("sending", "sent"):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", sent, step)
    await senders.rule(KARL, karl)
    assert (
        await crm.admin.fetchval("SELECT count(*) FROM crm.party WHERE address = $1 AND record_id = $2", KARL, karl)
        == 3
    )
    assert await senders.waiting() == [BERTA]


async def test_t53_the_rule_of_an_owner_knows_who_was_ruled(crm: Crm, senders: Senders) -> None:
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'known'")
    karl = await crm.record("contact", "Karl")
    [ignored] = await senders.promote([senders.copy(senders.message(KARL))])
    assert ignored.disposition is Disposition.IGNORED
    ruling = await senders.rule(KARL, karl)
    [promoted] = await senders.promote([senders.copy(senders.message(KARL))])
    assert promoted.disposition is Disposition.PROMOTED
    assert f"resolved by ruling {ruling}" in promoted.reasons


async def test_t53_what_an_address_belongs_to_counts_more_than_what_was_ruled(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    await senders.rule(KARL, karl)
    owner = await crm.record("contact", "Karl the other", KARL)
    [email_id] = await senders.write(KARL)
    assert await senders.sender_of(email_id) == owner


async def test_t52_what_was_ruled_counts_where_too_many_records_have_the_address(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    for number in range(101):
        await crm.record("contact", f"number {number}", KARL)
    [email_id] = await senders.write(KARL)
    assert await senders.sender_of(email_id) is None
    [told] = await crm.rows("SELECT reason FROM crm.unresolved")
    assert told["reason"] == "more than 100 records have the address"
    await senders.rule(KARL, karl)
    assert await senders.sender_of(email_id) == karl
    assert await senders.sender_of((await senders.write(KARL))[0]) == karl


async def test_t114_undoing_leaves_what_came_by_other_ways(crm: Crm, senders: Senders) -> None:
    karl, other = await crm.record("contact", "Karl"), await crm.record("contact", "Other")
    moved, same, again, waiting = await senders.write(KARL, 4)
    await crm.sql.execute("UPDATE crm.party SET record_id = $2 WHERE email_id = $1 AND role = 'from'", same, karl)
    ruling = await senders.rule(KARL, karl)
    await crm.sql.execute("UPDATE crm.party SET record_id = $2 WHERE email_id = $1 AND role = 'from'", moved, other)
    for record_id in (other, karl):
        await crm.sql.execute(
            "UPDATE crm.party SET record_id = $2 WHERE email_id = $1 AND role = 'from'", again, record_id
        )
    await senders.undo(ruling)
    assert [await senders.sender_of(one) for one in (moved, same, again, waiting)] == [other, karl, karl, None]
    assert await done(crm)


async def test_t114_two_rulings_and_their_undoing_in_any_order(crm: Crm, senders: Senders) -> None:
    one, two = await crm.record("contact", "One"), await crm.record("contact", "Two")
    [email_id] = await senders.write(KARL)
    first = await senders.rule(KARL, one)
    second = await senders.rule(KARL, two, "bob", expected=first)
    assert await senders.sender_of(email_id) == two
    await senders.undo(second)
    assert await senders.sender_of(email_id) == one
    third = await senders.rule(KARL, two, "bob", expected=first)
    await senders.undo(first)
    assert await senders.sender_of(email_id) == two
    await senders.undo(third)
    assert await senders.sender_of(email_id) is None
    assert [row["touched"] for row in await crm.rows("SELECT touched FROM crm.ruling ORDER BY id")] == [1, 1, 1]


async def test_t114_mail_that_was_decided_on_before_the_ruling_and_comes_in_after_it_is_resolved_too(
    crm: Crm, senders: Senders
) -> None:
    """And where it was decided on before the undoing, it is unresolved."""
    karl = await crm.record("contact", "Karl")
    reached, go = threading.Event(), threading.Event()

    def held(copies: Sequence[Copy], facts: Facts) -> list[Decision]:
        reached.set()
        assert go.wait(20)
        return decide_batch(copies, facts)

    async def begin() -> "asyncio.Task[list[Decision]]":
        reached.clear()
        go.clear()
        task = asyncio.create_task(senders.promote([senders.copy(senders.message(KARL))], held))
        assert await asyncio.to_thread(reached.wait, 20)
        return task

    task = await begin()
    ruling = await senders.rule(KARL, karl)
    assert not await done(crm)
    go.set()
    [decision] = await task
    assert decision.email_id is not None
    assert await senders.sender_of(decision.email_id) is None
    await senders.carry_out_all()
    assert await senders.sender_of(decision.email_id) == karl
    assert await done(crm)

    task = await begin()
    await senders.undo(ruling)
    go.set()
    [decision] = await task
    assert decision.email_id is not None
    assert await senders.sender_of(decision.email_id) == karl
    await senders.carry_out_all()
    assert await senders.sender_of(decision.email_id) is None
    assert await done(crm)


async def test_t114_what_the_crm_has_locked_holds_up_nothing_else(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    emails = await senders.write(KARL, 3)
    async with crm.sql.transaction():
        await crm.sql.execute("UPDATE crm.party SET record_id = NULL WHERE email_id = $1 AND role = 'from'", emails[1])
        await senders.rule(KARL, karl)
        assert [await senders.sender_of(one) for one in emails] == [karl, None, karl]
        assert await senders.sender_of((await senders.write(KARL))[0]) == karl
    await senders.carry_out_all()
    assert set(await senders.senders(KARL)) == {karl}
    assert await done(crm)


async def test_t114_an_email_that_is_being_deleted_waits_for_no_ruling_and_no_ruling_for_it(
    crm: Crm, senders: Senders
) -> None:
    karl = await crm.record("contact", "Karl")
    emails = await senders.write(KARL, 2)
    transaction = crm.sql.transaction()
    await transaction.start()
    await crm.sql.execute("DELETE FROM crm.email WHERE id = $1", emails[0])
    await senders.rule(KARL, karl)
    await transaction.commit()
    await senders.carry_out_all()
    assert await senders.senders(KARL) == [karl]
    assert await done(crm)
    await crm.sql.execute("DELETE FROM crm.email WHERE id = $1", emails[1])
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruled_party") == 0


async def test_t114_a_ruling_in_an_open_transaction_of_the_crm_holds_up_no_other(crm: Crm, senders: Senders) -> None:
    karl, berta = await crm.record("contact", "Karl"), await crm.record("contact", "Berta")
    await senders.write(KARL)
    await senders.write(BERTA)
    ruling = await senders.rule(KARL, karl, done=False)
    async with crm.sql.transaction():
        await crm.sql.execute("SELECT crm.unresolve($1)", KARL)
        await senders.rule(BERTA, berta)
        assert await senders.senders(BERTA) == [berta]
        assert await senders.sender_of((await senders.write(KARL))[0]) == karl
    await senders.carry_out_all()
    assert set(await senders.senders(KARL)) == {None}
    assert await rulings.undo(senders.database, ruling, "ann") is not None


async def test_t115_mail_is_unresolved_again_once_the_record_is_not_active(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    [before] = await senders.write(KARL)
    ruling = await senders.rule(KARL, karl)
    reason = f"the record of ruling {ruling} is not active, or not there any more"
    for change in ("UPDATE crm.record SET active = false WHERE id = $1", "DELETE FROM crm.record WHERE id = $1"):
        await crm.sql.execute(change, karl)
        [decision] = await senders.promote([senders.copy(senders.message(KARL))])
        assert decision.email_id is not None
        assert await senders.sender_of(decision.email_id) is None
        assert f"{reason}: left unresolved" in decision.reasons
        told = await crm.rows("SELECT reason FROM crm.unresolved WHERE email_id = $1", decision.email_id)
        assert [row["reason"] for row in told] == [reason]
    assert await senders.sender_of(before) == karl


async def test_t116_a_sender_who_is_ignored_leaves_the_queue_now_and_later_and_mail_stays_promoted(
    senders: Senders,
) -> None:
    await senders.write(KARL, PIECE + 1)
    await senders.write(BERTA)
    ruling = await senders.rule(KARL, None)
    assert await senders.waiting() == [BERTA]
    [decision] = await senders.promote([senders.copy(senders.message(KARL))])
    assert decision.disposition is Disposition.PROMOTED
    assert await senders.waiting() == [BERTA]
    assert set(await senders.senders(KARL)) == {None}
    await senders.undo(ruling)
    assert sorted(await senders.waiting()) == sorted([BERTA, *[KARL] * (PIECE + 2)])


async def test_t116_mail_without_a_sender_leaves_the_queue_all_of_it_and_waits_again_once_that_is_undone(
    crm: Crm, senders: Senders
) -> None:
    def nobodys() -> Copy:
        return senders.copy(senders.message(KARL, mentions=()))

    karl = await crm.record("contact", "Karl")
    await senders.promote([nobodys() for _ in range(PIECE + 1)])
    await senders.write(BERTA)
    assert await unresolved.count_mail(senders.database, "<>") == PIECE + 1
    with pytest.raises(asyncpg.CheckViolationError, match="it can only be ignored"):
        await crm.sql.execute("SELECT crm.resolve('<>', $1)", karl)
    await crm.sql.execute("SELECT crm.ignore_sender(' <> ')")
    await senders.carry_out_all()
    assert await senders.waiting() == [BERTA]
    [decision] = await senders.promote([nobodys()])
    assert decision.disposition is Disposition.PROMOTED
    assert await senders.waiting() == [BERTA]
    # It says nothing of who cannot be read either: that is no subject.
    for unreadable in ("", "<", "nobody"):
        with pytest.raises(asyncpg.CheckViolationError, match="name an address"):
            await crm.sql.execute("SELECT crm.ignore_sender($1)", unreadable)
    await crm.sql.execute("SELECT crm.unresolve('<>')")
    await senders.carry_out_all()
    assert sorted(await senders.waiting()) == ["", *[""] * (PIECE + 1), BERTA]


async def test_t116_who_is_ignored_is_so_however_the_address_is_written(crm: Crm, senders: Senders) -> None:
    def read(written: str) -> str:
        [[(_, address)], _] = read_addresses(written.encode())
        return address

    await senders.write(read('"karl"@kunde.test'))
    for subject in ('"Karl"@\uff4bunde\u3002test', "@kunde.test."):
        await crm.sql.execute("SELECT crm.ignore_sender($1)", subject)
        await senders.carry_out()
        await senders.write(read('"karl"@kunde.test'))
        await senders.write(read("\uff4barl@kunde\uff0etest"))
        assert await senders.waiting() == []
        await crm.sql.execute("SELECT crm.unresolve($1)", subject)
        await senders.carry_out()
        assert set(await senders.waiting()) == {KARL}
    with pytest.raises(asyncpg.CheckViolationError, match="a domain with a dot in it"):
        await crm.sql.execute("SELECT crm.ignore_sender('@com')")


async def test_t117_a_ruling_on_a_domain_is_one_on_its_addresses_whose_own_counts_more(
    crm: Crm, senders: Senders
) -> None:
    account, karl = await crm.record("account", "Kunde"), await crm.record("contact", "Karl")
    await senders.write(KARL)
    await senders.write(BERTA)
    await senders.write("else@sub.kunde.test")
    of_domain = await senders.rule(DOMAIN, account)
    assert await senders.senders(KARL) == await senders.senders(BERTA) == [account]
    assert await senders.waiting() == ["else@sub.kunde.test"]
    own = await senders.rule(KARL, karl)
    await senders.write(KARL)
    assert await senders.senders(KARL) == [karl, karl]
    assert await senders.senders(BERTA) == [account]
    ignored = await senders.rule(BERTA, None)
    assert await senders.senders(BERTA) == [None]
    assert await senders.waiting() == ["else@sub.kunde.test"]
    await senders.undo(own)
    assert await senders.senders(KARL) == [account, account]
    await senders.undo(ignored)
    assert await senders.senders(BERTA) == [account]
    await senders.undo(of_domain)
    assert await senders.senders(KARL) == [None, None]
    assert await done(crm)


@pytest.mark.parametrize("domain", ["gmail.com", "GMX.de", "outlook.com"])
async def test_t117_a_public_provider_belongs_to_nobody(crm: Crm, senders: Senders, domain: str) -> None:
    account = await crm.record("account", "Kunde")
    made = await rulings.rule(senders.database, "resolve", f"@{domain}", account, "ann", None)
    assert made.refused == f"anybody can have an address at {domain.lower()}: it belongs to no record"
    assert (await rulings.rule(senders.database, "resolve", f"karl@{domain}", account, "ann", None)).refused is None


async def test_t112_who_comes_second_sees_the_first_ruling_and_cannot_overwrite_it_unknowingly(
    crm: Crm, senders: Senders
) -> None:
    one, two = await crm.record("contact", "One"), await crm.record("contact", "Two")

    async def rule(record_id: UUID, by: str, expected: int | None = None) -> rulings.Made:
        return await rulings.rule(senders.database, "resolve", KARL, record_id, by, expected)

    made = await asyncio.gather(rule(one, "ann"), rule(two, "bob"))
    [first] = [one for one in made if one.ruling_id]
    [second] = [one for one in made if one.refused]
    assert second.refused is not None
    assert f"ruled on {KARL} at" in second.refused
    assert f"(ruling {first.ruling_id}): it is record" in second.refused
    record_id = await crm.sql.fetchval("SELECT record_id FROM crm.ruling WHERE in_force")
    assert (await rule(record_id, "carl")).ruling_id == first.ruling_id
    assert (await rule({one, two}.difference({record_id}).pop(), "dora", first.ruling_id)).ruling_id is not None
    assert (await rule(record_id, "eve", first.ruling_id)).refused is not None
    assert await rulings.undo(senders.database, first.ruling_id or 0, "ann") is None
    refused = await rulings.undo(senders.database, first.ruling_id or 0, "bob")
    assert (refused or "").startswith(f"ann undid ruling {first.ruling_id} at ")


async def test_t112_what_cannot_be_ruled_is_refused_in_words(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    await crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", karl)

    async def refused(subject: str, record_id: UUID) -> str | None:
        return (await rulings.rule(senders.database, "resolve", subject, record_id, "ann", None)).refused

    assert await refused(KARL, karl) == f"there is no active record {karl}"
    nobody = (
        "",
        "@",
        "karl",
        "x" * 330 + "@kunde.test",
        "@com",
        "@com.",
        "@.",
        "@a..test",
        "@*.test",
        "*@a.test",
        "x@",
    )
    for subject in (*nobody, "@ｃｏｍ", "@a@b.test", "Karl <karl@kunde.test>"):
        assert await refused(subject, karl) == (
            "name an address, or @ and a domain with a dot in it, such as @example.com"
        )
    ruling = await rulings.rule(senders.database, "resolve", KARL, await crm.record("contact", "K"), "ann", 7)
    assert ruling.refused == f"ruling 7 on {KARL} is not in force any more"
    assert await rulings.undo(senders.database, 7, "ann") == "there is no ruling 7"


async def test_a2_the_crm_rules_and_undoes_with_its_own_role_also_on_what_is_sent(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    await senders.write(KARL)
    sent = await crm.draft(STAFF, [KARL], "Offer", "Chairs")
    await crm.move(sent, "pending_send")
    ruling = await crm.sql.fetchval("SELECT crm.resolve(' Karl@KUNDE.test', $1)", karl)
    await senders.carry_out()
    rows = await crm.rows("SELECT record_id FROM crm.party WHERE address = $1", KARL)
    assert [row["record_id"] for row in rows] == [karl, karl]
    with pytest.raises(asyncpg.CheckViolationError, match=rf"\(ruling {ruling}\): it is record {karl}") as caught:
        await crm.sql.fetchval("SELECT crm.ignore_sender($1)", KARL)
    assert caught.value.hint == "To replace a ruling, name it: crm.ignore_sender(address, expected)."
    assert await crm.sql.fetchval("SELECT crm.unresolve($1)", KARL) == ruling
    assert await crm.sql.fetchval("SELECT crm.unresolve($1)", KARL) is None
    await senders.carry_out()
    rows = await crm.rows("SELECT record_id FROM crm.party WHERE address = $1", KARL)
    assert [row["record_id"] for row in rows] == [None, None]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await crm.sql.execute("SELECT * FROM router.ruling")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await crm.sql.execute("SELECT router.undo_ruling(1, 'eve')")


async def test_what_rulings_change_is_told_by_events(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    [email_id] = await senders.write(KARL)
    ruling = await senders.rule(KARL, karl)
    await senders.undo(ruling, "bob")
    rows = await crm.rows("SELECT kind, email_id, details FROM crm.event WHERE kind <> 'promoted' ORDER BY id")
    listed = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE[PAGE.index("| kind |") :], re.MULTILINE))
    for row in rows:
        assert set(json.loads(row["details"])) <= set(re.findall(r"`(\w+)`", listed[row["kind"]])), row
    by = f'"by": "{{}}", "ruling": "resolve", "subject": "{KARL}", "record_id": "{karl}", "ruling_id": {ruling}'
    assert [(row["kind"], row["email_id"], row["details"]) for row in rows] == [
        ("ruled", None, f"{{{by.format('ann')}}}"),
        (
            "resolved",
            email_id,
            f'{{"by": "ann", "address": "{KARL}", "record_id": "{karl}", "ruling_id": {ruling}}}',
        ),
        ("ruling_undone", None, f"{{{by.format('bob')}}}"),
        ("unresolved", email_id, f'{{"address": "{KARL}", "ruling_id": {ruling}, "old_record_id": "{karl}"}}'),
    ]


async def test_a_report_waits_for_nobody(crm: Crm, senders: Senders) -> None:
    """Nobody is to say who a mail system is."""
    email_id = uuid4()
    await crm.admin.execute(
        "INSERT INTO crm.email (id, direction, status, correlation_method) VALUES ($1, 'in', 'received', 'report')",
        email_id,
    )
    await crm.admin.execute(
        "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'from', 'mailer-daemon@in.test')", email_id
    )
    assert await senders.waiting() == []


async def test_what_a_ruling_resolved_long_ago_stays_and_is_not_kept_for_ever(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl")
    old, new = await senders.write(KARL, 2)
    ruling = await senders.rule(KARL, karl)
    await senders.undo(await senders.rule(BERTA, None))
    await crm.admin.execute("UPDATE router.ruled_party SET at = now() - interval '800 days' WHERE email_id = $1", old)
    await crm.admin.execute("UPDATE router.ruling SET undone_at = now() - interval '800 days' WHERE undone_by = 'ann'")
    piece = await take_piece(senders.database, "rulings", Retention())
    assert (piece.deleted, piece.more) == (1, False)
    assert [row["id"] for row in await crm.rows("SELECT id FROM crm.ruling")] == [ruling]
    await senders.undo(ruling)
    assert [await senders.sender_of(one) for one in (old, new)] == [karl, None]
