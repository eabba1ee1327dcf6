"""What is known of a batch of messages: read in two or three round trips, by queries that are each bound to an index.

The first locks the Message-IDs, Exchange's conversations, subjects (where smart matching is on), and the keys of the
batch in sorted order. So two batches that share a thread or a message wait for each other without a deadlock, and the
second round trip reads what the first batch wrote. A third one counts the automatic emails of a thread, only where a
copy is automatic.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from router.model import (
    KEY_VERSION,
    MOST_RECORDS,
    Copy,
    Facts,
    KnownEmails,
    Likeness,
    Matching,
    Record,
    Rule,
    Ruled,
    ThreadEmail,
    conversation_hash,
    local_id_hash,
    message_id_hash,
)
from router.model.address_pattern import patterns_of
from router.model.settings import SETTINGS, Choices
from router.repository.database import Connection
from router.repository.incoming.decided_before import add_decided, keys_of, learn_decided
from router.repository.incoming.matching import add_candidates, learn_candidates
from router.repository.incoming.thread_load import read_thread_load
from router.repository.owners.choices import choices_of
from router.repository.records.creation_rules import add_creation_rules, creation_rules_of
from router.repository.round_trip import Reads


class _Owner(NamedTuple):
    """An owner of whom mail is decided on: their own tracking rule, the kind of their record, and their mailbox."""

    id: UUID
    rule: str | None
    acknowledges: bool
    kind: str | None
    mailbox: str | None


def ids_of(copy: Copy) -> list[str]:
    """Return every Message-ID that the message has, answers, claims, reports on or is a receipt for."""
    message, report, read_id = copy.message, copy.classification.report, copy.classification.read_id
    ids = [*message.thread_ids, *message.claims, *([message.message_id] if message.message_id else [])]
    return [*ids, *(report.message_ids if report else ()), *([read_id] if read_id else [])]


def _tokens_of(copy: Copy, matching: Matching) -> tuple[str, ...]:
    report = copy.classification.report
    return (*matching.tokens_of(copy.message), *(report.tokens if report else ()))


async def read_facts(connection: Connection, copies: Sequence[Copy]) -> Facts:
    """Lock what these copies share with other batches, and read what the database knows of them."""
    judged = [copy for copy in copies if copy.judged]
    named, emails, choices = await _lock(connection, judged)
    matching = Matching.of(choices)
    reads = Reads()
    candidates = add_candidates(reads, judged, matching)
    _add_emails(reads, judged, {email_id for _, email_id in named}, matching, candidates)
    _add_attempts(reads, judged)
    _add_records(reads, judged)
    _add_rulings(reads, judged)
    _add_owners(reads, copies)
    _add_never_track(reads, copies)
    add_decided(reads, copies)
    add_creation_rules(reads, copies)
    found = await reads.run(connection)
    emails.by_attempt = dict(found["attempts"])
    learn_candidates(emails, found)
    for id_, token, regarding_id, created_at, subject, participants in found["emails"]:
        emails.by_id[id_] = ThreadEmail(id_, regarding_id, frozenset(participants or ()), created_at, subject)
        if token:
            emails.by_token[token] = id_
    # Only now is it known which of them were erased: what another batch promoted is not seen before its ids are locked.
    emails.by_message_id |= {hashed: id_ for hashed, id_ in named if id_ in emails.by_id}
    records: dict[str, dict[UUID, Record]] = {}
    for address, id_, *rest in found["records"]:
        records.setdefault(address, {})[id_] = Record(id_, *rest)  # a view may name one twice
    owners = [_Owner(*row) for row in found["owners"]]
    return Facts(
        emails=emails,
        matching=matching,
        thread_load=await read_thread_load(connection, _answered_by_automatic(judged, emails, matching)),
        records={address: tuple(of_address.values()) for address, of_address in records.items()},
        ruled={
            address: Ruled(ruling_id, Record(*record) if record[0] else None)
            for address, ruling_id, *record in found["rulings"]
        },
        rules={owner.id: Rule(owner.rule) if owner.rule else None for owner in owners},
        acknowledging=frozenset(owner.id for owner in owners if owner.acknowledges),
        queues=frozenset(owner.id for owner in owners if owner.kind == "queue"),
        choices=choices,
        # What was changed is parsed anew, which takes a while where it is much.
        creation_rules=await asyncio.to_thread(creation_rules_of, found) if found["creation_rules"] else (),
        mailboxes={owner.id: owner.mailbox for owner in owners if owner.mailbox},
        never_track=frozenset(tuple(one) for one in found["never_track"]),
        decided=learn_decided(found),
    )


async def _lock(
    connection: Connection, copies: Sequence[Copy]
) -> tuple[list[tuple[bytes, UUID]], KnownEmails, Choices]:
    """Lock the Message-IDs, conversations and subjects, and then the keys, of these copies.

    Returns which emails had an id at any time, by its hash, the one that has it last; the emails of the keys; and what
    the organization and the owners have chosen, by which it is known what else to ask for.
    """
    if not copies:
        return [], KnownEmails(), Choices()
    ids = {message_id for copy in copies for message_id in ids_of(copy)}
    # Among the Message-IDs' hashes, so that one sorted order holds for all; a conversation's is never an email's.
    conversations = {copy.message.conversation for copy in copies if copy.message.conversation}
    (row,) = await connection.fetch(
        """
        WITH subjects AS MATERIALIZED (
            -- All of the batch, where one owner has smart matching: it finds whoever's mail has the subject.
            SELECT DISTINCT w.subject FROM unnest($7::text[]) AS w (subject)
            WHERE EXISTS (SELECT FROM crm.setting AS s WHERE s.name = 'smart_matching' AND s.value <> '"off"')
                OR EXISTS (
                    SELECT FROM crm.owner AS o
                    WHERE o.record_id = ANY($6::uuid[]) AND o.settings ->> 'smart_matching' <> 'off'
                )
        ), hashes AS (
            SELECT unnest($1::bytea[]) AS hash
            UNION
            -- As no Message-ID hashes: NUL is in none.
            SELECT substring(sha256('\\000subject:'::bytea || crm.subject_key(s.subject)) FROM 1 FOR 16)
            FROM subjects AS s
        ), ids AS (
            INSERT INTO router.message_id (hash) SELECT hash FROM hashes ORDER BY hash
            ON CONFLICT (hash) DO UPDATE SET seen_at = now()
            RETURNING hash, email_id
        ), keys AS (
            INSERT INTO router.message (key, version)
            -- All batches lock in one order: ids before keys.
            SELECT key, $4 FROM unnest($3::bytea[]) AS k (key) WHERE (SELECT count(*) FROM ids) >= 0
            ON CONFLICT (key) DO UPDATE SET seen_at = now()
            RETURNING key, email_id, content, gist
        )
        SELECT
            ARRAY(
                -- The latest first: of the emails of one id, the first keeps it.
                (
                    SELECT (hash, email_id) FROM router.known_id
                    WHERE hash = ANY($1::bytea[] || $2::bytea[]) ORDER BY id DESC
                )
                UNION ALL
                SELECT (hash, email_id) FROM router.message_id WHERE hash = ANY($2::bytea[]) AND email_id IS NOT NULL
                UNION ALL
                SELECT (hash, email_id) FROM ids WHERE email_id IS NOT NULL
            ) AS by_message_id,
            ARRAY(
                SELECT (
                    key, email_id, coalesce(content, ''), coalesce(gist, ''),
                    content IS NULL
                    AND (SELECT e.direction FROM crm.email AS e WHERE e.id = keys.email_id) IS NOT DISTINCT FROM 'out',
                    (
                        SELECT p.address FROM crm.party AS p
                        WHERE p.email_id = keys.email_id AND p.role = 'from' ORDER BY p.position LIMIT 1
                    )
                )
                FROM keys WHERE email_id IS NOT NULL
            ) AS by_key,
            ARRAY(SELECT (name, value::text, locked) FROM crm.setting WHERE name = ANY($5::text[])) AS settings,
            ARRAY(SELECT (record_id, settings::text) FROM crm.owner WHERE record_id = ANY($6::uuid[])) AS of_owners
        """,
        sorted({*map(message_id_hash, ids), *map(conversation_hash, conversations)}),
        list({local_id_hash(message_id) for message_id in ids}),
        sorted({key for copy in copies for key in (*keys_of(copy), *copy.message.claimed_keys)}),
        KEY_VERSION,
        list(SETTINGS),
        list({copy.owner_id for copy in copies if copy.owner_id}),
        list({copy.message.subject for copy in copies if copy.message.subject}),
    )
    known = KnownEmails()
    for key, email_id, content, gist, ours, sender in row["by_key"]:
        known.by_key[key], known.likeness[key] = email_id, Likeness(content, gist)
        if sender is not None:
            known.senders[key] = sender
        if ours:
            known.ours.add(key)
    return row["by_message_id"], known, choices_of(row["settings"], dict(row["of_owners"]))


def _add_emails(
    reads: Reads, copies: Sequence[Copy], named: Collection[UUID], matching: Matching, candidates: Sequence[str]
) -> None:
    columns = "e.id, e.token, e.created_at, left(e.subject, 300) AS subject"
    of_candidates = " ".join(
        f"UNION SELECT {columns} FROM crm.email AS e WHERE e.id = ANY(ARRAY(SELECT email_id FROM {part}))"  # noqa: S608  # our names
        for part in candidates
    )
    reads.add(
        "emails",
        f"""
        SELECT e.id, e.token, router.thread_regarding(e.id), {_sane("e.created_at")}, e.subject, p.participants
        FROM (
            SELECT {columns} FROM crm.email AS e WHERE e.id = ANY($1::uuid[])
            UNION
            SELECT {columns} FROM crm.email AS e WHERE e.token = ANY($2::text[])
            UNION
            SELECT {columns} FROM router.attempt AS t JOIN crm.email AS e ON e.id = t.email_id
            WHERE t.id = ANY($3::uuid[])
            UNION
            SELECT {columns} FROM crm.email AS e WHERE e.id = ANY($4::uuid[])
            {of_candidates}
        ) AS e
        CROSS JOIN LATERAL (
            SELECT array_agg(DISTINCT address) AS participants FROM crm.party WHERE email_id = e.id
        ) AS p
        """,  # noqa: S608  # constants
        list(named),
        list({token for copy in copies for token in _tokens_of(copy, matching)}),
        *_reported(copies),
    )


def _add_attempts(reads: Reads, copies: Sequence[Copy]) -> None:
    reads.add(
        "attempts",
        """
        SELECT id, email_id FROM router.attempt WHERE id = ANY($1::uuid[]) AND started_at IS NOT NULL
        UNION ALL
        SELECT id, email_id FROM router.attempt WHERE email_id = ANY($2::uuid[]) AND started_at IS NOT NULL
        """,
        *_reported(copies),
    )


def _reported(copies: Sequence[Copy]) -> tuple[list[UUID], list[UUID]]:
    """Return the attempts to send, and the emails, that reports name by their return path and envelope id."""
    reports = [copy.classification.report for copy in copies if copy.classification.report]
    return (
        list({id_ for report in reports for id_ in report.return_ids}),
        list({id_ for report in reports for id_ in report.envelope_ids}),
    )


def _add_records(reads: Reads, copies: Sequence[Copy]) -> None:
    reads.add(
        "records",
        # Kinds may be an enumeration of the CRM's own, which has no meaning outside its database.
        f"""
        SELECT w.address, r.id, coalesce(r.kind::text, ''), r.active, r.owner_id, {_sane("r.created_at")}
        FROM unnest($1::text[]) AS w (address)
        CROSS JOIN LATERAL (
            SELECT r.* FROM crm.address AS a JOIN crm.record AS r ON r.id = a.record_id
            WHERE a.address = w.address LIMIT $2
        ) AS r
        """,  # noqa: S608  # constants
        list({mention.address for copy in copies for mention in copy.message.mentions}),
        MOST_RECORDS + 1,  # so that "too many" differs from "just enough"
    )


def _add_rulings(reads: Reads, copies: Sequence[Copy]) -> None:
    reads.add(
        "rulings",
        f"""
        SELECT w.address, r.id, x.id, coalesce(x.kind::text, ''), x.active, x.owner_id, {_sane("x.created_at")}
        FROM unnest($1::text[]) AS w (address)
        CROSS JOIN LATERAL router.rulings_on(w.address) AS r
        LEFT JOIN LATERAL (
            SELECT x.* FROM crm.record AS x WHERE x.id = r.record_id AND x.active LIMIT 1
        ) AS x ON true
        WHERE r.kind = 'resolve'
        """,  # noqa: S608  # constants
        list({mention.address for copy in copies for mention in copy.message.mentions if mention.address}),
    )


def _sane(created_at: str) -> str:
    """SQL for a time by which the CRM's rows are only ordered: one that Python has, whatever the CRM wrote."""
    return f"greatest(least({created_at}::timestamptz, '9999-01-01Z'), '0002-01-01Z')"


