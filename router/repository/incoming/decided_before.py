"""What became of a batch's messages before: at their places, elsewhere in a mailbox, and where owners took back."""

from collections.abc import Sequence
from typing import Final

from asyncpg import Record

from router.model import GIST_VERSION, Copy, DecidedBefore, Disposition
from router.repository.round_trip import Reads
from transports.base import Place

SAYS_THE_SAME: Final = f"(d.gist_version = {GIST_VERSION} AND d.sender_gist <> w.sender_gist) IS NOT TRUE"
"""SQL for whether a decision `d` was on a message that says what `w` says; what either said may not be known."""


def keys_of(copy: Copy) -> tuple[bytes, ...]:
    """Return the keys that the copy may have."""
    return (copy.key, copy.sent_key) if copy.sent_key else (copy.key,)


def add_decided(reads: Reads, copies: Sequence[Copy]) -> None:
    """Ask what became of these copies, and of others of the same messages in their owners' mailboxes."""
    reads.add(
        "places",
        """
        SELECT d.source_id, d.validity, d.place
        FROM unnest($1::bigint[], $2::text[], $3::text[]) AS w (source_id, validity, place)
        JOIN router.decision AS d USING (source_id, validity, place)
        """,
        [copy.source_id for copy in copies],
        [copy.place.validity for copy in copies],
        [copy.place.id for copy in copies],
    )
    sent = {(copy.source_id, copy.key) for copy in copies if copy.judged and copy.sent}
    reads.add(
        "sent",
        """
        SELECT w.source_id, w.key FROM unnest($1::bigint[], $2::bytea[]) AS w (source_id, key)
        JOIN router.message AS m ON m.key = w.key
        JOIN router.decision AS d ON d.email_id = m.email_id AND d.source_id = w.source_id
        """,
        [source_id for source_id, _ in sent],
        [key for _, key in sent],
    )
    judged = {
        (copy.owner_id, key, copy.sender_gist)
        for copy in copies
        if copy.judged and copy.owner_id
        for key in keys_of(copy)
    }
    reads.add(
        "not_promoted",
        f"""
        SELECT w.owner_id, w.key, w.sender_gist, d.before, d.has_held_twin
        FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS w (owner_id, key, sender_gist)
        CROSS JOIN LATERAL (
            SELECT
                (array_agg(disposition ORDER BY id DESC) FILTER (WHERE says_the_same))[1] AS before,
                bool_or(disposition = 'held' AND NOT says_the_same) AS has_held_twin
            FROM (
                SELECT d.id, d.disposition, {SAYS_THE_SAME} AS says_the_same FROM router.decision AS d
                WHERE d.key = w.key AND d.owner_id = w.owner_id AND d.disposition IN ('ignored', 'held')
            ) AS of_key
            HAVING count(*) > 0
        ) AS d
        """,  # noqa: S608  # constants
        [owner_id for owner_id, _, _ in judged],
        [key for _, key, _ in judged],
        [sender_gist for *_, sender_gist in judged],
    )
    of_owners = {(owner_id, key) for owner_id, key, _ in judged}
    reads.add(
        "taken_back",
        """
        SELECT w.owner_id, w.key
        FROM unnest($1::uuid[], $2::bytea[]) AS w (owner_id, key) JOIN router.message AS m USING (key)
        WHERE EXISTS (
            SELECT FROM router.taken_back AS t
            WHERE t.email_id = m.email_id
                AND (t.owner_id = w.owner_id OR NOT EXISTS (SELECT FROM crm.email AS e WHERE e.id = t.email_id))
        )
        """,
        [owner_id for owner_id, _ in of_owners],
        [key for _, key in of_owners],
    )


def learn_decided(found: Record) -> DecidedBefore:
    """Take what the parts have found."""
    return DecidedBefore(
        {(source_id, Place(validity, place)) for source_id, validity, place in found["places"]},
        {tuple(which): Disposition(before) for *which, before, _ in found["not_promoted"] if before},
        {tuple(which) for *which, _, has_held_twin in found["not_promoted"] if has_held_twin},
        {tuple(which) for which in found["taken_back"]},
        {tuple(one) for one in found["sent"]},
    )
