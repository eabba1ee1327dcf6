"""What may be answered beside what Message-IDs and our tokens name: asked for only where a batch has a use for it.

Each query is bound to an index, and takes no more than the newest, however many there are.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from asyncpg import Record

from router.model import Copy, KnownEmails, Matching
from router.repository.round_trip import Reads

_NEWEST: Final = 20
_SIMILAR_FOR: Final = timedelta(days=90)


def add_candidates(reads: Reads, copies: Sequence[Copy], matching: Matching) -> Sequence[str]:
    """Ask for the emails that these copies may answer; returns the names of the parts, each with a column email_id."""
    tokens = {token for copy in copies for token in matching.legacy_tokens_of(copy.message)}
    conversations = {
        copy.message.conversation for copy in copies if copy.message.goes_on and not copy.message.thread_ids
    }
    alike = [copy for copy in copies if matching.smart_of(copy.owner_id) != "off" and _is_unnamed(copy)]
    parts = []
    if tokens:
        parts.append("legacy")
        reads.add(
            "legacy",
            """
            SELECT w.token, e.id AS email_id
            FROM unnest($1::text[]) AS w (token)
            CROSS JOIN LATERAL (
                SELECT e.id FROM crm.email AS e
                WHERE lower(e.legacy_token COLLATE "C") = w.token AND e.legacy_token IS NOT NULL
                ORDER BY e.created_at DESC LIMIT $2
            ) AS e
            """,
            list(tokens),
            _NEWEST,
        )
    if conversations:
        parts.append("conversations")
        reads.add(
            "conversations",
            """
            SELECT w.conversation, t.position, t.email_id
            FROM unnest($1::uuid[]) AS w (conversation)
            CROSS JOIN LATERAL (
                SELECT t.position, t.email_id FROM router.thread_index AS t
                WHERE t.conversation = w.conversation ORDER BY t.at DESC LIMIT $2
            ) AS t
            """,
            list(conversations),
            _NEWEST,
        )
    if alike:
        parts.append("alike")
        reads.add(
            "alike",
            """
            SELECT w.copy_id, e.id AS email_id
            FROM unnest($1::uuid[], $2::text[]) AS w (copy_id, subject)
            CROSS JOIN LATERAL (
                SELECT e.id, e.status FROM crm.email AS e
                WHERE crm.subject_key(e.subject) = crm.subject_key(w.subject) AND e.subject <> ''
                    AND e.created_at > now() - $3::interval
                ORDER BY e.created_at DESC LIMIT $4
            ) AS e
            WHERE e.status NOT IN ('draft', 'canceled')
            """,
            [copy.id for copy in alike],
            [copy.message.subject for copy in alike],
            _SIMILAR_FOR,
            _NEWEST,
        )
    return parts


def _is_unnamed(copy: Copy) -> bool:
    kind = copy.classification
    return bool(copy.message.subject) and not (copy.message.thread_ids or kind.automatic or kind.bulk)


def learn_candidates(emails: KnownEmails, found: Record) -> None:
    """Take what the parts have found."""
    for token, email_id in _rows(found, "legacy"):
        emails.by_legacy_token.setdefault(token, []).append(email_id)
    for conversation, position, email_id in _rows(found, "conversations"):
        emails.by_conversation.setdefault(conversation, []).append((position, email_id))
    for copy_id, email_id in _rows(found, "alike"):
        emails.similar.setdefault(copy_id, []).append(email_id)


def _rows(found: Record, part: str) -> Iterable[Any]:
    rows: Iterable[Any] = found.get(part, ())
    return rows
