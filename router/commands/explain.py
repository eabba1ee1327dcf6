"""`explain`: what is read of a message file, and what would become of it. Nothing is stored."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import typer

from router import app, profile
from router.commands.settings import own_words
from router.commands.terminal import carry_out, complain, say, say_json
from router.commands.words import weighed
from router.errors import ProfileErrors, UnknownName
from router.model import Classification, Creation, Mark, Packed, Rule, Unwrapped
from router.model.creation import UnknownSender
from router.operations import explain as operation
from router.operations.explain import Explained
from router.operations.settings import Listed, own_choices
from router.operations.words import moment, vouching
from router.profile import IncomingProfile, Profiles
from router.settings import Settings

_SHOWN_LINES = 12
_FORMS = {
    "smime-signed": "signed (S/MIME); nobody checks the signature here",
    "smime-encrypted": "encrypted (S/MIME)",
    "pgp-signed": "signed (OpenPGP); nobody checks the signature here",
    "pgp-encrypted": "encrypted (OpenPGP)",
    "tnef": "wrapped by Outlook (winmail.dat)",
}
_SENDERS: Mapping[UnknownSender, str] = {
    "open": "open whoever the sender is",
    "contact": "with a contact for a sender who is unknown",
    "lead": "with a lead for a sender who is unknown",
    "wait": "open once its sender is known",
}
_SOURCES = {"html": "HTML", "calendar": "invitation"}


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
    wanted_rule = _rule(rule)
    contents = dict(_contents(files))

    async def work(settings: Settings) -> tuple[Mapping[str, Unwrapped], list[Explained], list[Listed]]:
        sink = _sink(settings, forward) if forward else None
        mailbox = operation.mailbox_of(_profiles(settings), owner, wanted_rule) if owner else None
        outer: Mapping[str, Unwrapped] = {}
        chosen: list[Listed] = []
        async with app.parsers_of(settings) as parsers:
            if sink:
                outer, messages = await operation.read_forwards(parsers, contents, sink)
            else:
                believed = authserv or (mailbox.authserv if mailbox else None)
                messages = await operation.read_messages(parsers, contents, believed)
        if mailbox and messages:
            async with app.database_of(settings) as database:
                messages = await operation.decide(database, messages, mailbox)
                chosen = await own_choices(database, mailbox.address)
        return outer, messages, chosen

    outer, messages, chosen = carry_out(work)
    if as_json:
        envelopes = [{"file": name, "forward": _envelope(unwrapped)} for name, unwrapped in outer.items()]
        say_json(envelopes + [document_of(one) for one in messages])
    else:
        for name, unwrapped in outer.items():
            _show_forward(name, unwrapped)
        for one in messages:
            show_read(one)
        if owner and chosen:
            say(f"{owner} has chosen {own_words(chosen)}")
    strange = [one.name for one in messages if not (one.fault or outer or _is_mail(one))]
    for name in strange:
        complain(f"{name}: this does not look like mail: it has none of From, To, Date, Subject and Message-ID")
    if strange or len(contents) < len(files) or any(one.fault for one in messages):
        raise typer.Exit(1)


def explain_email(email_id: UUID, *, as_json: bool) -> None:
    """Show who decided that an email is in the CRM."""

    async def work(settings: Settings) -> operation.Origin:
        async with app.database_of(settings) as database:
            return await operation.origin(database, email_id)

    found = carry_out(work)
    if as_json:
        say_json(asdict(found))
        return
    show_origin(found)


def show_origin(found: operation.Origin) -> None:
    """Print who decided that an email is in the CRM."""
    say(f"email {found.id}, {'received' if found.direction == 'in' else 'sent'}{', private' if found.private else ''}")
    _row("subject", found.subject)
    if found.rule:
        _row("promoted", f"the copy of {found.mailbox or 'an owner who is gone'}, by the rule {found.rule}")
    else:
        owner = f", for {found.mailbox}" if found.direction == "out" and found.mailbox else ""
        _row("written", f"by the CRM{owner}")
    _row("because", "; ".join(found.reasons))
    _row("sender", vouching(found.verdict) if found.verdict else "")
    for one in found.receipts:
        where = f"profile {one.profile}{f', folder {one.folder}' if one.folder else ''}"
        _row("in mailbox", f"{one.mailbox} ({where}, {moment(one.received_at)})")
    for made in found.records:
        name = f": {made.name or made.record_id}" if made.record_id else ""
        fault = f": {made.fault}" if made.fault else ""
        _row("record", f"{made.makes} by rule '{made.rule}', {made.outcome or made.state}{name}{fault}")
    if found.correlated_id:
        what = f": {found.correlated_subject}" if found.correlated_subject else ""
        how = f", found by {found.method}" if found.method else ", as the CRM says"
        _row("answers", f"email {found.correlated_id}{what}{how}")


def _is_mail(one: Explained) -> bool:
    message = one.message
    return bool(message.sender or message.mentions or message.subject or message.message_id or message.date)


def _contents(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            yield str(file), sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            complain(f"{file}: {error.strerror}")


def _sink(settings: Settings, name: str) -> IncomingProfile:
    try:
        return operation.forward_profile(profile.load(settings.profiles), name)
    except UnknownName as error:
        raise typer.BadParameter(str(error), param_hint="--forward") from None


def _profiles(settings: Settings) -> Profiles:
    """Read the profiles, if they can be read: who serves a mailbox only changes what is taken for granted."""
    try:
        return profile.load(settings.profiles)
    except ProfileErrors:
        return Profiles((), ())


def _envelope(unwrapped: Unwrapped) -> dict[str, Any]:
    document = asdict(unwrapped) | {"originals": len(unwrapped.originals)}
    return {key: value for key, value in document.items() if value not in (None, "", ())}


def _show_forward(file: str, unwrapped: Unwrapped) -> None:
    say(file)
    if unwrapped.held is not None:
        _row("held", unwrapped.held)
    else:
        by = f", by {unwrapped.forwarder}" if unwrapped.forwarder else ""
        _row("forward", f"{unwrapped.form}{by}: {len(unwrapped.originals)} in it")
        _row("came to", ", ".join(unwrapped.mailboxes))
        _row("sent by", unwrapped.sender)
    say()


def _rule(rule: str | None) -> Rule | None:
    try:
        return Rule(rule) if rule else None
    except ValueError:
        raise typer.BadParameter(f"{rule!r} is none of {', '.join(Rule)}", param_hint="--rule") from None


def document_of(explained: Explained) -> dict[str, Any]:
    """Put what was read of one message as JSON."""
    message, decision = explained.message, explained.decision
    document = asdict(message) | {
        "file": explained.name,
        "fault": explained.fault,
        "headers": explained.headers,
        "classification": asdict(explained.classification),
        "text_marks": [mark._asdict() for mark in explained.text_marks],
        "attachments": [
            asdict(attachment) | {"content": None, "sha256": attachment.sha256.hex()}
            for attachment in explained.attachments
        ],
    }
    if decision is not None:
        document["decision"] = {
            "disposition": decision.disposition,
            "rule": decision.rule,
            "reasons": decision.reasons,
            "email_id": decision.email_id if decision.email is None else None,
            "regarding_id": decision.email.regarding_id if decision.email else None,
            "candidates": [asdict(one) for one in decision.candidates],
            "creation": asdict(decision.creation) if decision.creation else None,
        }
    return document


def show_read(explained: Explained) -> None:
    """Print what was read of one message."""
    message, decision = explained.message, explained.decision
    say(explained.name)
    _row("fault", explained.fault or "")
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
    for attachment in explained.attachments:
        _row("attached", _described(attachment))
    for what, words in _findings(explained):
        _row(what, words)
    if decision is not None:
        _row("decision", f"{decision.disposition} (rule {decision.rule}): {'; '.join(decision.reasons)}")
        for candidate in decision.candidates:
            _row("candidate", weighed(candidate))
        if made := decision.creation:
            _row("record", f"{made.makes} by rule '{made.rule}': {_fields(made)}")
    _show_text(explained)
    say()


def _fields(made: Creation) -> str:
    told = [f'{name} "{value}"' for name, value in made.fields]
    if made.makes == "case":
        told += [f"priority {made.priority}", _SENDERS[made.unknown_sender]]
    return ", ".join(told)


def _show_text(explained: Explained) -> None:
    lines = (explained.message.text or "").strip().splitlines()
    if not lines and not explained.fault:
        say("    (no text)")
    for line in lines[:_SHOWN_LINES]:
        say(f"    {line}")
    if len(lines) > _SHOWN_LINES:
        say(f"    … {len(lines) - _SHOWN_LINES} more lines")


def _findings(explained: Explained) -> Iterator[tuple[str, str]]:
    """Yield what was found out about the message as a whole, and its text: the row's name, and words."""
    message = explained.message
    yield from (("kind", words) for words in _kinds(explained.classification))
    yield from (("form", _FORMS[flag]) for flag in message.flags)
    if message.text_from != "plain":
        yield "text", f"made of the {_SOURCES[message.text_from]}"
    yield from (("marked", _marked(mark, message.text or "")) for mark in explained.text_marks)
    yield from (("defect", defect) for defect in message.defects)


