"""The router processes that share the database: that they live, what each serves, and what is wrong with its parts."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
from pydantic import TypeAdapter

from router.model import ServedProfile
from router.repository.database import Connection, Database, storable

FOLDER: Final = "profile folder"
"""The part of a process whose fault is what is wrong with profiles that are not in use."""

# A process of another version may say more of a profile than this one knows: that is passed over.
_PROFILES = TypeAdapter(tuple[ServedProfile, ...])


@dataclass(frozen=True, slots=True)
class PartFault:
    """What is wrong with a part of a process, such as its sender or its disk; `next_try`: when it starts again."""

    fault: str
    since: datetime
    next_try: datetime | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A router process; one that is not alive was killed within the last day, and what it held is free.

    `faults` are those of its parts, by their names. `clock_ahead`: the seconds by which its clock was ahead of
    the database's when it was last seen.
    """

    id: UUID
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    alive: bool
    clock_ahead: float | None
    profiles: tuple[ServedProfile, ...]
    faults: Mapping[str, PartFault]

    @property
    def title(self) -> str:
        """Where it runs: host and process number."""
        return f"{self.host}:{self.pid}"


def beat_of(lease: timedelta) -> float:
    """Seconds between two beats of a process, and between its looks at what there is to do for it.

    There are five in a lease, so that one which is lost does no harm.
    """
    return lease.total_seconds() / 5


async def beat(database: Database, process_id: UUID) -> None:
    """Say that this process lives."""
    async with database.connection() as connection:
        await beat_over(connection, process_id)


async def beat_over(connection: "Connection | asyncpg.Connection[asyncpg.Record]", process_id: UUID) -> None:
    """The same, over a connection that is at hand."""
    await connection.execute(
        """
        INSERT INTO router.process (id, host, pid, clock_ahead)
        VALUES ($1, $2, $3, extract(epoch FROM $4::timestamptz - clock_timestamp()))
        ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), clock_ahead = excluded.clock_ahead
        """,
        process_id,
        socket.gethostname(),
        os.getpid(),
        datetime.now(UTC),
    )


async def leave(database: Database, process_id: UUID) -> None:
    """Say that this process ends: what it holds is free at once, and who died a day ago is forgotten."""
    async with database.transaction() as connection:
        await connection.execute("UPDATE router.source SET process_id = NULL WHERE process_id = $1", process_id)
        await connection.execute(
            "DELETE FROM router.process WHERE id = $1 OR seen_at < now() - interval '1 day'", process_id
        )


async def note_fault(
    database: Database, process_id: UUID, part: str, fault: str | None, next_try_at: datetime | None = None
) -> None:
    """Say what is wrong with a part of the process, in an admin's words, and when it starts again; or that it runs."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.process SET faults = CASE
                WHEN $3::text IS NULL THEN faults - $2::text
                ELSE faults || jsonb_build_object($2::text, jsonb_build_object(
                    'fault', $3::text,
                    'since', coalesce(faults #> ARRAY[$2::text, 'since'], to_jsonb(clock_timestamp())),
                    'next_try', $4::timestamptz
                ))
            END
            WHERE id = $1 AND ($3::text IS NOT NULL OR faults ? $2::text)
            """,
            process_id,
            part,
            storable(fault),
            next_try_at,
        )


_FAULTS = TypeAdapter(dict[str, PartFault])


async def list_processes(database: Database, lease: timedelta) -> tuple[Process, ...]:
    """List the processes, the oldest first; one that was not seen for the lease time is dead."""
    async with database.connection() as connection:
        return await processes_of(connection, lease)


async def processes_of(connection: Connection, lease: timedelta) -> tuple[Process, ...]:
    """The same, over a connection that is at hand."""
    rows = await connection.fetch(
        """
        SELECT id, host, pid, started_at, seen_at, seen_at > clock_timestamp() - $1::interval AS alive, clock_ahead,
            profiles, faults
        FROM router.process ORDER BY started_at, id
        """,
        lease,
    )
    return tuple(
        Process(
            **{
                **row,
                "profiles": _PROFILES.validate_json(row["profiles"]),
                "faults": _FAULTS.validate_json(row["faults"]),
            }
        )
        for row in rows
    )


async def note_profiles(database: Database, process_id: UUID, profiles: Sequence[ServedProfile]) -> None:
    """Say what a process serves from now on, and why a newer form of a profile is not in use."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.process SET profiles = $2::jsonb WHERE id = $1",
            process_id,
            _PROFILES.dump_json(tuple(replace(one, fault=storable(one.fault)) for one in profiles)).decode(),
        )
