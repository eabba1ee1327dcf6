"""Mail of senders whom nobody knows, brought in without a mail server; and rulings on them, carried out."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from router.decide import decide_batch
from router.model import Classification, Copy, Decision, Mark, Mention, Message, Rule, uuid7
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.incoming.inbox import Decide
from router.repository.incoming.registry import Source, register
from router.repository.rulings import ruling_walks, rulings
from router.repository.rulings.rulings import Kind
from tests.support.build import reading
from tests.support.crm import Crm
from transports.base import Place

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
STAFF = "staff@in.test"


class Senders:
    """Who writes to the mailbox of an owner whose rule is `all`, and what persons rule on them."""

    def __init__(self, crm: Crm, database: Database, owner_id: UUID, source_id: int) -> None:
        self.crm = crm
        self.database = database
        self.owner_id = owner_id
        self._source_id = source_id
        self._number = 0

    def message(
        self, sender: str, *, to: Sequence[str] = (STAFF,), name: str = "", text: str = "hello", **more: object
    ) -> Message:
        """A message of this sender, which nobody has sent before."""
        self._number += 1
        people = [Mention("from", 0, sender, name), *(Mention("to", n, one) for n, one in enumerate(to))]
        found = Message(
            message_id=f"{self._number}.{uuid4().hex}@stranger.test",
            subject=f"number {self._number}",
            date=NOW,
            mentions=tuple(people),
            text=text,
        )
        return replace(found, **more)  # type: ignore[arg-type]  # passed on as they are

    def copy(
        self,
        message: Message,
        rule: Rule = Rule.ALL,
        classification: Classification | None = None,
        marks: tuple[Mark, ...] = (),
    ) -> Copy:
        """A copy of a message, in the owner's mailbox; each came a minute after the one before."""
        self._number += 1
        found = reading(message, classification)._replace(text_marks=marks)
        received_at = NOW + self._number * timedelta(minutes=1)
        return Copy(
            uuid7(), self._source_id, Place("1", str(self._number)), self.owner_id, rule, received_at, found, b"raw"
        )

    async def promote(self, batch: Sequence[Copy], decide: Decide = decide_batch) -> list[Decision]:
        """Bring copies in."""
        return await inbox.promote(self.database, Batch(list(batch), None), decide)

    async def write(self, sender: str, count: int = 1, **more: object) -> list[UUID]:
        """Bring so many messages of this sender in; the ids of their emails."""
        batch = [self.copy(self.message(sender, **more)) for _ in range(count)]  # type: ignore[arg-type]
        decisions = await self.promote(batch)
        return [decision.email_id for decision in decisions if decision.email_id]

    async def rule(
        self, subject: str, record_id: UUID | None, by: str = "ann", expected: int | None = None, *, done: bool = True
    ) -> int:
        """Rule who a sender is, or that nobody is to say so; `done`: it is carried out, too."""
        kind: Kind = "resolve" if record_id else "ignore-sender"
        made = await rulings.rule(self.database, kind, subject, record_id, by, expected)
        assert made.ruling_id is not None, made.refused
        if done:
            await self.carry_out()
        return made.ruling_id

    async def undo(self, ruling_id: int, by: str = "ann", *, done: bool = True) -> None:
        """Undo a ruling; `done`: that is carried out, too."""
        assert await rulings.undo(self.database, ruling_id, by) is None
        if done:
            await self.carry_out()

    async def carry_out(self) -> None:
        """Carry out all that is due, without waiting for what is put off."""
        while await ruling_walks.carry_out(self.database):
            pass

    async def carry_out_all(self) -> None:
        """Carry out all there is, what is put off as well; only what others have locked is left."""
        for _ in range(4):
            await self.crm.wait_for_earlier()
            await self.crm.admin.execute("UPDATE router.ruling_work SET try_at = now()")
            await self.carry_out()

    async def sender_of(self, email_id: UUID) -> UUID | None:
        """The record that sent an email."""
        found: UUID | None = await self.crm.admin.fetchval(
            "SELECT record_id FROM crm.party WHERE email_id = $1 AND role = 'from' AND position = 0", email_id
        )
        return found

    async def senders(self, address: str) -> list[UUID | None]:
        """The records that sent the emails of an address, in the order in which they came."""
        rows = await self.crm.admin.fetch(
            "SELECT p.record_id FROM crm.party AS p JOIN crm.email AS e ON e.id = p.email_id "
            "WHERE p.role = 'from' AND p.address = $1 ORDER BY e.received_at",
            address,
        )
        return [row["record_id"] for row in rows]

    async def waiting(self) -> list[str]:
        """The addresses of those who wait for a person, in the order in which they wrote."""
        rows = await self.crm.rows("SELECT address FROM crm.unresolved ORDER BY received_at, email_id")
        return [row["address"] for row in rows]


@pytest.fixture
async def senders(crm: Crm, database: str) -> AsyncIterator[Senders]:
    """An owner's mailbox, to whom strangers write."""
    owner_id = await crm.owner(STAFF, "all")
    async with Database(database) as opened:
        source = Source("staff", STAFF, "imap:staff", "INBOX", owner_id, "all")
        source_id = (await register(opened, [source]))[source]
        yield Senders(crm, opened, owner_id, source_id)


async def flood_of(crm: Crm, owner_id: UUID, sender: str, number: int) -> None:
    """Let so many emails of a sender wait, within seconds; each goes to somebody of whom nobody knows who it is."""
    await crm.admin.execute(
        f"""
        CREATE TEMPORARY TABLE flood AS SELECT gen_random_uuid() AS id, n FROM generate_series(1, {number}) AS n;
        INSERT INTO crm.email (id, direction, status, owner_id, subject, received_at)
            SELECT id, 'in', 'received', '{owner_id}', 'number ' || n, now() - n * interval '1 second' FROM flood;
        INSERT INTO crm.party (email_id, role, position, address)
            SELECT id, role, 0, address FROM flood,
                (VALUES ('from', '{sender}'), ('to', 'copy-of-{sender}')) AS p (role, address);
        DROP TABLE flood;
        ANALYZE crm.party; ANALYZE crm.email; ANALYZE router.unresolved_email;
        """  # constants
    )
