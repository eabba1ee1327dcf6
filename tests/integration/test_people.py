"""People of the console, on the database: what each may see, who gets in, and what bars those who guess."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from argon2 import PasswordHasher

from router.errors import RouterError, UnknownName
from router.model.viewer import Grant, StaffRole, Viewer
from router.operations import audit_log, passwords, people, sign_in
from router.operations.backing import Conflict, Refused
from router.operations.sign_in import Barred, Client, SignedIn, WrongPassword
from router.repository.database import Database
from tests.support.crm import Crm

RIGHT = "correct horse battery"
HERE = Client("192.0.2.7", "Firefox on Linux")
ELSEWHERE = Client("203.0.113.9", "another program")


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database, connections=4) as shared:
        yield shared


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing takes its tenth of a second; what it is made of is tested by itself."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


async def person(database: Database, name: str, *grants: Grant) -> None:
    """Add a person who has chosen a password."""
    secret = await people.add(database, name, grants or [Grant(StaffRole.ADMINISTER)])
    await people.use_link(database, secret, "", RIGHT, None)


async def recognized(database: Database, session: str, proxy: str | None = None) -> SignedIn:
    found = await sign_in.recognize(database, session, proxy)
    assert found is not None
    return found


async def queue(crm: Crm, mailbox: str, name: str) -> UUID:
    owner = uuid4()
    await crm.admin.execute("INSERT INTO crm.record (id, kind, name) VALUES ($1, 'queue', $2)", owner, name)
    await crm.admin.execute("INSERT INTO crm.owner (record_id, mailbox) VALUES ($1, $2)", owner, mailbox)
    return owner


# --- What each may see ------------------------------------------------------------------------------------------------


async def test_a_person_sees_the_mail_that_was_granted_in_sql_as_in_python(crm: Crm, opened: Database) -> None:
    await crm.owner("ann@in.test", "all")
    sales, support = await queue(crm, "sales@in.test", "Sales"), await queue(crm, "support@in.test", "Support")
    everybody = {row[0] for row in await crm.admin.fetch("SELECT record_id FROM crm.owner")}
    await person(opened, "root")
    await person(opened, "all", Grant(StaffRole.VIEW))
    await person(opened, "one", *await people.grants_named(opened, "decide", queues=["SALES"]))
    await person(opened, "both", Grant(StaffRole.VIEW), Grant(StaffRole.DECIDE, support))
    await person(opened, "none", Grant(StaffRole.VIEW, uuid4()))
    listed = {one.person.name: one for one in await people.list_all(opened)}
    assert list(listed["one"].owners.values()) == ["sales@in.test"]
    ids = {name: one.person.id for name, one in listed.items()}

    async def seen(name: str, least: str = "view") -> set[UUID]:
        """By SQL; and Python says the same of each."""
        rows = await crm.admin.fetch("SELECT router.seen_owners($1, $2)", ids[name], least)
        found = {row[0] for row in rows} & everybody
        viewer = Viewer(ids[name], name, listed[name].person.grants)
        for owner in (None, *everybody):
            may = await crm.admin.fetchval("SELECT router.may_see($1, $2, $3)", ids[name], owner, least)
            assert may is viewer.has(StaffRole(least), owner)
            assert owner is None or may is (owner in found)
        return found

    assert await seen("root", "administer") == await seen("all") == await seen("both") == everybody
    assert await seen("all", "decide") == await seen("both", "administer") == set()
    assert await seen("one", "decide") == await seen("one") == {sales}
    assert await seen("both", "decide") == {support}
    assert await seen("none") == set()
    await people.disable(opened, "all")
    assert not await crm.admin.fetchval("SELECT router.may_see($1, NULL)", ids["all"])
    with pytest.raises(UnknownName, match="there is no queue"):
        await people.grants_named(opened, "view", queues=["ann@in.test"])
    with pytest.raises(Refused, match="administers does so for all"):
        await people.grants_named(opened, "administer", queues=["Sales"])


async def test_the_last_administrator_stays(opened: Database) -> None:
    await person(opened, "ann")
    await person(opened, "ben")
    await people.grant(opened, "ben", [Grant(StaffRole.VIEW)])
    for alone in (people.disable(opened, "ann"), people.grant(opened, "ann", [Grant(StaffRole.DECIDE)])):
        with pytest.raises(RouterError, match="nobody but ann administers"):
            await alone
    await people.grant(opened, "ben", [Grant(StaffRole.ADMINISTER)])
    # Each would leave the other, and both at once would leave nobody.
    done = await asyncio.gather(people.disable(opened, "ann"), people.disable(opened, "ben"), return_exceptions=True)
    assert sorted(isinstance(one, RouterError) for one in done) == [False, True]
    with pytest.raises(Conflict, match="there is ann already"):
        await people.add(opened, " ANN ", [])
    with pytest.raises(UnknownName):
        await people.disable(opened, "nobody")


# --- Links ------------------------------------------------------------------------------------------------------------


async def test_a_link_works_once_and_of_two_first_administrators_one_comes_in(crm: Crm, opened: Database) -> None:
    first, second = await people.first_link(opened), await people.first_link(opened)
    assert first is not None
    assert second is not None
    with pytest.raises(Refused, match="at least 12"):
        await people.use_link(opened, first, "ann", "short", None)
    with pytest.raises(Refused, match="no name of a person"):
        await people.use_link(opened, first, "a b", RIGHT, None)
    done = await asyncio.gather(
        people.use_link(opened, first, "ann", RIGHT, None),
        people.use_link(opened, second, "ben", RIGHT, None),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, UnknownName) for one in done) == [False, True]
    assert await people.first_link(opened) is None
    secret = await people.add(opened, "carl", [Grant(StaffRole.VIEW)])
    later = await people.reset(opened, "carl")
    assert await people.find_link(opened, secret) is None  # the last one counts
    await crm.admin.execute("UPDATE router.person_link SET expires_at = now()")
    with pytest.raises(UnknownName, match="has expired"):
        await people.use_link(opened, later, "", RIGHT, None)
    last = await people.reset(opened, "carl")
    await people.disable(opened, "carl")
    assert await people.find_link(opened, last) is None


# --- Sessions ---------------------------------------------------------------------------------------------------------


async def test_a_session_ends_by_time_by_the_person_and_by_an_administrator(crm: Crm, opened: Database) -> None:
    await person(opened, "ann")
    session, device = await sign_in.sign_in(opened, " Ann ", RIGHT, HERE)
    who = await recognized(opened, session)
    assert (who.viewer.name, who.viewer.administers) == ("ann", True)
    assert session.encode() not in await crm.admin.fetchval("SELECT hash FROM router.person_session")
    for column, age in (("used_at", "2 hours"), ("made_at", "12 hours")):
        await crm.admin.execute(f"UPDATE router.person_session SET {column} = now() - interval '{age} -1 minute'")
        assert await sign_in.recognize(opened, session, None) is not None
        await crm.admin.execute(f"UPDATE router.person_session SET {column} = now() - interval '{age} 1 second'")
        assert await sign_in.recognize(opened, session, None) is None
        await crm.admin.execute("UPDATE router.person_session SET made_at = now(), used_at = now()")
    # Use is noted to the minute.
    await crm.admin.execute("UPDATE router.person_session SET used_at = now() - interval '30 minutes'")
    await sign_in.recognize(opened, session, None)
    assert await crm.admin.fetchval("SELECT used_at > now() - interval '1 minute' FROM router.person_session")
    other, _ = await sign_in.sign_in(opened, "ann", RIGHT, Client("192.0.2.7", "Firefox on Linux", device))
    here, there = await sign_in.list_sessions(opened, who.viewer)
    assert {here.address, there.address} == {"192.0.2.7"}
    await person(opened, "ben")
    stranger = await recognized(opened, (await sign_in.sign_in(opened, "ben", RIGHT, HERE))[0])
    assert not await sign_in.end_session(opened, stranger, who.session_id, HERE)
    with pytest.raises(WrongPassword):
        await sign_in.change_password(opened, who, "wrong", "another password", HERE)
    await sign_in.change_password(opened, who, RIGHT, "another password", HERE)
    assert await sign_in.recognize(opened, other, None) is None
    assert await sign_in.recognize(opened, session, None) is not None
    assert await people.sign_out(opened, "ann") == 1
    assert await sign_in.recognize(opened, session, None) is None
    session, _ = await sign_in.sign_in(opened, "ann", "another password", HERE)
    await people.disable(opened, "ann")
    assert await sign_in.recognize(opened, session, None) is None
    with pytest.raises(WrongPassword):
        await sign_in.sign_in(opened, "ann", "another password", HERE)
    assert await sign_in.begin_by_proxy(opened, "ann", HERE) is None


async def test_what_ends_while_a_password_is_checked_lets_nobody_in(
    crm: Crm, opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who knows the old password has a session that no change of it has ended."""
    right, meanwhile = passwords.is_right, asyncio.Event()

    async def slow(password: str, kept: str | None) -> bool:
        answer = await right(password, kept)
        if not meanwhile.is_set():
            meanwhile.set()
            await change()
        return answer

    async def disabled() -> None:
        await people.disable(opened, "ann")
        await people.reset(opened, "ann")

    async def other_password() -> None:
        await people.use_link(opened, await people.reset(opened, "ann"), "", "another password", None)

    await person(opened, "root")
    monkeypatch.setattr(passwords, "is_right", slow)
    for change in (disabled, other_password):
        meanwhile.set()
        await crm.admin.execute("DELETE FROM router.person_device; DELETE FROM router.person_session")
        if change is disabled:
            await person(opened, "ann")
        else:
            await people.use_link(opened, await people.reset(opened, "ann"), "", RIGHT, None)
        session, _ = await sign_in.sign_in(opened, "ann", RIGHT, HERE)
        who = await recognized(opened, session)
        for changes in (False, True):
            meanwhile.clear()
            attempt: Awaitable[object] = (
                sign_in.change_password(opened, who, RIGHT, "a stranger's password", HERE)
                if changes
                else sign_in.sign_in(opened, "ann", RIGHT, HERE)
            )
            with pytest.raises(WrongPassword):
                await attempt
            assert await crm.admin.fetchval("SELECT count(*) FROM router.person_session") == 0
            await people.use_link(opened, await people.reset(opened, "ann"), "", RIGHT, None)


