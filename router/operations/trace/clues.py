"""What would have had to happen for mail to be seen, and did not: of each mailbox in which it would be.

In this order: the owner, the profile, the sources, the rule, and what of the owner's mail became no email.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from router.decide.rules import RULES, Evidence
from router.model import Disposition, Rule, ServedProfile
from router.operations import served, status
from router.operations.served import Served
from router.operations.trace.found import Clue, Concerned
from router.operations.words import count, moment
from router.profile.routes import Routes
from router.repository.database import Database
from router.repository.incoming.sources import began_at
from router.repository.owners.owners import ListedOwner
from router.repository.processes import list_processes
from router.repository.trace.trace import Sought
from router.repository.trace.unseen import Reader, Refused, SeenId, kinds_of, readers_of, refused, seen_id

_SOME: Final = 5


async def general_clues(
    database: Database, lease: timedelta, folder: Path, sought: Sought, kept_since: datetime, *, owned: bool
) -> tuple[list[Clue], Served]:
    """Tell what is true whatever mailbox it is, and what is served. `owned`: the recipient is an owner's mailbox."""
    processes = await list_processes(database, lease)
    serving = await asyncio.to_thread(served.compare, processes, folder)
    clues = []
    if sought.recipient and not owned:
        whose = "of this domain" if sought.recipient.startswith("@") else sought.recipient
        words = f"no owner has a mailbox {whose}: the CRM names owners, and nobody else's mail is read"
        clues.append(Clue("no owner", words, blocks=True))
    if sought.message_id and (seen := await seen_id(database, sought.message_id)):
        clues.append(_of_id(seen))
    if not any(one.alive for one in processes):
        words = 'no router process runs, so nothing is read or sent: "email-router run" starts one'
        clues.append(Clue("no process", words, blocks=True))
    clues += [Clue("broken", str(one)) for one in serving.mistakes[:_SOME]]
    if not sought.recipient:
        faults = await status.read_source_faults(database, lease, processes)
        clues += [Clue("fault", f"source {one.name} is at fault: {one.words}") for one in faults[:_SOME]]
        if len(faults) > _SOME:
            clues.append(
                Clue("fault", f"{len(faults) - _SOME} more sources are at fault: email-router status --faults")
            )
    if sought.since is not None and sought.since < kept_since:
        words = f"what became of mail that was decided on before {moment(kept_since)} is no longer kept"
        clues.append(Clue("pruned", words))
    return clues, serving


def _of_id(seen: SeenId) -> Clue:
    if seen.email_id and not seen.erased:
        return Clue("seen", f"the CRM has an email with this Message-ID: {seen.email_id}")
    if seen.erased:
        return Clue(
            "erased",
            "the CRM had an email with this Message-ID, which was erased or taken back: it does not come by itself",
        )
    words = f"mail with this Message-ID, or mail that refers to it, was seen on {moment(seen.seen_at)}"
    return Clue("seen", f"{words}, and became no email")


async def clues_of(
    database: Database,
    lease: timedelta,
    serving: Served,
    sought: Sought,
    recipients: Sequence[ListedOwner],
    senders: Sequence[ListedOwner],
) -> list[Concerned]:
    """Tell what is known of each owner's mailbox; in that of a sender, outgoing mail would be seen."""
    owners = [*recipients, *(one for one in senders if one not in recipients)]
    routes = {one.mailbox: serving.profiles.routes_of(one.mailbox) for one in owners}
    shared = {way.name for one in routes.values() for way in (one.listens, one.forwards) if way is not None}
    readers = await readers_of(database, lease, list(routes), shared)
    counts = await refused(database, [one.owner.id for one in owners], sought.since, sought.until)
    exact = sought.sender and not sought.sender.startswith("@")
    kinds = await kinds_of(database, sought.sender) if exact else None
    found = []
    for owner in owners:
        ways = routes[owner.mailbox]
        of_mailbox = [one for one in readers if one.mailbox == owner.mailbox]
        clues = [*_of_owner(owner, ways)]
        if owner.approved:
            clues += _of_sources(ways, of_mailbox, [one for one in readers if not one.mailbox], sought)
        if owner in recipients:
            clues += _of_rule(owner, ways, kinds)
        refusals = [one for one in counts if one.owner_id == owner.owner.id]
        clues += _of_decisions(refusals)
        found.append(
            Concerned(
                owner.owner.id,
                owner.mailbox,
                "recipient" if owner in recipients else "sender",
                owner.approved,
                ways.reads.name if ways.reads else None,
                tuple(clues),
                tuple(of_mailbox),
                tuple(letter for one in refusals for letter in one.letters),
                rule=owner.rule,
            )
        )
    return found


def _of_owner(owner: ListedOwner, ways: Routes[ServedProfile, ServedProfile]) -> Iterator[Clue]:
    if not owner.approved:
        words = f'it is not approved, so nothing of it is read: "email-router owners approve {owner.mailbox}"'
        yield Clue("not approved", words, blocks=True)
    broken = [one for one in ways.broken if one.direction == "incoming"]
    for one in broken:
        yield Clue("broken", f"{one.title}, which would bring its mail, is broken: {one.fault}", blocks=True)
    if not ways.incoming and not broken:
        yield Clue("not served", 'no incoming profile serves it: add it to the "owners" of one', blocks=True)


