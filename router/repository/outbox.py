"""Claim, start, record: how an email is sent once.

    pending_send ──claim──▶ sending ──start──▶ (MAIL FROM …) ──record──▶ sent | failed | unknown | pending_send again

`claim` commits the lease, the Message-ID and the token. `start` is committed just before the relay hears of it, and
only while the lease is still ours. A claim without a start goes back by itself when its process has died; a start
without an outcome is unknown (recovery.py).

Who waits for locks takes crm.email first, then router.outbox: so does the CRM, whose deletions go on to the outbox.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from asyncpg import Record

from router.model import KEY_VERSION, Mention, Message, Outgoing, Result, message_id_hash
from router.repository.database import Connection, Database, storable
from router.repository.waiting import tell_awaited

OUTBOX_CHANNEL = "router_outbox"


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that is about to begin, by which profile; `resend` is its `on_unknown`."""

    attempt_id: UUID
    profile: str
    resend: bool


async def claim(database: Database, process_id: UUID, tokens: Sequence[str]) -> list[Outgoing]:
    """Claim at most as many emails that are due as there are tokens, and read what composing needs but attachments.

    A few of each owner are claimed; none of an owner who is not approved, while sending is stopped, or in a copy of the
    database. A token is for an email that has none yet.
    """
    limit = len(tokens)
    async with database.transaction() as connection:
        # From a random owner on, then from the first: fair, without remembering whose turn it is.
        attempts = await _claim_from(connection, process_id, uuid4(), limit)
        if len(attempts) < limit:
            attempts |= await _claim_from(connection, process_id, UUID(int=0), limit - len(attempts))
        if not attempts:
            return []
        await connection.execute(
            """
            INSERT INTO router.attempt (id, email_id, number, process_id)
            SELECT id, email_id, number, $4 FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS a (id, email_id, number)
            """,
            [attempt_id for attempt_id, _ in attempts.values()],
            list(attempts),
            [number for _, number in attempts.values()],
            process_id,
        )
        return await _begin_sending(connection, attempts, tokens)


async def _claim_from(
    connection: Connection, process_id: UUID, first_owner: UUID, limit: int
) -> dict[UUID, tuple[UUID, int]]:
    rows = await connection.fetch(
        """
        WITH RECURSIVE waiting AS (  -- one step through the index for each owner that has something pending
            (SELECT owner_id FROM router.outbox
             WHERE process_id IS NULL AND owner_id >= $2 ORDER BY owner_id LIMIT 1)
            UNION ALL
            SELECT (SELECT o.owner_id FROM router.outbox AS o
                    WHERE o.process_id IS NULL AND o.owner_id > w.owner_id ORDER BY o.owner_id LIMIT 1)
            FROM waiting AS w WHERE w.owner_id IS NOT NULL
        ), owners AS MATERIALIZED (
            SELECT w.owner_id FROM waiting AS w JOIN crm.owner AS o ON o.record_id = w.owner_id
            WHERE o.approved AND o.mailbox IS NOT NULL AND router.may_send() LIMIT $3
        ), due AS MATERIALIZED (
            SELECT d.email_id FROM owners AS w
            CROSS JOIN LATERAL (
                -- The email is locked too: a CRM that is just canceling it is not waited for, it is skipped.
                SELECT o.email_id FROM router.outbox AS o JOIN crm.email AS e ON e.id = o.email_id
                WHERE o.process_id IS NULL AND o.owner_id = w.owner_id AND o.next_at <= now()
                ORDER BY o.next_at LIMIT (SELECT ceil($3::numeric / greatest(1, count(*)))::int FROM owners)
                FOR UPDATE SKIP LOCKED
            ) AS d
            LIMIT $3
        )
        UPDATE router.outbox AS o SET process_id = $1, attempt_id = gen_random_uuid(), attempts = o.attempts + 1
        FROM due WHERE o.email_id = due.email_id
        RETURNING o.email_id, o.attempt_id, o.attempts
        """,
        process_id,
        first_owner,
        limit,
    )
    return {row["email_id"]: (row["attempt_id"], row["attempts"]) for row in rows}


