"""Mail that is promoted in the test's own process, into the test's database, with no mail server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID, uuid4

from router.decide import decide_batch
from router.model import Decision, Rule
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.incoming.registry import Source, register
from tests.support.build import copy


class Promoting:
    """Promotes one message at a time, as if it lay in a folder of an owner's mailbox."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def promote(
        self,
        mailbox: str,
        raw: bytes,
        *,
        sent: bool = False,
        rule: Rule = Rule.REPLIES,
        choices: Mapping[str, str] | None = None,
        again: bool = False,
        authserv: str | None = None,
    ) -> Decision:
        """Promote a message; `rule`, `choices` and `authserv` are those of the profile that brings it."""
        async with self.database.connection() as connection:
            owner_id = await connection.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = $1", mailbox)
        assert isinstance(owner_id, UUID)
        source = Source("staff", mailbox, f"imap:{mailbox}", "Sent" if sent else "INBOX", owner_id, "all")
        source_id = (await register(self.database, [source]))[source]
        made = copy(raw, rule, owner_id, sent=sent, authserv=authserv)
        place = replace(made.place, id=uuid4().hex)
        made = replace(made, source_id=source_id, place=place, profile_choices=choices or {})
        [decision] = await inbox.promote(self.database, Batch([made], again=again), decide_batch)
        return decision


@asynccontextmanager
async def promoting(dsn: str) -> AsyncIterator[Promoting]:
    """Promote into this database."""
    async with Database(dsn) as database:
        yield Promoting(database)
