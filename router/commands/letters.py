"""`dead-letters list|show|replay|drop` and `held list|show|release|drop`."""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

import typer

from router import app, profile
from router.commands.explain import document_of, show_read
from router.commands.terminal import Progress, carry_out, complain, confirm, say, say_json, say_table, who
from router.commands.words import moment, weighed
from router.errors import UnknownName
from router.model import Disposition, normalize
from router.oauth2.late import LateTokens
from router.operations import letters as operation
from router.operations.letters import Became, Letter, Selection, Shown
from router.operations.words import count
from router.settings import Settings

_DOING = {"replay": "replaying", "release": "releasing", "drop": "dropping"}


def show_all(
    waiting: Literal["dead", "held"],
    of_profile: str | None,
    owner: str | None,
    before: datetime | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """List letters."""

    async def work(settings: Settings) -> tuple[list[Letter], int]:
        async with app.database_of(settings) as database:
            which = _selection(of_profile, owner, before)
            return await operation.list_all(database, Disposition(waiting), which, limit)

    letters, number = carry_out(work)
    if as_json:
        say_json({"letters": [_document(one) for one in letters], "number": number})
        return
    if not letters:
        say(f"there is no {_what(waiting)}")
        return
    say_table(["number", "decided", "from", "owner", "bytes kept until", "reasons"], map(_row, letters))
    if number > len(letters):
        say(f"{number - len(letters)} more; --limit shows them")


def show(waiting: Literal["dead", "held"], number: int, *, raw: bool, as_json: bool) -> None:
    """Show one letter."""

    async def work(settings: Settings) -> Shown:
        async with app.database_of(settings) as database, app.parsers_of(settings) as parsers:
            return await operation.show(database, parsers, Disposition(waiting), number)

    shown = carry_out(work)
    if raw:
        if not shown.content:
            complain("its bytes are not kept, or no longer")
            raise typer.Exit(1)
        sys.stdout.buffer.write(shown.content)
        return
    letter, read = shown.letter, shown.explained
    if as_json:
        say_json(_document(letter) | {"read": document_of(read) if read else None})
        return
    for what, words in (
        (letter.disposition, "; ".join(letter.reasons)),
        ("received", moment(letter.received_at)),
        ("decided", moment(letter.decided_at)),
        ("from", _source(letter)),
        ("place", _place(letter)),
        ("owner", letter.owner or "nobody"),
        ("rule", letter.rule),
        *(("candidate", weighed(one)) for one in letter.candidates),
        ("bytes", f"kept until {moment(letter.kept_until)}" if letter.kept_until else "not kept"),
    ):
        say(f"  {what:<10}  {words}")
    if read:
        say()
        show_read(read)


def rule(
    waiting: Literal["dead", "held"],
    verb: Literal["replay", "release", "drop"],
    numbers: Sequence[int],
    everything: bool,
    of_profile: str | None,
    owner: str | None,
    before: datetime | None,
    by: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Have letters decided on again, or drop them, after asking; each is told as soon as it is done."""
    if bool(numbers) == everything:
        raise typer.BadParameter("name numbers, or say --all", param_hint="NUMBER")
    if numbers and (of_profile or owner or before):
        raise typer.BadParameter("--profile, --owner and --before go with --all", param_hint="NUMBER")
    # What comes while somebody is asked is not among what was asked about.
    which = _selection(of_profile, owner, before or datetime.now(UTC)) if everything else numbers
    disposition = Disposition(waiting)
    if verb == "drop" and not yes:
        _confirm(disposition, which)
    documents: list[dict[str, Any]] = []

    async def work(settings: Settings) -> Counter[str]:
        profiles = profile.load(settings.profiles)
        counts: Counter[str] = Counter()
        async with (
            app.database_of(settings) as database,
            app.parsers_of(settings) as parsers,
            LateTokens(settings, database) as tokens,
        ):
            profiles = profiles.with_tokens(tokens)
            if verb == "drop":
                done = operation.drop(database, profiles, disposition, by or who(), which)
            else:
                again = operation.replay if verb == "replay" else operation.release
                done = again(database, parsers, profiles, by or who(), which)
            with Progress(_DOING[verb], await operation.count(database, disposition, which)) as progress:
                async for became in _refused_by_usage(done):
                    with progress.advanced():
                        counts["waiting"] += became.waits
                        counts.update(["not done"] if became.fault else [one.disposition for one in became.decisions])
                        documents.append(_outcome(became)) if as_json else say(_told(became))
        return counts

    counts = carry_out(work)
    if as_json:
        say_json({"letters": documents})
    elif not counts.total():
        say(f"there is no {_what(waiting)}")
    else:
        say(", ".join(f"{number} {what}" for what, number in sorted(counts.items()) if what != "waiting" and number))
    if counts["waiting"]:
        raise typer.Exit(1)


def _confirm(disposition: Disposition, which: Selection | Sequence[int]) -> None:
    """Ask whether to drop letters, if there are any."""

    async def look(settings: Settings) -> int:
        async with app.database_of(settings) as database:
            return await operation.count(database, disposition, which)

    if number := carry_out(look):
        what = count(number, "dead letter") if disposition == Disposition.DEAD else f"{number} held mail"
        confirm(f"dropping {what} for good, with the bytes that are kept: go on?")


async def _refused_by_usage(done: AsyncIterator[Became]) -> AsyncIterator[Became]:
    try:
        async for became in done:
            yield became
    except UnknownName as error:
        raise typer.BadParameter(str(error), param_hint="NUMBER") from None


def _selection(of_profile: str | None, owner: str | None, before: datetime | None) -> Selection:
    return Selection(of_profile, normalize(owner) if owner else None, before.replace(tzinfo=UTC) if before else None)


def _what(waiting: str) -> str:
    return "dead letter" if waiting == Disposition.DEAD else "held mail"


def _row(letter: Letter) -> Sequence[object]:
    return (
        letter.id,
        moment(letter.decided_at),
        _source(letter),
        letter.owner or "nobody",
        moment(letter.kept_until) if letter.kept_until else "not kept",
        "; ".join(letter.reasons),
    )


def _source(letter: Letter) -> str:
    source = letter.source
    return " ".join(filter(None, (source.profile, source.mailbox, source.folder or "(listener)")))


def _place(letter: Letter) -> str:
    return f"{letter.place.validity}:{letter.place.id}" if letter.place.validity else letter.place.id


def _told(became: Became) -> str:
    if became.fault:
        return f"{became.letter.id}: not done: {became.fault}"
    words = [f"{one.disposition} ({'; '.join(one.reasons)})" for one in became.decisions]
    return f"{became.letter.id}: {', '.join(words)}"


def _outcome(became: Became) -> dict[str, Any]:
    return {
        "number": became.letter.id,
        "fault": became.fault,
        "decisions": [
            {"disposition": one.disposition, "reasons": one.reasons, "email_id": one.email_id}
            for one in became.decisions
        ],
    }


def _document(letter: Letter) -> dict[str, Any]:
    return {
        "number": letter.id,
        "disposition": letter.disposition,
        "reasons": letter.reasons,
        "rule": letter.rule,
        "profile": letter.source.profile,
        "mailbox": letter.source.mailbox or None,
        "folder": letter.source.folder or None,
        "place": _place(letter),
        "owner": letter.owner,
        "received_at": letter.received_at,
        "decided_at": letter.decided_at,
        "kept_until": letter.kept_until,
        "candidates": [asdict(one) for one in letter.candidates],
    }
