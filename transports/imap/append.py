"""Putting a message into a folder: APPEND (RFC 3501 §6.3.11), with what servers offer beyond it.

The literal is sent without waiting where the server allows that (RFC 7888); a size beyond its limit (RFC 7889) is not
sent at all; the UID that the message has got is told where the server tells it (RFC 4315).
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from transports._content import Content
from transports.base import Flag, Place
from transports.errors import Missing, Permanent, TransportError
from transports.imap.connection import ImapConnection
from transports.imap.encode import date_time
from transports.imap.reply import Reply, response_code

_FLAGS: Final = {"seen": "\\Seen", "answered": "\\Answered", "flagged": "\\Flagged", "draft": "\\Draft"}
_SMALL: Final = 4096  # bytes of what LITERAL- lets be sent without waiting
_LIMIT: Final = "APPENDLIMIT="


async def append_message(
    imap: ImapConnection, folder: str, content: Content, flags: Collection[Flag], when: datetime | None
) -> Place | None:
    """Append a message to a folder that need not be selected. See `Mailbox.append`."""
    _check_limit(imap, content.size)
    listed = f"({' '.join(_FLAGS[flag] for flag in sorted(flags))})"
    date = [date_time(when)] if when is not None else []
    at_once = _is_sent_at_once(imap.known.capabilities, content.size)
    literal = f"{{{content.size}{'+' if at_once else ''}}}"
    reply = await imap.run_append([imap.named(folder), listed, *date, literal], content, at_once=at_once)
    if not reply.ok:
        raise _refusal(imap, folder, reply)
    name, value = response_code(reply.words)
    numbers = value.split(" ")
    return Place(numbers[0], numbers[1]) if name == "APPENDUID" and len(numbers) == 2 else None


def _check_limit(imap: ImapConnection, size: int) -> None:
    limits = [one.removeprefix(_LIMIT) for one in imap.known.capabilities if one.startswith(_LIMIT)]
    for limit in limits:
        if limit.isdigit() and size > int(limit):
            raise Permanent(f"{imap.peer} takes no message beyond {limit} bytes, and this has {size}")


def _is_sent_at_once(capabilities: Collection[str], size: int) -> bool:
    return "LITERAL+" in capabilities or ("LITERAL-" in capabilities and size <= _SMALL)


def _refusal(imap: ImapConnection, folder: str, reply: Reply) -> TransportError:
    match reply.code:
        case "TRYCREATE" | "NONEXISTENT":
            return Missing(f'there is no folder "{folder}" at {imap.peer} to append to ({reply.words})')
        case "OVERQUOTA":
            return Permanent(f"the mailbox at {imap.peer} is full: {reply.words}")
    return reply.refusal(f"{imap.peer} does not append to the folder {folder}")