async def _begin_sending(
    connection: Connection, attempts: Mapping[UUID, tuple[UUID, int]], tokens: Sequence[str]
) -> list[Outgoing]:
    """Set the status, give each email its Message-ID, token and date, and read it."""
    email_ids = list(attempts)
    emails = await connection.fetch(
        """
        UPDATE crm.email AS e SET
            status = 'sending',
            token = coalesce(e.token, w.token),
            message_id = coalesce(e.message_id, e.id || '@' ||
                CASE WHEN o.mailbox ~ '^[ -~]+$' THEN split_part(o.mailbox, '@', 2) ELSE 'crm.invalid' END),
            dated_at = coalesce(e.dated_at, date_trunc('second', now())),
            in_reply_to = coalesce(e.in_reply_to, parent.message_id),
            thread_ids = CASE WHEN cardinality(e.thread_ids) > 0 OR parent.message_id IS NULL THEN e.thread_ids
                ELSE array_append(parent.thread_ids, parent.message_id) END
        FROM unnest($1::uuid[], $2::text[]) AS w (id, token)
        JOIN crm.email AS old ON old.id = w.id
        JOIN crm.owner AS o ON o.record_id = old.owner_id
        LEFT JOIN crm.email AS parent ON parent.id = old.correlated_id
        WHERE e.id = w.id
        RETURNING e.*, o.mailbox, EXISTS (SELECT FROM crm.attachment AS a WHERE a.email_id = e.id) AS attached
        """,
        email_ids,
        list(tokens[: len(email_ids)]),
    )
    await _index_own_ids(connection, emails)
    parties = await connection.fetch(
        """
        SELECT DISTINCT ON (p.email_id, p.role, p.position) p.email_id, p.role, p.position, p.address, p.name,
            d.state
        FROM crm.party AS p LEFT JOIN crm.delivery AS d ON d.email_id = p.email_id AND d.address = p.address
        WHERE p.email_id = ANY($1::uuid[]) ORDER BY p.email_id, p.role, p.position, p.address
        """,
        email_ids,
    )
    mentions: dict[UUID, list[Mention]] = {}
    states: dict[UUID, dict[str, str | None]] = {}
    for party in parties:
        mention = Mention(party["role"], party["position"], party["address"], party["name"])
        mentions.setdefault(party["email_id"], []).append(mention)
        if party["role"] in ("to", "cc", "bcc"):
            states.setdefault(party["email_id"], {})[party["address"]] = party["state"]
    return [
        Outgoing(
            id=email["id"],
            attempt_id=attempts[email["id"]][0],
            attempt_number=attempts[email["id"]][1],
            owner_id=email["owner_id"],
            mailbox=email["mailbox"],
            message_id=email["message_id"],
            token=email["token"],
            date=email["dated_at"],
            subject=email["subject"],
            text=email["text_body"],
            html=email["html_body"],
            in_reply_to=email["in_reply_to"],
            thread_ids=tuple(email["thread_ids"]),
            mentions=tuple(mentions.get(email["id"], ())),
            recipients=tuple(
                address
                for address, state in states.get(email["id"], {}).items()
                if state not in ("accepted", "delayed", "refused")
            ),
            taken=sum(state in ("accepted", "delayed") for state in states.get(email["id"], {}).values()),
            attached=email["attached"],
        )
        for email in emails
    ]


async def _index_own_ids(connection: Connection, emails: Sequence[Record]) -> None:
    """Let answers and the owner's own copy in the Sent folder find the email, from before it leaves."""
    hashes = {message_id_hash(email["message_id"]): email["id"] for email in emails}
    keys = {Message(message_id=email["message_id"], date=email["dated_at"]).key: email["id"] for email in emails}
    await _index_ids(connection, hashes)
    await connection.execute(
        """
        INSERT INTO router.message (key, version, email_id)
        SELECT key, $3, email_id FROM unnest($1::bytea[], $2::uuid[]) AS k (key, email_id)
        ON CONFLICT (key) DO UPDATE SET email_id = coalesce(router.message.email_id, excluded.email_id)
        """,
        sorted(keys),
        [keys[key] for key in sorted(keys)],
        KEY_VERSION,
    )


