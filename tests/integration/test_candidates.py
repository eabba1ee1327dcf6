"""Who an unresolved sender may be, and why."""

from uuid import UUID

import asyncpg
import pytest

from router.errors import DatabaseAway
from router.model import Mark
from router.repository.rulings.unresolved import find_candidates
from tests.support.crm import Crm
from tests.support.senders import Senders

KARL = "karl@kunde.test"


async def why(senders: Senders, address: str = KARL) -> dict[UUID, tuple[str, ...]]:
    return {one.record_id: one.why for one in await find_candidates(senders.database, address)}


async def test_records_of_the_same_domain_are_candidates_but_not_of_a_public_one(crm: Crm, senders: Senders) -> None:
    account = await crm.record("account", "Kunde", "info@kunde.test")
    await crm.record("contact", "Anybody", "anybody@gmail.com")
    await senders.write(KARL)
    await senders.write("karl@gmail.com")
    assert await why(senders) == {account: ("has an address of the same domain",)}
    assert await why(senders, "karl@gmail.com") == {}


@pytest.mark.parametrize("name", ["Karl  KUNDE", "kunde, karl", '"Karl Kunde"'])
async def test_a_record_of_the_senders_name_is_a_candidate(crm: Crm, senders: Senders, name: str) -> None:
    karl = await crm.record("contact", "Karl Kunde")
    gone = await crm.record("contact", "Karl Kunde")
    await crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", gone)
    await senders.write(KARL, name=name)
    assert await why(senders) == {karl: ("has the name of the sender",)}


async def test_who_is_in_the_signature_is_a_candidate(crm: Crm, senders: Senders) -> None:
    by_name, by_address = await crm.record("account", "Kunde AG"), await crm.record("contact", "Karl", "k@work.test")
    text = "Hello\n-- \nKunde AG | Main Street\nMail: <k@work.test>\n"
    message = senders.message(KARL, text=text)
    await senders.promote([senders.copy(message, marks=(Mark(text.index("-- "), len(text), "signature"),))])
    assert await why(senders) == {
        by_address: ("has an address that is in the signature",),
        by_name: ("has a name that is in the signature",),
    }


@pytest.mark.parametrize("kind", ["account", "case"])
async def test_who_is_on_the_thread_is_a_candidate_and_whom_it_is_about(crm: Crm, senders: Senders, kind: str) -> None:
    about, berta = await crm.record(kind, "Chairs"), await crm.record("contact", "Berta", "berta@work.test")
    [first] = await senders.write("berta@work.test")
    await crm.sql.execute("UPDATE crm.email SET regarding_id = $2 WHERE id = $1", first, about)
    message_id = await crm.sql.fetchval("SELECT message_id FROM crm.email WHERE id = $1", first)
    await senders.write(KARL, in_reply_to=(message_id,))
    found = await why(senders)
    assert found.pop(berta) == ("is on an email that the sender answered",)
    # Mail is about a case; nobody is one.
    assert found == ({about: ("is what mail of the sender is about",)} if kind == "account" else {})


async def test_t114_nobody_is_a_case(crm: Crm, senders: Senders) -> None:
    case = await crm.record("case", "Chairs")
    await senders.write(KARL)
    with pytest.raises(asyncpg.PostgresError, match="is a matter that mail can be about, and no sender"):
        await crm.sql.execute("SELECT crm.resolve($1, $2)", KARL, case)
    assert await senders.senders(KARL) == [None]


async def test_the_likeliest_comes_first_with_all_that_speaks_for_it(crm: Crm, senders: Senders) -> None:
    other = await crm.record("contact", "Anna", "anna@kunde.test")
    karl = await crm.record("contact", "Karl Kunde", "k.kunde@kunde.test")
    await senders.write(KARL, name="Karl Kunde")
    assert list(await why(senders)) == [karl, other]
    assert (await why(senders))[karl] == ("has the name of the sender", "has an address of the same domain")


async def test_of_who_has_but_the_domain_in_common_the_company_comes_first_and_is_likely(
    crm: Crm, senders: Senders
) -> None:
    for number in range(30):
        await crm.record("contact", f"Anna {number:02}", f"anna{number}@kunde.test")
    kunde = await crm.record("account", "Kunde AG", "info@kunde.test")
    await senders.write(KARL)
    first, *others = await find_candidates(senders.database, KARL)
    assert (first.record_id, first.address, first.is_likely) == (kunde, "info@kunde.test", True)
    assert len(others) == 19
    assert not any(one.is_likely for one in others)


async def test_the_name_of_one_of_us_alone_makes_nobody_likely(crm: Crm, senders: Senders) -> None:
    for kind in ("user", "contact"):
        await crm.record(kind, "Karl Kunde")
    await senders.write(KARL, name="Karl Kunde")
    found = await find_candidates(senders.database, KARL)
    assert {one.kind: one.is_likely for one in found} == {"contact": True, "user": False}


async def test_the_crm_asks_for_them_in_sql(crm: Crm, senders: Senders) -> None:
    karl = await crm.record("contact", "Karl Kunde")
    await senders.write(KARL, name="Karl Kunde")
    [row] = await crm.rows("SELECT candidates -> 0 ->> 'record_id' AS id, reason, name FROM crm.unresolved")
    assert (row["id"], row["reason"], row["name"]) == (str(karl), "no record has the address", "Karl Kunde")


async def test_a_view_without_indexes_ends_the_look_and_nothing_else(crm: Crm, senders: Senders) -> None:
    await crm.admin.execute(
        "DROP TABLE crm.record; "
        "CREATE VIEW crm.record AS SELECT gen_random_uuid() AS id, 'contact' AS kind, n || pg_sleep(1)::text AS name, "
        "NULL::uuid AS owner_id, true AS active, '{}'::jsonb AS attributes, now() AS created_at "
        "FROM generate_series(1, 100) AS n"
    )
    with pytest.raises(DatabaseAway):
        await find_candidates(senders.database, KARL)
    await senders.database.ping()
