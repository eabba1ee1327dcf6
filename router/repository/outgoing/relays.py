"""The state of the relays, which all processes share: one that has a row here does not work, and one process tries it.

A row begins with the first failure, and ends with a try (a probe) that worked: what was under way since before, over a
connection that was open already, says nothing of what holds now. So the same fault, met by many, is one row.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from router.repository.database import Database, storable
from router.repository.outgoing.claim import OUTBOX_CHANNEL

State = Literal["paused", "login_refused"]

# Seconds: the first pause, and the longest.
_PAUSES: Final = {"paused": (1.0, 300.0), "login_refused": (60.0, 3600.0)}
_WORDS: Final = 1000  # characters that are kept of what a relay says


async def note_fault(
    database: Database, profile: str, process_id: UUID, state: State, words: str, failures: int, at_least: float = 0
) -> float:
    """Say why an outgoing profile's relay cannot be used; returns the seconds until it is tried again.

    Of a relay that is known to be at fault only its prober has something to say. `failures`: how often it failed, as
    far as this process knows, since it last took an email. The pause has `at_least` so many seconds.
    """
    first, longest = _PAUSES[state]
    async with database.connection() as connection:
        seconds = await connection.fetchval(
            """
            INSERT INTO router.relay AS r (profile, state, fault, failures, next_try_at, fault_since)
            VALUES ($1, $3, $4, $5,
                now() + greatest($8::float8, least($7::float8, $6::float8 * power(2.0, least($5::int, 20) - 1))
                    * (0.5 + random() / 2)) * interval '1 s',
                clock_timestamp())
            ON CONFLICT (profile) DO UPDATE SET state = excluded.state, fault = excluded.fault,
                failures = greatest(r.failures + 1, excluded.failures), probed_by = NULL,
                next_try_at = now() + greatest($8::float8,
                    least($7::float8, $6::float8 * power(2.0, least(greatest(r.failures + 1, $5::int), 20) - 1))
                    * (0.5 + random() / 2)) * interval '1 s'
                WHERE r.probed_by = $2
            RETURNING extract(epoch FROM r.next_try_at - now())::float8
            """,
            profile,
            process_id,
            state,
            (storable(words) or "")[:_WORDS],
            failures,
            first,
            longest,
            at_least,
        )
    return 0.0 if seconds is None else float(seconds)


async def read_states(database: Database) -> dict[str, str]:
    """Tell the state of each relay that does not work, by profile."""
    async with database.connection() as connection:
        return {
            row["profile"]: row["state"] for row in await connection.fetch("SELECT profile, state FROM router.relay")
        }


async def take_probe(database: Database, profile: str, process_id: UUID, lease: timedelta) -> bool:
    """Take the one try of a relay at fault that is due now, if nobody else has it who lives."""
    async with database.connection() as connection:
        return bool(
            await connection.fetchval(
                """
                UPDATE router.relay AS r SET probed_by = $2
                WHERE r.profile = (
                    SELECT t.profile FROM router.relay AS t
                    WHERE t.profile = $1 AND coalesce(t.next_try_at, now()) <= now() AND (
                        t.probed_by IS NULL OR t.probed_by = $2 OR NOT EXISTS (
                            SELECT FROM router.process AS p
                            WHERE p.id = t.probed_by AND p.seen_at > clock_timestamp() - $3::interval))
                    FOR UPDATE SKIP LOCKED
                )
                RETURNING true
                """,
                profile,
                process_id,
                lease,
            )
        )


async def works(database: Database, profile: str, process_id: UUID) -> None:
    """Say that the try of this process worked: all may claim for the relay again, and are told."""
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH over AS (DELETE FROM router.relay WHERE profile = $1 AND probed_by = $2 RETURNING profile)
            SELECT pg_notify($3, profile) FROM over
            """,
            profile,
            process_id,
            OUTBOX_CHANNEL,
        )


async def try_now(database: Database, profiles: Collection[str]) -> None:
    """Let these relays be tried at once: their profiles have changed, or somebody has put something right."""
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH due AS (
                UPDATE router.relay SET next_try_at = now(), failures = 0 WHERE profile = ANY($1::text[])
                RETURNING profile
            )
            SELECT pg_notify($2, profile) FROM due
            """,
            list(profiles),
            OUTBOX_CHANNEL,
        )


async def forget_others(database: Database, process_id: UUID, lease: timedelta, profiles: Sequence[str]) -> None:
    """Forget the relays of outgoing profiles that neither this process nor another living one has any more."""
    async with database.connection() as connection:
        await connection.execute(
            """
            DELETE FROM router.relay AS r WHERE r.profile <> ALL ($1::text[]) AND NOT EXISTS (
                SELECT FROM router.process AS p, jsonb_array_elements(p.profiles) AS s
                WHERE p.id <> $2 AND p.seen_at > clock_timestamp() - $3::interval
                    AND s ->> 'direction' = 'outgoing' AND s ->> 'name' = r.profile)
            """,
            list(profiles),
            process_id,
            lease,
        )
