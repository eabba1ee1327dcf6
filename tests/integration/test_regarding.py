"""What an answer is regarding: what its thread is about now, wherever on the thread the CRM said so (T40)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.decide import decide_batch
from router.errors import DatabaseError, UnknownName
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.rulings import splits
from tests.integration.test_promote import Crm as Ours
from tests.integration.test_promote import copies, message
from tests.support.command import Said, type_command
from tests.support.crm import Crm

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
X, Y, Z = (UUID(int=number) for number in (1, 2, 3))


class Thread:
    """One mailbox, whose mail is brought in one by one; message 0 begins the thread."""

    def __init__(self, database: Database, crm: Crm) -> None:
        self.database = database
        self._crm = crm

    async def begin(self) -> None:
        ours = Ours(self.database)
        self.owner_id = await ours.owner("ulla@example.com", "all")
        self._lease = await ours.source(self.owner_id, "ulla@example.com")
        await self.answer(0, None)

    async def answer(self, number: int, to: int | str | None) -> UUID | None:
        """Bring in a message that answers an earlier one; tell what it is regarding."""
        named = () if to is None else (f"{to}@kunde.test",)
        [copy] = copies(self._lease, self.owner_id, [message(number, in_reply_to=named)], number + 1)
        [decision] = await inbox.promote(self.database, Batch([copy], self._lease), decide_batch)
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


# --- Links that a person makes or takes away --------------------------------------------------------------------------


async def correlation(crm: Crm, number: int) -> tuple[UUID | None, str | None]:
    row = await crm.sql.fetchrow(
        "SELECT correlated_id, correlation_method FROM crm.email WHERE message_id = $1", f"{number}@kunde.test"
    )
    assert row is not None
    return row["correlated_id"], row["correlation_method"]


async def id_of(crm: Crm, number: int) -> UUID:
    found = await crm.sql.fetchval("SELECT id FROM crm.email WHERE message_id = $1", f"{number}@kunde.test")
    assert isinstance(found, UUID)
    return found


async def link(crm: Crm, number: int, to: int | None) -> None:
    """What a person does in the CRM, in the words of the documentation."""
    await crm.sql.execute(
        "UPDATE crm.email SET correlated_id = $2 WHERE id = $1",
        await id_of(crm, number),
        None if to is None else await id_of(crm, to),
    )


async def test_t40_what_the_crm_links_itself_is_manual_and_its_answers_follow_the_thread(
    thread: Thread, crm: Crm
) -> None:
    await thread.say(0, X)
    await thread.answer(1, None)
    assert await thread.answer(2, 1) is None
    await link(crm, 1, 0)
    assert await correlation(crm, 1) == (await id_of(crm, 0), "manual")
    assert await thread.answer(3, 1) == X
    await thread.say(0, Y)
    assert await thread.answer(4, 2) == Y
    await link(crm, 1, None)
    assert await correlation(crm, 1) == (None, None)
    assert await thread.answer(5, 1) is None


async def test_t40_what_a_person_says_of_a_linked_email_the_whole_thread_is_about(thread: Thread, crm: Crm) -> None:
    await thread.say(0, X)
    await thread.answer(1, None)
    await link(crm, 1, 0)
    await thread.say(1, Y)
    assert await thread.answer(2, 0) == Y


async def test_the_crm_confirms_a_link_as_manual_and_says_nothing_else_of_how_it_was_found(
    thread: Thread, crm: Crm
) -> None:
    await thread.answer(1, 0)
    update = "UPDATE crm.email SET correlation_method = $2 WHERE id = $1"
    for method in ("token", "in-reply-to", None):
        if method != (await correlation(crm, 1))[1]:
            with pytest.raises(asyncpg.CheckViolationError, match="the router says"):
                await crm.sql.execute(update, await id_of(crm, 1), method)
    await crm.sql.execute(update, await id_of(crm, 1), "manual")
    assert await correlation(crm, 1) == (await id_of(crm, 0), "manual")
    with pytest.raises(asyncpg.CheckViolationError, match="cannot answer itself"):
        await link(crm, 1, 1)


async def test_an_import_says_how_an_email_was_found_and_else_it_is_manual(thread: Thread, crm: Crm) -> None:
    await thread.answer(1, 0)
    insert = (
        "INSERT INTO crm.email (direction, status, correlated_id, correlation_method) "
        "VALUES ('in', 'received', $1, $2) RETURNING correlation_method"
    )
    first = await id_of(crm, 1)
    assert await crm.sql.fetchval(insert, first, "references") == "references"
    assert await crm.sql.fetchval(insert, first, None) == "manual"
    assert await crm.sql.fetchval(insert, None, None) is None
    draft = insert.replace("'in', 'received'", "'out', 'draft'")
    assert await crm.sql.fetchval(draft, first, None) is None


async def test_t119_an_email_that_is_split_off_begins_a_thread_of_its_own_and_that_is_undone(
    thread: Thread, crm: Crm
) -> None:
    await thread.say(0, X)
    #   0 ── 1 ── 2
    await thread.answer(1, 0)
    await thread.answer(2, 1)
    first, second = await id_of(crm, 0), await id_of(crm, 1)
    assert await splits.split(thread.database, second, "Ann") == splits.Split(second, first)
    assert await correlation(crm, 1) == (None, None)
    assert await thread.answer(3, 2) == X  # until a person says otherwise
    await thread.say(1, Y)
    assert [await thread.answer(4, 2), await thread.answer(5, 0)] == [Y, X]
    assert await splits.undo(thread.database, second, "Bob") == splits.Split(second, first)
    assert await correlation(crm, 1) == (first, "in-reply-to")
    events = await crm.rows("SELECT kind, email_id, details ->> 'by' FROM crm.event WHERE details ? 'by' ORDER BY id")
    assert [tuple(row) for row in events] == [("split", second, "Ann"), ("correlated", second, "Bob")]
    assert await crm.admin.fetchval("SELECT count(*) FROM router.split") == 0


async def test_t119_what_cannot_be_split_or_undone_is_said_in_words(thread: Thread, crm: Crm) -> None:
    await thread.answer(1, 0)
    await thread.answer(2, None)
    first, second = await id_of(crm, 0), await id_of(crm, 1)
    with pytest.raises(DatabaseError, match="answers no other"):
        await splits.split(thread.database, first, "Ann")
    with pytest.raises(DatabaseError, match="was not split off"):
        await splits.undo(thread.database, second, "Ann")
    with pytest.raises(UnknownName, match="there is no email"):
        await splits.split(thread.database, uuid4(), "Ann")
    draft = await crm.draft("ulla@example.com", "karl@kunde.test", correlated_id=first)
    with pytest.raises(DatabaseError, match="is draft"):
        await splits.split(thread.database, draft, "Ann")
    await splits.split(thread.database, second, "Ann")
    await link(crm, 1, 2)
    with pytest.raises(DatabaseError, match="linked to another one since"):
        await splits.undo(thread.database, second, "Ann")
    await link(crm, 1, None)
    await link(crm, 0, 1)
    with pytest.raises(DatabaseError, match="is an answer to it by now"):
        await splits.undo(thread.database, second, "Ann")
    await crm.sql.execute("DELETE FROM crm.email WHERE id = $1", first)
    with pytest.raises(DatabaseError, match="is not there any more"):
        await splits.undo(thread.database, second, "Ann")


async def ask(database: str, *arguments: str) -> Said:
    return await type_command(database, "split", *arguments)


async def test_t119_an_admin_splits_and_undoes_by_command(thread: Thread, crm: Crm, database: str) -> None:
    await thread.answer(1, 0)
    first, second = str(await id_of(crm, 0)), str(await id_of(crm, 1))
    done = await ask(database, second, "--by", "Ann")
    assert done == (0, f"{second}: begins a thread of its own; it answered email {first}\n", "")
    status, out, _ = await ask(database, second, "--undo", "--json")
    assert (status, json.loads(out)) == (0, {"email_id": second, "correlated_id": first, "split": False})
    status, out, error = await ask(database, first)
    assert (status, out) == (1, "")
    assert "answers no other" in error
    status, _, error = await ask(database, str(uuid4()))
    assert status == 2
    assert "there is no email" in error
