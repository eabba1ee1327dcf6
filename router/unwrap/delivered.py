"""Mail in a catch-all mailbox: whose it is, a header tells that our own mail server wrote above what it was handed.

Anybody can have written such headers, To and Cc: they lie below the line of Received that our server adds when it takes
the mail. So a header counts only where that line, or the one that the profile names, stands below it; and where a
server of ours writes none, the sender's own never takes its place. fetchmail (`envelope`) and getmail
(`envelope_recipient`) count the headers instead, which a sender can add to.
"""

from collections.abc import Sequence

from router.model import Message, Original, Unwrapped
from router.model.return_path import mailbox_of
from router.parse.addresses import read_addresses
from router.parse.headers import read_in_order
from router.read import read
from router.unwrap.trust import Trust


def find_delivered(outer: Message, content: bytes, trust: Trust) -> Unwrapped:
    """Find whose mail it is; no mailbox is named where our server names none."""
    written = _of_our_server(read_in_order(content)[0], trust.envelope_header, trust.envelope_below)
    mailboxes = tuple(dict.fromkeys(mailbox_of(address) for _, address in read_addresses(written)[0]))
    if not mailboxes:
        return Unwrapped(form="delivered", message_id=outer.message_id, date=outer.date)
    return Unwrapped(
        form="delivered",
        mailboxes=mailboxes,
        originals=(Original(content, read(content, (), trust.authserv)),),
        message_id=outer.message_id,
        date=outer.date,
    )


def _of_our_server(headers: Sequence[tuple[str, bytes]], wanted: str, below: int) -> bytes:
    """Return the topmost header of a name that stands between two lines of Received: `below` so many, above the next.

    Empty if there is none, or no such line below it: then it is not known who wrote it.
    """
    passed = 0
    found: bytes | None = None
    for name, value in headers:
        if name == "received":
            if passed == below:
                return found or b""
            passed += 1
        elif name == wanted and passed == below and found is None:
            found = value
    return b""
