"""The original in a mail that was forwarded, and whether it is believed.

Pure, and it never raises. The forms are looked for in the order of `FORMS`; the first that is believed counts. Nothing
is looked for in an original: what was forwarded to the forwarder is part of it. In a catch-all mailbox nothing was
forwarded (`delivered`).
"""

from collections.abc import Callable

from router.model import Message, Original, Unwrapped
from router.parse.message import parse
from router.read import read_parsed
from router.unwrap.attached import find_attached
from router.unwrap.delivered import find_delivered
from router.unwrap.found import Found
from router.unwrap.inline import find_inline
from router.unwrap.journal import find_journal
from router.unwrap.redirected import find_redirected
from router.unwrap.trust import Trust, find_doubt

__all__ = ["FORMS", "Trust", "unwrap"]

FORMS: tuple[Callable[[Message, bytes], Found | None], ...] = (
    find_journal,
    find_attached,
    find_redirected,
    find_inline,
)


def unwrap(content: bytes, trust: Trust) -> Unwrapped:
    """Read a mail of a forward mailbox: the originals, whose they are, and who says so; or why it is held."""
    outer = parse(content)
    if trust.catches_all:
        return find_delivered(outer, content, trust)
    doubts: list[str] = []
    for form in FORMS:
        found = _guarded(form, outer, content)
        if found is None:
            continue
        doubt = found.fault or find_doubt(found, outer, trust)
        if doubt is None:
            return Unwrapped(
                form=found.form,
                forwarder=found.forwarder,
                mailboxes=found.mailboxes,
                sender=found.sender,
                originals=tuple(_read(original) for original in found.originals),
                message_id=outer.message_id,
                date=outer.date,
                doubt=next(iter(doubts), None),
            )
        doubts.append(doubt)
    nothing = "no forwarded mail was found in it: none attached, not redirected, no journal report, none in its text"
    return Unwrapped(held=doubts[0] if doubts else nothing, message_id=outer.message_id, date=outer.date)


def _read(original: bytes | Message) -> Original:
    message = original if isinstance(original, Message) else parse(original)
    content = b"" if isinstance(original, Message) else original
    # Nobody vouches for it: its sender may have written any Authentication-Results in it.
    return Original(content, read_parsed(message))


def _guarded(form: Callable[[Message, bytes], Found | None], outer: Message, content: bytes) -> Found | None:
    try:
        return form(outer, content)
    except Exception:  # noqa: BLE001  # whatever a sender can write must not stop the mailbox
        return None
