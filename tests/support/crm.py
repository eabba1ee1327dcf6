"""The database as a CRM developer sees it: SQL under the role `email_router_crm`."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from tests.support.databases import Postgres

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

READY = "SELECT count(*) FROM router.source WHERE process_id IS NOT NULL AND begins_at < 'infinity' AND fault IS NULL"
"""How many sources are read now: held by a process, and begun."""


class Parcel(NamedTuple):
    """An attachment."""

    filename: str
    media_type: str
    content: bytes


class Crm:
    """`sql` is the CRM's own connection, with its rights; `admin` has the router's, for what only an admin may do."""

    def __init__(self, sql: Connection, admin: Connection) -> None:
        self.sql = sql
        self.admin = admin

    # Records

    async def record(self, kind: str, name: str, *addresses: str, owner_id: UUID | None = None) -> UUID:
        """Make a record with its addresses."""
        made = await self.sql.fetchval(
            "INSERT INTO crm.record (kind, name, owner_id) VALUES ($1, $2, $3) RETURNING id", kind, name, owner_id
        )
        await self.sql.executemany(
            "INSERT INTO crm.address (address, record_id) VALUES (crm.normalise($1), $2)",
            [(address, made) for address in addresses],
        )
        assert isinstance(made, UUID)
        return made

    async def owner(
        self, mailbox: str, rule: str | None = None, *, kind: str = "user", name: str = "", approved: bool = True
    ) -> UUID:
        """Make a user or queue whose mailbox this is; an admin approves it and sets the rule."""
        made = await self.record(kind, name or mailbox.partition("@")[0], mailbox)
        await self.sql.execute(
            "INSERT INTO crm.owner (record_id, mailbox) VALUES ($1, crm.normalise($2))", made, mailbox
        )
        await self.admin.execute(
            "UPDATE crm.owner SET approved = $2, tracking_rule = $3 WHERE record_id = $1", made, approved, rule
        )
        return made

    # Email

    async def draft(
        self,
        sender: str,
        to: str | Iterable[str],
        subject: str = "",
        text: str | None = None,
        html: str | None = None,
        *,
        cc: Iterable[str] = (),
        bcc: Iterable[str] = (),
        attachments: Iterable[Parcel] = (),
        regarding_id: UUID | None = None,
        correlated_id: UUID | None = None,
    ) -> UUID:
        """Write an email that is not to be sent yet. An address may be written `Name <address>`."""
        email_id = await self.sql.fetchval(
            "INSERT INTO crm.email (direction, status, subject, text_body, html_body, regarding_id, correlated_id) "
            "VALUES ('out', 'draft', $1, $2, $3, $4, $5) RETURNING id",
            subject,
            text,
            html,
            regarding_id,
            correlated_id,
        )
        recipients = [to] if isinstance(to, str) else list(to)
        await self.sql.executemany(
            "INSERT INTO crm.party (email_id, role, address, name) VALUES ($1, $2, crm.normalise($3), $4)",
            [
                (email_id, role, *_address_and_name(written))
                for role, all_of_it in (("from", [sender]), ("to", recipients), ("cc", cc), ("bcc", bcc))
                for written in all_of_it
            ],
        )
        for position, parcel in enumerate(attachments):
            await self._attach(email_id, position, parcel)
        assert isinstance(email_id, UUID)
        return email_id

    async def _attach(self, email_id: UUID, position: int, parcel: Parcel) -> None:
        digest = hashlib.sha256(parcel.content).digest()
        await self.sql.execute(
            "INSERT INTO crm.blob (sha256, content) VALUES ($1, $2) ON CONFLICT DO NOTHING", digest, parcel.content
        )
        await self.sql.execute(
            "INSERT INTO crm.attachment (email_id, position, filename, media_type, size, sha256) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            email_id,
            position,
            parcel.filename,
            parcel.media_type,
            len(parcel.content),
            digest,
        )

    async def move(self, email_id: UUID, status: str) -> None:
        """Set the status of an email."""
        await self.sql.execute("UPDATE crm.email SET status = $2 WHERE id = $1", email_id, status)

    async def send(self, *arguments: Any, **more: Any) -> UUID:
        """Write an email as `draft` does, and set it to pending send."""
        email_id = await self.draft(*arguments, **more)
        await self.move(email_id, "pending_send")
        return email_id

    # Looking

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """What the CRM sees."""
        return await self.sql.fetch(query, *arguments)

    async def email(self, email_id: UUID) -> asyncpg.Record:
        """One email, all columns."""
        row = await self.sql.fetchrow("SELECT * FROM crm.email WHERE id = $1", email_id)
        assert row is not None
        return row

    async def wait_for(self, value: Any, query: str, *arguments: Any, timeout: float = 20.0) -> None:
        """Return once the query's one value is `value`; it may look into the router's schema too."""
        seen: Any = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    seen = await self.admin.fetchval(query, *arguments)
                    if seen == value:
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"not within {timeout:g} s: {value!r} as {query!r}, it is {seen!r}") from None

    async def wait_for_earlier(self) -> None:
        """Return once the transactions have ended that others than this test's clients have open, as autovacuum's are.

        The last walk of a ruling or a merge waits for all transactions of the server, whatever their database.
        """
        others = """
            SELECT l.transactionid::text FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
            WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
                AND (a.datname IS DISTINCT FROM current_database() OR a.usesysid IS NULL)
            """
        earlier = [row[0] for row in await self.admin.fetch(others)]
        await self.wait_for(False, f"SELECT ARRAY({others}) && $1::text[]", earlier)

    async def wait_for_status(self, email_id: UUID, status: str, timeout: float = 20.0) -> asyncpg.Record:
        """Return the email once it has this status."""
        await self.wait_for(status, "SELECT status FROM crm.email WHERE id = $1", email_id, timeout=timeout)
        return await self.email(email_id)

    async def wait_for_emails(self, count: int, timeout: float = 20.0) -> None:
        """Return once so many emails were received."""
        await self.wait_for(count, "SELECT count(*) FROM crm.email WHERE direction = 'in'", timeout=timeout)

    async def wait_for_decisions(self, count: int, timeout: float = 20.0) -> None:
        """Return once the router has judged so many copies."""
        await self.wait_for(count, "SELECT count(*) FROM router.decision", timeout=timeout)

    async def wait_for_sources(self, count: int, timeout: float = 20.0) -> None:
        """Return once so many mailboxes are being read."""
        await self.wait_for(count, READY, timeout=timeout)

    async def wait_for_beats(self, count: int = 2) -> None:
        """Return once every router has said so many times more that it lives: it had time to do what it must not."""
        for _ in range(count):
            now = await self.admin.fetchval("SELECT clock_timestamp()")
            await self.wait_for(True, "SELECT bool_and(seen_at > $1) FROM router.process", now)

    async def check_balance(self) -> None:
        """In each source, as many copies are counted as have each disposition."""
        [moment] = await self.admin.fetch(
            """
            SELECT (SELECT array_agg(ROW(source_id, promoted, duplicate, ignored, held, dead)::text ORDER BY source_id)
                    FROM router.source_count WHERE promoted + duplicate + ignored + held + dead > 0) AS counted,
                (SELECT array_agg(d.balance ORDER BY d.source_id) FROM (
                    SELECT source_id, ROW(
                        source_id, count(*) FILTER (WHERE disposition = 'promoted'),
                        count(*) FILTER (WHERE disposition = 'duplicate'),
                        count(*) FILTER (WHERE disposition = 'ignored'), count(*) FILTER (WHERE disposition = 'held'),
                        count(*) FILTER (WHERE disposition = 'dead')
                    )::text AS balance
                    FROM router.decision GROUP BY source_id
                ) AS d) AS decided
            """
        )
        assert moment["counted"] == moment["decided"]

    async def dispositions(self) -> dict[str, int]:
        """How many copies became what."""
        rows = await self.admin.fetch("SELECT disposition, count(*) FROM router.decision GROUP BY disposition")
        return {row["disposition"]: row["count"] for row in rows}


def _address_and_name(written: str) -> tuple[str, str]:
    name, bracket, address = written.rpartition("<")
    return (address.removesuffix(">"), name.strip()) if bracket else (written, "")


@asynccontextmanager
async def opened_crm(postgres: Postgres, dsn: str) -> AsyncIterator[Crm]:
    """The CRM in this database."""
    name = urlsplit(dsn).path.removeprefix("/")
    sql = await asyncpg.connect(postgres.server.superuser_dsn(name))
    admin = await asyncpg.connect(dsn)
    try:
        await sql.execute("SET ROLE email_router_crm")
        yield Crm(sql, admin)
    finally:
        await sql.close()
        await admin.close()


@pytest.fixture
async def crm(postgres: Postgres, database: str) -> AsyncIterator[Crm]:
    """The CRM of this test, empty."""
    async with opened_crm(postgres, database) as opened:
        yield opened