def _kinds(classification: Classification) -> Iterator[str]:
    if classification.automatic:
        yield f"automatic: {classification.automatic}"
    if classification.report:
        for one in classification.report.recipients:
            yield f"{one.kind} of {one.address or 'a recipient not named'}: {one.code} {one.text}".rstrip(": ")
    if classification.bulk:
        yield classification.bulk
    if event := classification.calendar:
        yield f"calendar, {event.method}: {event.start or 'no start'} to {event.end or 'no end'}"
    if classification.loop:
        yield f"loop: {classification.loop}"
    if verdict := classification.verdict:
        results = ", ".join(f"{method}={result}" for method, result in verdict.results) or "none"
        yield f"verdict of {verdict.server}: {results}"


def _marked(mark: Mark, text: str) -> str:
    first = text.count("\n", 0, mark.start) + 1
    last = max(first, text.count("\n", 0, mark.end - 1) + 1)
    lines = f"line {first}" if first == last else f"lines {first} to {last}"
    return f"{lines}: {mark.kind}"


def _row(what: str, words: str) -> None:
    if words:
        say(f"  {what:<10}  {words}")


def _described(attachment: Packed) -> str:
    inline = ", inline" if attachment.inline else ""
    return f"{attachment.filename} ({attachment.media_type}, {attachment.size} bytes{inline})"
