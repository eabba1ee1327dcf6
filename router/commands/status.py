"""`status`."""

from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID

from router import app
from router.commands.terminal import carry_out, say, say_json, say_table
from router.model import Disposition
from router.repository.owners import ListedOwner, list_owners
from router.repository.sending import Sending
from router.repository.status import OutboxStatus, Process, SourceStatus, Status, read_status
from router.settings import Settings


def show(*, as_json: bool) -> None:
    """Say how everything is."""

    async def work(settings: Settings) -> tuple[Status, list[ListedOwner]]:
        async with app.database_of(settings) as database:
            return await read_status(database, timedelta(seconds=settings.lease)), await list_owners(database)

    status, owners = carry_out(work)
    waiting = [one.owner.mailbox for one in owners if not one.approved]
    if as_json:
        told = {"approved": len(owners) - len(waiting), "not_approved": waiting}
        say_json({**asdict(status), "owners": told})
        return
    say(f"sending     {told_sending(status.sending)}")
    say(f"processes   {_told_processes(status.processes)}")
    say(f"outbox      {_told_outbox(status.outbox)}")
    for one in status.relays:
        say(f"relay       {one.profile} cannot be used since {one.fault_since:%Y-%m-%d %H:%M} UTC: {one.fault}")
    if status.unknown:
        say(
            f"unknown     {status.unknown}: the relay had them and never answered; look whether they arrived, then set "
            "crm.email.status to sent, failed or pending_send"
        )
    say(f"owners      {_told_owners(len(owners) - len(waiting), waiting)}")
    say(f"sources     {_told_sources(status.sources)}")
    if any(one.served for one in status.sources):
        say()
        _say_sources(status)


def told_sending(sending: Sending) -> str:
    """Put into words whether the router sends, and how to change that."""
    if sending.on:
        return "on" + (f": {sending.reason}" if sending.reason else "")
    if sending.copied:
        return (
            'off: this database is a copy, on another PostgreSQL than the one it comes from; "email-router sending '
            'start" makes it the one that sends'
        )
    since = f"{sending.changed_at:%Y-%m-%d %H:%M} UTC"
    return f'off since {since}: {sending.reason or "stopped by an admin"}; "email-router sending start" starts it'


def _told_processes(processes: tuple[Process, ...]) -> str:
    alive = [f"{one.host} (pid {one.pid}, since {one.started_at:%Y-%m-%d %H:%M} UTC)" for one in processes if one.alive]
    dead = len(processes) - len(alive)
    words = ", ".join(alive) if alive else 'none is running: "email-router run" starts one'
    return words + (f"; {dead} ended without a word" if dead else "")


def _told_outbox(outbox: OutboxStatus) -> str:
    words = f"{outbox.due} due, {outbox.later} later, {outbox.sending} being sent"
    return words + (f"; {outbox.not_approved} of an owner who is not approved" if outbox.not_approved else "")


def _told_owners(approved: int, waiting: list[str]) -> str:
    words = f"{approved} approved"
    if not waiting:
        return words
    some = " ".join(waiting[:5]) + (" …" if len(waiting) > 5 else "")
    return (
        f"{words}, {len(waiting)} not: nothing of theirs is read or sent before you approve them\n"
        f"            email-router owners approve {some}"
    )


def _told_sources(sources: tuple[SourceStatus, ...]) -> str:
    served = [one for one in sources if one.served]
    faulty = sum(one.fault is not None for one in served)
    total = Counter[Disposition]()
    for one in sources:
        total.update(one.dispositions)
    copies = ", ".join(f"{total[disposition]} {disposition}" for disposition in Disposition)
    words = f"{len(served)}" + (f", {faulty} at fault" if faulty else "")
    if others := len(sources) - len(served):
        words += f"; {others} not to be read now, told by --json"
    return f"{words}; copies seen: {copies}"


def _say_sources(status: Status) -> None:
    readers = {one.id: f"{one.host}:{one.pid}" for one in status.processes if one.alive}
    say_table(
        ["profile", "mailbox", "folder", "read by", *Disposition],
        [
            (
                one.profile,
                _mailbox(one),
                one.folder,
                _reader(one, readers),
                *(one.dispositions[disposition] for disposition in Disposition),
            )
            for one in status.sources
            if one.served
        ],
    )
    faulty = [one for one in status.sources if one.fault is not None]
    if faulty:
        say()
    for one in faulty:
        whose = " ".join(filter(None, (one.profile, _mailbox(one), one.folder)))
        say(f"at fault    {whose}: {one.fault}")


def _mailbox(source: SourceStatus) -> str:
    return source.mailbox or ("(forward mailbox)" if source.folder else "(listener)")


def _reader(source: SourceStatus, readers: dict[UUID, str]) -> str:
    if source.process_id is not None:
        return readers[source.process_id]
    return "nobody" if source.folder else ""
