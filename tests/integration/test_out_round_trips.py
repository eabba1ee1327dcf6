"""How much a lone email costs in words with PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.repository.database import Connection, Database
from tests.support.crm import Crm, Parcel
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.sending import relay, sending

ULLA = "ulla@example.com"
OF_ONE_EMAIL = ("relay ", "send ", "group")
"""How the tasks are called that have to do with one email, and not with what goes on all the time."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said to PostgreSQL about emails that are sent, BEGIN and COMMIT too."""
    queries: list[str] = []
    lend = Database.connection

    @asynccontextmanager
    async def recorded(database: Database) -> AsyncIterator[Connection]:
        task = asyncio.current_task()
        async with lend(database) as connection:
            if task is None or not task.get_name().startswith(OF_ONE_EMAIL):
                yield connection
                return

            def note(record: Any) -> None:
                queries.append(record.query)

            with connection.query_logger(note):
                yield connection
                await asyncio.sleep(0)  # the loggers are called then

    monkeypatch.setattr(Database, "connection", recorded)
    return queries


@pytest.mark.parametrize(("attachments", "most"), [((), 12), ((Parcel("a.txt", "text/plain", b"hello"),), 12)])
async def test_o20_a_lone_email_takes_few_round_trips(
    crm: Crm, database: str, told: list[str], attachments: tuple[Parcel, ...], most: int
) -> None:
    await crm.owner(ULLA)
    async with ScriptedSmtp() as server, sending(database, relay(server.port)):
        await crm.wait_for_status(await crm.send(ULLA, "ann@kunde.test", "opens the connection"), "sent")
        draft = await crm.draft(ULLA, "ann@kunde.test", "one", "hello", attachments=attachments)
        told.clear()
        await crm.move(draft, "pending_send")
        await crm.wait_for_status(draft, "sent")
        await crm.wait_for(0, "SELECT count(*) FROM router.outbox")
        assert 2 <= len(told) <= most, "\n".join(query[:90] for query in told)
        attempt = await crm.admin.fetchrow("SELECT * FROM router.attempt WHERE email_id = $1", draft)
        assert attempt is not None
        # Over a connection that is open, it begins with its claim; with attachments to be read, after it.
        assert (attempt["started_at"] - attempt["claimed_at"]).total_seconds() < 5
    starts = [query for query in told if "SET started_at" in query]
    assert len(starts) == bool(attachments)
