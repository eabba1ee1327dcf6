"""Whether a message goes round in circles."""

from router.classify.headers import Headers
from router.model import Message

_MOST_HOPS = 50  # what mail servers set (RFC 5321 §6.3 asks for 100 at least before a server refuses)


def find_loop(message: Message, headers: Headers) -> str | None:
    """Say what shows the loop; None if nothing does."""
    if len(message.claims) > 1:
        return "it carries our private header more than once"
    if headers.count("received") > _MOST_HOPS:
        return f"more than {_MOST_HOPS} mail servers passed it on"
    delivered = [address.lower() for address in headers.all("delivered-to")]
    if any(delivered.count(address) > 2 for address in set(delivered)):
        return "it was delivered to one address three times"
    return None
