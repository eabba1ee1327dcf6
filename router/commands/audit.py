"""`audit`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import Doing, carry_out, complain, say, say_json, say_table
from router.commands.words import moment
from router.oauth2.late import LateTokens
from router.operations import audit as operation
from router.operations.audit import Disposition, FolderAudit, MailboxAudit, MissingCopy, Plan, Tally
from router.settings import Settings

_INDENT = " " * 12
_SOME = 5  # mailboxes with the same fault that are named
_TOLD = 20  # missing messages of one folder that are named, unless --json asks for all


def audit(name: str | None, owner: str | None, *, repair: bool, details: bool, quiet: bool, as_json: bool) -> None:
    """Compare what the mail servers hold with what is known; `quiet`: say nothing where nothing is and was wrong.

    Status 1 if something is missing or was not asked, or there is nothing to ask.
    """

    async def work(settings: Settings) -> tuple[Plan, list[MailboxAudit], bool]:
        reading = profile.read_folder(settings.profiles)
        found: list[MailboxAudit] = []
        async with (
            app.database_of(settings) as database,
            app.parsers_of(settings) as parsers,
            LateTokens(settings, database) as tokens,
        ):
            reading = replace(reading, profiles=reading.profiles.with_tokens(tokens))
            plan = await operation.plan(database, reading, name, owner)
            with Doing("auditing") as doing:

                def tell(one: MailboxAudit) -> None:
                    words = f"{_title(one)}, {_messages(one.tally.messages)}"
                    doing.show(f"{words}; mailbox {len(found) + 1} of {len(plan.mailboxes)}")

                async for one in operation.audit(database, parsers, plan.mailboxes, repair=repair, tell=tell):
                    found.append(one)  # noqa: PERF401  # while it grows it is counted
            running = await operation.is_any_running(database, timedelta(seconds=settings.lease))
        return plan, [*found, *plan.not_served], running

    plan, audits, running = carry_out(work)
    total = Tally()
    for one in audits:
        total.add(one.tally)
    ok = bool(audits) and not total.missing and not plan.mistakes and not any(one.faults for one in audits)
    if quiet and ok and not total.brought_in:
        return
    if as_json:
        say_json(
            {
                "ok": ok,
                "mistakes": [str(one) for one in plan.mistakes],
                "not_approved": plan.not_approved,
                **_numbers(total),
                "mailboxes": [_document(one) for one in audits],
            }
        )
    elif not audits and not plan.mistakes:
        complain(
            "there is no mailbox to audit: no profile reads a forward mailbox, or the mailbox of an approved owner; "
            "what is handed to a listener lies on no server"
        )
    else:
        _say(plan, audits, total, repair=repair, details=details, running=running)
    if not ok:
        raise typer.Exit(1)


def _say(
    plan: Plan, audits: Sequence[MailboxAudit], total: Tally, *, repair: bool, details: bool, running: bool
) -> None:
    if details:
        say_table(["profile", "mailbox", "folder", "messages", "what they are"], chain(*map(_rows, audits)))
        say()
    for one in audits:
        _say_notes(one)
    for mistake in plan.mistakes:
        say(f"not audited {mistake}")
    _say_faults(audits)
    say(_sum(plan, audits, total, running=running))
    if total.missing and not repair:
        say('"email-router audit --repair" brings in what is missing')


def _sum(plan: Plan, audits: Sequence[MailboxAudit], total: Tally, *, running: bool) -> str:
    """Put it all into one line, which says nothing of what was not asked."""
    failed = sum(bool(one.faults) for one in audits)
    folders = sum(not folder.fault for one in audits for folder in one.folders.values())
    not_audited = f"{_number(failed, 'mailbox')} not audited, or not to the end"
    if not total.messages and not folders:
        return not_audited
    words = f"{_messages(total.messages)} in {_number(folders, 'folder')}, {total.missing:,} unaccounted"
    if failed or plan.mistakes:
        words += " of what was asked"
    if failed:
        words += f"; {not_audited}"
    if total.not_certain:
        words += f"; {total.not_certain:,} not certain, dated just after reading began or not at all"
    if total.waiting:
        words += f"; {total.waiting:,} still to be read" + ("" if running else ": no router process runs")
    if total.brought_in:
        words += f"; brought in {total.brought_in:,} that nothing accounted for"
    if plan.not_approved:
        words += f"; {_number(len(plan.not_approved), 'owner')} not approved, not asked"
    return words


def _say_faults(audits: Sequence[MailboxAudit]) -> None:
    """Tell what was not audited, each fault of a profile once."""
    titles: dict[tuple[str, str], list[str]] = {}
    for one in audits:
        for folder, fault in one.faults:
            titles.setdefault((one.profile, fault), []).append(" ".join(filter(None, (_whose(one), folder))))
    for (name, fault), of_fault in titles.items():
        some = ", ".join(of_fault[:_SOME]) + (f" and {len(of_fault) - _SOME:,} more" if len(of_fault) > _SOME else "")
        say(f"not audited {f'{name} {some}'.lstrip()}: {fault}")


def _say_notes(one: MailboxAudit) -> None:
    for folder in one.folders.values():
        title = _title(one, folder.name)
        if folder.resumed:
            say(f"note        {title}: goes on where an audit of {moment(folder.resumed)} was interrupted")
        if folder.tally.waiting and folder.read_anew:
            say(f"waiting     {title}: {_messages(folder.tally.waiting)}: {folder.read_anew}")
        elif folder.tally.waiting and folder.reading_fault:
            say(f"waiting     {title}: {_messages(folder.tally.waiting)}: {folder.reading_fault}")
        if folder.tally.missing:
            _say_copies("missing", title, folder.accounted.missing, folder.tally.missing)
        if folder.tally.brought_in:
            _say_copies("brought in", title, folder.accounted.brought_in, folder.tally.brought_in)


def _say_copies(what: str, title: str, copies: Sequence[MissingCopy], number: int) -> None:
    say(f"{what:<11} {title}: {_messages(number)}")
    for one in copies[:_TOLD]:
        words = [moment(one.received_at), _place(one.place)]
        words.append(f"<{one.message_id}>" if one.message_id else "without a Message-ID")
        became = f"{one.became} (erased in the CRM)" if one.erased else one.became
        say(_INDENT + "  ".join(filter(None, (*words, became, one.fault))))
    if number > _TOLD:
        say(f"{_INDENT}and {number - _TOLD:,} more; --json tells up to 1,000 of a folder")


def _rows(one: MailboxAudit) -> Iterator[Sequence[str]]:
    for folder in one.folders.values():
        yield one.profile, _whose(one), folder.name, f"{folder.tally.messages:,}", _made_of(folder)
    for name, number in one.not_read.items():
        yield one.profile, _whose(one), name, f"{number:,}", "folder not read"


def _made_of(folder: FolderAudit) -> str:
    tally = folder.tally
    parts = [(tally.dispositions[one], str(one)) for one in Disposition]
    parts += [
        (
            tally.before_start,
            "before reading began" + (f" ({tally.not_certain:,} of them not certain)" if tally.not_certain else ""),
        ),
        (tally.waiting, "to be read"),
        (tally.rule_none, "under the rule none"),
        (tally.missing, "missing"),
    ]
    words = ", ".join(f"{number:,} {what}" for number, what in parts if number)
    return words + (f"{', ' if words else ''}not audited to its end" if folder.fault else "")


def _title(one: MailboxAudit, folder: str = "") -> str:
    return " ".join(filter(None, (one.profile, _whose(one), folder)))


def _whose(one: MailboxAudit) -> str:
    return one.mailbox or "(shared mailbox)"


def _place(place: Any) -> str:
    return f"{place.validity}:{place.id}" if place.validity else str(place.id)


def _messages(number: int) -> str:
    return _number(number, "message")


def _number(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("x") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def _numbers(tally: Tally) -> dict[str, Any]:
    return {"messages": tally.messages, **tally.as_dict()}


def _document(one: MailboxAudit) -> dict[str, Any]:
    return {
        "profile": one.profile,
        "mailbox": one.mailbox or None,
        "fault": one.fault,
        **_numbers(one.tally),
        "folders": [_folder(folder) for folder in one.folders.values()],
        "folders_not_read": dict(one.not_read),
    }


def _folder(folder: FolderAudit) -> dict[str, Any]:
    return {
        "folder": folder.name,
        "audited": folder.fault is None,
        "fault": folder.fault,
        "resumed": folder.resumed,
        "read_anew": folder.read_anew,
        "reading_fault": folder.reading_fault,
        **_numbers(folder.tally),
        "missing_messages": [_copy(one) for one in folder.accounted.missing],
        "messages_brought_in": [_copy(one) for one in folder.accounted.brought_in],
    }


def _copy(one: MissingCopy) -> dict[str, Any]:
    return {
        "place": _place(one.place),
        "received_at": one.received_at,
        "message_id": one.message_id,
        "fault": one.fault,
        "became": one.became,
        "erased": one.erased,
    }
