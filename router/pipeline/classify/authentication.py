"""What the server that we trust found out about the sender: Authentication-Results (RFC 8601).

Anybody can write that header, so it counts only where it stands on top of all of its kind, where only the last server
can have put it, and names the server that the profile trusts. Servers may write one for each method: those below the
topmost count as long as they name the same server, but the last of them may be a forged one that the server did not
remove (RFC 8601 §5). So a lower one adds only methods that none above it tells of, and never a pass.
"""

import re

from router.model import Verdict
from router.pipeline.classify.headers import Headers

_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)")
_RESULT = re.compile(r"\s*([a-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([a-z]{1,20})", re.IGNORECASE)
_MOST = 10  # headers, in which one server tells what it found

_Results = tuple[tuple[str, str], ...]


def find_verdict(headers: Headers, authserv: str) -> Verdict | None:
    """Read the verdict of the server `authserv`; None if the topmost one is somebody else's."""
    found: _Results | None = None
    for written in headers.all("authentication-results")[:_MOST]:
        server, results = _read(written)
        if server != authserv.lower():
            break
        if found is None:
            found = results
        else:
            told = {method for method, _ in found}
            found += tuple(one for one in results if one[0] not in told and one[1] != "pass")
    return None if found is None else Verdict(authserv.lower(), found)


def _read(written: str) -> tuple[str, _Results]:
    """Read one header: the server that it names, in lower case and without a version, and its results."""
    for _ in range(5):  # comments can be nested
        written, found = _COMMENT.subn(" ", written)
        if not found:
            break
    server, *results = _split(written)
    words = server.split()
    read = [match for result in results if (match := _RESULT.match(result))]
    return (
        words[0].strip('"').lower() if words else "",
        tuple((match[1].lower(), match[2].lower()) for match in read),
    )


def _split(written: str) -> list[str]:
    """Cut at the semicolons that are not quoted: a reason may hold what looks like a result."""
    pieces = [""]
    for piece in re.findall(r'"(?:[^"\\]|\\.)*"|[^";]+|.', written):
        if piece == ";":
            pieces.append("")
        else:
            pieces[-1] += piece
    return pieces
