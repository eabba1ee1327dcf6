"""One router process at work: its jobs, what changed profiles do to them, and its orderly stop."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import uuid4

import structlog

from router.errors import DatabaseError
from router.health import Health
from router.incoming.budget import Budget
from router.incoming.listener import ListenerIntake
from router.incoming.mailboxes import MailboxAssignment
from router.incoming.records import make_records, make_slow_records
from router.incoming.rounds import Rounds, audit_in_rounds
from router.incoming.senders import keep_senders
from router.operations.ready import Readiness, sample
from router.original import watch_original
from router.outgoing.answers import try_templates, write_answers
from router.outgoing.sender import Sender
from router.outgoing.sent_copies import SentCopies
from router.patience import once_there, unless_stopped
from router.presence import Presence
from router.profile import IncomingProfile
from router.profile.store import Change, ProfileStore
from router.repository import processes
from router.repository.answers.answers import Limits
from router.repository.database import Database
from router.repository.heartbeat import Heartbeat
from router.repository.retention import Retention
from router.supervise import Job, Supervisor
from router.upkeep import keep_up
from router.webhooks.run import Vault, tell_webhooks
from router.workers.pool import Workers
from transports import ListenerSettings

_log = structlog.get_logger(__name__)

Watch = Callable[[Health], Awaitable[None]]
"""Looks after something until canceled, and tells its health."""

_LEAVING = 1.0  # seconds for the last word; where the database is silent, others take over when the lease is over
_GRACE = 3.0  # seconds that sends under way have to end; with the database's own, the whole stop is within 8
_RECORDING = 2.5  # seconds beyond the grace in which outcomes are recorded, and relays and listeners closed


async def serve(
    database: Database,
    parsers: Workers,
    store: ProfileStore,
    lease: timedelta,
    stop: asyncio.Event,
    *,
    readiness: Readiness | None = None,
    watch: Watch | None = None,
    budget: Budget | None = None,
    retention: Retention | None = None,
    rounds: Rounds | None = None,
    limits: Limits | None = None,
    vault: Callable[[], Vault] | None = None,
) -> None:
    """Do all the work of one router process until told to stop; `lease` is how long it counts as alive unheard.

    `watch` looks after the disk of the database, where it is ours. `budget` is for incoming messages in memory. Without
    `rounds` no mailbox is audited. `limits` are those of acknowledgements. Without a `vault` no webhook is told.
    """
    router = Router(
        database,
        parsers,
        store,
        lease,
        readiness or Readiness(),
        watch,
        budget or Budget(),
        retention or Retention(),
        rounds,
        limits or Limits(),
        vault,
    )
    if await unless_stopped(stop, router.start()) is None:
        return
    try:
        await stop.wait()
    finally:
        await router.stop()


class Router:
    """One router process: its jobs, each of which a bug ends for itself alone, and what they go by."""

    def __init__(
        self,
        database: Database,
        parsers: Workers,
        store: ProfileStore,
        lease: timedelta,
        readiness: Readiness,
        watch: Watch | None,
        budget: Budget,
        retention: Retention,
        rounds: Rounds | None,
        limits: Limits,
        vault: Callable[[], Vault] | None,
    ) -> None:
        self._database = database
        self._parsers = parsers
        self._store = store
        self._lease = lease
        self._readiness = readiness
        self._watch = watch
        self._budget = budget
        self._retention = retention
        self._rounds = rounds
        self._limits = limits
        self._vault = vault
        self._process_id = uuid4()
        self._jobs: Supervisor[str] = Supervisor()
        self._heartbeat: Supervisor[str] = Supervisor()
        self._mailboxes = MailboxAssignment(database, parsers, store.profiles, self._process_id, lease, budget)
        self._sender: Sender | None = None
        self._sent_copies = SentCopies(database, lambda: self._store.profiles)
        self._stopping = asyncio.Event()
        self._heard = Heartbeat(database, self._process_id, lease)
        self._presence = Presence(database, self._heard, store, self._process_id)

    async def start(self) -> bool:
        """Start all jobs, and return True. Raises DatabaseError where the database does not hear that we live."""
        await once_there(self._heard.begin)
        self._heartbeat.start("heartbeat", self._job("heartbeat", self._presence.beat, self._heard.pause))
        profiles = self._store.profiles
        self._readiness.serve(profiles, self._store.at_fault)
        self._jobs.want(self._wanted())
        _log.info("running", incoming=len(profiles.incoming), outgoing=len(profiles.outgoing))
        return True

    async def stop(self) -> None:
        """Stop all jobs in order: what is being sent has some seconds to end, and then others may take over."""
        _log.info("stopping")
        self._stopping.set()
        late = await self._jobs.close(_GRACE + _RECORDING)
        # Until here others must not think us dead, and take over what is just ending.
        await self._heartbeat.close()
        if holding := late & {"mailboxes", "sender"}:
            _log.warning("some parts have not ended: others take over when the lease is over", parts=sorted(holding))
            return
        with suppress(DatabaseError, TimeoutError):
            async with asyncio.timeout(_LEAVING):
                await processes.leave(self._database, self._process_id)

    def _wanted(self) -> dict[str, Job]:
        return {
            "database": self._original(),
            "mailboxes": self._job("mailboxes", self._mailboxes.run),
            "sender": self._job("sender", self._send),
            "sent copies": self._job("sent copies", self._sent_copies.run),
            "answers": self._answers("answers", write_answers),
            "templates": self._answers("templates", try_templates),
            "records": self._records("records", make_records),
            "slow records": self._records("slow records", make_slow_records),
            "senders": self._senders(),
            "upkeep": self._upkeep(),
            "metrics": self._job("metrics", partial(sample, self._database, lambda: self._store.profiles)),
            "profiles": self._job("profiles", partial(self._store.watch, self._update)),
            "presence": self._job("presence", self._presence.tell),
            **({"audit": self._audit(self._rounds)} if self._rounds else {}),
            **({"webhooks": self._webhooks(self._vault)} if self._vault else {}),
            **({"disk": self._disk(self._watch)} if self._watch else {}),
            **{f"listener {one.name}": self._listener(one) for one in self._store.profiles.incoming if one.listens},
        }

    def _listener(self, profile: IncomingProfile) -> Job:
        settings = profile.settings
        assert isinstance(settings, ListenerSettings)
        intake = ListenerIntake(
            self._database, self._parsers, lambda: self._store.profiles, profile, settings, self._budget
        )
        return Job(intake.run, intake.health, made_of=profile.as_opened)

    def _disk(self, watch: Watch) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, "disk")
        health = Health("the disk of the database fills up", note, _log)
        return Job(partial(watch, health), health)

    def _original(self) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, "database")
        health = Health("nothing is sent or read", note, _log)
        run = partial(watch_original, self._database, health, self._readiness.tell_copied, self._mailboxes.look)
        return Job(run, health)

    def _upkeep(self) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, "upkeep")
        health = Health("the upkeep of the database fails, and is tried again", note, _log)
        return Job(partial(keep_up, self._database, self._retention, health), health)

    def _records(self, name: str, run: Callable[[Database, Health], Awaitable[None]]) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, name)
        health = Health("records cannot be made of mail", note, _log)
        return Job(partial(run, self._database, health), health)

    def _senders(self) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, "senders")
        health = Health("the queue of unresolved senders is not kept as pages show it", note, _log)
        return Job(partial(keep_senders, self._database, health), health)

    def _webhooks(self, vault: Callable[[], Vault]) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, "webhooks")
        health = Health("webhooks cannot be told of events now", note, _log)
        return Job(partial(tell_webhooks, self._database, self._process_id, self._lease, vault, health), health)

    def _answers(self, name: str, run: Callable[[Database, Limits, Health], Awaitable[None]]) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, name)
        health = Health("acknowledgements cannot be written now, and are tried again", note, _log)
        return Job(partial(run, self._database, self._limits, health), health)

    def _audit(self, rounds: Rounds) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, "audit")
        health = Health("mailboxes cannot be audited now, and it is tried again", note, _log)
        run = partial(
            audit_in_rounds,
            self._database,
            self._parsers,
            self._process_id,
            rounds,
            lambda: self._mailboxes.held,
            health,
        )
        return Job(run, health)

    def _job(self, name: str, run: Callable[[], Awaitable[None]], longest_pause: float = math.inf) -> Job:
        note = partial(processes.note_fault, self._database, self._process_id, name)
        health = Health("a part of the router is at fault, and starts again", note, _log.bind(part=name))
        return Job(run, health, longest_pause=longest_pause)

    async def _update(self, change: Change) -> None:
        """Go by the profiles as they are now: only what a change is about is started, stopped or tried again.

        Waits for nothing: what the database is to know is told by jobs of their own.
        """
        profiles = self._store.profiles
        self._readiness.serve(profiles, self._store.at_fault)
        self._mailboxes.update(profiles)
        self._mailboxes.retry(change.secrets)
        self._jobs.want(self._wanted())
        if self._sender is not None:
            self._sender.update(profiles, change.secrets)
        self._presence.changed()

    async def _send(self) -> None:
        # A sender runs once: one that ended by a bug is followed by another.
        self._sender = Sender(self._database, self._store.profiles, self._process_id, self._lease, self._heard.is_heard)
        await self._sender.run(self._stopping, _GRACE)