async def test_who_was_disabled_comes_back_by_the_link_alone(opened: Database) -> None:
    """The password may be why the account was disabled."""
    await person(opened, "root")
    await person(opened, "ann")
    await people.reset(opened, "ann")
    assert (await sign_in.sign_in(opened, "ann", RIGHT, HERE))[0], "a link that nobody has used changes nothing"
    await people.disable(opened, "ann")
    secret = await people.reset(opened, "ann")
    with pytest.raises(WrongPassword):
        await sign_in.sign_in(opened, "ann", RIGHT, HERE)
    await people.use_link(opened, secret, "", "another password", None)
    assert (await sign_in.sign_in(opened, "ann", "another password", HERE))[0]


async def test_what_an_open_page_asks_by_itself_does_not_make_a_session_last(crm: Crm, opened: Database) -> None:
    await person(opened, "ann")
    session, _ = await sign_in.sign_in(opened, "ann", RIGHT, HERE)
    await crm.admin.execute("UPDATE router.person_session SET used_at = now() - interval '30 minutes'")
    assert await sign_in.recognize(opened, session, None, is_used=False) is not None
    assert await crm.admin.fetchval("SELECT used_at < now() - interval '29 minutes' FROM router.person_session")


async def test_a_session_by_a_proxy_is_of_whom_the_proxy_names(opened: Database) -> None:
    await people.add(opened, "ann", [Grant(StaffRole.VIEW)])
    session = await sign_in.begin_by_proxy(opened, "ANN", HERE)
    assert session is not None
    assert (await recognized(opened, session, "Ann")).by_proxy
    assert await sign_in.recognize(opened, session, "ben") is None
    assert await sign_in.recognize(opened, session, None) is None


