"""What is known of a batch of messages: read in a fixed number of queries, each bound to an index.

The first two queries lock the Message-IDs and keys of the batch in sorted order. So two batches that share a thread or
a message wait for each other without a deadlock, and the second one reads what the first one wrote.
"""

from collections.abc import Sequence
from uuid import UUID

from router.model import (
    KEY_VERSION,
    MOST_RECORDS,
    Copy,
    DecidedBefore,
    Disposition,
    Facts,
    KnownEmails,
    Record,
    Rule,
    ThreadEmail,
    ThreadLoad,
    local_id_hash,
    message_id_hash,
)
from router.repository.database import Connection
from transports.base import Place


def ids_of(copy: Copy) -> list[str]:
    """Return every Message-ID that the message has, answers, claims, reports on or is a receipt for."""
    message, report, read_id = copy.message, copy.classification.report, copy.classification.read_id
    ids = [*message.thread_ids, *message.claims, *([message.message_id] if message.message_id else [])]
    return [*ids, *(report.message_ids if report else ()), *([read_id] if read_id else [])]


def _tokens_of(copy: Copy) -> tuple[str, ...]:
    report = copy.classification.report
    return (*copy.message.tokens, *(report.tokens if report else ()))


async def read_facts(connection: Connection, copies: Sequence[Copy]) -> Facts:
    """Lock what these copies share with other batches, and read what the database knows of them."""
    judged = [copy for copy in copies if copy.judged]
    emails = await _read_emails(connection, judged)
    return Facts(
        emails=emails,
        thread_load=await _read_thread_load(connection, judged, emails),
        records=await _read_records(connection, judged),
        rules=await _read_rules(connection, copies),
        decided=await _read_decided(connection, copies),
    )


async def _read_emails(connection: Connection, copies: Sequence[Copy]) -> KnownEmails:
    emails = KnownEmails(
        by_message_id=await _lock_message_ids(connection, copies),
        by_key=await _lock_keys(connection, copies),
    )
    rows = await connection.fetch(
        """
        SELECT e.id, e.token, e.regarding_id, e.created_at, p.participants
        FROM (
            SELECT id, token, regarding_id, created_at FROM crm.email WHERE id = ANY($1::uuid[])
            UNION
            SELECT id, token, regarding_id, created_at FROM crm.email WHERE token = ANY($2::text[])
        ) AS e
        CROSS JOIN LATERAL (
            SELECT array_agg(DISTINCT address) AS participants FROM crm.party WHERE email_id = e.id
        ) AS p
        """,
        list(set(emails.by_message_id.values())),
        list({token for copy in copies for token in _tokens_of(copy)}),
    )
    for row in rows:
        participants = frozenset(row["participants"] or ())
        emails.by_id[row["id"]] = ThreadEmail(row["id"], row["regarding_id"], participants, row["created_at"])
        if row["token"]:
            emails.by_token[row["token"]] = row["id"]
    return emails


async def _lock_message_ids(connection: Connection, copies: Sequence[Copy]) -> dict[bytes, UUID]:
    ids = {message_id for copy in copies for message_id in ids_of(copy)}
    rows = await connection.fetch(
        """
        WITH locked AS (
            INSERT INTO router.message_id (hash) SELECT * FROM unnest($1::bytea[])
            ON CONFLICT (hash) DO UPDATE SET seen_at = now()
            RETURNING hash, email_id
        )
        SELECT hash, email_id FROM locked
        UNION ALL
        SELECT hash, email_id FROM router.message_id WHERE hash = ANY($2::bytea[])
        """,
        sorted({message_id_hash(message_id) for message_id in ids}),
        list({local_id_hash(message_id) for message_id in ids}),
    )
    return {row["hash"]: row["email_id"] for row in rows if row["email_id"]}


async def _lock_keys(connection: Connection, copies: Sequence[Copy]) -> dict[bytes, UUID]:
    rows = await connection.fetch(
        """
        INSERT INTO router.message (key, version) SELECT key, $2 FROM unnest($1::bytea[]) AS k (key)
        ON CONFLICT (key) DO UPDATE SET seen_at = now()
        RETURNING key, email_id
        """,
        sorted({key for copy in copies for key in (copy.key, *copy.message.claimed_keys)}),
        KEY_VERSION,
    )
    return {row["key"]: row["email_id"] for row in rows if row["email_id"]}


