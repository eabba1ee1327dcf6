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

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"(?=[\s;@(>]|$)', re.DOTALL)
_OTHER = re.compile(r'\\.|[^\s"()\\=;]+|\s+|.', re.DOTALL)
_BRACKET = re.compile(r"\\.|[()]", re.DOTALL)
_BARE_RESULT = re.compile(r"[a-z0-9-]{1,40}=[a-z]{0,20}", re.IGNORECASE)
_RESULT = re.compile(r"\s*([a-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([a-z]{1,20})", re.IGNORECASE)
_PROPERTY = re.compile(r'(?<![a-z.-])[.-]*([a-z][a-z.-]*)\s*=\s*((?:"(?:[^"\\]|\\.)*"?|[^\s"])+)', re.IGNORECASE)
MICROSOFT_365 = "microsoft365"
"""Stands for the server that writes no name, where a profile names the server that it believes."""

_MOST = 10  # headers, in which one server tells what it found
_MOST_OPEN = 20  # brackets without an end that are looked at

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
    if _split(written)[1]:
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
    pieces, _ = _split(written)
    read = [(match, result) for result in pieces if (match := _RESULT.match(result))]
    if read and read[0][1] is pieces[0]:
        return MICROSOFT_365, read
    words = pieces[0].split()
    server = words[0].strip('"').lower() if words else ""
    return "" if server == MICROSOFT_365 else server, read


def _split(written: str) -> tuple[list[str], bool]:
    """Cut at the semicolons that are not quoted, and make a blank of each comment; also say whether one has a quote.

    What is quoted holds no comment, and a quote or comment without an end is none. A sender chooses what stands in an
    address, and must not hide the results behind it: a quote opens only at the start of a value (RFC 8601 §2.2), a
    comment only between words or right behind a result.
    """
    pieces: list[list[str]] = [[]]
    word, value_due, quotes, unended = 0, True, False, 0
    position = 0
    while position < len(written):
        end = None
        if (
            written[position] == "("
            and (position == word or _BARE_RESULT.fullmatch(written, word, position))
            and unended < _MOST_OPEN
        ):
            end = _end_of_comment(written, position)
            unended += end is None
        if end is not None:
            quotes = quotes or '"' in written[position:end]
            lexeme = " "
        else:
            quoted = _QUOTED.match(written, position) if value_due else None
            found = quoted or _OTHER.match(written, position)
            assert found is not None, "it matches any character"
            lexeme, end = found[0], found.end()
        position = end
        if lexeme == ";":
            pieces.append([])
        else:
            pieces[-1].append(lexeme)
        if lexeme == ";" or lexeme.isspace():
            word = position
        if not lexeme.isspace():
            value_due = lexeme == "="
    return ["".join(piece) for piece in pieces], quotes


def _end_of_comment(written: str, begin: int) -> int | None:
    depth = 0
    for found in _BRACKET.finditer(written, begin):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    return None