# --- Who guesses ------------------------------------------------------------------------------------------------------


async def guess(database: Database, name: str, client: Client, times: int) -> int:
    """Try wrong passwords; returns how many were tried before it was barred."""
    for number in range(times):
        try:
            await sign_in.sign_in(database, name, "wrong", client)
        except WrongPassword:
            continue
        except Barred:
            return number
    return times


async def test_who_guesses_bars_neither_the_person_at_the_desk_nor_others(crm: Crm, opened: Database) -> None:
    await person(opened, "ann")
    await person(opened, "ben")
    _, device = await sign_in.sign_in(opened, "ann", RIGHT, HERE)
    assert await guess(opened, "ann", ELSEWHERE, 50) == 10
    # Neither is the right password tried there now.
    with pytest.raises(Barred) as barred:
        await sign_in.sign_in(opened, "ann", RIGHT, ELSEWHERE)
    assert 0 < barred.value.seconds <= 2
    # From anywhere, in the browser that is known; from the same network, somebody else.
    await sign_in.sign_in(opened, "ann", RIGHT, Client("203.0.113.9", "", device))
    await sign_in.sign_in(opened, "ben", RIGHT, ELSEWHERE)
    # A browser that is known of one person is nothing for another.
    with pytest.raises(Barred):
        await sign_in.sign_in(opened, "ann", RIGHT, Client("203.0.113.9", "", "invented"))
    # It never takes longer than a quarter of an hour, also where the clock was put back.
    await crm.admin.execute("UPDATE router.sign_in_attempt SET wrong = 1000000, barred_until = now()")
    assert await guess(opened, "ann", ELSEWHERE, 5) == 1
    with pytest.raises(Barred, match="15 minutes") as barred:
        await sign_in.sign_in(opened, "ann", RIGHT, ELSEWHERE)
    assert barred.value.seconds <= 900
    await crm.admin.execute("UPDATE router.sign_in_attempt SET barred_until = now() + interval '1 day'")
    await sign_in.sign_in(opened, "ann", RIGHT, ELSEWHERE)


