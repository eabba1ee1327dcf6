"""Accounting for messages of one folder, by their places first, and by what their headers say where that is needed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from router.errors import DatabaseAway, OwnerGone
from router.incoming.audited import Accounted, MissingCopy
from router.incoming.copies import Delivered, read_messages
from router.incoming.fetch import WHOLE, fetch_groups
from router.incoming.forward import read_forwards
from router.incoming.promote import Promoter, promote_and_tell
from router.incoming.reader import destroys, settles_of
from router.incoming.start import Start
from router.model import Copy, Disposition, Owner, Rule
from router.model.tally import Tally
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.incoming import audit as repository
from router.repository.incoming.batch import Batch
from router.workers.pool import Workers
from transports.base import Folder, Mailbox, Part, Place, Present, Received

_HEADERS: Final = 50  # header blocks in memory at once

_log = structlog.get_logger(__name__)


class Accountant:
    """Accounts for the messages of one folder. With `repair` it brings in what is missing.

    Of a folder that has no source yet (`source_id` None), all messages wait: its cursor is at the beginning.

    `began` is when the audit did: what a server dates later has no date of the server's. `identity` is that of the
    folder's mailbox (`Source.identity`).
    """

    def __init__(
        self,
        database: Database,
        workers: Workers,
        profile: IncomingProfile,
        owner: Owner | None,
        mailbox: Mailbox,
        folder: Folder,
        source_id: int | None,
        start: Start,
        *,
        identity: str,
        began: datetime,
        repair: bool,
    ) -> None:
        self._database = database
        self._workers = workers
        self._profile = profile
        self._owner = owner
        self._mailbox = mailbox
        self._folder = folder
        self._source_id = source_id
        self._start = start
        self._identity = identity
        self._began = began
        self._repair = repair
        self._rule = (owner and owner.rule) or profile.tracking_rule
        self._promoter = Promoter(database)
        self._log = _log.bind(profile=profile.name, mailbox=owner.mailbox if owner else None, folder=folder.name)

    async def account_for(self, page: Sequence[Present]) -> Accounted:
        """Account for a page of messages. Raises TransportError, DatabaseError; then none of them is counted."""
        decided = await self._decided([present.place for present in page])
        found, rest = Accounted(), []
        tally = found.tally
        tally.dispositions.update(decided.values())
        for present in page:
            if present.place in decided:
                continue
            if self._start.passes(present):
                tally.before_start += 1
            elif present.waits:
                tally.waiting += 1
            elif self._start.may_pass(present):
                self._passed(self._start, present.received_at, tally)
            elif self._owner is not None and self._rule is Rule.NONE:
                tally.rule_none += 1
            else:
                rest.append(present)
        since_start = {present.place: present.since_start for present in rest}
        async for received in fetch_groups(self._mailbox, list(since_start), "headers", _HEADERS):
            await self._examine(received, since_start, found)
        return found

    async def _examine(
        self, received: Sequence[Received], since_start: Mapping[Place, bool | None], found: Accounted
    ) -> None:
        """Account for messages behind the cursor that have no disposition at their place, by what their headers say."""
        start, tally = self._start, found.tally
        dated = []
        for got in received:
            if got.received_at < self._began and start.may_pass_date(got.received_at, since_start[got.place]):
                self._passed(start, got.received_at, tally)
            else:
                dated.append(got)
        copies = await self._read(dated, "headers")
        keys = await self._known(copies)
        candidates = []
        for copy in copies:
            if disposition := keys.get(copy.place):
                tally.dispositions[disposition] += 1
                tally.elsewhere += 1
            elif copy.received_at >= self._began and start.may_pass_date(self._date(copy), since_start[copy.place]):
                self._passed(start, self._date(copy), tally)
            else:
                candidates.append(copy)
        candidates = await self._not_pruned(candidates, since_start, tally)
        decided = await self._decided([copy.place for copy in candidates])
        tally.dispositions.update(decided.values())
        faults = {got.place: got.fault for got in received if got.fault}
        missing = [
            MissingCopy(
                copy.place,
                copy.received_at,
                copy.message.message_id if copy.judged else None,
                faults.get(copy.place),
            )
            for copy in candidates
            if copy.place not in decided
        ]
        if missing and self._repair:
            missing = await self._mend(missing, found)
        tally.missing += len(missing)
        found.missing += missing

    def _date(self, copy: Copy) -> datetime | None:
        """When a message came; where its server does not tell, when its sender says so."""
        if copy.received_at < self._began:
            return copy.received_at
        return copy.message.date if copy.judged else None

    @staticmethod
    def _passed(start: Start, at: datetime | None, tally: Tally) -> None:
        tally.before_start += 1
        tally.not_certain += not start.is_certain(at)

    async def _not_pruned(
        self, copies: list[Copy], since_start: Mapping[Place, bool | None], tally: Tally
    ) -> list[Copy]:
        """Leave out what reading passes over by now: its disposition was pruned, and the start put off, meanwhile."""
        if not copies:
            return []
        sources = await repository.read_sources(self._database, self._identity)
        start = Start.of(self._profile, sources.get(self._folder.name), sources)
        if start == self._start:
            return copies
        rest = []
        for copy in copies:
            if start.may_pass_date(self._date(copy), since_start[copy.place]):
                self._passed(start, self._date(copy), tally)
            else:
                rest.append(copy)
        return rest

    async def _mend(self, missing: Sequence[MissingCopy], found: Accounted) -> list[MissingCopy]:
        """Bring messages in; return those that are missing still."""
        faults = await self._bring_in([copy.place for copy in missing])
        now = await self._decided([copy.place for copy in missing])
        found.tally.dispositions.update(now.values())
        found.tally.brought_in += len(now)
        assert self._source_id is not None
        gone = await repository.erased(self._database, self._source_id, list(now))
        found.brought_in += [
            replace(one, fault=None, became=now[one.place], erased=one.place in gone)
            for one in missing
            if one.place in now
        ]
        rest = (copy for copy in missing if copy.place not in now)
        return [replace(copy, fault=faults.get(copy.place) or copy.fault) for copy in rest]

    async def _decided(self, places: Sequence[Place]) -> dict[Place, Disposition]:
        if not places or self._source_id is None:
            return {}
        return await repository.decided(self._database, self._source_id, places, forwards=self._profile.forwards)

    async def _read(self, received: Sequence[Received], part: Part) -> Sequence[Copy]:
        if not received:
            return []
        assert self._source_id is not None
        delivered = [Delivered(self._owner, one, one.place, sent=self._folder.use == "sent") for one in received]
        return await read_messages(self._workers, delivered, self._source_id, self._profile, part)

    async def _known(self, copies: Collection[Copy]) -> Mapping[Place, Disposition]:
        """Tell which messages have a disposition elsewhere in the mailbox. Of forwarded mail only its place tells."""
        if self._owner is None:
            return {}
        owner_id, judged = self._owner.id, [copy for copy in copies if copy.judged]
        # The key of a message without Message-ID or Date is made of all that it says.
        lacking = [copy.place for copy in judged if not (copy.message.message_id and copy.message.date)]
        by_key = [copy for copy in judged if copy.place not in set(lacking)]
        known = await repository.known(self._database, owner_id, by_key) if by_key else {}
        # Who knows Message-ID and Date can send another message with them. What has gone meanwhile is not looked into.
        async for received in fetch_groups(self._mailbox, [*known, *lacking], "whole", WHOLE):
            whole = [copy for copy in await self._read(received, "whole") if copy.judged]
            for copy in whole:
                known.pop(copy.place, None)
            known |= await repository.known(self._database, owner_id, whole) if whole else {}
        return known

    async def _bring_in(self, places: Sequence[Place]) -> Mapping[Place, str]:
        """Promote messages as any other; return why some could not be. The router settles them."""
        faults: dict[Place, str] = {}
        assert self._source_id is not None
        async for received in fetch_groups(self._mailbox, places, "whole", WHOLE):
            if self._owner is None:
                copies: Sequence[Copy] = await read_forwards(
                    self._database, self._workers, received, self._source_id, self._profile
                )
            else:
                copies = await self._read(received, "whole")
            batch = Batch(
                copies,
                settles=settles_of(self._profile),
                destroys=destroys(self._profile),
                keeps=self._profile.has_forwards_alone,
            )
            try:
                await promote_and_tell(self._promoter, batch, self._profile.name, self._log)
            except (DatabaseAway, OwnerGone) as error:
                faults |= {one.place: f"it could not be stored now: {error}" for one in received}
        return faults
