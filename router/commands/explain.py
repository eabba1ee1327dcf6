"""`explain`: what is read of a message file, and what would become of it. Nothing is stored."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import typer

from router import app, profile
from router.classify import classify
from router.commands.terminal import carry_out, complain, say, say_json
from router.decide import decide_batch
from router.errors import DatabaseError, ProfileErrors
from router.incoming.forward import trust_of
from router.model import Attachment, Classification, Copy, Decision, Message, Rule, Unwrapped, normalize, uuid7
from router.parse.headers import raw_text
from router.parse.message import parse
from router.profile import IncomingProfile
from router.repository import inbox
from router.repository.owners import approved_owners
from router.settings import Settings
from router.unwrap import unwrap
from transports.base import Place

_SHOWN_LINES = 12


@dataclass(frozen=True, slots=True)
class _Explained:
    message: Message
    classification: Classification
    decision: Decision | None = None


def explain(
    files: Sequence[Path],
    owner: str | None,
    rule: str | None,
    authserv: str | None,
    forward: str | None,
    *,
    as_json: bool,
) -> None:
    """Show every file; with an owner, decide as if all had arrived in that mailbox, one after the other.

    `forward` names a profile: shown is what was forwarded to it in these files.
    """
    contents = dict(_contents(files))
    forwards: dict[str, Unwrapped] = {}
    if forward is None:
        messages = {name: parse(content) for name, content in contents.items()}
    else:
        trust = trust_of(_profile(forward))
        forwards = {name: unwrap(content, trust) for name, content in contents.items()}
        messages = {
            f"{name} ({number} of {len(unwrapped.originals)})": original.message
            for name, unwrapped in forwards.items()
            for number, original in enumerate(unwrapped.originals, 1)
        }
    if owner is None or not messages:
        found = [_Explained(message, classify(message, None if forward else authserv)) for message in messages.values()]
    else:
        wanted = _rule(rule)

        async def work(settings: Settings) -> list[_Explained]:
            serving = _serving(settings, normalize(owner))
            # Nobody vouches for what was forwarded.
            believed = None if forward else authserv or (serving.authserv if serving else None)
            default = serving.tracking_rule if serving else Rule.REPLIES
            return await _decide(settings, normalize(owner), wanted, default, believed, list(messages.values()))

        found = carry_out(work)
    if as_json:
        envelopes = [{"file": name, "forward": _envelope(unwrapped)} for name, unwrapped in forwards.items()]
        say_json(envelopes + [_document(name, one) for name, one in zip(messages, found, strict=True)])
    else:
        for name, unwrapped in forwards.items():
            _show_forward(name, unwrapped)
        for name, one in zip(messages, found, strict=True):
            _show(name, one)
    if len(contents) < len(files):
        raise typer.Exit(1)


def _contents(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            yield str(file), sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            complain(f"{file}: {error.strerror}")


def _profile(name: str) -> IncomingProfile:
    async def work(settings: Settings) -> profile.Profiles:
        return profile.load(settings.profiles)

    there = [one for one in carry_out(work).incoming if one.forwards]
    for one in there:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in there) or "none"
    raise typer.BadParameter(f'no profile {name!r} has role = "forward"; there are: {known}', param_hint="--forward")


def _envelope(unwrapped: Unwrapped) -> dict[str, Any]:
    document = asdict(unwrapped) | {"originals": len(unwrapped.originals)}
    return {key: value for key, value in document.items() if value not in (None, "", ())}


def _show_forward(file: str, unwrapped: Unwrapped) -> None:
    say(file)
    if unwrapped.held is not None:
        _row("held", unwrapped.held)
    else:
        _row("forward", f"{unwrapped.form}, by {unwrapped.forwarder}: {len(unwrapped.originals)} in it")
        _row("came to", ", ".join(unwrapped.mailboxes))
        _row("sent by", unwrapped.sender)
    say()


def _rule(rule: str | None) -> Rule | None:
    try:
        return Rule(rule) if rule else None
    except ValueError:
        raise typer.BadParameter(f"{rule!r} is none of {', '.join(Rule)}", param_hint="--rule") from None


async def _decide(
    settings: Settings,
    mailbox: str,
    rule: Rule | None,
    default: Rule,
    authserv: str | None,
    messages: Sequence[Message],
) -> list[_Explained]:
    async with app.database_of(settings) as database:
        owner = (await approved_owners(database, [mailbox])).get(mailbox)
        if owner is None:
            raise DatabaseError(
                f'{mailbox} is no approved owner\'s mailbox: "email-router owners list" tells which are'
            )
        copies = [_copy(owner.id, rule or owner.rule or default, message, authserv) for message in messages]
        decisions = await inbox.rehearse(database, copies, decide_batch, {owner.id: rule} if rule else {})
    return [
        _Explained(copy.message, copy.classification, decision)
        for copy, decision in zip(copies, decisions, strict=True)
    ]


def _serving(settings: Settings, mailbox: str) -> IncomingProfile | None:
    """The profile that serves the mailbox; None where there is none, or the profiles cannot be read."""
    try:
        profiles = profile.load(settings.profiles)
    except ProfileErrors:
        return None
    return profiles.incoming_for(mailbox) or profiles.listener_for(mailbox) or profiles.forward_for(mailbox)


def _copy(owner_id: UUID, rule: Rule, message: Message, authserv: str | None) -> Copy:
    copy_id = uuid7()
    return Copy(
        copy_id,
        0,
        Place("", str(copy_id)),
        owner_id,
        rule,
        datetime.now(UTC),
        message,
        b"",
        classification=classify(message, authserv),
    )


def _document(file: str, explained: _Explained) -> dict[str, Any]:
    message, decision = explained.message, explained.decision
    document = asdict(message) | {
        "file": file,
        "headers": [(name, raw_text(value)) for name, value in message.headers],
        "classification": asdict(explained.classification),
        "attachments": [
            asdict(attachment) | {"content": None, "size": len(attachment.content)}
            for attachment in message.attachments
        ],
    }
    if decision is not None:
        document["decision"] = {
            "disposition": decision.disposition,
            "rule": decision.rule,
            "reasons": decision.reasons,
            "email_id": decision.email_id if decision.email is None else None,
            "regarding_id": decision.email.regarding_id if decision.email else None,
        }
    return document


def _show(file: str, explained: _Explained) -> None:
    message, decision = explained.message, explained.decision
    say(file)
    for role in ("from", "reply_to", "to", "cc", "bcc"):
        people = [f"{one.name} <{one.address}>" if one.name else one.address for one in message.of(role)]
        _row(role.replace("_", "-"), ", ".join(people))
    _row("subject", message.subject)
    _row("date", message.date.isoformat(sep=" ") if message.date else "")
    _row("message-id", message.message_id or "")
    _row("answers", ", ".join(message.thread_ids))
    _row("tokens", ", ".join(message.tokens))
    if message.html is not None:
        _row("html", f"{len(message.html)} characters")
    for attachment in message.attachments:
        _row("attached", _told(attachment))
    for words in _kinds(explained.classification):
        _row("kind", words)
    for defect in message.defects:
        _row("defect", defect)
    if decision is not None:
        _row("decision", f"{decision.disposition} (rule {decision.rule}): {'; '.join(decision.reasons)}")
    lines = (message.text or "").strip().splitlines()
    for line in lines[:_SHOWN_LINES]:
        say(f"    {line}")
    if len(lines) > _SHOWN_LINES:
        say(f"    … {len(lines) - _SHOWN_LINES} more lines")
    say()


def _kinds(classification: Classification) -> Iterator[str]:
    if classification.automatic:
        yield f"automatic: {classification.automatic}"
    if classification.report:
        for one in classification.report.recipients:
            yield f"{one.kind} of {one.address}: {one.code} {one.text}".rstrip(": ")
    if classification.bulk:
        yield classification.bulk
    if event := classification.calendar:
        yield f"calendar, {event.method}: {event.start or 'no start'} to {event.end or 'no end'}"
    if classification.loop:
        yield f"loop: {classification.loop}"
    if verdict := classification.verdict:
        results = ", ".join(f"{method}={result}" for method, result in verdict.results) or "none"
        yield f"verdict of {verdict.server}: {results}"


def _row(what: str, words: str) -> None:
    if words:
        say(f"  {what:<10}  {words}")


def _told(attachment: Attachment) -> str:
    inline = ", inline" if attachment.inline else ""
    return f"{attachment.filename} ({attachment.media_type}, {len(attachment.content)} bytes{inline})"
