"""Start and record: how a claimed email is sent once.

`start` is committed just before the relay hears of an email, and only while the lease is still ours. A claim without a
start goes back by itself when its process has died; a start without an outcome is unknown (recovery.py).

Who waits for locks takes Message-IDs first, then crm.email, then router.outbox: so does the CRM, whose deletions go on
to the outbox.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from router.errors import TookTooLong
from router.model import Result, message_id_hash
from router.repository.bounces.address_states import Failed, note_bounces
from router.repository.database import Connection, Database, storable
from router.repository.incoming.message_ids import index_ids

_LOCKED_FOR: Final = "20ms"
"""How long an outcome, or what is given back, waits for a lock: others wait behind it, and it is tried again."""
_WORDS: Final = 500  # characters that are kept of what a relay said to one attempt
_REPLIES: Final = 100  # different replies that are kept of one attempt
_TOLD: Final = 2000  # addresses that are kept of one reply


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that is about to begin, by which profile and at which relay.

    `resend`: if its outcome stays unknown, it is sent again.
    """

    attempt_id: UUID
    profile: str
    resend: bool
    relay: str | None = None


async def start(database: Database, process_id: UUID, starts: Sequence[Start]) -> list[bool]:
    """Commit that these attempts begin now; False for one whose lease is not ours any more: it must not be sent.

    False, too, for one that somebody else has locked: another process just takes it over, or the CRM deletes it. If it
    stays ours after all, it is a lost claim (recovery.py).
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            WITH ours AS MATERIALIZED (  -- locked until "started" is committed: nobody takes them over between
                SELECT o.attempt_id, o.email_id FROM router.outbox AS o
                JOIN unnest($2::uuid[]) AS w (id) ON o.attempt_id = w.id
                WHERE o.process_id = $1 ORDER BY o.email_id FOR UPDATE OF o SKIP LOCKED
            )
            UPDATE router.attempt AS a
            SET started_at = clock_timestamp(), profile = w.profile, resend = w.resend, relay = w.relay
            FROM unnest($2::uuid[], $3::text[], $4::boolean[], $5::text[]) AS w (id, profile, resend, relay)
            JOIN ours ON ours.attempt_id = w.id
            WHERE a.id = ANY($2) AND a.id = w.id AND a.email_id = ours.email_id
            RETURNING a.id
            """,
            process_id,
            [one.attempt_id for one in starts],
            [one.profile for one in starts],
            [one.resend for one in starts],
            [one.relay for one in starts],
        )
    ours = {row["id"] for row in rows}
    return [one.attempt_id in ours for one in starts]


# Each table is asked for its keys, $1 or $2: the planner may think that a table is empty which has a million rows by
# now, and would read it whole to join it.
_RECORD: Final = """
    WITH w AS MATERIALIZED (
        -- This comes into force at once, and ends with the transaction.
        SELECT *, set_config('lock_timeout', $14, true)
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
            $7::boolean[], $8::jsonb[]) AS w (email_id, attempt_id, status, reason, outcome, next_at, spent, replies)
    ), ours AS MATERIALIZED (
        -- Both as they are once they are locked: another may have taken them over.
        SELECT w.* FROM w JOIN crm.email AS e ON e.id = w.email_id
        JOIN router.outbox AS o ON o.email_id = w.email_id AND o.attempt_id = w.attempt_id
        WHERE e.id = ANY($1) AND o.email_id = ANY($1) AND e.status = 'sending' ORDER BY e.id FOR UPDATE OF e, o
    ), late AS MATERIALIZED (
        SELECT w.* FROM w JOIN crm.email AS e ON e.id = w.email_id
        WHERE e.id = ANY($1) AND w.attempt_id NOT IN (SELECT attempt_id FROM ours) AND e.status = 'unknown'
            AND w.status <> 'unknown'
            AND w.attempt_id = (SELECT a.id FROM router.attempt AS a
                                WHERE a.email_id = e.id ORDER BY a.claimed_at DESC LIMIT 1)
        ORDER BY e.id FOR UPDATE OF e
    ), told AS (
        UPDATE crm.email AS e SET status = t.status, status_reason = t.reason,
            sent_at = CASE WHEN t.status = 'sent' THEN clock_timestamp() ELSE e.sent_at END
        FROM (SELECT * FROM ours UNION ALL SELECT * FROM late) AS t WHERE e.id = ANY($1) AND e.id = t.email_id
        RETURNING e.status
    ), attempted AS (
        UPDATE router.attempt AS a SET finished_at = clock_timestamp(), outcome = w.outcome, replies = w.replies
        FROM w WHERE a.id = ANY($2) AND a.id = w.attempt_id
    ), kept AS (
        DELETE FROM router.unrecorded AS u WHERE u.attempt_id = ANY($2)
    ), waiting AS (
        UPDATE router.outbox AS o SET process_id = NULL, attempt_id = NULL, next_at = t.next_at, ready = false,
            spent = o.spent + t.spent::int, deferred_at = coalesce(o.deferred_at, now())
        FROM ours AS t WHERE o.email_id = ANY($1) AND o.email_id = t.email_id AND t.next_at IS NOT NULL
    ), done AS (
        DELETE FROM router.outbox AS o USING ours AS t
        WHERE o.email_id = ANY($1) AND o.email_id = t.email_id AND t.next_at IS NULL
    ), delivered AS (
        INSERT INTO crm.delivery (email_id, address, state, code, text)
        SELECT d.* FROM unnest($9::uuid[], $10::text[], $11::text[], $12::text[], $13::text[])
            AS d (email_id, address, state, code, text)
        WHERE d.email_id = ANY(ARRAY(SELECT e.id FROM crm.email AS e WHERE e.id = ANY($1)))
        ON CONFLICT (email_id, address) DO UPDATE
            SET state = excluded.state, code = excluded.code, text = excluded.text, at = now()
            -- A report can be faster than we are: what is final, or was taken, stays.
            WHERE crm.delivery.state NOT IN ('accepted', 'delayed', 'refused')
        RETURNING email_id, address, state
    )
    -- In this order, events tell of the email first, and then of its recipients.
    SELECT NULL::uuid AS email_id,
        router.refuse('a trigger on crm.email, or a rule, does not let its status change from sending')::text AS address
    WHERE (SELECT count(*) FROM told WHERE status <> 'sending')
        < (SELECT count(*) FROM ours) + (SELECT count(*) FROM late)
    UNION ALL
    SELECT d.email_id, d.address FROM delivered AS d WHERE d.state = 'refused'
"""


