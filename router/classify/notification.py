"""Reports as JSON: Amazon's mail service tells of bounces and complaints so, also by mail."""

import json
from typing import Any

from router.classify.codes import choose_code
from router.model import RecipientReport, ReportKind, normalize
from router.parse.text import clean_line

_MOST_TEXT = 200_000
_KINDS: dict[str, tuple[ReportKind, str, str]] = {
    "bounce": ("bounce", "bounce", "bouncedRecipients"),
    "complaint": ("complaint", "complaint", "complainedRecipients"),
    "delivery": ("delivery", "delivery", "recipients"),
    "deliverydelay": ("delay", "deliveryDelay", "delayedRecipients"),
}


def read_notification(text: str) -> tuple[tuple[RecipientReport, ...], tuple[str, ...]]:
    """Read the recipients and the original's ids; nothing where it is no such notification."""
    text = text[:_MOST_TEXT].lstrip()
    if not text.startswith("{") or 'ype":' not in text[:1_000]:
        return (), ()
    try:
        # A server on the way may have broken the line, with a "!" (sendmail).
        told, _ = json.JSONDecoder().raw_decode(text.replace("!\n ", "").replace("\n", " "))
    except (ValueError, RecursionError):
        return (), ()
    kind, holder, recipients = _KINDS.get(
        str(told.get("notificationType") or told.get("eventType")).lower(), ("bounce", "", "")
    )
    if not isinstance(told.get(holder), dict):
        return (), ()
    details: dict[str, Any] = told[holder]
    ours = {normalize(str(_dict(told.get("mail")).get("source", "")))}
    reports = []
    for entry in details.get(recipients) or []:
        fields = entry if isinstance(entry, dict) else {"emailAddress": entry}
        address = normalize(clean_line(str(fields.get("emailAddress", ""))).rpartition("<")[2].rstrip("> "))[:320]
        if "@" in address and address not in ours:
            words = clean_line(str(fields.get("diagnosticCode") or details.get("complaintFeedbackType") or ""))
            reports.append(RecipientReport(address, kind, choose_code(str(fields.get("status", "")), words), words))
    common = _dict(_dict(told.get("mail")).get("commonHeaders"))
    return tuple(reports), tuple(id_.strip("<> ") for id_ in [common.get("messageId")] if isinstance(id_, str))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
