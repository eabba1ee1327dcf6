"""What an answer is regarding: what its thread is about now, wherever on the thread the CRM said so (T40)."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.decide import decide_batch
from router.repository import inbox
from router.repository.batch import Batch
from router.repository.database import Database
from tests.integration.test_promote import Crm as Ours
from tests.integration.test_promote import copies, message
from tests.support.crm import Crm

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
X, Y, Z = (UUID(int=number) for number in (1, 2, 3))


class Thread:
    """One mailbox, whose mail is brought in one by one; message 0 begins the thread."""

    def __init__(self, database: Database, crm: Crm) -> None:
        self._database = database
        self._crm = crm

    async def begin(self) -> None:
        ours = Ours(self._database)
        self.owner_id = await ours.owner("ulla@example.com", "all")
        self._lease = await ours.source(self.owner_id, "ulla@example.com")
        await self.answer(0, None)

    async def answer(self, number: int, to: int | str | None) -> UUID | None:
        """Bring in a message that answers an earlier one; tell what it is regarding."""
        named = () if to is None else (f"{to}@kunde.test",)
        [copy] = copies(self._lease, self.owner_id, [message(number, in_reply_to=named)], number + 1)
        [decision] = await inbox.promote(self._database, Batch([copy], self._lease), decide_batch)
        assert decision.email is not None
        return decision.email.regarding_id

    async def say(self, number: int | str, regarding: UUID | None, session: "Session | None" = None) -> None:
        """What a person does in the CRM."""
        await (session or self._crm.sql).execute(
            "UPDATE crm.email SET regarding_id = $1 WHERE message_id = $2", regarding, f"{number}@kunde.test"
        )

    async def reply(self, to: int, regarding: UUID | None) -> None:
        """What the CRM sends, as message `ours`."""
        await self._crm.sql.execute(
            "INSERT INTO crm.email (direction, status, message_id, correlated_id, regarding_id, owner_id) "
            "SELECT 'out', 'sent', 'ours@kunde.test', id, $2, $3 FROM crm.email WHERE message_id = $1",
            f"{to}@kunde.test",
            regarding,
            self.owner_id,
        )


@pytest.fixture
async def thread(database: str, crm: Crm) -> AsyncIterator[Thread]:
    async with Database(database) as opened:
        thread = Thread(opened, crm)
        await thread.begin()
        yield thread


@pytest.mark.parametrize("changed", [0, 1, 2, 3])
async def test_t40_an_answer_follows_what_a_person_changed_anywhere_on_the_thread(thread: Thread, changed: int) -> None:
    await thread.say(0, X)
    #   0 ── 1 ── 2 ── 4
    #   └─── 3
    assert [await thread.answer(n, to) for n, to in ((1, 0), (2, 1), (3, 0))] == [X, X, X]
    await thread.say(changed, Y)
    assert await thread.answer(4, 2) == Y
    assert await thread.answer(5, 4) == Y


async def test_t40_what_was_said_last_holds_also_that_it_is_about_nothing(thread: Thread) -> None:
    await thread.answer(1, 0)
    await thread.say(1, X)
    await thread.say(0, Y)
    assert await thread.answer(2, 1) == Y
    await thread.say(1, None)
    assert await thread.answer(3, 2) is None
    await thread.say(3, Z)
    assert await thread.answer(4, 0) == Z


async def test_t40_an_email_of_the_crms_says_something_only_if_it_differs(thread: Thread) -> None:
    await thread.say(0, X)
    await thread.answer(1, 0)
    await thread.say(0, Y)
    await thread.reply(1, X)  # as the documentation's SQL does: what it answers is regarding that
    assert await thread.answer(2, "ours") == Y


@pytest.mark.parametrize(("regarding", "expected"), [(Z, Z), (None, Y)])
async def test_t40_an_email_of_the_crms_may_say_another_record_or_leave_it_open(
    thread: Thread, regarding: UUID | None, expected: UUID
) -> None:
    await thread.say(0, Y)
    await thread.answer(1, 0)
    await thread.reply(1, regarding)
    assert await thread.answer(2, "ours") == expected


async def test_t40_without_any_change_the_nearest_email_that_is_regarding_something_tells(
    thread: Thread, crm: Crm
) -> None:
    begun = uuid4()
    await crm.sql.execute(
        "INSERT INTO crm.email (id, direction, status, message_id, regarding_id, owner_id) "
        "VALUES ($1, 'out', 'sent', 'offer@kunde.test', $2, $3)",
        begun,
        X,
        thread.owner_id,
    )
    await crm.sql.execute(
        "INSERT INTO crm.email (direction, status, message_id, correlated_id, owner_id) "
        "VALUES ('out', 'sent', 'reminder@kunde.test', $1, $2)",
        begun,
        thread.owner_id,
    )
    assert await thread.answer(1, "reminder") == X
    assert await crm.admin.fetchval("SELECT count(*) FROM router.regarding_change") == 0


async def test_t40_one_thread_is_no_other(thread: Thread) -> None:
    await thread.answer(10, None)
    await thread.say(10, Z)
    await thread.say(0, X)
    assert await thread.answer(11, 10) == Z
    assert await thread.answer(1, 0) == X


async def test_t40_people_who_change_one_thread_at_once_do_not_wait_for_each_other(
    thread: Thread, database: str
) -> None:
    await thread.answer(1, 0)
    sessions = [await asyncpg.connect(database) for _ in range(2)]
    try:
        async with asyncio.timeout(5), sessions[0].transaction(), sessions[1].transaction():
            await thread.say(0, X, sessions[0])
            await thread.say(1, Y, sessions[1])
            assert await thread.answer(2, 1) is None
    finally:
        for session in sessions:
            await session.close()
    assert await thread.answer(3, 1) == Y


async def test_t40_emails_that_the_crm_made_answer_each_other_come_to_an_end(thread: Thread, crm: Crm) -> None:
    await thread.answer(1, 0)
    await crm.sql.execute(
        "UPDATE crm.email SET correlated_id = (SELECT id FROM crm.email WHERE message_id = '1@kunde.test') "
        "WHERE message_id = '0@kunde.test'"
    )
    await thread.say(1, X)
    await thread.answer(2, 1)
    assert await thread.answer(3, 2) == X


async def test_what_was_said_of_a_thread_goes_with_its_first_email(thread: Thread, crm: Crm) -> None:
    await thread.say(0, X)
    await crm.sql.execute("DELETE FROM crm.email")
    assert await crm.admin.fetchval("SELECT count(*) FROM router.regarding_change") == 0
