"""What the server that we trust found out about the sender: Authentication-Results (RFC 8601).

Anybody can write that header, so it counts only where it stands on top of all of its kind, where only the last server
can have put it, and names the server that the profile trusts. Servers may write one for each method: those below the
topmost count as long as they name the same server, but the last of them may be a forged one that the server did not
remove (RFC 8601 §5). So a lower one adds only methods that none above it tells of, and never a pass.

Microsoft 365 writes no name, and begins with the first result. There (`MICROSOFT_365`) only the topmost header counts,
since no name tells a lower one from a forged one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from router.classify.headers import Headers
from router.model import Verdict

_LEXEME = re.compile(r'\\.|[^"()\\]+|.', re.DOTALL)
_RESULT = re.compile(r"\s*([a-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([a-z]{1,20})", re.IGNORECASE)
_PROPERTY = re.compile(r'(?<![a-z.-])[.-]*([a-z][a-z.-]*)\s*=\s*((?:"(?:[^"\\]|\\.)*"?|[^\s"])+)', re.IGNORECASE)
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*("?)|[^";]+|.')
MICROSOFT_365 = "microsoft365"
"""Stands for the server that writes no name, where a profile names the server that it believes."""

_MOST = 10  # headers, in which one server tells what it found

_Results = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Passed:
    """A method that passed, and what it was that passed: `header.from`, `smtp.mailfrom` … (RFC 8601 §2.3)."""

    method: str
    properties: Mapping[str, str]


def find_verdict(headers: Headers, authserv: str) -> Verdict | None:
    """Read the verdict of the server `authserv`; None if the topmost one is somebody else's."""
    found: _Results | None = None
    most = 1 if authserv.lower() == MICROSOFT_365 else _MOST
    for written in headers.all("authentication-results")[:most]:
        server, results = _read(written)
        if server != authserv.lower():
            break
        if found is None:
            found = results
        else:
            told = {method for method, _ in found}
            found += tuple(one for one in results if one[0] not in told and one[1] != "pass")
    return None if found is None else Verdict(authserv.lower(), found)


def find_passed(headers: Headers, authserv: str) -> list[Passed] | None:
    """Read what the server `authserv` vouches for, in the topmost header only; None if that is somebody else's."""
    written = headers.first("authentication-results")
    server, results = _cut(written)
    if server != authserv.lower():
        return None
    if _without_comments(written)[1]:
        # It may comment on a sender's address, `"a) ; dmarc=pass header.from=example.com ("@elsewhere.example`.
        return []
    return [
        # A sender can choose what is quoted: `"ann@example.com"@elsewhere.example` is no address of example.com.
        Passed(
            match[1].lower(),
            {name.lower(): value for name, value in _PROPERTY.findall(result, match.end()) if '"' not in value},
        )
        for match, result in results
        if match[2].lower() == "pass"
    ]


def _read(written: str) -> tuple[str, _Results]:
    """Read one header: the server that it names, in lower case and without a version, and its results."""
    server, results = _cut(written)
    return server, tuple((match[1].lower(), match[2].lower()) for match, _ in results)


def _cut(written: str) -> tuple[str, list[tuple[re.Match[str], str]]]:
    """Cut one header into the server (`MICROSOFT_365` if it names none), and each result with what is written of it."""
    pieces = _split(_without_comments(written)[0])
    read = [(match, result) for result in pieces if (match := _RESULT.match(result))]
    if read and read[0][1] is pieces[0]:
        return MICROSOFT_365, read
    words = pieces[0].split()
    server = words[0].strip('"').lower() if words else ""
    return "" if server == MICROSOFT_365 else server, read


def _without_comments(written: str) -> tuple[str, bool]:
    """Make a blank of each comment; also say whether a quote is in one of them.

    What is quoted holds no comment, whatever brackets a sender puts into an address.
    """
    pieces = _LEXEME.findall(written)
    last_quote = max((number for number, piece in enumerate(pieces) if piece == '"'), default=0)
    quoted = False
    opened: list[int] = []  # comments can be nested
    comments: list[tuple[int, int]] = []
    for number, piece in enumerate(pieces):
        if piece == '"' and not opened:
            quoted = not quoted and number < last_quote  # a quote without an end quotes nothing
        elif piece == "(" and not quoted:
            opened.append(number)
        elif piece == ")" and not quoted and opened:
            comments.append((opened.pop(), number + 1))
    kept: list[str] = []
    quotes, position = False, 0
    for begin, end in sorted(comments):
        if begin >= position:
            kept += [*pieces[position:begin], " "]
            quotes = quotes or '"' in pieces[begin:end]
            position = end
    return "".join([*kept, *pieces[position:]]), quotes


def _split(written: str) -> list[str]:
    """Cut at the semicolons that are not quoted: a reason may hold what looks like a result."""
    pieces: list[list[str]] = [[]]
    for found in _PIECE.finditer(written):
        piece = found[0]
        if piece == ";":
            pieces.append([])
        elif piece.startswith('"') and not found[1]:  # a quote without an end quotes nothing
            first, *rest = piece.split(";")
            pieces[-1].append(first)
            pieces += [[one] for one in rest]
        else:
            pieces[-1].append(piece)
    return ["".join(piece) for piece in pieces]
