"""`explain MESSAGE-ID`: what became of every copy of a message, and why; of what the CRM does not have, no content."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

import typer

from router import app
from router.commands.explain import show_origin
from router.commands.terminal import carry_out, say, say_json
from router.commands.trace import look, look_further
from router.commands.traced import document_of, rows_of
from router.commands.words import moment, weighed
from router.errors import UnknownName
from router.model import Candidate, Disposition, Rule, Verdict, normalize
from router.operations import explain as operation
from router.operations.explain import Origin
from router.operations.trace import Concerned, EmailFound, Sought, Traced
from router.operations.words import vouching
from router.settings import Settings

_EMAILS: Final = 20  # of one Message-ID that are told
_MEANINGS: Final = {
    Disposition.PROMOTED: "it became the email",
    Disposition.DUPLICATE: "the same email, here received, too",
    Disposition.IGNORED: "nothing of it is stored",
    Disposition.HELD: "it waits for a person",
    Disposition.DEAD: "it could not be read or stored",
}


@dataclass(frozen=True, slots=True)
class _Copy:
    """One copy, as a person is told of it; `letter` is the number of one that is held or dead, where it is known."""

    mailbox: str
    lies_in: str
    received_at: datetime
    disposition: Disposition | None = None
    rule: Rule | None = None
    decided_at: datetime | None = None
    reasons: Sequence[str] = ()
    candidates: Sequence[Candidate] = ()
    letter: int | None = None
    words: str = ""
    verdict: Verdict | None = None


def looks_like_id(written: str) -> bool:
    """Whether this may be a Message-ID: it has one @ within, and no blanks; or is in angle brackets."""
    left, at, right = written.strip().removeprefix("<").removesuffix(">").partition("@")
    return bool(left and at and right) and not any(one.isspace() for one in written.strip())


def explain_message(message_id: str, owner: str | None, *, ask: bool | None, as_json: bool) -> None:
    """Tell of every copy of a message; status 1: the CRM does not have it.

    `owner`: whose mailbox is looked into where the CRM has none, or servers are asked; None: those of all. `ask`:
    whether mail servers are asked; None: where the CRM has none.
    """
    sought = Sought(message_id=message_id.strip().removeprefix("<").removesuffix(">"))

    async def work(settings: Settings) -> tuple[Traced, list[Origin]]:
        async with app.database_of(settings) as database:
            traced = await look(database, settings, sought, _EMAILS, why=False)
            if ask or not traced.emails:
                within = replace(sought, recipient=normalize(owner) if owner else "")
                there = await look(database, settings, within, _EMAILS, why=True)
                if traced.emails:
                    there = replace(there, emails=traced.emails, more=traced.more)
                traced = await look_further(database, settings, there, is_to_ask=ask is not False)
            return traced, await _origins(database, traced)

    traced, origins = carry_out(work)
    tries = list(_to_try(traced, owner=owner, asked=ask is not False))
    if as_json:
        document = document_of(traced)
        say_json(document | {"origins": [asdict(one) for one in origins], "to_try": tries})
    else:
        _say_all(traced, origins, tries)
    if not traced.in_crm:
        raise typer.Exit(1)


async def _origins(database: Any, traced: Traced) -> list[Origin]:
    found = []
    for email in traced.emails:
        try:
            found.append(await operation.origin(database, email.id))
        except UnknownName:
            continue  # erased at this moment
    return found


def _say_all(traced: Traced, origins: Sequence[Origin], tries: Sequence[str]) -> None:
    if not traced.in_crm:
        seen = any(_lying(one) or _is_letter(one) for one in traced.owners)
        has = "no copy of it is in the CRM" if seen else "no copy of it is known to the router"
        say(f"{traced.sought.message_id}: {has}")
    say(traced.answer)
    _say_emails(traced.emails, origins)
    for clue in traced.clues:
        say(f"  {clue.kind:<13} {clue.words}")
    for owner in traced.owners:
        _say_owner(owner)
    if traced.other_owners:
        say()
        say(f"and {traced.other_owners} more mailboxes: name one by --owner")
    if tries:
        say()
        say("what to try:")
        for one in tries:
            say(f"  - {one}")


def _say_emails(emails: Sequence[EmailFound], origins: Sequence[Origin]) -> None:
    who = {one.id: one for one in origins}
    for email in emails:
        say()
        if email.id in who:
            show_origin(who[email.id])
        if email.direction == "out":
            for what, words in rows_of(email):
                _row(what, words)
        for one in email.copies:
            place = (
                f"{one.folder} (profile {one.profile})" if one.folder else f"no folder: handed to profile {one.profile}"
            )
            _say_copy(
                _Copy(
                    one.mailbox,
                    place,
                    one.received_at,
                    one.disposition,
                    one.rule,
                    one.decided_at,
                    one.reasons,
                    one.candidates,
                    one.letter,
                    f"forwarded by {one.forwarder}" if one.forwarder else "",
                    one.verdict,
                )
            )


def _say_owner(owner: Concerned) -> None:
    for copy in _lying(owner):
        _say_copy(copy)
    # Where a copy was found, what else is known of the mailbox explains nothing.
    told = [one for one in owner.clues if _is_told(one.kind)] if _lying(owner) else owner.clues
    asked = owner.asked
    if not told and (asked is None or (asked.copies and not asked.fault)):
        return
    say()
    say(owner.mailbox)
    for clue in told:
        say(f"  {clue.kind:<13} {clue.words}")
    if asked and asked.fault:
        say(f"  {'server':<13} could not be asked for all: {asked.fault}")
    elif asked and not asked.copies:
        looked = f"; looked into {', '.join(asked.folders)}" if asked.folders else ""
        say(f"  {'server':<13} {'does not have it' if asked.certain else 'does not find it'}{looked}")


def _is_told(kind: str) -> bool:
    return kind in ("is held", "is dead")


def _is_letter(owner: Concerned) -> bool:
    return any(_is_told(one.kind) for one in owner.clues)


def _lying(owner: Concerned) -> list[_Copy]:
    """Name the copies that the mail server of an owner has."""
    found = []
    for one in owner.asked.copies if owner.asked else ():
        known = one.known
        if known is None or known.email_id is not None:
            found.append(_Copy(owner.mailbox, one.folder, one.received_at, words=one.words))
        else:
            found.append(
                _Copy(
                    owner.mailbox, one.folder, one.received_at, known.disposition, known.rule, known.decided_at,
                    known.reasons, known.candidates, known.letter, verdict=known.verdict,
                )
            )  # fmt: skip
    return found


def _say_copy(copy: _Copy) -> None:
    say()
    became = f"{copy.disposition}: {_MEANINGS[copy.disposition]}" if copy.disposition else copy.words or "received"
    say(f"  the copy of {copy.mailbox or 'an owner who is gone'}: {became}")
    decided = f", decided {moment(copy.decided_at)}" if copy.decided_at else ""
    _row("rule", f"{copy.rule}{decided}" if copy.rule else "")
    for reason in copy.reasons:
        _row("because", reason)
    if copy.disposition and copy.words:
        _row("because", copy.words)
    _row("sender", vouching(copy.verdict) if copy.verdict else "")
    for candidate in copy.candidates:
        _row("candidate", weighed(candidate))
    _row("lies in", f"{copy.lies_in}, came {moment(copy.received_at)}")
    if copy.letter is not None and copy.disposition is not None:
        command = "held" if copy.disposition is Disposition.HELD else "dead-letters"
        _row("look at it", f'"email-router {command} show {copy.letter}"')
    if copy.disposition is None and not copy.words:
        _row("because", "that is no longer kept")


def _row(what: str, words: str) -> None:
    if words:
        say(f"    {what:<10}  {words}")


def _to_try(traced: Traced, *, owner: str | None, asked: bool) -> Iterator[str]:
    """Name what may bring the message in, or find it, where the CRM does not have it."""
    if traced.in_crm:
        return
    copies = [copy for one in traced.owners for copy in _lying(one)]
    ignored = [copy.mailbox for copy in copies if copy.disposition is Disposition.IGNORED]
    if ignored:
        yield (
            f'where it should have come in: change what ignored it, then "email-router backfill PROFILE --since DATE '
            f'--owner {ignored[0]}"; "email-router simulate" tells first what another rule would do'
        )
    letters = [copy for copy in copies if copy.disposition in (Disposition.HELD, Disposition.DEAD)]
    if letters or any(_is_letter(one) for one in traced.owners):
        yield '"email-router held release NUMBER" or "email-router dead-letters replay NUMBER" lets it in'
    if copies or letters:
        return
    if not asked:
        yield "--ask asks the mail servers whether they have it"
    if owner is None:
        yield "--owner ADDRESS looks into that mailbox alone"
    yield "compare the Message-ID with the header of the message itself: a relay may have given it another one"
    yield '"email-router trace --from ADDRESS --to ADDRESS --since TIME" looks for it by what else is known of it'
    yield 'with the message as a file, "email-router explain FILE --owner ADDRESS" tells what would become of it'
