"""Mail in a catch-all mailbox: whose it is, the mail server says in the Delivered-To that it put on top of all others.

Below it anybody can have written others, or To and Cc: they never count.
"""

from fnmatch import fnmatchcase

from router.model import Message, Original, Unwrapped, normalize
from router.model.return_path import mailbox_of
from router.parse.headers import raw_text
from router.read import read
from router.unwrap.trust import Trust


def find_delivered(outer: Message, content: bytes, trust: Trust) -> Unwrapped:
    """Find whose mail it is; no mailbox is named where that is nobody's whom the profile serves."""
    topmost = next((raw_text(value) for name, value in outer.headers if name == "delivered-to"), "")
    mailbox = mailbox_of(normalize(topmost.strip().removeprefix("<").removesuffix(">")))
    if not any(fnmatchcase(mailbox, pattern) for pattern in trust.forwarders):
        return Unwrapped(form="delivered", message_id=outer.message_id, date=outer.date)
    return Unwrapped(
        form="delivered",
        mailboxes=(mailbox,),
        originals=(Original(content, read(content, (), trust.authserv)),),
        message_id=outer.message_id,
        date=outer.date,
    )
