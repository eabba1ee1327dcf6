"""Probes profiles for real: which connections that are, and all of them, several at once. Nothing is changed.

Nothing is sent either, unless somebody names an address to send to.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from uuid import uuid4

from router.errors import DatabaseError, UnknownName
from router.model import Rule
from router.model.mail_address import smtp_address
from router.profile import IncomingProfile, OutgoingProfile, Profiles, check_owners, check_senders
from router.repository.database import Database
from router.repository.owners.owners import list_owners
from transports import MailboxSettings
from transports.base import Envelope, Finding
from transports.errors import TransportError

AT_ONCE = 8

Profile = IncomingProfile | OutgoingProfile

OpenDatabase = Callable[[], AbstractAsyncContextManager[Database]]
"""Opens the database for as long as it is needed; raises DatabaseError."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An owner whose mailbox may be tried."""

    mailbox: str
    approved: bool = True
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """One connection to try: of a profile, and of an owner's mailbox if it reads mailboxes.

    Without a mailbox there is nobody to log in as, and `notes` say why; a forward mailbox is empty text, its profile
    knows the login. `senders` are the mailboxes whose mail a relay carries.
    """

    profile: Profile
    mailbox: str | None = None
    notes: tuple[Finding, ...] = ()
    senders: tuple[str, ...] = ()

    @property
    def direction(self) -> str:
        """The profile's table in TOML."""
        return "outgoing" if isinstance(self.profile, OutgoingProfile) else "incoming"


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found out about a subject."""

    subject: Subject
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> Sequence[str]:
        """The steps that do not work."""
        return list(dict.fromkeys(found.step for found in self.findings if found.state == "failed"))


def every(profiles: Profiles) -> Sequence[Profile]:
    """List all profiles, incoming ones first."""
    return [*profiles.incoming, *profiles.outgoing]


def choose(profiles: Profiles, name: str) -> Sequence[Profile]:
    """Find profiles by name, `staff` or `incoming.staff`: there may be one in each direction. Raises UnknownName."""
    chosen = [one for one in every(profiles) if name in (one.name, f"{Subject(one).direction}.{one.name}")]
    if not chosen:
        there = ", ".join(dict.fromkeys(one.name for one in every(profiles)))
        raise UnknownName(f"there is no profile {name!r}; there are {there}")
    return chosen


async def plan(
    profiles: Profiles, chosen: Sequence[Profile] | None, mailboxes: Sequence[str], open_database: OpenDatabase
) -> tuple[list[Subject], Sequence[str]]:
    """List what to try of all profiles, or of the chosen ones, and which owners nobody serves.

    For these mailboxes or, where there are none, for all approved owners; then the database is asked for them.
    """
    if mailboxes:
        notes = [] if chosen else unserved(profiles, map(Candidate, mailboxes))
        return of_mailboxes(profiles, chosen, mailboxes), notes
    everything = chosen or every(profiles)
    owners: list[Candidate] = []
    fault = None
    if needs_owners(everything):
        try:
            async with open_database() as database:
                listed = await list_owners(database)
            owners = [Candidate(one.mailbox, one.approved, one.rule) for one in listed]
        except DatabaseError as error:
            fault = str(error)
    return of_owners(profiles, everything, owners, fault), [] if chosen else unserved(profiles, owners)


def needs_owners(chosen: Iterable[Profile]) -> bool:
    """Whether some of these read mailboxes, or carry what their owners send."""
    return any(isinstance(one, OutgoingProfile) or _logs_in_for_owners(one) for one in chosen)


def _logs_in_for_owners(one: Profile) -> bool:
    return isinstance(one, IncomingProfile) and not one.listens and not one.forwards


def _alone(one: Profile, profiles: Profiles, mailboxes: Sequence[str], fault: str | None = None) -> Subject:
    """What is tried once, whoever the owners are; a relay in the name of those whose mail it carries."""
    if isinstance(one, OutgoingProfile):
        senders = [mailbox for mailbox in mailboxes if profiles.outgoing_for(mailbox) is one]
        if fault is None:
            return Subject(one, senders=tuple(dict.fromkeys(senders)))
        advice = '"email-router test --owner ADDRESS" tries a mailbox without the database'
        return Subject(one, None, (Finding("senders", "warning", f"the owners are not known: {fault}", advice),))
    if not one.forwards:
        return Subject(one)
    if one.catches_all:
        hops = f", below {one.envelope_below} of Received," if one.envelope_below else ""
        words = f"{one.envelope_header}{hops} tells whose mail it is, of {', '.join(one.forwarders)}"
        return Subject(one, "", (Finding("owners", "ok", words),))
    whose = f"believes what {', '.join(one.forwarders)} forward"
    if one.authserv is not None:
        note = Finding(
            "forwarders", "ok", f"{whose}, where the Authentication-Results of {one.authserv} vouch for them"
        )
    else:
        advice = 'name the server that vouches in "authserv", unless only your own people can write to this address'
        note = Finding("forwarders", "warning", f"{whose}, whoever claims to be them (allow_unverified)", advice)
    return Subject(one, None if one.listens else "", (note,))


def of_owners(
    profiles: Profiles, chosen: Iterable[Profile], owners: Sequence[Candidate], fault: str | None
) -> list[Subject]:
    """List what to try of the chosen profiles for all approved owners; `fault` says why the owners are not known."""
    subjects: list[Subject] = []
    mailboxes = [owner.mailbox for owner in owners if owner.approved]
    for one in chosen:
        if not _logs_in_for_owners(one):
            subjects.append(_alone(one, profiles, mailboxes, fault))
            continue
        served = [owner for owner in owners if profiles.incoming_for(owner.mailbox) is one]
        approved = [Subject(one, owner.mailbox) for owner in served if owner.approved]
        subjects += approved or [Subject(one, None, (_nobody(served, fault),))]
    return subjects


def of_mailboxes(profiles: Profiles, chosen: Sequence[Profile] | None, mailboxes: Sequence[str]) -> list[Subject]:
    """List what to try for these mailboxes: by the chosen profiles, or by those that serve them."""
    subjects: list[Subject] = []
    for mailbox in mailboxes:
        routes = profiles.routes_of(mailbox)
        for one in chosen or routes.all:
            if not _logs_in_for_owners(one):
                subjects.append(_alone(one, profiles, mailboxes))
            elif routes.reads is one:
                subjects.append(Subject(one, mailbox))
            else:
                words = f"{mailbox} is not an owner that this profile serves"
                note = Finding("owners", "warning", words, 'add the address to its "owners", if it should be')
                subjects.append(Subject(one, mailbox, (note,)))
    return list(dict.fromkeys(subjects))


def unserved(profiles: Profiles, owners: Iterable[Candidate]) -> Sequence[str]:
    """Tell which owners are served by nobody, or not as their rule needs, and whose email nothing carries."""
    owners = list(owners)
    return [str(mistake) for mistake in [*check_owners(profiles, owners), *check_senders(profiles, owners)]]


async def probe(subjects: Sequence[Subject], send_to: str | None = None) -> AsyncIterator[Probed]:
    """Try them all, `AT_ONCE` at once; in their order, each as soon as it and those before it are done.

    With `send_to`, each relay sends one message to this address.
    """
    turns = asyncio.Semaphore(AT_ONCE)
    # A server that grants a profile few connections is not asked for more.
    granted = {(one.direction, one.profile.name): asyncio.Semaphore(_granted(one.profile)) for one in subjects}

    async def work(subject: Subject) -> Probed:
        async with granted[subject.direction, subject.profile.name], turns:
            return Probed(subject, tuple([finding async for finding in _findings(subject, send_to)]))

    tasks = [asyncio.create_task(work(subject)) for subject in subjects]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _granted(profile: Profile) -> int:
    return profile.settings.at_once if isinstance(profile.settings, MailboxSettings) else AT_ONCE


async def _findings(subject: Subject, send_to: str | None) -> AsyncIterator[Finding]:
    profile = subject.profile
    if isinstance(profile, IncomingProfile):
        for note in subject.notes:
            yield note
        async for found in profile.probe(subject.mailbox):
            yield found
        return
    # Whether each of its servers works: where it has several, the step "server" begins the next.
    works = list[bool]()
    async for found in profile.probe([smtp_address(sender) for sender in subject.senders]):
        if not works or found.step == "server":
            works.append(True)
        works[-1] = works[-1] and found.state != "failed"
        yield found
    if all(works):
        for note in subject.notes:
            yield note
    if send_to is not None:
        if any(works):
            yield await _send(profile, subject.senders, send_to)
        else:
            # A login that was refused is not tried again: each failure counts towards a lock.
            yield Finding("message", "failed", "none is sent: the relay does not work")


async def _send(profile: OutgoingProfile, senders: Sequence[str], recipient: str) -> Finding:
    """Send one message in the name of the first of these senders."""
    if not senders:
        advice = "--owner ADDRESS says in whose name"
        return Finding("message", "failed", "none is sent: no approved owner's mail goes by this relay", advice)
    sender, to = smtp_address(senders[0]), smtp_address(recipient)
    try:
        async with profile.open() as relay:
            (outcome,) = await relay.send(Envelope(sender, (to,), _message(profile, sender, to)), _begin)
    except TransportError as error:
        return Finding("message", "failed", str(error))
    words = f"{outcome.relay}: {outcome.code} {outcome.text}"
    if outcome.state == "accepted":
        return Finding("message", "ok", f"sent from {sender} to {to}; the words of {words}")
    return Finding("message", "failed", f"from {sender} to {to}, {outcome.state}: {words}")


def _message(profile: OutgoingProfile, sender: str, recipient: str) -> bytes:
    message = EmailMessage(policy.SMTP.clone(utf8=not (sender + recipient).isascii()))
    message["From"], message["To"] = sender, recipient
    message["Subject"] = f"Test of the relay {profile.name}"
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{uuid4()}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"email-router test --send-to sent this through {profile.title}, {profile.settings.where}.\n")
    return message.as_bytes()


async def _begin() -> None:
    """No attempt is noted: this is no email of the CRM's."""


def _nobody(served: Sequence[Candidate], fault: str | None) -> Finding:
    if fault is not None:
        advice = '"email-router test --owner ADDRESS" tries a mailbox without the database'
        return Finding("owners", "failed", f"the owners are not known: {fault}", advice)
    words = "no approved owner has a mailbox that this profile reads, so nobody is logged in"
    if served:
        some = " ".join(owner.mailbox for owner in served[:5]) + (" …" if len(served) > 5 else "")
        return Finding("owners", "warning", words, f"email-router owners approve {some}")
    return Finding("owners", "warning", words, '"email-router test --owner ADDRESS" tries a mailbox')
