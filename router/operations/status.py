"""How everything is: what runs, what waits, what became of the mail, and what is wrong."""

import asyncio
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from router.errors import Mistake, ProfileErrors, UnknownName
from router.model import Rule, normalize
from router.operations import served
from router.operations.creation_rules import words_of_wrong, wrong_rules
from router.operations.served import ProfileState, Served
from router.operations.tokens import Ending, Noteworthy, TokenState, login_command, noteworthy, whose
from router.operations.webhooks import fault_words
from router.profile.served import ServedProfiles, read_clear
from router.repository.database import Database
from router.repository.incoming.audit import LATE
from router.repository.outgoing.queue import Cause, Queue
from router.repository.outgoing.sending import Sending
from router.repository.overview import status
from router.repository.overview.status import Failed, FaultyRelay, LastAudit, SourceStatus, Status, Unknown
from router.repository.owners.owners import ListedOwner, list_owners
from router.repository.processes import FOLDER, Process
from router.repository.records.creation_states import OpenRecords
from router.repository.records.merges import StuckMerges

__all__ = [
    "Cause",
    "Ending",
    "Failed",
    "Fault",
    "FaultyRelay",
    "LastAudit",
    "Only",
    "OpenRecords",
    "Process",
    "ProfileState",
    "Queue",
    "Report",
    "Sending",
    "SourceStatus",
    "Status",
    "StuckMerges",
    "Unknown",
    "overdue_since",
    "read",
    "words_of_code",
    "words_of_silent",
]

_COMPARED = 300  # characters of a fault, by which it is known again where it is told with more
_SOME = 20  # owners whom nobody serves that are named; the others are counted

_SUBJECTS = {
    "1": "a wrong address",
    "2": "the recipient's mailbox",
    "3": "the recipient's mail system",
    "4": "network or routing",
    "5": "the mail protocol",
    "6": "the content",
    "7": "policy or security",
}
"""Subject digits of enhanced status codes (RFC 3463 §3.2 to §3.8)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that keeps mail, or word of it, from coming in or going out until somebody or something changes.

    `name` is the profile's, with mailbox and folder for a source, and with the mailbox for a login of its own; the
    mailbox of an owner; that of a rule of the database, or of a webhook; empty for the router as a whole. `cure` is a
    command that puts it right, where there is one.
    """

    part: Literal["router", "profile", "owner", "source", "relay", "login", "rule", "webhook"]
    name: str
    words: str
    since: datetime | None = None
    next_try_at: datetime | None = None
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class Only:
    """What is asked for: sources and relays of this profile, sources of this mailbox. None: all."""

    profile: str | None = None
    mailbox: str | None = None

    def wants(self, profile: str, mailbox: str) -> bool:
        """Whether a source of this profile and this mailbox (normalized) is asked for."""
        return self.wants_profile(profile) and (self.mailbox is None or normalize(self.mailbox) == mailbox)

    def wants_profile(self, profile: str) -> bool:
        """Whether a profile of this name is asked for, as `staff` or `incoming.staff`."""
        return self.profile is None or self.profile.rpartition(".")[2] == profile


@dataclass(frozen=True, slots=True)
class Report:
    """The status, the owners by approval, what is served by whom, what is wrong with any of it, and what ends soon."""

    status: Status
    approved: int
    not_approved: Sequence[str]
    profiles: Sequence[ProfileState]
    faults: Sequence[Fault]
    endings: Sequence[Ending] = ()


async def read(
    database: Database,
    lease: timedelta,
    folder: Path,
    only: Only | None = None,
    *,
    owners: Sequence[ListedOwner] | None = None,
    serving: Served | None = None,
    senders: bool = True,
) -> Report:
    """Read the status. `lease` is the time after which a silent process is dead, `folder` that of the profiles.

    `owners` and `serving` are all owners and what is served, where that was just read. Without `senders` those who
    wait for somebody to say who they are are not counted.
    Raises UnknownName where `only` names a profile or a mailbox that is nowhere to be found.
    """
    only = only or Only()
    whole = await status.read_status(database, lease, senders=senders)
    owners = await list_owners(database) if owners is None else owners
    if serving is None:
        serving = await asyncio.to_thread(served.compare, whole.processes, folder)
    _check_known(
        only,
        {one.profile.name for one in serving.states},
        # Sources and relays outlive the profile that they are of.
        {*(one.profile for one in whole.sources), *(one.profile for one in whole.relays)},
        {*(one.mailbox for one in owners), *(one.mailbox for one in whole.sources)},
    )
    routes = serving.profiles.routes_of(only.mailbox) if only.mailbox else None
    states = [
        one
        for one in serving.states
        if only.wants_profile(one.profile.name) and (routes is None or one.profile in routes.all)
    ]
    carried = {one.profile.name for one in states if one.profile.direction == "outgoing"}
    found = replace(
        whole,
        sources=tuple(one for one in whole.sources if only.wants(one.profile, one.mailbox)),
        # What is wrong with a relay that nobody uses any more is of the past.
        relays=tuple(
            one
            for one in whole.relays
            if one.profile in carried or (not serving.running and not only.mailbox and only.wants_profile(one.profile))
        ),
    )
    asked = [one for one in owners if only.mailbox is None or normalize(only.mailbox) == one.mailbox]
    not_served = [] if only.profile else _not_served(serving.profiles, asked)
    logins = await _logins(database, folder, only)
    faults = _faults(found, states, serving.strays, not_served, whole=only == Only())
    return Report(
        status=found,
        approved=sum(one.approved for one in owners),
        not_approved=[one.mailbox for one in owners if not one.approved],
        profiles=states,
        faults=[
            *faults,
            *_login_faults(logins.faults, faults, running=serving.running),
            *(await _rule_faults(database) if only == Only() else ()),
            *(_webhook_faults(found) if only == Only() else ()),
        ],
        endings=logins.endings,
    )


