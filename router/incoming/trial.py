"""Messages in which nothing can be wrong: by whether they get in is found out who is at fault when one does not.

like(copy)     is of the same kind: it leads to the same statements, with words of ours in them
plain(copy)    is of no kind: mail in general
"""

import hashlib
from dataclasses import replace

from router.model import (
    CalendarEvent,
    Classification,
    Copy,
    Mention,
    Message,
    Packed,
    Reading,
    RecipientReport,
    Report,
    uuid7,
)
from router.repository.incoming.trial import Trial
from transports.base import Place

_TEXT = "It is rolled back."


def plain(copy: Copy) -> Trial:
    """Make a message for the same owner, from one to another."""
    mentions = (Mention("from", 0, _address("from")), Mention("to", 0, _address("to")))
    return Trial(_made(copy, Message(message_id=_new_id(), mentions=mentions), Classification()))


def like(copy: Copy) -> Trial:
    """Make a message of the same kind and shape, for the same owner. What it answers or reports on is made with it."""
    if not copy.judged:
        return plain(copy)
    shape, kind = copy.message, copy.classification
    answered, reported = _new_id(), kind.report.recipients if kind.report else ()
    recipients = tuple(_address(f"recipient{number}") for number in range(len(reported) or 1))
    message = Message(
        message_id=_new_id(),
        in_reply_to=(answered, *(_new_id() for _ in shape.in_reply_to[1:])) if shape.in_reply_to else (),
        references=(answered,) if shape.references else (),
        date=shape.date,
        mentions=tuple(
            one._replace(address=_address(f"plain{number}") if one.address else "", name="")
            for number, one in enumerate(shape.mentions)
        ),
        html=shape.html and f"<p>{_TEXT}</p>",
        flags=shape.flags,
        defects=("plain",) if shape.defects else (),
        raw_headers=(("subject", "plain"),) if shape.raw_headers else (),
    )
    classification = Classification(
        automatic=kind.automatic and "plain",
        report=kind.report and _report(kind.report, answered, recipients),
        bulk=kind.bulk,
        calendar=kind.calendar and CalendarEvent("request", "plain"),
        loop=kind.loop and "plain",
        read_id=kind.read_id and answered,
    )
    answers = bool(shape.thread_ids or kind.report or kind.read_id)
    made = _made(copy, message, classification, tuple(map(_packed, copy.attachments)))
    return Trial(made, answered if answers else None, recipients)


def _made(copy: Copy, message: Message, kind: Classification, attachments: tuple[Packed, ...] = ()) -> Copy:
    message = replace(message, subject="A plain message", text=_TEXT)
    reading = Reading(message, kind, message.key, attachments=attachments)
    return replace(copy, id=uuid7(), place=Place("", str(uuid7())), reading=reading, content=b"", forward=None)


def _report(report: Report, answered: str, recipients: tuple[str, ...]) -> Report:
    told = tuple(
        RecipientReport(address, one.kind, "5.0.0" if one.code else "", "plain" if one.text else "")
        for address, one in zip(recipients, report.recipients, strict=False)
    )
    return Report(report.kind, told, (answered,))


def _packed(shape: Packed) -> Packed:
    content = uuid7().bytes
    return replace(
        shape,
        filename="plain.txt",
        original_filename=None,
        size=len(content),
        sha256=hashlib.sha256(content).digest(),
        encoding="identity",
        content=content,
    )


def _address(name: str) -> str:
    return f"{name}@plain.invalid"


def _new_id() -> str:
    return _address(str(uuid7()))
