"""Short ways to say a message, what the CRM knows, and what must become of it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from router.classify import classify
from router.decide import decide
from router.model import (
    Classification,
    Copy,
    Decision,
    Facts,
    Message,
    Reading,
    Record,
    Rule,
    Ruled,
    ThreadEmail,
    Unreadable,
    message_id_hash,
)
from router.parse.message import parse
from router.parse.reading import reading_of
from transports.base import Place

NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
OWNER = UUID(int=1)
OTHER_OWNER = UUID(int=2)


def mail(body: str = "Hello", **headers: str) -> bytes:
    """Write a message; `in_reply_to` becomes In-Reply-To. A header that is empty is left out."""
    given = {
        "from": "Ann <ann@client.example>",
        "to": "sales@example.com",
        "subject": "Offer",
        "date": "Sat, 21 Nov 2026 00:59:00 +0000",
        "message_id": f"<{uuid4()}@client.example>",
    } | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value]
    return "\r\n".join([*lines, "", body]).encode()


def reading(message: Message, classification: Classification | None = None) -> Reading:
    """What reading a message came to; of no particular kind unless told."""
    return reading_of(message, classification or Classification())


def copy(
    raw: bytes | None = None,
    rule: Rule = Rule.ALL,
    owner: UUID = OWNER,
    fault: str | None = None,
    *,
    sent: bool = False,
    authserv: str | None = None,
) -> Copy:
    raw = mail() if raw is None else raw
    message = parse(raw)
    found = Unreadable(fault) if fault else reading(message, classify(message, authserv))
    return Copy(uuid4(), 1, Place("1", uuid4().hex), owner, rule, NOW, found, raw, sent=sent)


def record(kind: str, *, active: bool = True, owner: UUID | None = None, age: int = 0) -> Record:
    return Record(uuid4(), kind, active, owner, NOW - timedelta(days=age))


class World:
    """The facts, built up by what a CRM would hold."""

    def __init__(self) -> None:
        self.facts = Facts()

    def email(
        self,
        message_id: str = "",
        token: str = "",
        participants: tuple[str, ...] = ("sales@example.com", "ann@client.example"),
        regarding: UUID | None = None,
        age: int = 0,
        subject: str = "",
    ) -> ThreadEmail:
        email = ThreadEmail(uuid4(), regarding, frozenset(participants), NOW - timedelta(days=age), subject)
        self.facts.emails.by_id[email.id] = email
        if message_id:
            self.facts.emails.by_message_id[message_id_hash(message_id)] = email.id
        if token:
            self.facts.emails.by_token[token] = email.id
        return email

    def knows(self, address: str, *records: Record) -> None:
        self.facts.records = {**self.facts.records, address: records}

    def rules(self, address: str, ruling_id: int, record: Record | None) -> None:
        self.facts.ruled = {**self.facts.ruled, address: Ruled(ruling_id, record)}

    def decide(self, raw: bytes | None = None, rule: Rule = Rule.ALL, **more: object) -> Decision:
        return decide(copy(raw, rule, **more), self.facts)  # type: ignore[arg-type]  # passed on as they are
