"""Reports in a mail system's own words (`dialects`): who did not get it, with the code and the words for each."""

import re
from dataclasses import dataclass, field, replace

from router.classify.codes import find_code
from router.classify.dialects import ADDRESS, DELAYED, FAILED, FORWARDED, ORIGINAL, RECIPIENT_LINES, RECIPIENT_WORDS
from router.classify.status import read_status
from router.model import RecipientReport, ReportKind, normalize
from router.parse.text import clean_line

_MOST_TEXT = 50_000
_MOST_LINES = 500
_MOST_WORDS = 1_000
_LONGEST_LINE = 500
_SPACES = re.compile(r"\s+")
# Chinese, Japanese and Korean words stand right beside an address.
_BETWEEN = re.compile(r"[\s<>()\[\]\",;:'*|=\u2010-\u206f\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]")
_LONE = re.compile(ADDRESS)
_ID_LINE = re.compile(r"\b(?:message|queue|mail|content)?[ -]?id\b", re.IGNORECASE)
_HELPERS = re.compile(
    r"(?:post-?master|mailer-daemon|abuse|no-?reply|root|admin\w{0,20}|info\w{0,20}|(?:help|support|soporte|service|servizio"
    r"|assist|ayuda|ajuda|aide|aiuto|hilfe|hjelp|hjälp|apua|pomoc|kontakt|contact|suporte|поддержка)[\w.-]{0,30})@",
    re.IGNORECASE,
)
_STATUS_FIELD = re.compile(r"^(?:final|original)-recipient\s*:", re.IGNORECASE | re.MULTILINE)


@dataclass(slots=True)
class _Told:
    """What is told of one recipient: the lines from its own to the next recipient's."""

    address: str
    lines: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        return "\n".join(self.lines)


def split_notice(text: str) -> tuple[str, str]:
    """Cut a report's text where the copy of the original begins: the words of the report, and the copy."""
    text = text[:_MOST_TEXT]
    found = ORIGINAL.search(text)
    if found is None:
        return text, ""
    return text[: found.start()], text[found.start() :]


def read_notice(
    text: str, subject: str, failed: tuple[str, ...] = (), ours: frozenset[str] = frozenset()
) -> tuple[RecipientReport, ...]:
    """Read the recipients of a report's text. `failed` are those its headers name, `ours` those who sent the mail."""
    if _STATUS_FIELD.search(text):  # the standard form, but where its parts cannot be told apart
        standard = read_status(text[:_MOST_TEXT].encode("utf-8", "replace"))
        if any(one.address for one in standard):
            return standard
    notice, _ = split_notice(text)
    kind: ReportKind = "delay" if DELAYED.search(subject) or DELAYED.search(notice) else "bounce"
    told = _told_of(notice, ours) or _told_of(notice, frozenset())  # who writes to oneself is a recipient, too
    if failed:
        told = {address: told.get(address) or _Told(address) for address in failed}
    reports = []
    for one in told.values():
        words = one.words if len(told) > 1 else one.words + "\n" + notice
        forwarded = FORWARDED.search(one.words)
        address = normalize(forwarded[1]) if forwarded else one.address
        reports.append(
            RecipientReport(
                address=address,
                kind=kind,
                code=find_code(one.words) or find_code(words),
                text=_SPACES.sub(" ", clean_line(one.words if one.lines[1:] else words)).strip()[:_MOST_WORDS],
                final=one.address if one.address != address else "",
            )
        )
    return tuple(reports)


def read_lone(text: str, subject: str, ours: frozenset[str]) -> tuple[RecipientReport, ...]:
    """Read the addresses that the words of a report name anywhere: the only one, or those that a failure stands beside.

    Not `ours`, nor those of people who help.
    """
    notice, _ = split_notice(text)
    lines: dict[str, str] = {}
    for line in notice.split("\n")[:_MOST_LINES]:
        if _ID_LINE.search(line[:_LONGEST_LINE]):
            continue
        for word in _BETWEEN.split(line[:_LONGEST_LINE]):
            if _LONE.fullmatch(word.rstrip(".")) and not _HELPERS.match(word):
                lines.setdefault(normalize(word.rstrip(".")), line)
    named = {address: line for address, line in lines.items() if address not in ours}
    if len(named) > 1:
        named = {address: line for address, line in named.items() if FAILED.search(line) or find_code(line)}
    return tuple(replace(read_nameless(text, subject), address=address) for address in named)


def read_nameless(text: str, subject: str) -> RecipientReport:
    """Read what became of a recipient whom the report does not name."""
    notice, _ = split_notice(text)
    kind: ReportKind = "delay" if DELAYED.search(subject) or DELAYED.search(notice) else "bounce"
    return RecipientReport("", kind, find_code(notice), _SPACES.sub(" ", clean_line(notice)).strip()[:_MOST_WORDS])


def _told_of(notice: str, ours: frozenset[str]) -> dict[str, _Told]:
    told: dict[str, _Told] = {}
    before: list[str] = []
    current: _Told | None = None
    for line in notice.split("\n")[:_MOST_LINES]:
        address = _named_by_line(line[:_LONGEST_LINE])
        if current is None and not address and (expanded := FORWARDED.search(line[:_LONGEST_LINE])):
            address = normalize(expanded[1])  # above it stands a program or a file
        if address and address not in ours:
            current = told.setdefault(address, _Told(address))
        (current.lines if current else before).append(line)
    if told:
        return told
    for words in RECIPIENT_WORDS:
        named = dict.fromkeys(normalize(found["address"]) for found in words.finditer(notice))
        wanted = [address for address in named if address not in ours]
        if wanted:
            return {address: _Told(address) for address in wanted}
    return {}


def _named_by_line(line: str) -> str:
    for pattern in RECIPIENT_LINES:
        if found := pattern.match(line):
            return normalize(found["address"])
    return ""
