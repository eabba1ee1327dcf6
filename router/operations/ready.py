"""Whether this process can do its work now, and the numbers that have to be looked up for it."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

import structlog

from router import metrics
from router.errors import DatabaseError
from router.health import Part, parts, parts_at_fault
from router.operations.tokens import faults_by_profile, first_ends
from router.profile import Profile, Profiles
from router.profile.tokens import oauth2_of
from router.repository.database import Database
from router.repository.oauth2.kept_tokens import summarize
from router.repository.outgoing.queue import read_queue
from router.repository.outgoing.relays import read_states
from router.repository.outgoing.sent_copies import read_waiting
from router.repository.overview.status import read_unknown
from router.repository.records.creation_states import read_open
from router.repository.rulings.rulings import read_faulty

_log = structlog.get_logger(__name__)

_PATIENCE: Final = 2.0  # seconds that the database may take to answer
_EVERY: Final = 15.0  # seconds from one look at the queue to the next; Prometheus rarely asks more often


class Readiness:
    """What this process can work with: in the beginning no database and no profiles."""

    def __init__(self) -> None:
        self.database: Database | None = None
        self._copied = False
        self._parts: Sequence[Part] = ()
        self._broken: Collection[str] = ()

    def serve(self, profiles: Profiles, broken: Collection[str] = ()) -> None:
        """Tell which profiles are served from now on, and the names of broken ones and of files at fault.

        Call it before anything of a new one runs.
        """
        self._parts = [
            *(("listener" if profile.listens else "mailbox", profile.name) for profile in profiles.incoming),
            *(("relay", profile.name) for profile in profiles.outgoing),
        ]
        self._broken = sorted(broken)
        metrics.serve(self._parts, self._broken)

    def tell_copied(self, copied: bool) -> None:
        """Tell whether the database is a copy, of which nothing is sent or read."""
        self._copied = copied

    async def reasons(self) -> Sequence[str]:
        """Why it cannot do its work, in an admin's words; none if the database answers and a profile works.

        A copy of the database cannot be worked with. A profile works unless all of it is at fault: its listener, its
        relay, or each mailbox that this process reads.
        """
        return [*await self._of_the_database(), *self._of_the_profiles()]

    async def _of_the_database(self) -> Sequence[str]:
        if self.database is None:
            return ["the database is not open yet"]
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.database.ping()
        except (DatabaseError, TimeoutError) as error:
            # Whoever asks may be no admin: names and addresses are for the log.
            _log.debug("not ready", reason=str(error) or f"no answer within {_PATIENCE:g} s")
            return ["the database does not answer"]
        if self._copied:
            return ["the database is a copy of another: nothing is sent or read until an admin starts it"]
        return []

    def _of_the_profiles(self) -> Sequence[str]:
        if not self._parts:
            return ["no profile is served yet", *(f"profile {name}: it is broken" for name in self._broken)]
        here, at_fault = parts(), parts_at_fault()
        if any(at_fault.get(part, 0) == 0 or at_fault[part] < here[part] for part in self._parts):
            return []
        return [f"profile {name}: every {kind} of it is at fault" for kind, name in self._parts]


async def sample(database: Database, profiles: Callable[[], Profiles]) -> None:
    """Keep the metrics of the way out, and of logins by access token, up to date, until canceled."""
    while True:
        try:
            await _sample_queue(database)
            await sample_logins(database, profiles().by_key.values())
        except DatabaseError as error:
            _log.debug("the database cannot be looked at now", reason=str(error))
        await asyncio.sleep(_EVERY)


async def sample_logins(database: Database, profiles: Collection[Profile]) -> None:
    """Tell the metrics of logins of these profiles."""
    summaries = await summarize(database) if any(True for one in profiles for _ in oauth2_of(one)) else ()
    ends = await asyncio.to_thread(first_ends, profiles, summaries)
    faults = faults_by_profile(profiles, summaries)
    metrics.tokens.logins_sampled({labels: at.timestamp() for labels, at in ends.items()}, faults)


async def _sample_queue(database: Database) -> None:
    queue = await read_queue(database)
    unknown = await read_unknown(database)
    waiting = {(one.profile or "", one.lane, str(one.cause)): one.count for one in queue.waiting}
    metrics.outbox_sampled(waiting, queue.due(), queue.oldest, unknown.count)
    metrics.relays_sampled(await read_states(database))
    copies = await read_waiting(database)
    metrics.sent_copies_sampled(
        sum(one.count for one in copies if not one.given_up), sum(one.count for one in copies if one.given_up)
    )
    records = await read_open(database)
    metrics.records_sampled(
        {"retried": records.retried, "failed": records.failed, "waiting": records.waiting, "asked": records.asked}
    )
    metrics.rulings_sampled((await read_faulty(database)).count)
