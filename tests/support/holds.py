"""Holding the router at a known point of its work, from outside: by locks in the database.

A trigger of the test's own, on the test's own database, waits for an advisory lock; while the test has that lock,
whoever does what the trigger is for stops there, in the middle of its transaction.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.crm import Crm

DECIDING = "INSERT ON router.decision"
"""Promoting: the emails are written, and nothing is committed."""
SETTLING = "UPDATE OF settled_at ON router.decision"
"""The mail server was told, and that is not noted yet."""
CLAIMING = "INSERT ON router.attempt"
"""An email is claimed, and that is not committed."""
STARTING = "INSERT OR UPDATE OF started_at ON router.attempt"
"""A connection to the relay is ready, and the start, by the claim or after it, is not committed."""
TAKING_OVER = "UPDATE OF process_id ON router.outbox"
"""The claim of an email changes hands, and that is not committed."""
RECORDING = "UPDATE OF finished_at ON router.attempt"
"""The relay has answered, and that is not recorded."""
RULING = "UPDATE OF record_id ON crm.party"
"""A piece of a ruling, or of its undoing, is under way."""

_WAITING = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted"


class Hold:
    """A point at which somebody waits, or will."""

    def __init__(self, crm: Crm, key: int) -> None:
        self._crm = crm
        self._key = key

    async def reached(self, timeout: float = 20.0) -> None:
        """Return once somebody waits there."""
        await self._crm.wait_for(True, f"SELECT EXISTS ({_WAITING})", self._key, timeout=timeout)

    async def undo(self) -> None:
        """Undo what waits there: a server does not notice that its client was killed, as long as it waits."""
        await self._crm.admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM ({_WAITING}) AS w", self._key)

    async def release(self) -> None:
        """Let everybody go on."""
        await self._crm.admin.execute("SELECT pg_advisory_unlock_all()")


@asynccontextmanager
async def holding(crm: Crm, point: str) -> AsyncIterator[Hold]:
    """Hold whoever reaches the point from now on, until released or the end."""
    key = [DECIDING, SETTLING, CLAIMING, STARTING, TAKING_OVER, RECORDING, RULING].index(point) + 1
    await crm.admin.execute(
        f"""
        CREATE OR REPLACE FUNCTION hold_{key}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared({key});
            RETURN NEW;
        END
        $$;
        CREATE OR REPLACE TRIGGER hold_{key} BEFORE {point} FOR EACH ROW
            {"WHEN (NEW.started_at IS NOT NULL)" if point == STARTING else ""} EXECUTE FUNCTION hold_{key}();
        """
    )
    # Only now: whoever waited for it would have locked the table that the trigger is for.
    await crm.admin.execute("SELECT pg_advisory_lock($1)", key)
    hold = Hold(crm, key)
    try:
        yield hold
    finally:
        await hold.release()
