"""By which Message-IDs an email that is sent is found."""

from collections.abc import Mapping
from uuid import UUID

from router.repository.database import Connection
from router.repository.incoming.waiting import tell_awaited


async def index_ids(connection: Connection, hashes: Mapping[bytes, UUID]) -> None:
    """Let answers find emails by these ids, which are locked then. It comes first in a transaction."""
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
