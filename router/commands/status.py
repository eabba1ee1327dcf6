"""`status`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import typer

from router import app
from router.commands.status_sources import say_audits, say_sources, sources_words
from router.commands.terminal import carry_out, say, say_json
from router.commands.words import duration, moment, since
from router.operations import status as operation
from router.operations.status import (
    Cause,
    Ending,
    Fault,
    Only,
    OpenRecords,
    ProfileState,
    Queue,
    Report,
    Sending,
    Status,
    StuckMerges,
    words_of_code,
    words_of_silent,
)
from router.operations.words import count
from router.settings import Settings

_INDENT = " " * 12
_SOME = 5  # processes that ended that are named

_CAUSES: Final[Mapping[Cause, str]] = {
    "turn": "due now",
    "admin": "until sending is started",
    "approval": "until their owner is approved",
    "profile": "that no outgoing profile carries: add their owners to the senders of one",
    "relay": "for a relay that is paused",
    "login": "for a relay that refuses the login",
    "retry": "for a retry",
    "send_after": "to be sent later",
}
"""What emails wait for, as `router.repository.outgoing.queue.Cause`."""


def show(profile: str | None, mailbox: str | None, *, only_faults: bool, as_json: bool) -> None:
    """Say how everything is, or only what is wrong; status 1 if something is."""

    async def work(settings: Settings) -> tuple[Report, timedelta | None]:
        async with app.database_of(settings) as database:
            lease = timedelta(seconds=settings.lease)
            report = await operation.read(database, lease, settings.profiles, Only(profile, mailbox))
            return report, settings.audit_every

    report, every = carry_out(work)
    if as_json:
        say_json(_document(report))
    elif only_faults:
        for fault in report.faults:
            say(fault_line(fault, report.status.now))
    else:
        _say_all(report, every)
    if report.faults:
        raise typer.Exit(1)


def sending_words(sending: Sending) -> str:
    """Put into words whether the router sends, and how to change that."""
    if sending.on:
        started = f" since {moment(sending.changed_at)}, started by {sending.by}" if sending.by else ""
        return f"on{started}" + (f": {sending.reason}" if sending.reason else "")
    if sending.copied:
        return (
            "off: this database is a copy of another, so nothing is sent or read; where it replaces the other, "
            '"email-router sending start" makes it the real one'
        )
    stopped = f"stopped by {sending.by or 'an admin'}" + (f": {sending.reason}" if sending.reason else "")
    return f'off since {moment(sending.changed_at)}, {stopped}; "email-router sending start" starts it'


def waiting_words(queue: Queue) -> list[str]:
    """Put into lines what waits in the outbox, and for what."""
    waits = queue.count(*_CAUSES)
    words = f"{_number(waits, more=queue.more())} waiting, {queue.sending} being sent"
    lines = [f"outbox      {words}"]
    for cause, meaning in _CAUSES.items():
        if number := queue.count(cause):
            lines.append(f"{_INDENT}{_number(number, more=queue.more([cause]))} {meaning}")
    return lines


def fault_line(fault: Fault, now: datetime) -> str:
    """Put a fault into a line: what it is of, since when, when it is tried next, and the words."""
    times = []
    if fault.since is not None:
        times.append(since(fault.since, now))
    if fault.next_try_at is not None:
        left = fault.next_try_at - now
        times.append(f"next try in {duration(left)}" if left > timedelta() else "being tried again")
    head = " ".join(filter(None, (fault.part, fault.name)))
    return f"at fault    {head}: {', '.join(times)}{': ' if times else ''}{fault.words}"


def ending_line(ending: Ending, now: datetime) -> str:
    """Put what ends soon into a line: what, of what, when, and what to do."""
    left = ending.at - now
    when = f"ended on {ending.at:%Y-%m-%d}" if left <= timedelta() else f"ends on {ending.at:%Y-%m-%d}"
    within = f" (in {duration(left)})" if left > timedelta() else ""
    return f"ends soon   {ending.whose}: the {ending.what} {when}{within}: {ending.cure}"


def _document(report: Report) -> dict[str, Any]:
    document = asdict(report.status)
    unknown = document.pop("unknown")
    failed = [{**one, "reason": words_of_code(one["code"])} for one in document.pop("failed")]
    return {
        "ok": not report.faults,
        "faults": [asdict(one) for one in report.faults],
        "endings": [{**asdict(one), "profile": one.profile.strip("[]")} for one in report.endings],
        **document,
        "webhooks": [{**asdict(one), "place": str(one.place), "state": one.state} for one in report.status.webhooks],
        "unknown": unknown["count"],
        "unknown_since": unknown["since"],
        "unknown_emails": unknown["email_ids"],
        "failed": failed,
        "owners": {"approved": report.approved, "not_approved": report.not_approved},
        "profiles": [
            {**asdict(one.profile), "fault": one.fault, "note": one.note, "served_by": one.served_by}
            for one in report.profiles
        ],
    }


def _say_all(report: Report, every: timedelta | None) -> None:
    status = report.status
    say(f"sending     {sending_words(status.sending)}")
    say(f"processes   {_processes(status)}")
    say(f"profiles    {_profiles(report)}")
    _say_outbox(status)
    for relay in status.relays:
        again = f", next try {moment(relay.next_try_at)}" if relay.next_try_at else ""
        state = "refuses the login" if relay.state == "login_refused" else "cannot be used"
        behind = f", {_number(relay.waiting, more=relay.more)} waiting" if relay.waiting else ""
        say(f"relay       {relay.profile} {state} since {moment(relay.fault_since)}{again}{behind}: {relay.fault}")
    if status.unknown.count:
        _say_unknown(status)
    if status.failed:
        _say_failed(status)
    _say_rest(status)
    say(f"owners      {_owners(report.approved, report.not_approved)}")
    say(f"sources     {sources_words(status.sources)}")
    if any(one.served for one in status.sources):
        say()
        say_sources(status)
        say_audits(status, every)
    # The others have a line of their own above.
    faults = [one for one in report.faults if one.part != "relay" and one.name]
    if faults or report.endings:
        say()
    for fault in faults:
        say(fault_line(fault, status.now))
    for ending in report.endings:
        say(ending_line(ending, status.now))


def _say_rest(status: Status) -> None:
    """Say what waits beside the mail itself: copies for Sent folders, records, and who senders are."""
    for one in status.sent_copies:
        what = "given up" if one.given_up else "not in the Sent folder yet"
        say(f"sent copies {count(one.count, 'copy', 'copies')} {what}: {one.fault}")
    if words := _records(status.records):
        say(f"records     {words}")
    if status.merges.number:
        say(f"merges      {_merges(status.merges)}")
    if status.unresolved.senders:
        say(f"unresolved  {_unresolved(status)}")
    if status.rulings.count:
        say(f"rulings     {_rulings(status)}")
    if status.webhooks:
        states = Counter(one.state for one in status.webhooks)
        say(f"webhooks    {', '.join(f'{number} {state}' for state, number in sorted(states.items()))}")


def _merges(merges: StuckMerges) -> str:
    words = f"{count(merges.number, 'merge')} not done (crm.merge): {merges.fault}"
    if merges.failed:
        words += f"; {merges.failed} failed too often to be tried again: mend it, and merge again"
    return words


def _records(records: OpenRecords) -> str:
    """Say what rules want of emails and is not made yet."""
    told = (
        (records.failed, "failed (crm.creation, crm.make_again)"),
        (records.retried, "cannot be made yet"),
        (records.waiting, "until the sender is resolved"),
        (records.asked, "asked of the CRM"),
    )
    words = ", ".join(f"{number:,} {what}" for number, what in told if number)
    return f"{words}: {records.error}" if records.error else words


def _processes(status: Status) -> str:
    alive = [one for one in status.processes if one.alive]
    words = [f"{one.host} (pid {one.pid}, since {moment(one.started_at)})" for one in alive]
    said = ", ".join(words) if words else 'none is running: "email-router run" starts one'
    silent = [words_of_silent(one) for one in status.processes if not one.alive]
    more = [f"{len(silent) - _SOME} more did not say that they end"] if len(silent) > _SOME else []
    return said + "".join(f"\n{_INDENT}{one}" for one in [*silent[-_SOME:], *more])


def _profiles(report: Report) -> str:
    """Name the profiles; what is not as the folder has it, each in a line."""
    running = any(one.served_by for one in report.profiles)
    names = [one.profile.name + (_form(one) if running else "") for one in report.profiles]
    notes = [f"\n{_INDENT}{one.profile.title}: {one.note}" for one in report.profiles if one.note is not None]
    said = ", ".join(names) or "none"
    return said + ("" if running or not names else "; as the folder has them, since no process says") + "".join(notes)


def _form(one: ProfileState) -> str:
    if one.fault is None:
        return ""
    return " (earlier form)" if one.served_by else " (not served)"


def _say_outbox(status: Status) -> None:
    for line in waiting_words(status.outbox):
        say(line)
    oldest = status.outbox.oldest_due
    if oldest is not None and status.now - oldest > timedelta(minutes=1):
        say(f"{_INDENT}the oldest is due {since(oldest, status.now)}")


def _number(number: int, *, more: bool) -> str:
    return f"at least {number:,}" if more else f"{number:,}"


def _say_unknown(status: Status) -> None:
    unknown = status.unknown
    say(
        f"unknown     {unknown.count}: the relay had them and never answered; look whether they arrived, then set "
        "crm.email.status to sent, failed or pending_send"
    )
    assert unknown.since is not None
    say(f"{_INDENT}{since(unknown.since, status.now)}: {_some(unknown.email_ids, unknown.count)}")


def _say_failed(status: Status) -> None:
    total, given_up = sum(one.count for one in status.failed), sum(one.given_up for one in status.failed)
    tried = f" ({given_up} given up)" if given_up else ""
    say(f"failed      {total} in the last day{tried}; crm.email.status_reason and crm.delivery tell each one's reason")
    for one in status.failed:
        say(f"{_INDENT}{one.count} for {words_of_code(one.code)}: {_some(one.email_ids, one.count)}")


def _some(email_ids: Sequence[UUID], total: int) -> str:
    shown = list(email_ids[:5])
    return " ".join(map(str, shown)) + (f" and {total - len(shown)} more" if total > len(shown) else "")


def _unresolved(status: Status) -> str:
    one = status.unresolved
    senders = f"{_number(one.senders, more=one.more_senders)} sender{'' if one.senders == 1 else 's'}"
    emails = f"{_number(one.emails, more=one.more_emails)} email{'' if one.emails == 1 else 's'}"
    return f'{senders} whom nobody knows, with {emails}: "email-router unresolved list"'


def _rulings(status: Status) -> str:
    """Say of which senders the mail that waited is not as ruled, since the CRM does not let it be changed."""
    one = status.rulings
    left = one.next_try_at - status.now if one.next_try_at else None
    if left is None:
        when = "not tried any more"
    else:
        when = f"tried again in {duration(left)}" if left > timedelta() else "being tried again"
    words = f"of {count(one.count, 'sender')} some mail cannot be changed (crm.ruling, crm.rule_again)"
    failed = f", {one.failed:,} failed too often to be tried again" if one.failed else ""
    return f"{words}{failed}; {one.subject}, {when}: {one.fault}"


def _owners(approved: int, waiting: Sequence[str]) -> str:
    words = f"{approved} approved"
    if not waiting:
        return words
    some = " ".join(waiting[:5]) + (" …" if len(waiting) > 5 else "")
    return (
        f"{words}, {len(waiting)} not: nothing of theirs is read or sent before you approve them\n"
        f"{_INDENT}email-router owners approve {some}"
    )
