"""Journal reports of Exchange: a mail whose text tells the true envelope, with the original attached.

The lines of the text are `Sender: …`, `Subject: …`, `Message-Id: …`, and one for each true recipient, also those of
Bcc: `To: …`, `Cc: …`, `Bcc: …` or `Recipient: …`, each perhaps with `, Expanded: LIST` or `, Forwarded: ADDRESS` behind
it (Microsoft's documentation of journaling in Exchange, "Journal reports").
"""

import re

from router.classify.headers import Headers
from router.model import Message
from router.model.return_path import mailbox_of
from router.parse.addresses import read_addresses
from router.unwrap.attached import messages_of
from router.unwrap.found import Found

_LINE = re.compile(r"^(sender|on-behalf-of|to|cc|bcc|recipient)[ \t]*:[ \t]*(\S[^\n]*)$", re.IGNORECASE | re.MULTILINE)
_HOW = re.compile(r",\s*(?:expanded|forwarded)\s*:.*", re.IGNORECASE)
_LONGEST = 1_000_000
_MOST = 1_000


def find_journal(outer: Message, content: bytes) -> Found | None:  # noqa: ARG001  # as every form is looked for
    """Find the original and the mailboxes it came to; also who sent it, whose mailbox keeps it as sent."""
    if "x-ms-journal-report" not in Headers(outer.headers):
        return None
    originals = messages_of(outer)
    sender = ""
    recipients: dict[str, None] = {}
    for name, written in _LINE.findall((outer.text or "")[:_LONGEST])[:_MOST]:
        addresses = [address for _, address in read_addresses(_HOW.sub("", written).encode())[0] if "@" in address]
        if name.lower() in {"sender", "on-behalf-of"}:
            sender = next(iter(addresses), sender)
        else:
            recipients |= dict.fromkeys(map(mailbox_of, addresses))
    fault = "a journal report without its one original" if len(originals) != 1 else None
    return Found("journal", outer.sender or "", tuple(recipients), originals, sender=sender, fault=fault)
