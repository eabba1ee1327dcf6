"""The database's clock, by which all waits end: where it was set back, what waits would wait for as much longer.

Where it is set forward, waits end early, which does no harm.
"""

from typing import Final

from router.repository.database import Database

LEAST: Final = 10.0
"""Seconds. What is set back by less is waited for."""

_LATER: Final = "EXISTS (SELECT FROM crm.email AS e WHERE e.id = w.email_id AND e.send_after > now())"

# What is due at a time that we have chosen: a column, and which rows. An email that the CRM wants to be sent later is
# due at that time, whatever the clock said meanwhile.
_WAITS: Final = (
    ("router.outbox", "next_at", f"w.process_id IS NULL AND NOT {_LATER}"),
    ("router.attempt", "claimed_at", "w.id IN (SELECT o.attempt_id FROM router.outbox AS o)"),
    ("router.rate", "next_at", "true"),
    ("router.relay", "next_try_at", "true"),
    ("router.unrecorded", "next_at", "true"),
    ("router.sent_copy", "due_at", "w.appended_at IS NULL AND w.given_up_at IS NULL"),
    ("router.process", "seen_at", "true"),
    ("router.acknowledgement", "due_at", "true"),
    ("router.template", "tried_until", "true"),
    ("router.waiting_answer", "try_at", "true"),
    ("router.ruling_work", "try_at", "true"),
    ("router.merge", "try_at", "w.done_at IS NULL"),
    ("router.merge_refused", "try_at", "true"),
    ("router.creation", "due_at", "w.state = 'wanted'"),
    ("router.webhook", "next_try_at", "true"),
)


async def look(database: Database) -> float:
    """Look at the clock; where it was set back, let what waits be due as much earlier. Returns the seconds, or 0.

    What somebody else has locked is passed over: it is being dealt with.
    """
    async with database.transaction() as connection:
        back: float | None = await connection.fetchval(
            """
            WITH before AS MATERIALIZED (
                SELECT at FROM router.clock
                WHERE at NOT BETWEEN clock_timestamp() - interval '5 seconds' AND clock_timestamp()
                FOR UPDATE SKIP LOCKED
            ), noted AS (
                UPDATE router.clock SET at = clock_timestamp() WHERE EXISTS (SELECT FROM before)
            )
            SELECT extract(epoch FROM at - clock_timestamp())::float8 FROM before
            """
        )
        if back is None or back < LEAST:
            return 0.0
        for table, column, condition in _WAITS:
            await connection.execute(
                f"""
                UPDATE {table} SET {column} = greatest({column} - $1 * interval '1 second', now())
                WHERE ctid = ANY(ARRAY(
                    SELECT w.ctid FROM {table} AS w
                    WHERE w.{column} > now() AND w.{column} < 'infinity' AND {condition} FOR UPDATE OF w SKIP LOCKED
                ))
                """,  # noqa: S608  # constants
                back,
            )
    return back
