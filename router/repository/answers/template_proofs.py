"""What is known of templates by having tried them: whether something was made of one, as its texts are.

The proof is the router's own (`router.template`), so nobody can keep it locked. What `crm.template` tells the CRM is
written where the CRM has not locked it just then; that is never waited for.
"""

from datetime import datetime, timedelta
from typing import Final

from router.repository.database import Database, storable

FIRST, LONGEST = timedelta(seconds=30), timedelta(hours=1)
"""Between two tries, doubled each time."""

_FORGIVEN: Final = timedelta(days=1)  # after which a failure counts no more


async def note_right(database: Database, name: str, changed_at: datetime) -> None:
    """Note that something was made of a template, as it was at a time."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.template SET proven = true, tried_until = '-infinity' WHERE name = $1 AND changed_at = $2",
            name,
            changed_at,
        )
        # The failures stay: one that works for some emails alone is tried ever more rarely.
        await connection.execute(
            """
            UPDATE crm.template SET fault = NULL WHERE name = ANY(ARRAY(
                SELECT name FROM crm.template WHERE name = $1 AND changed_at = $2 AND fault IS NOT NULL
                FOR NO KEY UPDATE SKIP LOCKED))
            """,
            name,
            changed_at,
        )


async def note_wrong(database: Database, name: str, changed_at: datetime, words: str) -> None:
    """Note that nothing could be made of a template, as it was; it is tried again after a pause that grows."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.template SET proven = false, tried_until = now() + $3 WHERE name = $1 AND changed_at = $2",
            name,
            changed_at,
            FIRST,
        )
        await connection.execute(
            """
            UPDATE crm.template SET fault = $3,
                failures = CASE WHEN next_try_at > now() - $6::interval THEN failures ELSE 0 END + 1,
                next_try_at = now() + least($5::interval, $4::interval * 2 ^ least(
                    CASE WHEN next_try_at > now() - $6::interval THEN failures ELSE 0 END, 10))
            WHERE name = ANY(ARRAY(
                SELECT name FROM crm.template WHERE name = $1 AND changed_at = $2 FOR NO KEY UPDATE SKIP LOCKED))
            """,
            name,
            changed_at,
            storable(words),
            FIRST,
            LONGEST,
            _FORGIVEN,
        )
