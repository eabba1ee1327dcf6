"""What the server that we trust found out about the sender: Authentication-Results (RFC 8601).

Anybody can write that header, so it counts only where it stands on top of all of its kind, where only the last server
can have put it, and names the server that the profile trusts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from router.model import Verdict
from router.pipeline.classify.headers import Headers

_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)")
_PROPERTY = re.compile(r'([a-z][a-z.-]*)\s*=\s*((?:"(?:[^"\\]|\\.)*"|[^\s"])+)', re.IGNORECASE)
_RESULT = re.compile(r"\s*([a-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([a-z]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Passed:
    """A method that passed, and what it was that passed: `header.from`, `smtp.mailfrom` … (RFC 8601 §2.3)."""

    method: str
    properties: Mapping[str, str]


def find_verdict(headers: Headers, authserv: str) -> Verdict | None:
    """Read the verdict of the server `authserv`; None if the topmost one is somebody else's."""
    results = _results(headers, authserv)
    if results is None:
        return None
    return Verdict(authserv.lower(), tuple((method, result) for method, result, _ in results))


def find_passed(headers: Headers, authserv: str) -> list[Passed] | None:
    """Read what the server `authserv` vouches for; None if the topmost verdict is somebody else's."""
    results = _results(headers, authserv)
    if results is None:
        return None
    return [
        # A sender can choose what is quoted: `"ann@example.com"@elsewhere.example` is no address of example.com.
        Passed(method, {name.lower(): value for name, value in _PROPERTY.findall(rest) if '"' not in value})
        for method, result, rest in results
        if result == "pass"
    ]


def _results(headers: Headers, authserv: str) -> list[tuple[str, str, str]] | None:
    """Each method with its result, and what is written behind that."""
    written = headers.first("authentication-results")
    for _ in range(5):  # comments can be nested
        written, found = _COMMENT.subn(" ", written)
        if not found:
            break
    server, *results = _split(written)
    words = server.split()
    if not words or words[0].strip('"').lower() != authserv.lower():
        return None
    read = [(match, result) for result in results if (match := _RESULT.match(result))]
    return [(match[1].lower(), match[2].lower(), result[match.end() :]) for match, result in read]


def _split(written: str) -> list[str]:
    """Cut at the semicolons that are not quoted: a reason may hold what looks like a result."""
    pieces = [""]
    for piece in re.findall(r'"(?:[^"\\]|\\.)*"|[^";]+|.', written):
        if piece == ";":
            pieces.append("")
        else:
            pieces[-1] += piece
    return pieces
