"""What other rules would have made of the mail of a mailbox that was decided on, the newest of it.

That is another tracking rule, or other rules for records from mail.

The messages are fetched from the mailbox again, since of what a rule ignored nothing is kept, and decided on as if each
had never been seen, first by what holds and then by the other. Both are compared, and not the dispositions
that the messages have: those may be of other days, with other records in the CRM. Nothing is stored or settled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import nlargest
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

from router.decide import decide_batch
from router.incoming.copies import Delivered, read_messages
from router.incoming.fetch import fetch_groups
from router.model import Copy, CreationRule, Disposition, Owner, Rule
from router.model.creation import rules_of
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.incoming import audit, backfill, inbox
from router.repository.incoming.audit import AuditedSource
from router.repository.incoming.backfill import Judged
from router.workers.pool import Workers
from transports.base import Account, Folder, Place
from transports.errors import TransportError


class Became(NamedTuple):
    """What rules make of a message, and why; `makes` names the record that is wanted of it, `by` the rule for it."""

    disposition: Disposition
    reasons: tuple[str, ...]
    makes: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """What both make of one message. `email_id`: it is this email of the CRM, by the disposition that it has."""

    folder: str
    place: Place
    received_at: datetime
    email_id: UUID | None
    now: Became
    then: Became

    @property
    def differs(self) -> bool:
        """Whether it would have become something else."""
        now, then = self.now, self.then
        return (now.disposition, now.makes, now.by) != (then.disposition, then.makes, then.by)


@dataclass(slots=True)
class Simulated:
    """The messages of one mailbox that were compared, and why not all could be (`fault`), if so.

    `now` is the tracking rule that holds, `then` the other; the same where rules for records are tried. `wanted`
    messages are to be compared.
    """

    mailbox: str
    now: Rule
    then: Rule
    wanted: int = 0
    compared: list[Compared] = field(default_factory=list)
    fault: str | None = None


class Simulation:
    """Compares what holds with `other` by the newest `last` messages of one mailbox; `tell` is called now and then.

    `other` is a tracking rule; or rules for records, which stand in for those of the profile or, with
    `of_database`, for those of the database.
    """

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profile: IncomingProfile,
        owner: Owner,
        other: Rule | Sequence[CreationRule],
        last: int,
        tell: Callable[[Simulated], None] = lambda _: None,
        *,
        of_database: bool = False,
    ) -> None:
        self._database = database
        self._workers = workers
        self._profile = profile
        self._owner = owner
        self._other = other
        self._last = last
        self._tell = tell
        self._of_database = of_database
        now = owner.rule or profile.tracking_rule
        self.simulated = Simulated(owner.mailbox, now, other if isinstance(other, Rule) else now)

    async def run(self) -> Simulated:
        """Compare them. What the server refuses is told as a fault; raises DatabaseError."""
        try:
            async with self._profile.open(self._owner.mailbox) as account:
                await self._through(account)
        except TransportError as error:
            self.simulated.fault = str(error)
        return self.simulated

    async def _through(self, account: Account) -> None:
        folders = await account.folders()
        sources = await audit.read_sources(self._database, self._owner.mailbox)
        judged: list[tuple[int, str, Place, Judged]] = []
        for folder in folders:
            source = sources.get(folder.name)
            if source is None or source.account != self._profile.account_of(self._owner.mailbox):
                continue
            async for page in account.folder(folder.name).present(source.cursor):
                found = await backfill.judged(self._database, source.id, [one.place for one in page])
                judged += ((one.decision_id, folder.name, place, one) for place, one in found.items())
                judged = nlargest(self._last, judged, key=itemgetter(0))
        self.simulated.wanted = len(judged)
        for folder in folders:
            of_folder = {place: one for _, name, place, one in reversed(judged) if name == folder.name}
            if of_folder:
                await self._compare(account, folder, sources[folder.name], of_folder)

    async def _compare(
        self, account: Account, folder: Folder, source: AuditedSource, judged: dict[Place, Judged]
    ) -> None:
        async for received in fetch_groups(account.folder(folder.name), list(judged), "whole"):
            delivered = [Delivered(self._owner, one, one.place, sent=folder.use == "sent") for one in received]
            copies = await read_messages(self._workers, delivered, source.id, self._profile)
            promoted = [copy for copy in copies if judged[copy.place].disposition is Disposition.PROMOTED]
            now = await self._decide(copies, self.simulated.now, promoted)
            then = await self._decide_by_other(copies, promoted)
            self.simulated.compared += (
                Compared(folder.name, copy.place, copy.received_at, judged[copy.place].email_id, one, other)
                for copy, one, other in zip(copies, now, then, strict=True)
            )
            self._tell(self.simulated)

    async def _decide_by_other(self, copies: Sequence[Copy], promoted: Sequence[Copy]) -> Sequence[Became]:
        then = self.simulated.then
        if isinstance(self._other, Rule):
            return await self._decide(copies, then, promoted)
        if self._of_database:
            return await self._decide(copies, then, promoted, self._other)
        rules = rules_of(self._other, self._owner.mailbox)
        return await self._decide([replace(copy, creation_rules=rules) for copy in copies], then, promoted)

    async def _decide(
        self,
        copies: Sequence[Copy],
        rule: Rule,
        promoted: Sequence[Copy],
        of_database: Sequence[CreationRule] | None = None,
    ) -> Sequence[Became]:
        decisions = await inbox.rehearse(
            self._database, copies, decide_batch, {self._owner.id: rule}, promoted, of_database
        )
        return [  # and not their texts, of all messages
            Became(one.disposition, one.reasons, *((made.makes, made.rule) if (made := one.creation) else ()))
            for one in decisions
        ]
