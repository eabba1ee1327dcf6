"""What kind of message it is."""

from dataclasses import dataclass
from datetime import date
from typing import Literal
from uuid import UUID

ReportKind = Literal["bounce", "delay", "delivery", "complaint"]


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """What became of one recipient.

    `address` is the one the mail was sent to, if the report tells; `final` where it ended after forwarding. `code` is
    an enhanced status code (RFC 3463), or the reply code where there is none, or empty; `text` the server's words.
    """

    address: str
    kind: ReportKind
    code: str = ""
    text: str = ""
    final: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a mail system tells of mail sent before; `kind` is the worst that it tells of a recipient.

    What may name that mail: `return_ids`, the attempts to send of the return paths that it came to; `envelope_ids`, the
    ids of emails that were said to the relay; `message_ids` and `tokens`, the likeliest first, the last of which are
    only what looks like one. `proven`: it came to a return path that belongs to the email it is on.
    """

    kind: ReportKind
    recipients: tuple[RecipientReport, ...] = ()
    message_ids: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    return_ids: tuple[UUID, ...] = ()
    envelope_ids: tuple[UUID, ...] = ()
    proven: bool = False


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """What a calendar message is about (RFC 5545, 5546): its first event. `method` is in lower case.

    `start` and `end` are dates of whole days, or moments; without a time zone where none was told.
    """

    method: str
    uid: str
    start: date | None = None
    end: date | None = None
    organizer: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trusted server found out about the sender (RFC 8601): each method with its results, in their order."""

    server: str
    results: tuple[tuple[str, str], ...] = ()

    def of(self, method: str) -> str | None:
        """Give the result of a method such as `dmarc`; of several (one for each signature) a pass counts."""
        results = [result for name, result in self.results if name == method]
        return "pass" if "pass" in results else next(iter(results), None)

    @property
    def denies(self) -> bool:
        """Whether the message is not from the domain in From: `dmarc=fail`."""
        return ("dmarc", "fail") in self.results


@dataclass(frozen=True, slots=True)
class Classification:
    """What kind of message it is. `automatic` and `loop` say what shows it; None: it is not.

    `read_id` is the Message-ID of the email that it is a read receipt of. `no_answer` says why a machine must not
    answer it, though a person may have written it.
    """

    automatic: str | None = None
    report: Report | None = None
    bulk: Literal["list", "bulk"] | None = None
    calendar: CalendarEvent | None = None
    loop: str | None = None
    verdict: Verdict | None = None
    read_id: str | None = None
    no_answer: str | None = None

    @property
    def doubted(self) -> bool:
        """Whether it is the way of this copy that may hold it, not what it says: another may come a better way."""
        return self.loop is not None or (self.verdict is not None and self.verdict.denies)
