"""`simulate`."""

from collections import Counter
from dataclasses import replace
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import Doing, carry_out, complain, say, say_json, say_table
from router.commands.words import moment
from router.errors import UnknownName
from router.model import Disposition, Rule
from router.oauth2.late import LateTokens
from router.operations import simulate as operation
from router.operations.simulate import Compared, Simulated
from router.operations.words import count
from router.settings import Settings


def simulate(owner: str, rule: str, last: int, *, details: bool, as_json: bool) -> None:
    """Compare a rule with the one that holds. Status 1 if the mail server did not give all messages."""
    try:
        other = Rule(rule)
    except ValueError:
        raise typer.BadParameter(f"{rule!r} is none of {', '.join(Rule)}", param_hint="--rule") from None

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
    if as_json:
        say_json(_document(found))
    else:
        _say(found, details=details)
    if found.fault:
        complain(found.fault)
        raise typer.Exit(1)


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
        say()
        say_table(
            ["came", "folder", "place", "as it is", f"by {found.then}", "email"],
            [
                (
                    moment(one.received_at),
                    one.folder,
                    f"{one.place.validity}:{one.place.id}",
                    one.now.disposition,
                    one.then.disposition,
                    one.email_id or "",
                )
                for one in changed
            ],
        )


def _last(one: Compared) -> str:
    """Why the other rule says so: the last step that decided."""
    return one.then.reasons[-1] if one.then.reasons else ""
