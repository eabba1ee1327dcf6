"""One mailbox whose mail is brought in message by message, and a CRM that writes by SQL under its own role."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from router.decide import decide_batch
from router.model import Decision, Email, Rule
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.incoming.registry import Source, register
from tests.support.build import copy
from tests.support.crm import Crm

SALES = "sales@example.com"
ANN = "ann@client.example"


class Correlating:
    """The mailbox `SALES`, to which Ann of a client writes."""

    def __init__(self, database: Database, crm: Crm) -> None:
        self.database = database
        self.crm = crm

    async def begin(self, rule: Rule = Rule.ALL) -> None:
        """Make the owner, and what is read of its mailbox."""
        self.owner_id = await self.crm.owner(SALES, rule)
        source = Source("staff", SALES, "imap:sales", "INBOX", self.owner_id, "all")
        self._source_id = (await register(self.database, [source]))[source]

    async def set(self, name: str, value: object) -> None:
        """What an admin sets for the organization."""
        await self.crm.admin.execute(
            "INSERT INTO crm.setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
            name,
            json.dumps(value),
        )

    async def bring(self, *raw: bytes, sent: bool = False) -> list[Decision]:
        """Bring in a batch; tell what became of it."""
        now = datetime.now(UTC)
        copies = [
            replace(copy(one, Rule.ALL, self.owner_id, sent=sent), source_id=self._source_id, received_at=now)
            for one in raw
        ]
        return await inbox.promote(self.database, Batch(copies), decide_batch)

    async def email(self, raw: bytes) -> Email:
        """Bring in one message that becomes an email."""
        [decision] = await self.bring(raw)
        assert decision.email is not None, decision
        return decision.email

    async def past(
        self,
        subject: str = "",
        people: Iterable[str] = (SALES, ANN),
        age: timedelta = timedelta(0),
        **columns: object,
    ) -> UUID:
        """Insert an email of the past as an import does, under the CRM's role; its age counts from now."""
        columns = {"direction": "out", "status": "sent", "subject": subject, **columns}
        numbers = ", ".join(f"${number}" for number in range(3, 3 + len(columns)))
        email_id = await self.crm.sql.fetchval(
            f"""
            WITH email AS MATERIALIZED (
                INSERT INTO crm.email ({", ".join(columns)}, created_at) VALUES ({numbers}, now() - $1::interval)
                RETURNING id
            ), parties AS (
                INSERT INTO crm.party (email_id, role, address)
                SELECT email.id, CASE n WHEN 1 THEN 'from' ELSE 'to' END, address
                FROM email, unnest($2::text[]) WITH ORDINALITY AS p (address, n)
            )
            SELECT id FROM email
            """,
            age,
            list(people),
            *columns.values(),
        )
        assert isinstance(email_id, UUID)
        return email_id


@pytest.fixture
async def correlating(database: str, crm: Crm) -> AsyncIterator[Correlating]:
    """A mailbox of which all becomes the CRM's."""
    async with Database(database) as opened:
        made = Correlating(opened, crm)
        await made.begin()
        yield made