async def start(database: Database, process_id: UUID, starts: Sequence[Start]) -> list[bool]:
    """Commit that these attempts begin now; False for one whose lease is not ours any more: it must not be sent.

    False, too, for one that somebody else has locked: another process just takes it over, or the CRM deletes it. If it
    stays ours after all, it is a lost claim (recovery.py).
    """
    async with database.transaction() as connection:
        rows = await connection.fetch(
            """
            WITH ours AS MATERIALIZED (  -- locked until "started" is committed: nobody takes them over between
                SELECT o.attempt_id, o.email_id FROM router.outbox AS o
                JOIN unnest($2::uuid[]) AS w (id) ON o.attempt_id = w.id
                WHERE o.process_id = $1 ORDER BY o.email_id FOR UPDATE OF o SKIP LOCKED
            )
            UPDATE router.attempt AS a SET started_at = clock_timestamp(), profile = w.profile, resend = w.resend
            FROM unnest($2::uuid[], $3::text[], $4::boolean[]) AS w (id, profile, resend)
            JOIN ours ON ours.attempt_id = w.id
            WHERE a.id = w.id AND a.email_id = ours.email_id
            RETURNING a.id
            """,
            process_id,
            [one.attempt_id for one in starts],
            [one.profile for one in starts],
            [one.resend for one in starts],
        )
    ours = {row["id"] for row in rows}
    return [one.attempt_id in ours for one in starts]


async def record(database: Database, results: Sequence[Result]) -> None:
    """Commit what these attempts came to.

    An attempt whose lease was lost meanwhile still tells what it knows: its email was set to unknown then, or is being
    sent again, and a known outcome must not be lost.
    """
    results = sorted(results, key=lambda result: result.email_id)
    async with database.transaction() as connection:
        await _index_relay_ids(connection, results)  # first, as those do who bring answers in, so that nobody deadlocks
        await connection.execute(
            """
            UPDATE crm.email AS e SET status = w.status, status_reason = w.reason,
                sent_at = CASE WHEN w.status = 'sent' THEN clock_timestamp() ELSE e.sent_at END
            FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS w (email_id, attempt_id, status, reason)
            WHERE e.id = w.email_id AND (
                e.status = 'sending'
                    AND EXISTS (SELECT FROM router.outbox AS o WHERE o.email_id = e.id AND o.attempt_id = w.attempt_id)
                OR e.status = 'unknown' AND w.status IN ('sent', 'failed')
                    AND w.attempt_id = (SELECT a.id FROM router.attempt AS a
                                        WHERE a.email_id = e.id ORDER BY a.claimed_at DESC LIMIT 1))
            """,
            [result.email_id for result in results],
            [result.attempt_id for result in results],
            [result.status for result in results],
            [storable(result.reason) for result in results],
        )
        await connection.execute(
            """
            WITH w AS (
                SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
                    AS w (email_id, attempt_id, outcome, next_at)
            ), attempted AS (
                UPDATE router.attempt AS a SET finished_at = clock_timestamp(), outcome = w.outcome
                FROM w WHERE a.id = w.attempt_id
            ), kept AS (
                DELETE FROM router.unrecorded AS u USING w WHERE u.attempt_id = w.attempt_id
            ), waiting AS (
                UPDATE router.outbox AS o SET process_id = NULL, attempt_id = NULL, next_at = w.next_at
                FROM w WHERE o.email_id = w.email_id AND o.attempt_id = w.attempt_id AND w.next_at IS NOT NULL
            )
            DELETE FROM router.outbox AS o
            USING w WHERE o.email_id = w.email_id AND o.attempt_id = w.attempt_id AND w.next_at IS NULL
            """,
            [result.email_id for result in results],
            [result.attempt_id for result in results],
            [storable(f"{result.status}: {result.reason}" if result.reason else result.status) for result in results],
            [result.next_at for result in results],
        )
        await _write_deliveries(connection, results)


