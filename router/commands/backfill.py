"""`backfill`."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import Doing, carry_out, complain, confirm, say, say_json, who
from router.commands.words import duration, moment
from router.oauth2.late import LateTokens
from router.operations import backfill as operation
from router.operations.backfill import Backfilled, Mailbox
from router.settings import Settings


def backfill(
    name: str, owner: str | None, since: date, by: str | None, *, rehearsed: bool, yes: bool, as_json: bool
) -> None:
    """Bring in the past of mailboxes. Status 1 if any was not brought in to its end."""
    if since > datetime.now(UTC).date():
        raise typer.BadParameter(f"{since} lies in the future", param_hint="--since")

    async def work(settings: Settings) -> list[Backfilled]:
        reading = profile.read_folder(settings.profiles)
        done: list[Backfilled] = []
        async with (
            app.database_of(settings) as database,
            app.parsers_of(settings) as parsers,
            LateTokens(settings, database) as tokens,
        ):
            found = await operation.find(
                database, replace(reading, profiles=reading.profiles.with_tokens(tokens)), name, owner
            )
            if not (rehearsed or yes):
                confirm(_question(found, since))
            with Doing("bringing in" if not rehearsed else "trying out") as doing:
                estimate = _Estimate()
                async for one in operation.backfill(
                    database,
                    parsers,
                    found,
                    since,
                    by or who(),
                    rehearsed=rehearsed,
                    tell=lambda one: doing.show(f"{estimate.of(one)}; mailbox {len(done) + 1} of {len(found)}"),
                ):
                    done.append(one)
                    if not as_json:
                        _say(one, since, rehearsed=rehearsed)
        return done

    done = carry_out(work)
    if as_json:
        say_json({"since": since, "rehearsed": rehearsed, "mailboxes": [_document(one) for one in done]})
    if any(one.faults for one in done):
        if not as_json and not rehearsed:
            complain("the same command goes on where this one stopped")
        raise typer.Exit(1)


def _document(one: Backfilled) -> dict[str, Any]:
    return {
        "profile": one.profile,
        "mailbox": one.mailbox,
        "messages": one.total,
        "looked_at": one.looked_at,
        **{name: one.counts[name] for name in _ORDER},
        "faults": one.faults,
        "resumed": one.resumed,
    }


def _question(found: Sequence[Mailbox], since: date) -> str:
    mailboxes = found[0][1].mailbox if len(found) == 1 else f"{len(found)} mailboxes"
    action = found[0][0].after.action
    then = "" if action in ("keep", "seen") else f", and then do with it on the server what the profile says ({action})"
    return f"Judge the mail of {mailboxes} since {since} by today's rules, bring in what they want{then}?"


class _Estimate:
    """How long the rest of a mailbox takes, if it goes on as it did so far."""

    def __init__(self) -> None:
        self._mailbox = ""
        self._began = 0.0
        self._first = 0

    def of(self, one: Backfilled) -> str:
        now = time.monotonic()
        if one.mailbox != self._mailbox:
            self._mailbox, self._began, self._first = one.mailbox, now, one.looked_at
        words = f"{one.mailbox}, {one.looked_at:,} of about {one.total:,} messages"
        done = one.looked_at - self._first
        if not done:
            return words
        seconds = (now - self._began) / done * max(0, one.total - one.looked_at)
        return f"{words}, about {duration(timedelta(seconds=seconds))} left"


def _say(one: Backfilled, since: date, *, rehearsed: bool) -> None:
    for folder, begun_at in one.resumed.items():
        say(f"{one.mailbox} {folder}: goes on where it was stopped, begun {moment(begun_at)}")
    say(f"{one.mailbox}: {_numbers(one.counts, since, rehearsed=rehearsed)}")
    for folder, fault in one.faults.items():
        complain(f"{' '.join(filter(None, (one.mailbox, folder)))}: {fault}")


_ORDER = {
    "promoted": "promoted",
    "duplicate": "duplicates",
    "ignored": "ignored",
    "held": "held",
    "dead": "dead letters",
    "decided_before": "with a disposition already",
    "to_be_read": "new, which the router reads",
    "older": "from before",
}


def _numbers(counts: Counter[str], since: date, *, rehearsed: bool) -> str:
    parts = [
        f"{counts[name]:,} {words}" + (f" {since}" if name == "older" else "")
        for name, words in _ORDER.items()
        if counts[name]
    ]
    words = f"{counts.total():,} message{'' if counts.total() == 1 else 's'}"
    if not parts:
        return words
    return f"{words}{', would be' if rehearsed else ''}: {', '.join(parts)}"