def _add_owners(reads: Reads, copies: Sequence[Copy]) -> None:
    reads.add(
        "owners",
        """
        SELECT o.record_id, coalesce(crm.locked_rule(), o.tracking_rule), o.acknowledgement IS NOT NULL,
            (SELECT r.kind::text FROM crm.record AS r WHERE r.id = o.record_id LIMIT 1), o.mailbox
        FROM crm.owner AS o WHERE o.record_id = ANY($1::uuid[]) AND o.approved
        """,
        list({copy.owner_id for copy in copies if copy.owner_id}),
    )


def _add_never_track(reads: Reads, copies: Sequence[Copy]) -> None:
    reads.add(
        "never_track",
        """
        SELECT owner_id, pattern FROM router.never_track
        WHERE pattern = ANY($1::text[]) AND (owner_id IS NULL OR owner_id = ANY($2::uuid[]))
        """,
        list({pattern for copy in copies if copy.judged for pattern in _patterns_of(copy)}),
        list({copy.owner_id for copy in copies if copy.owner_id}),
    )


def _patterns_of(copy: Copy) -> Iterator[str]:
    """Yield the patterns of those by whom `exclude` judges."""
    roles = ("to", "cc", "bcc") if copy.sent else ("from",)
    addresses = {one.address for one in copy.message.mentions if one.role in roles}
    for address in addresses if copy.sent else addresses | {copy.message.sender or ""}:
        yield from patterns_of(address)


def _answered_by_automatic(copies: Sequence[Copy], emails: KnownEmails, matching: Matching) -> set[UUID]:
    """Return the emails that automatic copies may answer."""
    return {
        email.id
        for copy in copies
        if copy.classification.automatic and copy.classification.report is None
        for email in _named(copy, emails, matching)
    }


def _named(copy: Copy, emails: KnownEmails, matching: Matching) -> list[ThreadEmail]:
    by_id = (emails.of_message_id(message_id) for message_id in ids_of(copy))
    by_token = (emails.of_token(token) for token in _tokens_of(copy, matching))
    by_legacy = (email for token in matching.legacy_tokens_of(copy.message) for email in emails.of_legacy_token(token))
    of_conversation = (email for _, email in emails.of_conversation(copy.message.conversation))
    return [email for email in (*by_id, *by_token, *by_legacy, *of_conversation) if email]
