"""The codes in a server's words: the enhanced status code (RFC 3463), or else the reply code (RFC 5321 §4.2)."""

import re

_ENHANCED = re.compile(r"(?<![\d.])([45]\.\d{1,3}\.\d{1,3})(?!\.?\d)")
_REPLY = re.compile(r"(?:^|[\s:'\"<(>])([45]\d\d)(?=[ \-:,'\"]|$)", re.MULTILINE)
_STATUS = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)")


def find_code(words: str) -> str:
    """Find the code that says most: an enhanced one rather than a reply code, a specific one rather than 5.0.0."""
    enhanced: list[str] = _ENHANCED.findall(words)
    if enhanced:
        return next((code for code in enhanced if not is_vague(code)), enhanced[0])
    reply = _REPLY.search(words)
    return reply[1] if reply else ""


def choose_code(status: str, words: str) -> str:
    """Take the status that the report gives, unless the server's own words say more than it.

    The server that refused knows more than the one that reports it. A status of class 4 in a bounce is the
    reporter's own: it gave up, whatever the other said.
    """
    found = _STATUS.match(status)
    told = find_code(words)
    if found is None:
        return told
    code = found[1]
    says_more = "." in told and told[0] == code[0] and (is_vague(code) or (code[0] == "5" and not is_vague(told)))
    return told if says_more else code


def is_vague(code: str) -> bool:
    """Whether a status says no more than permanent or temporary."""
    return code.endswith(".0.0")