async def _logins(database: Database, folder: Path, only: Only) -> Noteworthy:
    """Tell what is wrong with logins by access token, as far as the profiles of this machine tell which there are."""
    try:
        profiles = await asyncio.to_thread(read_clear, folder)
    except ProfileErrors:
        return Noteworthy((), ())
    found = await noteworthy(database, profiles, datetime.now(UTC))
    return Noteworthy(
        [one for one in found.faults if _is_wanted(only, one.profile, one.subject)],
        [one for one in found.endings if _is_wanted(only, one.profile, one.mailbox)],
    )


def _is_wanted(only: Only, title: str, mailbox: str) -> bool:
    name = title.strip("[]").partition(".")[2]
    return only.wants_profile(name) and (only.mailbox is None or mailbox in ("", normalize(only.mailbox)))


def _login_faults(states: Sequence[TokenState], told: Sequence[Fault], *, running: bool) -> list[Fault]:
    """Tell of logins that have no new token, unless a source or relay is at fault for it and tells the same."""
    words = [one.words for one in told if one.part in ("source", "relay")]
    return [
        Fault(
            "login",
            whose(one.profile, one.subject),
            f"there is no new access token: {one.fault}",
            one.fault_since,
            one.next_try_at if running else None,
            login_command(one.profile, one.subject) if one.grant == "authorization_code" else None,
        )
        for one in states
        if one.fault is not None and not any(one.fault[:_COMPARED] in said for said in words)
    ]


async def _rule_faults(database: Database) -> list[Fault]:
    """Tell of rules for records in the database that are wrong, so that no mail is judged by them."""
    return [
        Fault("rule", f"'{one.name}'", words_of_wrong(one), cure="email-router records rules")
        for one in await wrong_rules(database)
    ]


def _webhook_faults(found: Status) -> list[Fault]:
    """Tell of webhooks that are not told of events, or were not told of some."""
    return [
        Fault("webhook", one.name, words, one.fault_since or one.missed_at, one.next_try_at, resume)
        for one in found.webhooks
        if (words := fault_words(one)) is not None
        for resume in [f"email-router webhooks resume {one.name}"]
    ]


def _not_served(profiles: ServedProfiles, owners: Sequence[ListedOwner]) -> list[Fault]:
    """Tell of approved owners whose mail nothing brings in. Where no profile brings in any mail, that is meant."""
    if not any(one.direction == "incoming" for one in profiles.all):
        return []
    found = []
    for owner in owners:
        routes = profiles.routes_of(owner.mailbox)
        # What would bring it and is broken is told as a fault of that profile.
        served = routes.incoming or any(one.direction == "incoming" for one in routes.broken)
        if owner.approved and owner.rule is not Rule.NONE and not served:
            found.append(owner.mailbox)
    words = 'no incoming profile serves it, so nothing of its mail is read: add it to the "owners" of one'
    names = found[:_SOME] + ([f"{len(found) - _SOME:,} more"] if len(found) > _SOME else [])
    return [Fault("owner", name, words) for name in names]


def _check_known(only: Only, profiles: Collection[str], earlier: Collection[str], mailboxes: Collection[str]) -> None:
    # Where no router runs and the folder is empty, nothing tells which profiles there are.
    if only.profile is not None and profiles and not any(map(only.wants_profile, [*profiles, *earlier])):
        raise UnknownName(f"there is no profile {only.profile!r}; there are {', '.join(sorted(profiles))}")
    if only.mailbox is not None and normalize(only.mailbox) not in mailboxes:
        raise UnknownName(f"no owner has the mailbox {only.mailbox}")


