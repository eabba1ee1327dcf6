"""Mail that was passed on as it was: by a person (Resent-*, RFC 5322 §3.6.6), or by a server's rule.

The mail itself is the original. The owner is whoever passed it on: it came to that mailbox first.
"""

from router.classify.headers import Headers
from router.model import Message
from router.parse.addresses import read_addresses
from router.unwrap.found import Found

# Gmail names the mailbox first, and then where it sends to; Pigeonhole's Sieve names the mailbox.
_FORWARDERS = ("resent-from", "resent-sender", "x-forwarded-for", "x-sieve-redirected-from")


def find_redirected(outer: Message, content: bytes) -> Found | None:
    """Find who redirected the mail."""
    headers = Headers(outer.headers)
    if not any(name in headers for name in (*_FORWARDERS, "x-forwarded-to", "resent-to")):
        return None
    forwarder = next(filter(None, (_first_address(headers.first(name)) for name in _FORWARDERS)), "")
    return Found("redirected", forwarder, (forwarder,), (content,), redirected=True)


def _first_address(written: str) -> str:
    return next((address for _, address in read_addresses(written.encode())[0] if "@" in address), "")
