"""What is canceled in the midst of a query leaves nothing locked, and no transaction open."""

import asyncio
from typing import Any

import asyncpg
import pytest

from router.repository.database import Database
from tests.support.crm import Crm

LOCKED = "SELECT count(*) FROM pg_locks WHERE relation = 'crm.email'::regclass AND pid <> pg_backend_pid()"


async def test_a_query_that_is_canceled_once_it_is_prepared_locks_nothing(
    crm: Crm, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = asyncpg.Connection._get_statement  # type: ignore[attr-defined]  # asyncpg's own

    async def canceled(*arguments: Any, **more: Any) -> None:
        # The server has parsed it, for which it locks the table, and waits for what is to be done with it.
        await prepare(*arguments, **more)
        raise asyncio.CancelledError

    async with Database(database) as opened:
        with monkeypatch.context() as patched:
            patched.setattr(asyncpg.Connection, "_get_statement", canceled)
            with pytest.raises(asyncio.CancelledError):
                async with opened.connection() as connection:
                    await connection.fetch("SELECT id FROM crm.email WHERE subject = $1", "a subject")
        await crm.wait_for(0, LOCKED)
        await opened.ping()
