"""What a held message says, for whom decides on it: it is read again, and nothing of it is stored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from router.decide import decide_batch
from router.incoming.replay import LetterReader
from router.model import Copy, Disposition, Mention, Ruling
from router.operations import audit_log
from router.operations.backing import Backing
from router.operations.letters import find_letter
from router.operations.mail_content import NotShown
from router.operations.queue import Seen
from router.operations.queue.held import may_rule
from router.repository.incoming import inbox

__all__ = ["HeldMail", "NotShown", "look"]

_SLOW: Final = 7.0  # seconds for a mail server to give a message: a page is given up after 9
_LONGEST: Final = 2000  # characters of a text
_MOST: Final = 20  # names of attachments
_WHY_NOT: Final = {
    Disposition.DUPLICATE: "the CRM has this message already: it is released without becoming another email",
    Disposition.IGNORED: "the rules of today do not want it, so it is its owner's alone: released, it would be ignored",
}


@dataclass(frozen=True, slots=True)
class HeldMail:
    """A held message, as far as one has to know it to decide; `text` is its beginning, and `is_cut` where it goes on.

    `attachments` are the first names of files.
    """

    senders: tuple[Mention, ...]
    recipients: tuple[Mention, ...]
    subject: str
    date: datetime | None
    text: str
    is_cut: bool
    attachments: tuple[str, ...]


async def look(backing: Backing, decides: Seen, by: str, number: int, address: str | None = None) -> HeldMail:
    """Read a held message, from its bytes if they are kept, or else where it lies; and note who looked, from where.

    It is shown only if it would be in the CRM, were it released: what its owner's rule does not want is nobody's to
    see. `decides`: on whose mail the person decides. Raises UnknownName, NotShown, DatabaseError.
    """
    await may_rule(backing.database, decides, [number])
    turn = backing.shared(_turns)
    if turn.locked():
        raise NotShown("others are reading held mail just now: try again in a few seconds")
    try:
        async with turn, asyncio.timeout(_SLOW):
            message = _of(await _read(backing, by, number))
    except TimeoutError:
        raise NotShown(f"the mail server did not hand it over within {_SLOW:g} seconds: try again later") from None
    await audit_log.note(backing.database, by, "held-viewed", f"held {number}", address=address)
    return message


def _turns(_: Backing) -> asyncio.Semaphore:
    """Take turns: each opens a mailbox, and servers count connections."""
    return asyncio.Semaphore(2)


async def _read(backing: Backing, by: str, number: int) -> Sequence[Copy]:
    """Read its copies that would be in the CRM if it was released."""
    database = backing.database
    letter = await find_letter(database, Disposition.HELD, number)
    reader = LetterReader(database, backing.workers, backing.profiles, letter.source, Ruling(by, "released"))
    [found] = await reader.read([letter])
    if found.fault is not None:
        raise NotShown(found.fault)
    decisions = await inbox.rehearse(database, found.copies, decide_batch, {})
    shown = [copy for copy, one in zip(found.copies, decisions, strict=True) if one.disposition is Disposition.PROMOTED]
    if not shown:
        raise NotShown(_WHY_NOT.get(decisions[0].disposition) or "; ".join(decisions[0].reasons))
    return shown


def _of(copies: Sequence[Copy]) -> HeldMail:
    """Leave of a message what is shown; of mail that was forwarded for several owners each copy says the same."""
    message = copies[0].message
    text = message.text or ""
    return HeldMail(
        message.of("from"),
        (*message.of("to"), *message.of("cc")),
        message.subject,
        message.date,
        text[:_LONGEST],
        len(text) > _LONGEST,
        tuple(one.filename or "unnamed" for one in copies[0].attachments[:_MOST]),
    )
