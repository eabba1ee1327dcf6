"""Checks of the router's own work: processes, profiles, owners, what is at fault, what waits and why."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from router.model import Disposition
from router.operations.creation_rules import list_stored, words_of_wrong
from router.operations.doctor.patient import Patient
from router.operations.status import words_of_code, words_of_silent
from router.operations.tokens import endings, listed_logins, whose
from router.operations.words import count
from router.profile import check_owners
from router.repository.overview.server import list_unsettled
from transports.base import Finding

_SOME = 5
_LATE = timedelta(minutes=5)  # by which mail that is due should have left
_SETTLED_LATE = timedelta(hours=1)  # after a copy's own time to be settled


async def processes(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the router runs."""
    status = (await patient.report()).status
    alive = [one.title for one in status.processes if one.alive]
    if not alive:
        seen = max((one.seen_at for one in status.processes), default=None)
        last = f"; the last was seen {seen:%Y-%m-%d %H:%M:%S} UTC" if seen else ""
        yield Finding("", "failed", f"no router process runs, so nothing is read or sent{last}", "email-router run")
        return
    yield Finding("", "ok", f"{len(alive)} running: {', '.join(alive)}")
    for one in [one for one in status.processes if not one.alive][-_SOME:]:
        cure = "look why in the log of what starts it; what it held is taken over"
        yield Finding("", "warning", words_of_silent(one), cure)


