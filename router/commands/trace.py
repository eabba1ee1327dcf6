"""`trace`: where a message is, and what became of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import typer

from router import app, profile
from router.commands.terminal import carry_out, complain, say, say_json, say_table, told_if_slow
from router.commands.words import moment, weighed
from router.errors import ProfileErrors
from router.model import normalize
from router.oauth2.late import LateTokens
from router.operations import trace as operation
from router.operations.trace import Asked, Concerned, CopyFound, EmailFound, Sought, Traced
from router.operations.words import count
from router.profile import Profiles
from router.settings import Settings

_LATELY: Final = timedelta(days=7)
_ASKED_UNTOLD: Final = 3  # mailboxes that are asked without being told to
_AGO: Final = re.compile(r"([1-9][0-9]{0,4})(min|h|d|w)", re.ASCII)
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # there is no older mail
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def trace(
    sender: str | None,
    recipient: str | None,
    subject: str | None,
    message_id: str | None,
    email: UUID | None,
    since: str | None,
    until: str | None,
    limit: int,
    *,
    ask: bool | None,
    as_json: bool,
) -> None:
    """Say where mail is; status 1: not in the CRM. `ask`: whether mail servers are asked; None: where that helps."""
    sought = sought_of(sender, recipient, subject, message_id, email, since, until, now=datetime.now(UTC))

    async def work(settings: Settings) -> Traced:
        async with app.database_of(settings) as database:
            traced = await look(database, settings, sought, limit, why=bool(ask))
            return await look_further(database, settings, traced, is_to_ask=_is_to_ask(traced, ask))

    traced = carry_out(work)
    if as_json:
        say_json(document_of(traced))
    else:
        _say_all(traced, lately=since is None and sought.since is not None, asked=ask)
    if not traced.in_crm:
        raise typer.Exit(1)


async def look(database: Any, settings: Settings, sought: Sought, limit: int, *, why: bool) -> Traced:
    """Look for mail in the database; with `why`, for what is known of mailboxes in any case."""
    return await operation.trace(
        database,
        timedelta(seconds=settings.lease),
        settings.profiles,
        sought,
        kept_for=timedelta(days=settings.keep_decisions),
        limit=limit,
        why=why,
    )


async def look_further(database: Any, settings: Settings, traced: Traced, *, is_to_ask: bool) -> Traced:
    """Look into what is held or dead in the mailboxes that are concerned, and ask their servers, if that is wanted."""
    if not traced.owners:
        return traced
    async with app.parsers_of(settings) as parsers, LateTokens(settings, database) as tokens:
        traced = await operation.look_into_letters(database, parsers, traced)
        if is_to_ask and (profiles := _usable(settings)) is not None:
            with told_if_slow("waiting for the mail server"):
                traced = await operation.ask(database, parsers, profiles.with_tokens(tokens), traced)
    return traced


def _usable(settings: Settings) -> Profiles | None:
    """Read the profiles that can be used from here, broken ones beside them or not."""
    try:
        return profile.read_folder(settings.profiles).profiles
    except ProfileErrors as error:
        complain(f"the mail servers cannot be asked from here: {error}")
        return None


# --- What is asked for -----------------------------------------------------------------------------------------------


def sought_of(
    sender: str | None,
    recipient: str | None,
    subject: str | None,
    message_id: str | None,
    email: UUID | None,
    since: str | None,
    until: str | None,
    *,
    now: datetime,
) -> Sought:
    """Read what is known of a message, as a person types it. Raises typer.BadParameter."""
    if not any((sender, recipient, subject, message_id, email, since, until)):
        raise typer.BadParameter("say what is known of the message: --from, --to, --subject, --message-id or --since")
    begin = _moment(since, "--since", now) if since else None
    end = _moment(until, "--until", now, ends=True) if until else None
    if begin is None and not message_id and not email:
        begin = (end or now) - _LATELY
    if begin is not None and begin > now:
        raise typer.BadParameter("that is in the future", param_hint="--since")
    if begin is not None and end is not None and end <= begin:
        raise typer.BadParameter("that is not after --since", param_hint="--until")
    return Sought(
        _address(sender, "--from") if sender else "",
        _address(recipient, "--to") if recipient else "",
        tuple((subject or "").split()),
        (message_id or "").strip().removeprefix("<").removesuffix(">"),
        email,
        begin,
        end,
    )


def _address(text: str, option: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    if not at or not domain or " " in local:
        raise typer.BadParameter(f"{text!r} is no address: write ann@example.com, or @example.com", param_hint=option)
    return normalize(text)


def _moment(text: str, option: str, now: datetime, *, ends: bool = False) -> datetime:
    """Read a date, a moment (in UTC unless it says otherwise) or "2h"; a date that `ends` ends with its last moment."""
    text = text.strip()
    try:
        if ago := _AGO.fullmatch(text.lower()):
            return max(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}), _FIRST)
        if (day := _named_day(text.lower(), now)) is not None:
            return day + timedelta(days=ends)
        when = datetime.fromisoformat(text)
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
        return max(when + timedelta(days=ends and _DAY.fullmatch(text) is not None), _FIRST)
    except (ValueError, OverflowError):
        ways = "2026-11-28, 2026-11-28T10:00, yesterday, tuesday, or how long ago: 30min, 2h, 3d, 1w"
        raise typer.BadParameter(f"{text!r} is no time: write {ways}", param_hint=option) from None


def _named_day(name: str, now: datetime) -> datetime | None:
    """Find the beginning of the last day of this name, in UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if name in _WEEKDAYS:
        return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(name)) % 7)
    return {"today": today, "yesterday": today - timedelta(days=1)}.get(name)


def _is_to_ask(traced: Traced, ask: bool | None) -> bool:
    if ask is not None or traced.emails:
        return bool(ask)
    sought = traced.sought
    # Of a mailbox as a whole nothing can be asked.
    is_named = sought.message_id or sought.words or (sought.sender and sought.recipient)
    return bool(is_named) and len(traced.owners) <= _ASKED_UNTOLD


# --- What is said ----------------------------------------------------------------------------------------------------


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


def _say_all(traced: Traced, *, lately: bool, asked: bool | None) -> None:
    say(traced.answer)
    said = f" (the last {_LATELY.days} days; --since says otherwise)" if lately else ""
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