def words_of_silent(process: Process) -> str:
    """Put into words what is known of a process that has not said for a lease that it lives, and did not say it ends.

    Of this machine it is known whether it is there still.
    """
    name = f"{process.host} (pid {process.pid})"
    seen = f"{process.seen_at:%Y-%m-%d %H:%M} UTC"
    if process.host == socket.gethostname() and _is_router(process.pid):
        return f"{name} has not answered since {seen}; its process is still there: is it stopped or hung?"
    return f"{name} ended without a word; it was last heard on {seen}"


def overdue_since(status: Status, source: SourceStatus, every: timedelta) -> datetime | None:
    """Tell since when a source that is read was not audited, if that is too long; `every`: how often it should be."""
    reads = next((one for one in status.processes if one.alive and one.id == source.process_id), None)
    if reads is None or not (source.served and source.folder and source.begun):
        return None
    last = source.audit.at if source.audit and source.audit.at else reads.started_at
    return last if status.now - last > LATE * every else None


def _is_router(pid: int) -> bool:
    """Whether there is a process of this number that may be a router: numbers are used again."""
    try:
        return b"router" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def words_of_code(code: str) -> str:
    """Put the class of `Failed.code` into words: "a wrong address (5.1)"."""
    if not code:
        return "no relay was asked"
    subject = _SUBJECTS.get(code.partition(".")[2])
    gave_up = "given up" if code.startswith("4") else ""
    if subject is None:
        return gave_up or f"refused ({code})"
    return f"{subject} ({code}{', ' + gave_up if gave_up else ''})"


def _faults(
    found: Status,
    states: Sequence[ProfileState],
    strays: Sequence[Mistake],
    not_served: Sequence[Fault],
    *,
    whole: bool,
) -> list[Fault]:
    """List what is wrong; only with `whole` what is wrong with processes and with files that are no one profile's."""
    faults = []
    running = any(one.alive for one in found.processes)
    if not running:
        words = 'no router process runs, so nothing is read or sent: "email-router run" starts one'
        seen = max((one.seen_at for one in found.processes), default=None)
        faults.append(Fault("router", "", words, seen))
    folder = [one.faults[FOLDER] for one in found.processes if one.alive and FOLDER in one.faults]
    of_profiles = [
        Fault(
            "profile", one.file, str(one), min((told.since for told in folder if str(one) in told.fault), default=None)
        )
        for one in strays
        # Those of a file are told with the profiles that are known to be in it.
        if whole and not any(str(one) in (state.fault or "") for state in states)
    ]
    of_profiles += [
        Fault("profile", one.profile.title, one.fault, one.fault_since) for one in states if one.fault is not None
    ]
    told = "\n".join(one.words for one in of_profiles)
    faults += [
        Fault("router", f"{one.title} {part}", wrong.fault, wrong.since, wrong.next_try)
        for one in found.processes
        if whole and one.alive
        for part, wrong in sorted(one.faults.items())
        # A process of this machine finds wrong with the profiles what we do.
        if not all(words in told for words in wrong.fault.split("; "))
    ]
    faults += of_profiles
    faults += not_served
    # Where nobody runs, nobody tries again, and nobody knows whether it is still so.
    faults += [
        Fault(
            "relay",
            one.profile,
            _as_of(found.processes) + one.fault,
            one.fault_since,
            one.next_try_at if running else None,
        )
        for one in found.relays
    ]
    return [*faults, *_source_faults(found.sources, found.processes)]


async def read_source_faults(database: Database, lease: timedelta, processes: Sequence[Process]) -> list[Fault]:
    """Tell only of the sources that are at fault, as `read` does; nothing else is read. `processes` are all of them."""
    return _source_faults(await status.list_faulty_sources(database, lease), processes)


def _source_faults(sources: Sequence[SourceStatus], processes: Sequence[Process]) -> list[Fault]:
    running, as_of = any(one.alive for one in processes), _as_of(processes)
    faults = [
        Fault("source", one.title, as_of + one.fault, one.fault_since, one.next_try_at if running else None)
        for one in sources
        if one.fault is not None
    ]
    faults += [
        Fault("source", one.title, _missing(one.audit, repair), one.audit.missing_since, cure=repair)
        for one in sources
        if one.served and one.audit and one.audit.missing and (repair := _repair(one))
    ]
    return faults


def _as_of(processes: Sequence[Process]) -> str:
    """Say of when it is what is known, where nobody runs."""
    if any(one.alive for one in processes):
        return ""
    seen = max((one.seen_at for one in processes), default=None)
    return f"as of {seen:%Y-%m-%d %H:%M} UTC, when the last process ended: " if seen else "when it last ran: "


def _repair(source: SourceStatus) -> str:
    owner = f" --owner {source.mailbox}" if source.mailbox else ""
    return f"email-router audit {source.profile}{owner} --repair"


def _missing(audit: LastAudit, repair: str) -> str:
    number = f"{audit.missing} message{'' if audit.missing == 1 else 's'} on its server"
    return f'nothing accounts for {number}: "{repair}" brings in what is missing'