async def profiles(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the profiles are right, and in use as they are written."""
    served = await patient.served()
    for mistake in served.mistakes:
        yield Finding("", "failed", str(mistake), 'correct it; "email-router check" tells whether it is right then')
    told = [str(mistake) for mistake in served.mistakes]
    for state in served.states:
        title = state.profile.title
        if state.fault is not None and not any(words in state.fault for words in told):
            yield Finding("", "failed", f"{title}: {state.fault}", "correct the file that it names")
        elif state.note is not None:
            cure = 'wait two seconds; if it stays so, look into the log of "email-router run"'
            yield Finding("", "warning", f"{title}: {state.note}", cure)
    if not served.mistakes:
        names = [one.name for one in served.profiles.all]
        yield Finding("", "ok", f"{len(names)}, no mistakes: {_some(names)}")


async def tokens(patient: Patient) -> AsyncIterator[Finding]:
    """Whether there are access tokens, and what a person has to renew soon."""
    profiles, now, good = (await patient.reading()).profiles, datetime.now(UTC), 0
    logins = await listed_logins(patient.need_database(), profiles.by_key.values())
    states = [one for one in logins if not one.of_nobody]
    for one in states:
        if one.fault is not None:
            since = f" since {one.fault_since:%Y-%m-%d %H:%M} UTC" if one.fault_since else ""
            cure = f"email-router test {one.profile.strip('[]')}"
            words = f"{whose(one.profile, one.subject)}: no new token{since}: {one.fault}"
            yield Finding("", "failed", words, cure)
        elif not endings([one], now):
            good += 1
    for ending in endings(states, now):
        ended = ending.at <= now
        words = f"{ending.whose}: the {ending.what} {'ended' if ended else 'ends'} on {ending.at:%Y-%m-%d}"
        yield Finding("", "failed" if ended else "warning", words, ending.cure)
    if good:
        yield Finding("", "ok", f"{count(good, 'login')} by access token without fault")


async def rules(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the rules for records that the database keeps are right, and are for somebody."""
    stored = await list_stored(patient.need_database())
    for one in stored:
        if one.faults:
            cure = "put the row of crm.creation_rule right; email-router records rules lists all"
            yield Finding("", "failed", f"rule '{one.name}' of the database: {words_of_wrong(one)}", cure)
        elif one.note:
            cure = "name another mailbox in crm.creation_rule, or let an owner have it"
            yield Finding("", "warning", f"rule '{one.name}' of the database: {one.note}", cure)
    if stored and not any(one.faults or one.note for one in stored):
        yield Finding("", "ok", f"{count(len(stored), 'rule')} for records from mail in the database, no mistakes")


async def sending(patient: Patient) -> AsyncIterator[Finding]:
    """Whether sending is on."""
    sending = (await patient.report()).status.sending
    if sending.copied:
        words = "this database is a copy of another, so nothing is sent or read"
        yield Finding("", "warning", words, "email-router sending start, if it replaces the other")
    elif not sending.on:
        since = f"{sending.changed_at:%Y-%m-%d %H:%M} UTC"
        words = f"sending is off since {since}: {sending.reason or 'stopped by an admin'}"
        yield Finding("", "warning", words, "email-router sending start")
    else:
        yield Finding("", "ok", "on")


async def sent_copies(patient: Patient) -> AsyncIterator[Finding]:
    """Whether copies of what was sent get into the Sent folders."""
    waiting = (await patient.report()).status.sent_copies
    for one in waiting:
        copies = count(one.count, "copy", "copies")
        words = f"{copies} given up" if one.given_up else f"{copies} not in the Sent folder yet"
        yield Finding(
            "", "warning", f"{words}: {one.fault}", 'put it right, or set "sent_copy" of the outgoing profile'
        )
    if not waiting:
        yield Finding("", "ok", "none waits")


async def owners(patient: Patient) -> AsyncIterator[Finding]:
    """Whether every owner is approved, and served both ways."""
    listed = await patient.owners()
    served = (await patient.served()).profiles
    if not listed:
        words = "there are none, so nobody's mail is read or sent"
        yield Finding("", "warning", words, "the CRM names them, by rows in crm.owner (docs/database.md)")
        return
    if waiting := [one.mailbox for one in listed if not one.approved]:
        words = f"{len(waiting)} not approved: nothing of theirs is read or sent"
        yield Finding("", "warning", words, f"email-router owners approve {_some(waiting)}")
    for mistake in check_owners(served, listed)[:_SOME]:
        yield Finding("", "failed", str(mistake), 'see "owners" in docs/profiles.md')
    approved = [one.mailbox for one in listed if one.approved]
    sends = any(one.direction == "outgoing" for one in served.all)
    if sends and (carried := [one for one in approved if served.routes_of(one).sends is None]):
        words = f"no outgoing profile carries the email of {_some(carried)}: it waits for ever"
        yield Finding("", "failed", words, 'add them to the "senders" of an outgoing profile')
    elif not sends:
        yield Finding("", "ok", "no outgoing profile: nothing is sent")
    yield Finding("", "ok", f"{len(approved)} approved")


async def faults(patient: Patient) -> AsyncIterator[Finding]:
    """What is at fault now, since when, and when it is tried next."""
    report = await patient.report()
    found = [one for one in report.faults if one.part not in ("profile", "owner", "login", "rule") and one.name]
    for one in found:
        since = f" since {one.since:%Y-%m-%d %H:%M:%S} UTC" if one.since else ""
        again = f", next try {one.next_try_at:%H:%M:%S} UTC" if one.next_try_at else ""
        words = f"{one.part} {one.name}{since}{again}: {one.words}"
        cure = "look into the log of that process" if one.part == "router" else one.cure
        yield Finding("", "failed", words, cure or f"email-router test {one.name.partition(' ')[0]}")
    if not found:
        yield Finding("", "ok", "no part of the router, no source and no relay is at fault")


async def waiting(patient: Patient) -> AsyncIterator[Finding]:
    """What waits, and for what."""
    report = await patient.report()
    status = report.status
    outbox = status.outbox
    oldest = outbox.oldest_due
    if oldest is not None and status.now - oldest > _LATE and status.sending.on and not status.sending.copied:
        words = f"{count(outbox.due(), 'pending email')} due, the oldest since {oldest:%Y-%m-%d %H:%M} UTC"
        cure = "see what is said of processes, relays and senders; crm.email.status_reason tells more"
        yield Finding("", "failed", words, cure)
    if not_approved := outbox.count("approval"):
        words = f"waiting for the approval of their owner: {count(not_approved, 'pending email')}"
        yield Finding("", "warning", words, f"email-router owners approve {_some(report.not_approved)}")
    if uncarried := outbox.count("profile"):
        words = f"waiting for an outgoing profile that carries it: {count(uncarried, 'pending email')}"
        yield Finding("", "warning", words, "add the mailbox that crm.email.status_reason names to the senders of one")
    if status.unknown.count:
        ids = _some([str(one) for one in status.unknown.email_ids], status.unknown.count)
        words = f"the outcome of {count(status.unknown.count, 'email')} is unknown: the relay never answered ({ids})"
        cure = "look whether they arrived, then set crm.email.status to sent, failed or pending_send"
        yield Finding("", "warning", words, cure)
    for failed in status.failed:
        ids = _some([str(one) for one in failed.email_ids], failed.count)
        words = f"{count(failed.count, 'email')} failed within the last day for {words_of_code(failed.code)} ({ids})"
        yield Finding("", "warning", words, "crm.email.status_reason and crm.delivery tell each one's reason")
    for disposition, cure in (
        (Disposition.HELD, "email-router held list tells why, and held release or held drop what becomes of them"),
        (
            Disposition.DEAD,
            "they could not be read or stored: email-router dead-letters list tells why, and replay tries again",
        ),
    ):
        number = sum(one.dispositions[disposition] for one in status.sources)
        if number:
            yield Finding("", "warning", f"{disposition}: {count(number, 'copy of mail', 'copies of mail')}", cure)
    async for finding in _unsettled(patient):
        yield finding
    later = outbox.count("send_after", "retry")
    yield Finding("", "ok", f"{count(outbox.due(), 'email')} due, {later} later, {outbox.sending} being sent")


async def _unsettled(patient: Patient) -> AsyncIterator[Finding]:
    """Copies of which the mail server should have been told."""
    now = (await patient.report()).status.now
    days = {one.name: one.after.days for one in (await patient.reading()).profiles.incoming}
    late = [
        " ".join(filter(None, (one.profile, one.mailbox, one.folder)))
        for one in await list_unsettled(patient.need_database())
        if now - one.since > timedelta(days=days.get(one.profile, 0)) + _SETTLED_LATE
    ]
    if late:
        words = f'what "after" says was not done for an hour in {_some(late)}'
        yield Finding("", "warning", words, "see whether the mail server lets the router write to these folders")


def _some(names: Sequence[str], total: int | None = None) -> str:
    more = (total or len(names)) - _SOME
    return " ".join(names[:_SOME]) + (f" and {more} more" if more > 0 else "")
