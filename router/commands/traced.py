"""How is told where a message is, and what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from router.commands.sought import LATELY
from router.commands.terminal import say, say_table
from router.commands.words import moment, weighed
from router.operations.trace import Asked, Concerned, CopyFound, EmailFound, Sought, Traced
from router.operations.words import count, vouching


def document_of(traced: Traced) -> dict[str, Any]:
    """Put what was found as JSON."""
    return {
        "in_crm": traced.in_crm,
        "answer": traced.answer,
        "sought": asdict(traced.sought),
        "emails": [asdict(one) for one in traced.emails],
        "more": traced.more,
        "clues": [asdict(one) for one in traced.clues],
        "other_owners": traced.other_owners,
        "owners": [
            {
                "mailbox": one.mailbox,
                "role": one.role,
                "approved": one.approved,
                "profile": one.profile,
                "clues": [asdict(clue) for clue in one.clues],
                "asked": _asked_document(one.asked) if one.asked else None,
            }
            for one in traced.owners
        ],
    }


def _asked_document(asked: Asked) -> dict[str, Any]:
    copies = [
        {
            "folder": one.folder,
            "received_at": one.received_at,
            "words": one.words,
            "disposition": one.known.disposition if one.known else None,
            "reasons": one.known.reasons if one.known else (),
            "rule": one.known.rule if one.known else None,
            "decided_at": one.known.decided_at if one.known else None,
            "candidates": [asdict(candidate) for candidate in one.known.candidates] if one.known else (),
            "verdict": asdict(one.known.verdict) if one.known and one.known.verdict else None,
            "email_id": one.email_id,
        }
        for one in asked.copies
    ]
    return {
        "folders": asked.folders,
        "copies": copies,
        "more": asked.more,
        "certain": asked.certain,
        "fault": asked.fault,
    }


def say_traced(traced: Traced, *, lately: bool, asked: bool | None) -> None:
    """Print what was found. `lately`: nobody said since when; `asked`: whether servers were to be asked."""
    say(traced.answer)
    said = f" (the last {LATELY.days} days; --since says otherwise)" if lately else ""
    say(f"  sought      {_in_words(traced.sought)}{said}")
    if len(traced.emails) == 1:
        _say_email(traced.emails[0])
    elif traced.emails:
        say()
        say_table(["came or written", "from", "to", "subject", "became", "where", "email"], map(_line, traced.emails))
        say()
        if traced.more:
            say("there are more: --limit shows them")
        say("--email ID shows one of them with all that is known of it")
    for clue in traced.clues:
        say(f"  {clue.kind:<13} {clue.words}")
    for owner in traced.owners:
        _say_owner(owner, traced)
    if traced.other_owners:
        say()
        say(f"and {traced.other_owners} more mailboxes: name one by --to")
    if not any(one.asked for one in traced.owners) and (why := _why_not_asked(traced, asked=asked)):
        say(f"  server        {why}")


def _in_words(sought: Sought) -> str:
    said = [
        *([f"from {sought.sender}"] if sought.sender else []),
        *([f"to {sought.recipient}"] if sought.recipient else []),
        *([f'with "{" ".join(sought.words)}" in the subject'] if sought.words else []),
        *([f"Message-ID {sought.message_id}"] if sought.message_id else []),
        *([f"email {sought.email_id}"] if sought.email_id else []),
        *([f"since {moment(sought.since)}"] if sought.since else []),
        *([f"until {moment(sought.until)}"] if sought.until else []),
    ]
    return ", ".join(said)


def _why_not_asked(traced: Traced, *, asked: bool | None) -> str:
    """Say why no server was asked, as far as that is not said already. `asked`: whether that was asked for."""
    sought = traced.sought
    if traced.emails:
        # An id is of one email, and what the CRM wrote came from no server.
        more = not (asked is not None or sought.email_id or sought.message_id) and any(
            one.direction == "in" for one in traced.emails
        )
        return "not asked for more that fits: --ask does so" if more else ""
    if not traced.owners:
        if sought.recipient or asked:
            return "not asked: no owner has that mailbox"
        return "not asked: say in whose mailbox it would be, by --to; or --ask asks all"
    return "not asked: --ask does so" if not asked and any(one.profile for one in traced.owners) else ""


def _line(email: EmailFound) -> Sequence[object]:
    to = list(email.recipients)
    copies = [_where(one) for one in email.copies]
    return (
        moment(email.at),
        email.sender,
        " ".join(to[:2]) + (f" and {len(to) - 2} more" if len(to) > 2 else ""),
        email.subject,
        email.status,
        (copies[0] if copies else "") + (f" and {len(copies) - 1} more" if len(copies) > 1 else ""),
        email.id,
    )


def _say_email(email: EmailFound) -> None:
    for what, words in (*rows_of(email), *_copies(email)):
        if words:
            say(f"  {what:<10}  {words}")


def rows_of(email: EmailFound) -> Iterator[tuple[str, str]]:
    """Put what an email is in rows, and what became of its recipients; some are empty."""
    yield "email", str(email.id)
    yield "from", email.sender
    yield "to", ", ".join(email.recipients)
    yield "subject", email.subject
    yield ("received" if email.direction == "in" else "written"), moment(email.at)
    yield "message-id", email.message_id or ""
    yield "regarding", email.regarding or ""
    if email.direction == "out":
        yield "status", email.status + (f": {email.status_reason}" if email.status_reason else "")
        yield "sent", moment(email.sent_at) if email.sent_at else ""
        if email.next_at:
            tried = f", tried {count(email.attempts, 'time')} before" if email.attempts else ""
            yield "due", moment(email.next_at) + tried
        for one in email.deliveries:
            if one.state:
                yield "recipient", f"{one.address}: {' '.join(filter(None, (one.state, one.code, one.words)))}"


def _copies(email: EmailFound) -> Iterator[tuple[str, str]]:
    for copy in email.copies:
        yield "copy", f"{_where(copy)}, came {moment(copy.received_at)}: {_became(copy)}"
        if copy.verdict:
            yield "sender", vouching(copy.verdict)
        for candidate in copy.candidates:
            yield "candidate", weighed(candidate)


def _where(copy: CopyFound) -> str:
    place = " ".join(filter(None, (copy.mailbox, copy.folder)))
    by = f", forwarded by {copy.forwarder}" if copy.forwarder else ""
    return f"{place} ({copy.profile}{by})"


def _became(copy: CopyFound) -> str:
    if copy.disposition is None:
        return "received; why is no longer kept"
    decided = f" {moment(copy.decided_at)}" if copy.decided_at else ""
    return f"{copy.disposition}{decided} (rule {copy.rule}): {'; '.join(copy.reasons)}"


def _say_owner(owner: Concerned, traced: Traced) -> None:
    say()
    say(f"{owner.mailbox}" + (" (as the sender)" if owner.role == "sender" else ""))
    for clue in owner.clues:
        say(f"  {clue.kind:<13} {clue.words}")
    if owner.asked:
        for words in _server(owner.asked, traced.sought):
            say(f"  {'server':<13} {words}")


def _server(asked: Asked, sought: Sought) -> Iterator[str]:
    for one in asked.copies:
        yield f"has it in {one.folder}, since {moment(one.received_at)}: {one.words}"
    if asked.more:
        yield f"and {asked.more} more like it"
    looked = f"; looked into {', '.join(asked.folders)}" if asked.folders else ""
    if asked.fault:
        yield ("was not asked for all" if asked.folders else "could not be asked") + f": {asked.fault}{looked}"
    elif not asked.copies:
        nothing = "has nothing with these as whole words" if sought.words else "does not have it"
        yield (nothing if asked.certain else "does not find it") + looked
