"""An outgoing email to the message that a relay takes (RFC 5322, 2045 to 2047, 2231), with CRLF line ends. Pure.

Written by hand, since the stdlib's EmailMessage costs ten times as much. Nothing that a CRM user can type (a line break
in a subject, a name, a file name) makes a header of its own, and no line is longer than 998 octets. What the CRM's
program set wrong (an address, a token, a header) is refused in words, and never repaired.

    headers      the header block             words     encoded words, folding, parameters
    body         the parts, and their order   seven_bit whether a message is attached as it is
"""

from router.model import Outgoing
from router.outgoing.compose.body import Hole, Piece, boundary_of, mime
from router.outgoing.compose.headers import PRIVATE_HEADER, headers

__all__ = [
    "PRIVATE_HEADER",
    "Hole",
    "Piece",
    "boundary_of",
    "compose",
    "compose_around",
]


def compose(email: Outgoing) -> bytes:
    """Write the whole message of an email whose attachments were all read.

    Bcc is left out, and so is a recipient whose address is none; `date` is cut to whole seconds, as headers have it.
    Raises ContentRefused for what cannot be written.
    """
    [whole] = compose_around(email)
    assert isinstance(whole, bytes), "an attachment was not read"
    return whole


def compose_around(email: Outgoing) -> list[Piece]:
    """Write a message around the attachments that are not read yet, as `compose` does; between them lie bytes."""
    lines, body = mime(email)
    head = "\r\n".join([*headers(email), "MIME-Version: 1.0", *lines, "", ""])
    pieces: list[Piece] = []
    together = [head.encode("utf-8")]
    for piece in body:
        if isinstance(piece, bytes):
            together.append(piece)
        else:
            pieces += [b"".join(together), piece]
            together = []
    if not together or not together[-1].endswith(b"\r\n"):
        together.append(b"\r\n")
    return [*pieces, b"".join(together)]