async def _index_relay_ids(connection: Connection, results: Sequence[Result]) -> None:
    """Let answers find the email also by the ids that a relay may have given it."""
    hashes = {message_id_hash(message_id): result.email_id for result in results for message_id in result.relay_ids}
    if hashes:
        await _index_ids(connection, hashes)


async def _index_ids(connection: Connection, hashes: Mapping[bytes, UUID]) -> None:
    # Sorted, as everywhere, so that nobody deadlocks.
    await connection.execute(
        """
        INSERT INTO router.message_id (hash, email_id) SELECT * FROM unnest($1::bytea[], $2::uuid[])
        ON CONFLICT (hash) DO UPDATE SET email_id = coalesce(router.message_id.email_id, excluded.email_id)
        """,
        sorted(hashes),
        [hashes[hashed] for hashed in sorted(hashes)],
    )
    await tell_awaited(connection, list(hashes))


async def _write_deliveries(connection: Connection, results: Sequence[Result]) -> None:
    outcomes = [(result.email_id, outcome) for result in results for outcome in result.outcomes]
    if not outcomes:
        return
    await connection.execute(
        """
        INSERT INTO crm.delivery (email_id, address, state, code, text)
        SELECT w.* FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
            AS w (email_id, address, state, code, text)
        WHERE EXISTS (SELECT FROM crm.email AS e WHERE e.id = w.email_id)
        ON CONFLICT (email_id, address) DO UPDATE
            SET state = excluded.state, code = excluded.code, text = excluded.text, at = now()
            -- A report can be faster than we are: what is final, or was taken, stays.
            WHERE crm.delivery.state NOT IN ('accepted', 'delayed', 'refused')
        """,
        [email_id for email_id, _ in outcomes],
        [outcome.recipient for _, outcome in outcomes],
        [outcome.state for _, outcome in outcomes],
        [storable(outcome.code) for _, outcome in outcomes],
        [storable(outcome.text) for _, outcome in outcomes],
    )


async def give_back(
    database: Database, attempt_ids: Sequence[UUID], reason: str | None = None, delay: timedelta = timedelta(0)
) -> None:
    """Put claims back of which no relay has heard; they do not count as attempts."""
    async with database.transaction() as connection:
        await connection.execute(
            """
            SELECT FROM crm.email WHERE id IN (SELECT a.email_id FROM router.attempt AS a WHERE a.id = ANY($1::uuid[]))
            ORDER BY id FOR UPDATE
            """,
            list(attempt_ids),
        )
        rows = await connection.fetch(
            """
            UPDATE router.outbox AS o
            SET process_id = NULL, attempt_id = NULL, attempts = o.attempts - 1, next_at = now() + $2
            FROM router.attempt AS a
            WHERE a.id = ANY($1::uuid[]) AND o.email_id = a.email_id AND o.attempt_id = a.id
            RETURNING o.email_id, a.id AS attempt_id
            """,
            list(attempt_ids),
            delay,
        )
        ours = [row["attempt_id"] for row in rows]
        await connection.execute("DELETE FROM router.attempt WHERE id = ANY($1::uuid[])", ours)
        await connection.execute(
            "UPDATE crm.email SET status = 'pending_send', status_reason = $2 WHERE id = ANY($1::uuid[])",
            [row["email_id"] for row in rows],
            storable(reason),
        )


async def try_now(database: Database, reasons: Sequence[str]) -> None:
    """Make due at once what was given back for one of these reasons (their beginnings)."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.outbox AS o SET next_at = now()
            FROM crm.email AS e
            WHERE e.id = o.email_id AND o.process_id IS NULL AND o.next_at > now()
                AND EXISTS (SELECT FROM unnest($1::text[]) AS r (reason) WHERE starts_with(e.status_reason, r.reason))
            """,
            [storable(reason) for reason in reasons],
        )
