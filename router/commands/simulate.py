"""`simulate`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import Doing, carry_out, complain, say, say_json, say_table
from router.commands.words import moment
from router.errors import UnknownName
from router.model import Disposition, Rule
from router.oauth2.late import LateTokens
from router.operations import simulate as operation
from router.operations.simulate import Became, Compared, RulesFile, Simulated
from router.operations.words import count
from router.settings import Settings


def simulate(
    owner: str,
    rule: str | None,
    rules: Path | None,
    last: int,
    *,
    of_database: bool,
    details: bool,
    as_json: bool,
) -> None:
    """Compare other rules with those that hold. Status 1 if the mail server did not give all messages."""
    other = _other(rule, rules, of_database=of_database)

    async def work(settings: Settings) -> Simulated:
        reading = profile.read_folder(settings.profiles)
        async with (
            app.database_of(settings) as database,
            app.parsers_of(settings) as parsers,
            LateTokens(settings, database) as tokens,
        ):
            reading = replace(reading, profiles=reading.profiles.with_tokens(tokens))
            with Doing("comparing") as doing:
                try:
                    return await operation.simulate(
                        database,
                        parsers,
                        reading,
                        owner,
                        other,
                        last,
                        tell=lambda one: doing.show(f"{len(one.compared)} of {count(one.wanted, 'message')}"),
                    )
                except UnknownName as error:
                    raise typer.BadParameter(str(error), param_hint="--owner") from None

    found = carry_out(work)
    if isinstance(other, RulesFile):
        if as_json:
            say_json(_document_of_records(found, other.name))
        else:
            _say_records(found, other.name, details=details)
    elif as_json:
        say_json(_document(found))
    else:
        _say(found, details=details)
    if found.fault:
        complain(found.fault)
        raise typer.Exit(1)


def _other(rule: str | None, rules: Path | None, *, of_database: bool) -> Rule | RulesFile:
    if (rule is None) == (rules is None):
        raise typer.BadParameter("name one of the two: another tracking rule, or a file", param_hint="--rule, --rules")
    if of_database and rules is None:
        raise typer.BadParameter("it says what the rules of a file stand in for: name one", param_hint="--rules")
    if rules is not None:
        try:
            return RulesFile(str(rules), rules.read_bytes(), of_database)
        except OSError as error:
            raise typer.BadParameter(f"{rules}: {error.strerror}", param_hint="--rules") from None
    try:
        return Rule(str(rule))
    except ValueError:
        raise typer.BadParameter(f"{rule!r} is none of {', '.join(Rule)}", param_hint="--rule") from None


def _document(found: Simulated) -> dict[str, Any]:
    return {
        "mailbox": found.mailbox,
        "rule_now": found.now,
        "rule_then": found.then,
        "messages": len(found.compared),
        "now": _numbers([one.now.disposition for one in found.compared]),
        "then": _numbers([one.then.disposition for one in found.compared]),
        "changes": [_change(one) for one in found.compared if one.differs],
        "fault": found.fault,
    }


def _numbers(dispositions: list[Disposition]) -> dict[str, int]:
    counts = Counter(dispositions)
    return {one.value: counts[one] for one in Disposition}


def _change(one: Compared) -> dict[str, Any]:
    return {
        "folder": one.folder,
        "place": f"{one.place.validity}:{one.place.id}",
        "received_at": one.received_at,
        "email_id": one.email_id,
        "now": one.now.disposition,
        "then": one.then.disposition,
        "reasons_now": one.now.reasons,
        "reasons_then": one.then.reasons,
    }


def _say(found: Simulated, *, details: bool) -> None:
    say(f"the newest {count(len(found.compared), 'message')} of {found.mailbox} that were decided on:\n")
    now = _numbers([one.now.disposition for one in found.compared])
    then = _numbers([one.then.disposition for one in found.compared])
    rows = [(name, f"{now[name]:,}", f"{then[name]:,}") for name in now if now[name] or then[name]]
    say_table(["", f"by {found.now}, as it is", f"by {found.then}"], rows)
    changed = [one for one in found.compared if one.differs]
    if not changed:
        say("\nnone of them would have become anything else")
        return
    say()
    kinds = Counter((one.now.disposition, one.then.disposition, _last(one)) for one in changed)
    say_table(
        ["as it is", f"by {found.then}", "messages", "because"],
        [(was, becomes, f"{number:,}", why) for (was, becomes, why), number in kinds.most_common()],
    )
    if details:
        rows_of = [(one, one.now.disposition.value, one.then.disposition.value) for one in changed]
        _say_messages(rows_of, f"by {found.then}")


def _say_messages(rows: Sequence[tuple[Compared, str, str]], then: str) -> None:
    say()
    say_table(
        ["came", "folder", "place", "as it is", then, "email"],
        [
            (
                moment(one.received_at),
                one.folder,
                f"{one.place.validity}:{one.place.id}",
                was,
                becomes,
                one.email_id or "",
            )
            for one, was, becomes in rows
        ],
    )


def _document_of_records(found: Simulated, file: str) -> dict[str, Any]:
    return {
        "mailbox": found.mailbox,
        "rules": file,
        "messages": len(found.compared),
        "now": _records([one.now for one in found.compared]),
        "then": _records([one.then for one in found.compared]),
        "changes": [
            _change(one)
            | {"makes_now": one.now.makes, "by_now": one.now.by, "makes_then": one.then.makes, "by_then": one.then.by}
            for one in found.compared
            if one.differs
        ],
        "fault": found.fault,
    }


def _records(became: Sequence[Became]) -> list[dict[str, Any]]:
    counts = Counter((one.makes, one.by) for one in became)
    return [{"makes": makes, "by": by, "messages": number} for (makes, by), number in counts.most_common()]


def _say_records(found: Simulated, file: str, *, details: bool) -> None:
    say(f"the newest {count(len(found.compared), 'message')} of {found.mailbox} that were decided on:\n")
    now = Counter(_record(one.now) for one in found.compared)
    then = Counter(_record(one.then) for one in found.compared)
    rows = [(name, f"{now[name]:,}", f"{then[name]:,}") for name in dict.fromkeys((*then, *now))]
    say_table(["", "as it is", f"by {file}"], rows)
    say()
    kinds = Counter((_record(one.then), _last(one)) for one in found.compared)
    say_table(
        [f"by {file}", "messages", "because"],
        [(becomes, f"{number:,}", why) for (becomes, why), number in kinds.most_common()],
    )
    changed = [(one, _record(one.now), _record(one.then)) for one in found.compared if one.differs]
    if not changed:
        say("\nnothing else would have been made of any of them")
    elif details:
        _say_messages(changed, f"by {file}")


def _record(became: Became) -> str:
    return f"{became.makes} by '{became.by}'" if became.makes else "nothing"


def _last(one: Compared) -> str:
    """Why the other rules say so: the last step that decided."""
    return one.then.reasons[-1] if one.then.reasons else ""
