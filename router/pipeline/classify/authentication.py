"""What the server that we trust found out about the sender: Authentication-Results (RFC 8601).

Anybody can write that header, so it counts only where it stands on top of all of its kind, where only the last server
can have put it, and names the server that the profile trusts.
"""

import re

from router.model import Verdict
from router.pipeline.classify.headers import Headers

_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)")
_RESULT = re.compile(r"\s*([a-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([a-z]+)", re.IGNORECASE)


def find_verdict(headers: Headers, authserv: str) -> Verdict | None:
    """Read the verdict of the server `authserv`; None if the topmost one is somebody else's."""
    written = headers.first("authentication-results")
    for _ in range(5):  # comments can be nested
        written, found = _COMMENT.subn(" ", written)
        if not found:
            break
    server, *results = _split(written)
    words = server.split()
    if not words or words[0].strip('"').lower() != authserv.lower():
        return None
    read = [match for result in results if (match := _RESULT.match(result))]
    return Verdict(authserv.lower(), tuple((match[1].lower(), match[2].lower()) for match in read))


def _split(written: str) -> list[str]:
    """Cut at the semicolons that are not quoted: a reason may hold what looks like a result."""
    pieces = [""]
    for piece in re.findall(r'"(?:[^"\\]|\\.)*"|[^";]+|.', written):
        if piece == ";":
            pieces.append("")
        else:
            pieces[-1] += piece
    return pieces
