"""The mail of a chaos run: every letter is known, with what has to become of it in each mailbox."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property
from random import Random

from router.read import read
from tests.chaos.mailboxes import AUTHSERV, CALM, PROFILE, RULES
from tests.support.hostile import SHAPES, sized

CUSTOMER = "karl@kunde.test"
STRANGER = "fred@fremd.test"

POISON = "a subject that the database refuses"
"""Mail with this subject meets an error of the CRM's own trigger: a dead letter."""

IN = frozenset({"promoted", "duplicate"})
IN_OR_DEAD = IN | {"dead"}
_SLOW = [shape for name, shape in SHAPES.items() if name.startswith(("text,", "html"))]
_ATTACKED = [mailbox for mailbox in RULES if mailbox not in CALM]


@dataclass
class Letter:
    """A message, with the dispositions that its copies may end with, by mailbox."""

    message_id: str
    content: bytes
    becomes: Mapping[str, frozenset[str]]
    answers: str | None = None
    tries: dict[str, int] = field(default_factory=dict)
    """How often it was handed over, or perhaps so, by mailbox: more than once after a lost answer."""

    @cached_property
    def key(self) -> bytes:
        """By which the router knows it again."""
        return read(self.content, (), None).key

    @property
    def is_in(self) -> bool:
        """Whether it is to be an email of the CRM."""
        return any(wanted == IN for wanted in self.becomes.values())


class Writer:
    """Writes letters of all kinds, as the dice say."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self.letters: dict[str, Letter] = {}
        """All that were written, by Message-ID."""

    def ordinary(self) -> Letter:
        """Write what people write: to one or several, from somebody known or not, at times an answer."""
        dice = self._dice
        mailboxes = dice.sample(_ATTACKED, dice.choice([1, 1, 1, 2, 3]))
        sender = dice.choice([CUSTOMER, CUSTOMER, STRANGER])
        # An email of the CRM is one for all its owners; a rule counts only where no other owner's wants it.
        wanted = sender == CUSTOMER or any(RULES[mailbox] == "all" for mailbox in mailboxes)
        becomes = dict.fromkeys(mailboxes, IN if wanted else frozenset({"ignored"}))
        earlier = [one.message_id for one in self.letters.values() if one.is_in]
        answers = dice.choice(earlier) if wanted and earlier and dice.random() < 0.2 else None
        return self._write(becomes, sender=sender, answers=answers)

    def forged(self) -> Letter:
        """Write what our own server says is not from its sender, whom the CRM knows."""
        verdict = f"Authentication-Results: {AUTHSERV}; dmarc=fail header.from=kunde.test\r\n"
        mailbox = self._one_of("seen")
        return self._write({mailbox: frozenset({"held"})}, headers=verdict)

    def poison(self) -> Letter:
        """Write what the database refuses."""
        return self._write({self._dice.choice(_ATTACKED): frozenset({"dead"})}, subject=POISON, sender=CUSTOMER)

    def slow(self) -> Letter:
        """Write what takes long to read."""
        made = sized(self._dice.choice(_SLOW), self._dice.randrange(200_000, 1_000_000))
        head, _, body = made.partition(b"\r\n\r\n")
        html = b"text/html" in head
        return self._write({self._dice.choice(_ATTACKED): IN}, body=body, html=html)

    def broken(self) -> Letter:
        """Write what is hardly mail: it is in or dead, and stops nothing."""
        noise = self._dice.randbytes(2000).translate(None, b"\0\r\n")
        headers = 'Content-Type: multipart/mixed; boundary="=\r\nContent-Transfer-Encoding: base65\r\nTo: <<>,,;:\r\n'
        return self._write({self._dice.choice(_ATTACKED): IN_OR_DEAD}, body=noise, headers=headers)

    def unreadable(self) -> Letter:
        """Write what the mail server will not give up for a while: it is in or dead, too."""
        return self._write({self._one_of("seen"): IN_OR_DEAD})

    def calm(self) -> Letter:
        """Write to those who are never at fault."""
        return self._write(dict.fromkeys(CALM, IN))

    def answer(self, message_id: str) -> Letter:
        """Write an answer to an email."""
        return self._write({self._one_of("seen"): IN}, answers=message_id)

    def _one_of(self, profile: str) -> str:
        return self._dice.choice([mailbox for mailbox in RULES if PROFILE[mailbox] == profile])

    def _write(
        self,
        becomes: Mapping[str, frozenset[str]],
        *,
        sender: str = CUSTOMER,
        subject: str = "",
        headers: str = "",
        answers: str | None = None,
        body: bytes = b"Hello.\r\n",
        html: bool = False,
    ) -> Letter:
        message_id = f"{len(self.letters)}.{secrets.token_hex(4)}@kunde.test"
        lines = [
            headers
            + f"From: {sender}\r\nSubject: {subject or f'Letter {len(self.letters)}'}\r\n"
            + f"Date: {format_datetime(datetime.now(UTC))}\r\nMessage-ID: <{message_id}>"
        ]
        if "\nTo:" not in headers:
            lines.append(f"To: {', '.join(becomes)}")
        if answers:
            lines.append(f"In-Reply-To: <{answers}>")
        if "Content-Type" not in headers:
            lines.append(f"Content-Type: text/{'html' if html else 'plain'}; charset=utf-8")
        content = "\r\n".join([*lines, "", ""]).encode() + body + b"\r\n"
        letter = self.letters[message_id] = Letter(message_id, content, becomes, answers)
        return letter
