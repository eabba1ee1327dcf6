"""Reports in the standard forms: delivery status (RFC 3464, RFC 6533) and feedback (RFC 5965)."""

import re

from router.classify.codes import choose_code
from router.model import RecipientReport, ReportKind, normalize
from router.parse.headers import Fields, decode_words, raw_text, read_fields, unfold
from router.parse.text import clean_line

_MOST_BYTES = 200_000
_MOST_RECIPIENTS = 1_000
_MOST_WORDS = 1_000
_GROUPS = re.compile(rb"\r?\n[ \t]*\r?\n\s*")
_ACTIONS: dict[str, ReportKind] = {
    "failed": "bounce",
    "delayed": "delay",
    "delivered": "delivery",
    "relayed": "delivery",
    "expanded": "delivery",
}
_COMPLAINTS = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list", "miscategorized", "other", ""})


def read_status(content: bytes) -> tuple[RecipientReport, ...]:
    """Read the recipients' groups of a message/delivery-status part."""
    reports = []
    for group in _GROUPS.split(content[:_MOST_BYTES].strip())[:_MOST_RECIPIENTS]:
        fields, _, _ = read_fields(group)
        final, original = _recipient(fields, "final-recipient"), _recipient(fields, "original-recipient")
        address = original or final
        if address:
            reports.append(_report(fields, address, final))
    return tuple(reports)


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


def _recipient(fields: Fields, name: str) -> str:
    """Read a recipient without its type: `rfc822; <neko@example.jp>`. None for one that is no mail address."""
    address = _value(fields, name).rpartition(";")[2]
    address = decode_words(address).strip(" <>\"'")
    return normalize(address)[:320] if "@" in address and " " not in address else ""


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
