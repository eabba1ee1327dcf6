"""What asyncpg raises, in words for an admin, and without anybody's mail."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
import pytest

from router.errors import ContentRefused, DatabaseAway, DatabaseError, DatabaseMisused
from router.model import Result
from router.outgoing.attempt import Attempts
from router.repository.database import Connection, Database
from router.repository.faults import translated
from router.repository.outgoing import outbox


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("53100", DatabaseAway, "the disk of the database is full: it failed (SQLSTATE 53100)"),
        ("53300", DatabaseAway, "the database has no connection left: it failed (SQLSTATE 53300)"),
        ("25006", DatabaseAway, "the database can only be read: it failed (SQLSTATE 25006)"),
        ("57P03", DatabaseAway, "it failed (SQLSTATE 57P03)"),
        ("23505", ContentRefused, "it failed (SQLSTATE 23505)"),
        ("42P01", DatabaseError, "it failed (SQLSTATE 42P01)"),
    ],
)
def test_an_error_of_the_server_has_its_words_and_no_detail(state: str, kind: type[DatabaseError], words: str) -> None:
    fields = {"S": "ERROR", "C": state, "M": "it failed", "D": "Key (address)=(ann@example.com) already exists."}
    with pytest.raises(DatabaseError) as caught, translated():
        raise asyncpg.PostgresError.new(fields)
    assert type(caught.value) is kind
    assert str(caught.value) == words


def test_a_value_that_postgresql_refuses_is_not_repeated() -> None:
    fields = {"S": "ERROR", "C": "22P02", "M": 'invalid input syntax for type integer: "Ann said "no" today"'}
    with (
        pytest.raises(ContentRefused, match=r'^invalid input syntax for type integer: "…" \(SQLSTATE 22P02\)$'),
        translated(),
    ):
        raise asyncpg.PostgresError.new(fields)


def test_a_value_that_asyncpg_refuses_is_not_repeated() -> None:
    refused = asyncpg.DataError("invalid input for query argument $1: 'ann@example.com' (an integer is required)")
    with (
        pytest.raises(ContentRefused, match=r"^invalid input for query argument \$1 \(SQLSTATE 22000\)$"),
        translated(),
    ):
        raise refused


def test_a_lost_connection_is_one_that_may_come_back() -> None:
    with pytest.raises(DatabaseAway, match=r"^no connection to the database: Connection reset by peer$"), translated():
        raise ConnectionResetError(104, "Connection reset by peer")


async def end(database: Database, connection: Connection) -> None:
    """Have the server end a connection, as when it is restarted, and wait until that is known here."""
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    async with database.connection() as other:
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    async with asyncio.timeout(20):
        await ended.wait()


async def ask(connection: Connection) -> None:
    await connection.fetch("SELECT 1")


async def begin(connection: Connection) -> None:
    async with connection.transaction():
        pass


async def end_itself(connection: Connection) -> None:
    await connection.fetch("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize("use", [ask, begin, end_itself])
async def test_a_connection_that_ends_while_it_is_used_may_come_back(
    database: str, use: Callable[[Connection], Awaitable[None]]
) -> None:
    async def work() -> None:
        async with pool.connection() as connection:
            if use is not end_itself:
                await end(pool, connection)
            await use(connection)

    async with Database(database, 2) as pool:
        with pytest.raises(DatabaseAway):
            await work()
        await pool.ping()


async def test_so_may_one_that_ends_before_a_prepared_query_or_a_commit(database: str) -> None:
    async def prepared() -> None:
        async with pool.connection() as connection:
            query = await connection.prepare("SELECT 1")
            await end(pool, connection)
            await query.fetch()

    async def committed() -> None:
        async with pool.transaction() as connection:
            await end(pool, connection)

    async with Database(database, 2) as pool:
        for work in (prepared, committed):
            with pytest.raises(DatabaseAway):
                await work()
        await pool.ping()


async def test_a_connection_of_our_own_that_is_closed_may_be_opened_anew(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.close()
    with pytest.raises(DatabaseAway, match=r"^no connection to the database: the connection was lost$"), translated():
        await connection.fetch("SELECT 1")


async def test_a_pool_that_closes_is_no_bug_of_who_asks_it(database: str) -> None:
    async with Database(database, 2) as pool:
        async with pool.connection() as connection:
            closing = asyncio.create_task(pool._pool.close())
            await asyncio.sleep(0)
            with pytest.raises(DatabaseAway, match="pool is closing"):
                await pool.ping()
            await connection.fetch("SELECT 1")
        await closing
        with pytest.raises(DatabaseAway, match="pool is closed"):
            await pool.ping()


async def test_a_mistake_in_the_use_of_the_database_is_not_one_that_passes(database: str) -> None:
    async with Database(database, 2) as pool:
        with pytest.raises(DatabaseMisused, match="the server expects 1 argument for this query, 2 were passed"):
            async with pool.connection() as connection:
                await connection.fetch("SELECT $1::int", 1, 2)
        with pytest.raises(DatabaseMisused, match="another operation is in progress"):
            async with pool.connection() as connection:
                await asyncio.gather(connection.fetch("SELECT 1"), connection.fetch("SELECT 2"))
        await pool.ping()


async def test_an_outcome_that_a_mistake_of_ours_cannot_write_is_not_tried_for_ever(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known outcome is written again and again while the database is away; a query of ours stays wrong."""
    async with Database(database, 2) as pool:

        async def write(*_: object, **__: object) -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT $1::int", 1, 2)

        monkeypatch.setattr(outbox, "record", write)
        attempts = Attempts(pool, uuid4())
        async with asyncio.timeout(20):
            with pytest.raises(DatabaseMisused):
                await attempts._write_down(Result(uuid4(), uuid4(), "sent", None), "relay")