def _of_sources(
    ways: Routes[ServedProfile, ServedProfile], own: Sequence[Reader], shared: Sequence[Reader], sought: Sought
) -> Iterator[Clue]:
    if ways.reads is not None:
        if not own:
            words = f"it was never read: no process has taken it up for {ways.reads.title}"
            yield Clue("not begun", words, blocks=True)
        # Of a mailbox that somebody reads, a folder without a reader is one that is no longer wanted.
        wanted = [one for one in own if one.reader is not None] or own
        for one in wanted:
            yield from _of_source(one.folder, one, sought)
        if own:
            names = [one.folder for one in wanted]
            words = f"{ways.reads.title} reads {', '.join(names[:20])}{' and more' if len(names) > 20 else ''}"
            last = max((one.last_at for one in wanted if one.last_at), default=None)
            yield Clue("folders", words + (f"; the last mail was decided on {moment(last)}" if last else ""))
    if ways.listens is not None:
        title = ways.listens.title
        for one in (one for one in shared if one.profile == ways.listens.name and not one.folder):
            yield from _of_source(title, one, sought)
        words = f"its mail server hands mail to {title}: the log of that server tells whether it did so"
        yield Clue("listener", words)
    if ways.forwards is not None:
        title = ways.forwards.title
        for one in (one for one in shared if one.profile == ways.forwards.name):
            yield from _of_source(f"{title} {one.folder}".rstrip(), one, sought)
        if ways.forwards.role == "catch-all":
            yield Clue(
                "forward", f"what its mail server puts for it into the catch-all mailbox of {title} comes in by that"
            )
        else:
            yield Clue("forward", f"what its owner forwards comes in by {title}, and only that")


def _of_source(name: str, source: Reader, sought: Sought) -> Iterator[Clue]:
    if source.folder and source.reader is None:
        yield Clue("not read", f"{name} is read by no process now", blocks=True)
        if source.fault is not None:
            yield Clue("fault", f"{name} was at fault when it was last read: {source.fault}", blocks=True)
    elif source.fault is not None:
        since = f" since {moment(source.fault_since)}" if source.fault_since else ""
        again = f", next try {moment(source.next_try_at)}" if source.next_try_at else ""
        yield Clue("fault", f"{name} is at fault{since}{again}: {source.fault}", blocks=True)
    elif not source.folder:
        return  # what is handed to us waits for nobody's look
    elif not source.begun:
        yield Clue("not begun", f"{name} was not opened yet", blocks=True)
    if source.begins_at is not None and sought.since is not None and sought.since < source.begins_at:
        words = f'{name} is read from {moment(began_at(source.begins_at))} on: what came before is left alone ("start")'
        yield Clue("before start", words, blocks=sought.until is not None and sought.until <= source.begins_at)


def _of_rule(
    owner: ListedOwner, ways: Routes[ServedProfile, ServedProfile], kinds: Sequence[str] | None
) -> Iterator[Clue]:
    by_rule: dict[Rule, list[str]] = {}
    for one in ways.incoming:
        if (rule := owner.rule or one.tracking_rule) is not None:
            by_rule.setdefault(rule, []).append(one.title)
    for rule, titles in by_rule.items():
        its = "its rule" if len(by_rule) == 1 else f"its rule for what comes by {' and '.join(titles)}"
        if rule is Rule.NONE:
            yield Clue("rule", f'{its} is "none": nothing comes in', blocks=len(by_rule) == 1)
        elif rule is Rule.REPLIES:
            yield Clue("rule", f'{its} is "replies": only what answers an email of the CRM comes in')
        elif rule in (Rule.KNOWN, Rule.EMAIL_ENABLED) and kinds is not None:
            judged = RULES[rule].judge(Evidence(answers=False, kinds=frozenset(kinds), judged_by="sender"))
            wants = "wants this sender's mail" if judged.wanted else "does not want this sender's mail"
            yield Clue("rule", f'{its} "{rule}" {wants}: {judged.reason}, as the CRM is now')


def _of_decisions(counts: Iterable[Refused]) -> Iterator[Clue]:
    """Count what may be the mail that is sought: of what was ignored, nothing tells which message it was."""
    untold = "; nothing else is kept of ignored mail"
    for one in counts:
        reasons = "; ".join(one.reasons)
        if one.disposition is Disposition.IGNORED:
            words = f"{count(one.number, 'message')} of that time, the last of {moment(one.last_at)}: {reasons}"
            yield Clue("ignored", words + untold)
            untold = ""
        elif one.disposition is Disposition.HELD:
            yield Clue("held", f"{count(one.number, 'message')} of that time: {reasons}: {_show('held', one)}")
        else:
            yield Clue("dead", f"{count(one.number, 'message')} of that time: {reasons}: {_show('dead-letters', one)}")


def _show(command: str, one: Refused) -> str:
    return ", ".join(f'"email-router {command} show {number}"' for number in one.letters[:_SOME])
