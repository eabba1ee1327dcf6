"""`outbox list|show|retry|cancel|release`."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import typer

from router import app, profile
from router.commands.terminal import Progress, carry_out, confirm, say, say_json, say_table, who
from router.commands.words import moment
from router.errors import UnknownName
from router.model import normalize
from router.oauth2.late import LateTokens
from router.operations import outbox as operation
from router.operations.outbox import Attempt, Entry, Meant, Rule, Ruled, Selection, Shown, State
from router.operations.words import count
from router.settings import Settings

_SOME = 20  # emails that are named in the question whether to go on


@dataclass(frozen=True, slots=True)
class Asked:
    """Which emails a command is to rule on: these, or all of a selection."""

    names: Sequence[str]
    everything: bool
    state: State | None
    owner: str | None
    profile: str | None
    since: datetime | None


def show_all(
    state: State | None,
    owner: str | None,
    of_profile: str | None,
    since: datetime | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List emails."""

    async def work(settings: Settings) -> tuple[list[Entry], int]:
        async with app.database_of(settings) as database:
            return await operation.list_all(database, state, _selection(owner, of_profile, since), limit)

    entries, number = carry_out(work)
    if as_json:
        say_json({"emails": [_document(one) for one in entries], "number": number})
        return
    if not entries:
        say("there is no such email in the outbox")
        return
    say_table(["email", "status", "owner", "profile", "attempts", "next try", "why"], map(_row, entries))
    if number > len(entries):
        say(f"{number - len(entries)} more; --limit shows them")


def show(name: str, *, as_json: bool) -> None:
    """Show one email."""

    async def work(settings: Settings) -> Shown:
        async with app.database_of(settings) as database:
            try:
                return await operation.show(database, name)
            except UnknownName as error:
                raise typer.BadParameter(str(error), param_hint="EMAIL") from None

    shown = carry_out(work)
    entry = shown.entry
    if as_json:
        attempts = [asdict(one) | {"replies": _replies(one)} for one in shown.attempts]
        say_json(_document(entry) | {"of_recipients": [asdict(one) for one in shown.recipients], "tries": attempts})
        return
    for what, words in (
        ("email", entry.email_id),
        ("status", ": ".join(filter(None, (entry.status, entry.reason)))),
        ("waits", entry.because),
        ("next try", entry.next_try_at and moment(entry.next_try_at)),
        ("owner", entry.owner or "nobody"),
        ("profile", entry.profile),
        ("Message-ID", entry.message_id),
        ("subject", entry.subject),
        ("recipients", f"{entry.recipients}, a relay took it for {entry.accepted}"),
    ):
        if words:
            say(f"  {what:<10}  {words}")
    for recipient in shown.recipients:
        said = " ".join(filter(None, (recipient.code, recipient.text)))
        say(f"  {recipient.address}: {recipient.state}{f' ({said})' if said else ''}")
    # `number` begins anew each time that the email is set to pending again.
    for place, attempt in enumerate(shown.attempts, 1):
        when = moment(attempt.started_at) if attempt.started_at else "not begun"
        where = " at ".join(filter(None, (attempt.profile, attempt.relay)))
        say(f"attempt {place}, {when}, {where}: {attempt.outcome or 'no outcome is known'}")
        for reply in _replies(attempt):
            said = " ".join(filter(None, (reply["state"], reply["code"], reply["text"])))
            say(f"  {', '.join(reply['recipients'])}: {said}")


def retry(asked: Asked, *, yes: bool, as_json: bool) -> None:
    """Try emails now."""
    _allow(asked.state, "failed", "given_up", "pending")
    _rule(asked, "failed", "retrying", lambda database, _, meant: operation.retry(database, meant), yes, as_json)


def cancel(asked: Asked, by: str | None, *, yes: bool, as_json: bool) -> None:
    """Cancel emails."""
    _allow(asked.state, "pending", "failed", "given_up")
    name = by or who()
    _rule(
        asked, "pending", "canceling", lambda database, _, meant: operation.cancel(database, name, meant), yes, as_json
    )


def release(
    asked: Asked, as_: Literal["sent", "failed", "resend"], by: str | None, *, force: bool, yes: bool, as_json: bool
) -> None:
    """Say what became of unknown emails."""
    name = by or who()

    async def rule(database: Any, settings: Settings, meant: Meant | Sequence[Entry]) -> AsyncIterator[Ruled]:
        async with LateTokens(settings, database) as tokens:
            profiles = _profiles(settings, as_).with_tokens(tokens)
            async for one in operation.release(database, profiles, name, as_, meant, force=force):
                yield one

    _rule(asked, "unknown", "releasing", rule, yes, as_json, always_ask=True)


