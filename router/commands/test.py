"""`test`: connects to every profile for real, and says what works."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import Progress, carry_out, complain, say, say_json, say_marked
from router.errors import Mistake, ProfileErrors, UnknownName
from router.operations.probe import Probed, Profile, Subject, choose, plan, probe
from router.profile import Profiles, Reading
from router.profile.patterns import parse
from router.settings import Settings
from transports.base import Finding

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failed": ("FAILED", "bold red")}
_STEP_WIDTH = len("capabilities")


def test(name: str | None, owners: Sequence[str], send_to: str | None, *, as_json: bool) -> None:
    """Try the profiles, or this one; for all approved owners, or these. Ends with status 1 if something fails.

    With `send_to`, a message goes there through each relay that is tried.
    """
    mailboxes = [_address(owner, "--owner") for owner in owners]
    to = None if send_to is None else _address(send_to, "--send-to")

    async def work(settings: Settings) -> tuple[list[Probed], Sequence[str], Sequence[Mistake]]:
        profiles, mistakes = _read(settings, name, as_json=as_json)
        async with app.with_tokens(settings, profiles) as (profiles, database):
            opened = None if database is None else nullcontext(database)
            chosen = _chosen(profiles, name)
            subjects, unserved = await plan(profiles, chosen, mailboxes, lambda: opened or app.database_of(settings))
            report = _Report(len(subjects), silent=as_json)
            with report.progress:
                async for one in probe(subjects, to):
                    report.add(one)
        return report.probed, unserved, mistakes

    probed, unserved, mistakes = carry_out(work)
    failed = [one for one in probed if one.failed]
    # Who asks for one profile does not ask for the others.
    ok = not failed and not unserved and (name is not None or not mistakes)
    if as_json:
        examined = list(map(_described, probed))
        say_json({"ok": ok, "mistakes": list(map(asdict, mistakes)), "examined": examined, "notes": unserved})
    else:
        if probed:
            _say_sum(probed, failed)
        for note in unserved:
            complain(note)
        if mistakes:
            complain("not tried, since these profiles are broken:\n" + "\n".join(map(str, mistakes)))
    if not ok:
        raise typer.Exit(1)


def _read(settings: Settings, name: str | None, *, as_json: bool) -> tuple[Profiles, Sequence[Mistake]]:
    """Read the sound profiles, and the mistakes in others; where what is asked for is not sound, that is all there is.

    Owners of a broken profile are no other's.
    """
    try:
        reading = _sound(profile.read_folder(settings.profiles), name)
    except ProfileErrors as error:
        if not as_json:
            raise
        say_json({"ok": False, "mistakes": list(map(asdict, error.mistakes)), "examined": [], "notes": []})
        raise typer.Exit(1) from None
    return reading.profiles, reading.mistakes


def _sound(reading: Reading, name: str | None) -> Reading:
    """Make sure that something of what is asked for can be tried. Raises ProfileErrors."""
    profiles = reading.profiles
    sound, broken = (
        [key for key in keys if name in (None, key[1], ".".join(key))]
        for keys in (profiles.by_key, [one.key for one in profiles.broken])
    )
    if not sound and (broken or profiles.obscure or not profiles):
        raise ProfileErrors(reading.mistakes)
    return reading


def _chosen(profiles: Profiles, name: str | None) -> Sequence[Profile] | None:
    try:
        return None if name is None else choose(profiles, name)
    except UnknownName as error:
        raise typer.BadParameter(str(error), param_hint="PROFILE") from None


def _address(owner: str, option: str) -> str:
    with suppress(ValueError):
        if "*" not in (address := parse(owner)):
            return address
    words = f'"{owner}" is no address of one mailbox, such as "ann@example.com"'
    raise typer.BadParameter(words, param_hint=option)


class _Report:
    """Says what was found out as it comes; of a profile's later mailboxes only what is not the same."""

    def __init__(self, total: int, *, silent: bool) -> None:
        self.probed: list[Probed] = []
        self.progress = Progress("trying", total)
        self._silent = silent
        self._told: set[tuple[str, str, Finding]] = set()

    def add(self, one: Probed) -> None:
        self.probed.append(one)
        with self.progress.advanced():
            if not self._silent:
                self._say(one)

    def _say(self, one: Probed) -> None:
        subject = one.subject
        say(_title(subject) + _where(subject))
        for found in one.findings:
            key = (subject.direction, subject.profile.name, found)
            if key in self._told and found.state != "failed":
                continue
            self._told.add(key)
            mark, style = _MARKS[found.state]
            say_marked(f"  {mark:<9}", style, f"{found.step:<{_STEP_WIDTH}}  {found.words}")
            if found.advice:
                say(" " * (_STEP_WIDTH + 13) + found.advice)
        say()


def _title(subject: Subject) -> str:
    title = f"[{subject.direction}.{subject.profile.name}]"
    return f"{title} {subject.mailbox}" if subject.mailbox else title


def _where(subject: Subject) -> str:
    return f" ({subject.profile.kind.name} {subject.profile.settings.where})"


def _say_sum(probed: Sequence[Probed], failed: Sequence[Probed]) -> None:
    warnings = sum(any(found.state == "warning" for found in one.findings) for one in probed)
    beside = f", {warnings} with warnings" if warnings else ""
    say(f"{len(probed) - len(failed)} of {len(probed)} work{beside}")
    for one in failed:
        complain(f"does not work: {_title(one.subject)}: {', '.join(one.failed)}")


def _described(one: Probed) -> dict[str, Any]:
    subject = one.subject
    return {
        "direction": subject.direction,
        "profile": subject.profile.name,
        "transport": subject.profile.kind.name,
        "mailbox": subject.mailbox,
        "ok": not one.failed,
        "findings": list(map(asdict, one.findings)),
    }
