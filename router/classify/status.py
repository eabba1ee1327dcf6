"""Reports in the standard forms: delivery status (RFC 3464, RFC 6533) and feedback (RFC 5965)."""

import re
from collections.abc import Iterator
from itertools import islice, pairwise
from uuid import UUID

from router.classify.codes import choose_code
from router.classify.dialects import FORWARDED
from router.model import RecipientReport, ReportKind, normalize
from router.parse.headers import Fields, decode_words, raw_text, read_fields, unfold
from router.parse.text import clean_line

_MOST_BYTES = 200_000
_MOST_RECIPIENTS = 1_000
_MOST_WORDS = 1_000
_GROUPS = re.compile(rb"\r?\n[ \t]*\r?\n\s*")
_FIELD_OF_RECIPIENT = re.compile(
    rb"^(final|original)-recipient[ \t]*:|^(?:action|status|diagnostic-code)[ \t]*:", re.IGNORECASE | re.MULTILINE
)
_RECIPIENTS = frozenset({"final-recipient", "original-recipient"})
_COMMENT = re.compile(r"\([^()]*\)")
_ENVELOPE_ID = re.compile(
    rb"^original-envelope-id[ \t]*:[ \t]*([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_ADDRESS = re.compile(
    r"(?:\"[^\"|/][^\"]{0,200}\"|[^\s\"|/@:;,()<>\[\]][^\s\"@:;,()<>\[\]|]{0,200})@[^\s@/|\"<>()]{1,255}"
)
_ACTIONS: dict[str, ReportKind] = {
    "failed": "bounce",
    "delayed": "delay",
    "delivered": "delivery",
    "relayed": "delivery",
    "expanded": "delivery",
}
_COMPLAINTS = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list", "miscategorized", "other", ""})


def read_status(content: bytes) -> tuple[RecipientReport, ...]:
    """Read the recipients' groups of a message/delivery-status part.

    A recipient that is no mail address, such as a program that mail is piped to, has an empty address here; what was
    told of it is kept.
    """
    reports = []
    groups = (part for group in _GROUPS.split(content[:_MOST_BYTES].strip()) for part in _apart(group))
    for group in islice(groups, _MOST_RECIPIENTS):
        fields, _, _ = read_fields(group)
        final, expanded = _recipient(fields, "final-recipient")
        original, _ = _recipient(fields, "original-recipient")
        address = original or expanded or final
        if address or _RECIPIENTS & fields.keys():
            reports.append(_report(fields, address, final))
    return tuple(reports)


def read_envelope_id(content: bytes) -> UUID | None:
    """Read the id that we gave the relay with an email (RFC 3464 §2.2.1); None if there is none of ours."""
    found = _ENVELOPE_ID.search(content[:_MOST_BYTES])
    return UUID(found[1].decode()) if found else None


def _apart(group: bytes) -> Iterator[bytes]:
    """Cut a group where another recipient begins in it: some systems leave out the empty line between two."""
    starts = [0]
    seen: set[str] = set()
    told = False  # something of the recipient that began last
    fields = [((field[1] or b"").decode().lower(), field.start()) for field in _FIELD_OF_RECIPIENT.finditer(group)]
    for (name, start), (following, _) in pairwise([*fields, ("", 0)]):
        if not name:
            told = True
        elif name in seen or (told and seen and name == "original" and following == "final"):
            starts.append(start)
            seen, told = {name}, False
        else:
            seen.add(name)
    return (group[start:end] for start, end in zip(starts, [*starts[1:], len(group)], strict=True))


def _report(fields: Fields, address: str, final: str) -> RecipientReport:
    action = _value(fields, "action").lower()
    status = _value(fields, "status")
    words = _value(fields, "diagnostic-code")
    kind, semicolon, told = words.partition(";")
    words = told.strip() if semicolon and len(kind) < 40 and " " not in kind.strip() else words
    code = choose_code(status, words)
    return RecipientReport(
        address=address,
        kind=_ACTIONS.get(action.partition(" ")[0], "delivery" if code.startswith("2") else "bounce"),
        code=code,
        text=(words or status)[:_MOST_WORDS],
        final=final if final != address else "",
    )


def _value(fields: Fields, name: str) -> str:
    values = fields.get(name)
    return clean_line(unfold(raw_text(values[0]))) if values else ""


def _recipient(fields: Fields, name: str) -> tuple[str, str]:
    """Read a recipient without its type: `rfc822; <neko@example.jp>`; and the address that it was expanded from.

    Empty for one that is no mail address: a program, a file, a host, a name of X.400.
    """
    written = decode_words(_value(fields, name).partition(";")[2] or _value(fields, name))
    expanded = FORWARDED.search(written)
    return _address(_COMMENT.sub(" ", written)), _address(expanded[1]) if expanded else ""


def read_recipient(fields: Fields, name: str) -> str:
    """Read the recipient that a field of a report names; empty if that is no mail address."""
    return _recipient(fields, name)[0]


def _address(written: str) -> str:
    address = written.rpartition(";")[2].strip(" <>\"'")
    return normalize(address)[:320] if _ADDRESS.fullmatch(address) else ""


def read_feedback(content: bytes) -> tuple[str, tuple[str, ...]] | None:
    """Read the type of a complaint and the recipients that it names; None if it complains of nothing."""
    fields, _, _ = read_fields(content[:_MOST_BYTES].lstrip())
    kind = _value(fields, "feedback-type").lower()
    if kind not in _COMPLAINTS:
        return None  # not-spam, auth-failure
    named = [
        normalize(address)[:320]
        for name in ("original-rcpt-to", "removal-recipient")
        for raw in fields.get(name, ())[:_MOST_RECIPIENTS]
        if "@" in (address := clean_line(unfold(raw_text(raw))).rpartition(";")[2].strip(" <>"))
    ]
    return kind or "abuse", tuple(dict.fromkeys(named))