def _profiles(settings: Settings, as_: str) -> profile.Profiles:
    return profile.load(settings.profiles) if as_ == "resend" else profile.Profiles((), ())


def _rule(
    asked: Asked,
    usual: State,
    doing: str,
    rule: Rule,
    yes: bool,
    as_json: bool,
    *,
    always_ask: bool = False,
) -> None:
    """Rule on emails, after asking; each is told as soon as it is done. Status 1 if one was not done."""
    _check(asked)
    meant = Meant(asked.state or usual, _selection(asked.owner, asked.profile, asked.since))

    async def look(settings: Settings) -> tuple[list[Entry], int]:
        async with app.database_of(settings) as database:
            if asked.everything:
                return await operation.list_all(database, meant.state, meant.selection, _SOME)
            try:
                found = await operation.find(database, asked.names)
            except UnknownName as error:
                raise typer.BadParameter(str(error), param_hint="EMAIL") from None
            return found, len(found)

    entries, number = carry_out(look)
    if number and not yes and (asked.everything or always_ask):
        _confirm(doing, entries, number)
    documents: list[dict[str, Any]] = []

    async def work(settings: Settings) -> Counter[str]:
        counts: Counter[str] = Counter()
        async with app.database_of(settings) as database:
            with Progress(doing, number) as progress:
                async for one in rule(database, settings, meant if asked.everything else entries):
                    with progress.advanced():
                        counts["not done" if one.fault else one.status] += 1
                        documents.append(_outcome(one)) if as_json else say(_told(one))
        return counts

    counts = carry_out(work) if number else Counter[str]()
    if as_json:
        say_json({"emails": documents})
    else:
        told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
        say(told or "there is no such email in the outbox")
    if counts["not done"]:
        raise typer.Exit(1)


def _check(asked: Asked) -> None:
    if bool(asked.names) == asked.everything:
        raise typer.BadParameter("name emails, or say --all", param_hint="EMAIL")
    if asked.names and (asked.state or asked.owner or asked.profile or asked.since):
        raise typer.BadParameter("--state, --owner, --profile and --since go with --all", param_hint="EMAIL")


def _confirm(doing: str, entries: Sequence[Entry], number: int) -> None:
    for one in entries[:_SOME]:
        typer.echo(_known(one), err=True)
    confirm(f"{doing} {count(number, 'email')}: go on?")


def _allow(state: State | None, *states: State) -> None:
    if state is not None and state not in states:
        raise typer.BadParameter(f"it has to be {', '.join(states)}", param_hint="--state")


def _selection(owner: str | None, of_profile: str | None, since: datetime | None) -> Selection:
    return Selection(normalize(owner) if owner else None, of_profile, since.replace(tzinfo=UTC) if since else None)


def _known(entry: Entry) -> str:
    tried = f"last tried {moment(entry.last_attempt_at)}" if entry.last_attempt_at else "never tried"
    by = f" by {entry.profile}" if entry.profile else ""
    to = count(entry.recipients, "recipient")
    return f"{entry.email_id}: {entry.status}, {tried}{by}, to {to}, {entry.accepted} of them accepted"


def _row(entry: Entry) -> Sequence[object]:
    return (
        entry.email_id,
        entry.status,
        entry.owner or "nobody",
        entry.profile or "",
        entry.attempts,
        moment(entry.next_try_at) if entry.next_try_at else "",
        entry.because or entry.reason or "",
    )


def _told(ruled: Ruled) -> str:
    if ruled.fault:
        return f"{ruled.entry.email_id}: not done: {ruled.fault}"
    return f"{ruled.entry.email_id}: {ruled.status}" + (f" ({ruled.note})" if ruled.note else "")


def _outcome(ruled: Ruled) -> dict[str, Any]:
    return {"email": ruled.entry.email_id, "status": ruled.status, "fault": ruled.fault, "note": ruled.note}


def _document(entry: Entry) -> dict[str, Any]:
    document = asdict(entry)
    del document["at"]
    return {"email": document.pop("email_id")} | document


def _replies(attempt: Attempt) -> list[dict[str, Any]]:
    replies = attempt.replies
    return (json.loads(replies) if isinstance(replies, str) else replies) or []
