"""The values that flow through the router: what a message is, what is known about it, and what becomes of it.

Received ──parse──▶ Message ─┐
                             ├─▶ Copy ──decide(copy, Facts)──▶ Decision
whose mailbox, which rule ───┘
"""

from router.model.classification import CalendarEvent, Classification, RecipientReport, Report, ReportKind, Verdict
from router.model.copy import Copy, Owner, Ruling, key_when_sent
from router.model.creation import Creation, CreationRule
from router.model.decision import OTHER_COPY, Candidate, Decision, Email, Method, Party, Says
from router.model.facts import (
    INTERNAL,
    MOST_RECORDS,
    DecidedBefore,
    Facts,
    KnownEmails,
    Record,
    Ruled,
    ThreadEmail,
    ThreadLoad,
)
from router.model.forward import Form, Forward, Original, Unwrapped
from router.model.ids import KEY_VERSION, conversation_hash, local_id_hash, message_id_hash, normalize, uuid7
from router.model.matching import SUGGESTED, Matching
from router.model.message import Attachment, Mark, Mention, Message, Role
from router.model.outgoing import Outgoing, Result
from router.model.reading import GIST_VERSION, Likeness, Packed, Predecided, Reading, Unreadable
from router.model.served import Direction, Key, ServedProfile
from router.model.tracking import Disposition, Rule

__all__ = [
    "GIST_VERSION",
    "INTERNAL",
    "KEY_VERSION",
    "MOST_RECORDS",
    "OTHER_COPY",
    "SUGGESTED",
    "Attachment",
    "CalendarEvent",
    "Candidate",
    "Classification",
    "Copy",
    "Creation",
    "CreationRule",
    "DecidedBefore",
    "Decision",
    "Direction",
    "Disposition",
    "Email",
    "Facts",
    "Form",
    "Forward",
    "Key",
    "KnownEmails",
    "Likeness",
    "Mark",
    "Matching",
    "Mention",
    "Message",
    "Method",
    "Original",
    "Outgoing",
    "Owner",
    "Packed",
    "Party",
    "Predecided",
    "Reading",
    "RecipientReport",
    "Record",
    "Report",
    "ReportKind",
    "Result",
    "Role",
    "Rule",
    "Ruled",
    "Ruling",
    "Says",
    "ServedProfile",
    "ThreadEmail",
    "ThreadLoad",
    "Unreadable",
    "Unwrapped",
    "Verdict",
    "conversation_hash",
    "key_when_sent",
    "local_id_hash",
    "message_id_hash",
    "normalize",
    "uuid7",
]