async def record(database: Database, results: Sequence[Result], within: float | None = None) -> None:
    """Commit what these attempts came to.

    An attempt whose lease was lost meanwhile still tells what it knows: its email was set to unknown then, or is being
    sent again, and a known outcome must not be lost. What was unknown and has not left is pending again. Raises
    DatabaseAway soon where somebody else has one locked, and TookTooLong after `within` seconds.
    """
    results = sorted(results, key=lambda result: result.email_id)
    relay_ids = {message_id_hash(message_id): result.email_id for result in results for message_id in result.relay_ids}
    failed = {
        (result.email_id, outcome.recipient): Failed(outcome.recipient, outcome.code, outcome.text)
        for result in results
        for outcome in result.outcomes
        if outcome.state == "refused" and outcome.of_address
    }
    # One statement is a transaction of its own, without a word more to the server.
    several = relay_ids or failed
    opened: AbstractAsyncContextManager[Connection] = database.transaction() if several else database.connection()
    async with opened as connection:
        if several:
            await connection.execute("SELECT set_config('lock_timeout', $1, true)", _LOCKED_FOR)
        if relay_ids:  # first, as those do who bring answers in, so that nobody deadlocks
            await index_ids(connection, relay_ids)
        try:
            rows = await connection.fetch(_RECORD, *_arguments(results), timeout=within)
        except TimeoutError as error:
            raise TookTooLong("it took too long to record it: a trigger on crm.email or crm.delivery?") from error
        newly = {(row["email_id"], row["address"]) for row in rows}
        # What is recorded again, since the answer to its commit was lost, is counted once.
        await note_bounces(connection, [one for key, one in failed.items() if key in newly])


def _arguments(results: Sequence[Result]) -> Sequence[object]:
    outcomes = [(result, outcome) for result in results for outcome in result.outcomes]
    return (
        [result.email_id for result in results],
        [result.attempt_id for result in results],
        [result.status for result in results],
        [storable(result.reason) for result in results],
        [storable(f"{result.status}: {result.reason}" if result.reason else result.status) for result in results],
        [result.next_at for result in results],
        [result.spent for result in results],
        [_replies(result) for result in results],
        [result.email_id for result, _ in outcomes],
        [outcome.recipient for _, outcome in outcomes],
        ["given_up" if outcome.recipient in result.given_up else outcome.state for result, outcome in outcomes],
        [storable(outcome.code) for _, outcome in outcomes],
        [storable(outcome.text) for _, outcome in outcomes],
        _LOCKED_FOR,
    )


def _replies(result: Result) -> str | None:
    """Encode what became of the recipients for `router.attempt.replies`: once for all that got the same answer."""
    those: dict[tuple[str, str, str], list[str]] = {}
    for one in result.outcomes:
        state = "given_up" if one.recipient in result.given_up else one.state
        those.setdefault((state, one.code, (storable(one.text) or "")[:_WORDS]), []).append(one.recipient)
    rows = [
        {"state": state, "code": storable(code), "text": text, "recipients": recipients[:_TOLD]}
        for (state, code, text), recipients in list(those.items())[:_REPLIES]
    ]
    return json.dumps(rows) if rows else None


async def give_back(
    database: Database, attempt_ids: Sequence[UUID], reason: str | None = None, delay: timedelta = timedelta(0)
) -> None:
    """Put claims back of which no relay has heard; they do not count as attempts."""
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH ours AS MATERIALIZED (
                SELECT o.email_id, a.id AS attempt_id
                FROM (SELECT set_config('lock_timeout', $4, true)) AS s
                CROSS JOIN router.attempt AS a JOIN crm.email AS e ON e.id = a.email_id
                JOIN router.outbox AS o ON o.email_id = a.email_id AND o.attempt_id = a.id
                WHERE a.id = ANY($1::uuid[])
                    AND o.email_id = ANY(ARRAY(SELECT t.email_id FROM router.attempt AS t WHERE t.id = ANY($1)))
                ORDER BY e.id FOR UPDATE OF e, o
            ), waiting AS (
                UPDATE router.outbox AS o SET process_id = NULL, attempt_id = NULL, attempts = o.attempts - 1,
                    next_at = now() + $2::interval, ready = $2::interval <= interval '0'
                FROM ours WHERE o.email_id = ANY(ARRAY(SELECT email_id FROM ours)) AND o.email_id = ours.email_id
            ), forgotten AS (
                DELETE FROM router.attempt AS a WHERE a.id = ANY(ARRAY(SELECT attempt_id FROM ours))
            )
            UPDATE crm.email AS e SET status = 'pending_send', status_reason = $3
            WHERE e.id = ANY(ARRAY(SELECT email_id FROM ours))
            """,
            list(attempt_ids),
            delay,
            storable(reason),
            _LOCKED_FOR,
        )