async def test_a_network_that_guesses_names_is_barred_and_a_person_there_by_a_link_comes_in(opened: Database) -> None:
    await person(opened, "ann")
    tried = [await guess(opened, f"name{number}", ELSEWHERE, 1) for number in range(40)]
    assert sum(tried) == 30
    with pytest.raises(Barred):
        await sign_in.sign_in(opened, "ann", RIGHT, ELSEWHERE)
    await sign_in.sign_in(opened, "ann", RIGHT, HERE)
    # A subscriber has a /64 of IPv6.
    six = [Client(f"2001:db8::{number:x}", "") for number in range(1, 36)]
    assert sum([await guess(opened, f"six{number}", client, 1) for number, client in enumerate(six)]) == 30
    secret = await people.reset(opened, "ann")
    person_id, name = await people.use_link(opened, secret, "", RIGHT, "203.0.113.9")
    session, device = await sign_in.begin(opened, person_id, name, ELSEWHERE)
    await recognized(opened, session)
    await sign_in.sign_in(opened, "ann", RIGHT, Client("203.0.113.9", "", device))


async def test_those_who_come_at_once_are_counted_in_turn(opened: Database) -> None:
    await person(opened, "ann")
    done = await asyncio.gather(
        *(sign_in.sign_in(opened, "ann", "wrong", ELSEWHERE) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, WrongPassword) for one in done) == 10
    assert sum(isinstance(one, Barred) for one in done) == 10
    log = await audit_log.list_before(opened)
    assert [one.action for one in log].count("sign-in-refused") == 10


async def test_old_attempts_sessions_and_browsers_are_forgotten(crm: Crm, opened: Database) -> None:
    await person(opened, "ann")
    await sign_in.sign_in(opened, "ann", RIGHT, HERE)
    await guess(opened, "nobody", ELSEWHERE, 3)
    for table, column in (("person_session", "used_at"), ("person_device", "used_at"), ("sign_in_attempt", "at")):
        await crm.admin.execute(f"UPDATE router.{table} SET {column} = now() - interval '200 days'")
    await sign_in.sign_in(opened, "ann", RIGHT, HERE)
    for table, kept in (("person_session", 1), ("person_device", 1), ("sign_in_attempt", 1)):
        assert await crm.admin.fetchval(f"SELECT count(*) FROM router.{table}") == kept, table


async def test_a_password_is_hashed_by_argon2id_in_turn_and_not_by_everybody_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = await passwords.hashed(RIGHT)
    assert kept.startswith("$argon2id$")
    assert await passwords.is_right(RIGHT, kept)
    assert not await passwords.is_right(RIGHT + " ", kept)
    assert not await passwords.is_right(RIGHT, None)
    assert not await passwords.is_right(RIGHT, "no hash")
    assert passwords.is_outdated(kept) is False
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    assert passwords.is_outdated(kept)
    done = await asyncio.gather(*(passwords.hashed(RIGHT) for _ in range(40)), return_exceptions=True)
    assert sum(isinstance(one, passwords.Busy) for one in done) == 16
    for wrong in ("short", "aaaaaaaaaaaaaa", "x" * 300, "ann-ann-ann1"):
        with pytest.raises(Refused):
            passwords.check(wrong, "ann-ann-ann")
    passwords.check(RIGHT, "ann")


async def test_a_password_is_hashed_anew_where_it_was_hashed_in_another_way(
    opened: Database, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    await person(opened, "ann")
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    await sign_in.sign_in(opened, "ann", RIGHT, HERE)
    kept = await crm.admin.fetchval("SELECT password FROM router.person")
    assert "t=2" in kept
    assert timedelta(0) < sign_in.LASTING.idle < sign_in.LASTING.all