async def _read_thread_load(connection: Connection, copies: Sequence[Copy], emails: KnownEmails) -> ThreadLoad:
    """Count the automatic emails of the last hour on the threads that automatic copies answer.

    A thread is named by one of its emails: from the answered email upwards, the first that is older than an hour, or
    else the oldest. So the query reads only the thread's last hour, however long the thread is. Emails of one batch
    have the same age; of these, the one that answers nothing counts as the oldest.
    """
    answered = {
        email.id
        for copy in copies
        if copy.classification.automatic and copy.classification.report is None
        for email in _named(copy, emails)
    }
    load = ThreadLoad()
    if not answered:
        return load
    rows = await connection.fetch(
        """
        WITH RECURSIVE up AS (
            SELECT id AS named_id, id, correlated_id, created_at FROM crm.email WHERE id = ANY($1::uuid[])
            UNION
            SELECT up.named_id, e.id, e.correlated_id, e.created_at
            FROM up JOIN crm.email AS e ON e.id = up.correlated_id
            WHERE up.created_at > now() - interval '1 hour'
        ), thread AS (
            SELECT DISTINCT ON (named_id) named_id, id FROM up
            ORDER BY named_id, created_at, correlated_id IS NOT NULL, id
        ), down AS (
            SELECT id AS thread_id, id, false AS counts FROM thread
            UNION
            SELECT down.thread_id, e.id,
                'automatic' = ANY(e.flags) AND e.correlation_method IS DISTINCT FROM 'report'
            FROM down JOIN crm.email AS e ON e.correlated_id = down.id
            WHERE e.created_at > now() - interval '1 hour'
        )
        SELECT thread.named_id, thread.id AS thread_id, sender.domain, count(DISTINCT sender.email_id) AS number
        FROM thread
        LEFT JOIN (
            SELECT down.thread_id, p.email_id, substring(p.address FROM '[^@]*$') AS domain
            FROM down JOIN crm.party AS p ON p.email_id = down.id AND p.role = 'from' AND p.position = 0
            WHERE down.counts
        ) AS sender ON sender.thread_id = thread.id
        GROUP BY thread.named_id, thread.id, sender.domain
        """,
        list(answered),
    )
    for row in rows:
        load.threads[row["named_id"]] = row["thread_id"]
        if row["number"]:
            load.automatic[row["thread_id"], row["domain"]] = row["number"]
    return load


def _named(copy: Copy, emails: KnownEmails) -> list[ThreadEmail]:
    by_id = (emails.of_message_id(message_id) for message_id in ids_of(copy))
    by_token = (emails.of_token(token) for token in _tokens_of(copy))
    return [email for email in (*by_id, *by_token) if email]


async def _read_records(connection: Connection, copies: Sequence[Copy]) -> dict[str, tuple[Record, ...]]:
    rows = await connection.fetch(
        """
        SELECT w.address, r.id, r.kind, r.active, r.owner_id, r.created_at
        FROM unnest($1::text[]) AS w (address)
        CROSS JOIN LATERAL (
            SELECT r.* FROM crm.address AS a JOIN crm.record AS r ON r.id = a.record_id
            WHERE a.address = w.address LIMIT $2
        ) AS r
        """,
        list({mention.address for copy in copies for mention in copy.message.mentions}),
        MOST_RECORDS + 1,  # so that "too many" differs from "just enough"
    )
    records: dict[str, list[Record]] = {}
    for row in rows:
        record = Record(row["id"], row["kind"], row["active"], row["owner_id"], row["created_at"])
        records.setdefault(row["address"], []).append(record)
    return {address: tuple(found) for address, found in records.items()}


async def _read_rules(connection: Connection, copies: Sequence[Copy]) -> dict[UUID, Rule | None]:
    rows = await connection.fetch(
        "SELECT record_id, tracking_rule FROM crm.owner WHERE record_id = ANY($1::uuid[])",
        list({copy.owner_id for copy in copies if copy.owner_id}),
    )
    return {row["record_id"]: Rule(row["tracking_rule"]) if row["tracking_rule"] else None for row in rows}


async def _read_decided(connection: Connection, copies: Sequence[Copy]) -> DecidedBefore:
    places = await connection.fetch(
        """
        SELECT d.source_id, d.validity, d.place
        FROM unnest($1::bigint[], $2::text[], $3::text[]) AS w (source_id, validity, place)
        JOIN router.decision AS d USING (source_id, validity, place)
        """,
        [copy.source_id for copy in copies],
        [copy.place.validity for copy in copies],
        [copy.place.id for copy in copies],
    )
    refused = await connection.fetch(
        """
        SELECT owner_id, key, disposition FROM router.decision
        WHERE key = ANY($1::bytea[]) AND disposition IN ('ignored', 'held') AND owner_id IS NOT NULL
        """,
        list({copy.key for copy in copies if copy.judged}),
    )
    return DecidedBefore(
        {(row["source_id"], Place(row["validity"], row["place"])) for row in places},
        {(row["owner_id"], row["key"]): Disposition(row["disposition"]) for row in refused},
    )
