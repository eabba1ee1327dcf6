"""Checks each server as `test` does, for a few mailboxes of each profile: those at fault come first."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from router.errors import whereabouts
from router.model import ServedProfile
from router.operations.doctor.patient import NoDatabase, Patient
from router.operations.probe import AT_ONCE, Candidate, Profile, Subject, every, needs_owners, of_owners, probe
from router.operations.served import Served
from router.operations.words import count
from transports.base import Finding

_MAILBOXES = 3  # of each profile that are tried
_LIMIT = 45.0  # seconds for one of them


async def servers(patient: Patient) -> AsyncIterator[Finding]:
    """Whether each profile's server does what it is asked for."""
    profiles = (await patient.reading()).profiles
    everything = every(profiles)
    there = {one.key for one in everything}
    served = await patient.served()
    for one in served.profiles.all:
        if one.key not in there:
            words = f"{one.title} is not tried: as it is written here, it cannot be used"
            yield Finding("", "warning", words, _cure(one, served))
    subjects, left = await _subjects(patient, everything)
    turns = asyncio.Semaphore(AT_ONCE)
    tasks = [asyncio.create_task(_tried(subject, turns)) for subject in subjects]
    told: set[tuple[Subject | str, Finding]] = set()
    broken = 0
    try:
        for subject, task in zip(subjects, tasks, strict=True):
            found = await task
            broken += any(finding.state == "failed" for finding in found)
            for finding in found:
                key = (subject.profile.title, finding)
                if key not in told:
                    told.add(key)
                    yield _of(subject, finding)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if subjects:
        tried = f"{count(len(subjects), 'connection')} tried" + (f", {broken} at fault" if broken else "")
    else:
        tried = "none is tried" if served.profiles.all else "there is no profile to try"
    more = count(left, "more mailbox", "more mailboxes")
    yield Finding("", "ok", tried + (f', for {more} ask "email-router test"' if left else ""))


def _cure(one: ServedProfile, served: Served) -> str:
    if one.fault is not None:  # the router cannot use it either, and says why
        return "correct the mistake above"
    mistakes = [mistake for mistake in served.mistakes if mistake.file == one.file]
    if not any(mistake in served.strays or mistake.text.startswith(one.title) for mistake in mistakes):
        return "give doctor the router's own environment, with all secrets"
    # A router that runs knows what it lacks itself; without one, a secret may be missing only here.
    return "correct the mistake above" + ("" if served.running else ", or give doctor the secret that it lacks")


async def _subjects(patient: Patient, profiles: Sequence[Profile]) -> tuple[list[Subject], int]:
    """List what to try, and how many mailboxes are left out."""
    owners: list[Candidate] = []
    faulty: set[str] = set()
    fault = None
    if needs_owners(profiles):
        try:
            owners = [Candidate(one.mailbox, one.approved, one.rule) for one in await patient.owners()]
            faulty = {one.mailbox for one in (await patient.report()).status.sources if one.fault is not None}
        except NoDatabase:
            fault = "there is no database to ask"  # why is told by its own check
    everything = (await patient.reading()).profiles
    by_profile: defaultdict[str, list[Subject]] = defaultdict(list)
    for subject in of_owners(everything, profiles, owners, fault):
        if subject.direction == "outgoing":  # that there is no database is told once
            subject = replace(subject, senders=subject.senders[:_MAILBOXES], notes=())  # noqa: PLW2901
        by_profile[subject.profile.title].append(subject)
    chosen = [
        sorted(subjects, key=lambda subject: subject.mailbox not in faulty)[:_MAILBOXES]
        for subjects in by_profile.values()
    ]
    left = sum(map(len, by_profile.values())) - sum(map(len, chosen))
    return [subject for subjects in chosen for subject in subjects], left


async def _tried(subject: Subject, turns: asyncio.Semaphore) -> list[Finding]:
    """What is not well with one of them; nothing where all is."""
    async with turns:
        try:
            async with asyncio.timeout(_LIMIT):
                [probed] = [one async for one in probe([subject])]
        except TimeoutError:
            return [Finding("", "failed", f"it did not answer within {_LIMIT:g} s")]
        except Exception as error:  # noqa: BLE001  # a mistake of ours with one server must not hide the others
            return [Finding("", "failed", f"this broke by a mistake of the router: {whereabouts(error)}")]
    return [finding for finding in probed.findings if finding.state != "ok"]


def _of(subject: Subject, finding: Finding) -> Finding:
    mailbox = f" {subject.mailbox}" if subject.mailbox else ""
    step = f" {finding.step}:" if finding.step else ""
    return Finding("", finding.state, f"{subject.profile.title}{mailbox}:{step} {finding.words}", finding.advice)
