"""Which row is which source: a source is known by what is read, whatever its profile is called."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from router.repository.database import Connection, Database

# "now" is settled when the source is first read: what came while it could not be read is not the past.
_BEGINS = {"now": "infinity", "all": "-infinity"}


@dataclass(frozen=True, slots=True)
class Source:
    """A source that is to be read; a listener has no mailbox and no folder, a forward mailbox no mailbox of an owner's.

    `account` is where it lies on its server, or where it listens. `begins_at` is where it begins when it is read for
    the first time: `now`, `all` or a moment.
    """

    profile: str
    mailbox: str
    account: str
    folder: str
    owner_id: UUID | None
    begins_at: Literal["now", "all"] | datetime

    @property
    def identity(self) -> str:
        """What it is known by, together with the folder: an owner has one mailbox, on whatever server it lies."""
        return self.mailbox or self.account


def _moment(begins_at: Literal["now", "all"] | datetime) -> str:
    return begins_at.isoformat() if isinstance(begins_at, datetime) else _BEGINS[begins_at]


async def register(database: Database, sources: Sequence[Source], others: Collection[str] = ()) -> dict[Source, int]:
    """Return the id of each source, and make the rows of those that are new. Nothing is locked where none is.

    `others` are the identities of further sources that the profiles call for: none of these is taken over.
    """
    if not sources:
        return {}
    async with database.connection() as connection:
        found = await _find(connection, sources)
    if any(source not in found or found[source][1] != source.owner_id for source in sources):
        async with database.transaction() as connection:
            await _adopt(connection, sources, others)
            await _write(connection, sources)
            found = await _find(connection, sources)
    return {source: source_id for source, (source_id, _) in found.items()}


async def _find(connection: Connection, sources: Sequence[Source]) -> dict[Source, tuple[int, UUID | None]]:
    rows = await connection.fetch(
        """
        SELECT w.position, s.id, s.owner_id
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (identity, folder, position)
        JOIN router.source AS s USING (identity, folder)
        """,
        [source.identity for source in sources],
        [source.folder for source in sources],
    )
    return {sources[row["position"] - 1]: (row["id"], row["owner_id"]) for row in rows}


async def _adopt(connection: Connection, sources: Sequence[Source], others: Collection[str]) -> None:
    """Let a forward mailbox or a listener at a new address be what its profile read at the former one."""
    wanted = [source for source in sources if not source.mailbox]
    await connection.execute(
        """
        WITH moved AS (
            SELECT DISTINCT ON (w.identity) w.identity, s.identity AS former
            FROM unnest($1::text[], $2::text[], $3::text[]) AS w (identity, profile, folder)
            JOIN router.source AS s ON s.mailbox = '' AND s.profile = w.profile AND (s.folder = '') = (w.folder = '')
            WHERE s.identity <> ALL($4::text[]) AND NOT EXISTS (SELECT FROM router.source WHERE identity = w.identity)
            ORDER BY w.identity, s.changed_at DESC, s.id DESC
        )
        UPDATE router.source AS s SET identity = moved.identity FROM moved WHERE s.identity = moved.former
        """,
        [source.identity for source in wanted],
        [source.profile for source in wanted],
        [source.folder for source in wanted],
        list({*others, *(source.identity for source in wanted)}),
    )


async def _write(connection: Connection, sources: Sequence[Source]) -> None:
    await connection.execute(
        """
        INSERT INTO router.source (profile, mailbox, account, folder, owner_id, begins_at, identity)
        SELECT profile, mailbox, account, folder, owner_id, begins_at::timestamptz, identity
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[])
            AS w (profile, mailbox, account, folder, owner_id, begins_at, identity)
        WHERE NOT EXISTS (SELECT FROM router.source AS s WHERE (s.identity, s.folder) = (w.identity, w.folder))
        ORDER BY identity, folder
        ON CONFLICT (identity, folder) DO NOTHING
        """,
        [source.profile for source in sources],
        [source.mailbox for source in sources],
        [source.account for source in sources],
        [source.folder for source in sources],
        [source.owner_id for source in sources],
        [_moment(source.begins_at) for source in sources],
        [source.identity for source in sources],
    )
    # Another record may have the mailbox by now.
    await connection.execute(
        """
        WITH other AS (
            SELECT s.id, w.owner_id
            FROM unnest($1::text[], $2::text[], $3::uuid[]) AS w (identity, folder, owner_id)
            JOIN router.source AS s USING (identity, folder)
            WHERE s.owner_id IS DISTINCT FROM w.owner_id
            ORDER BY s.id FOR UPDATE OF s
        )
        UPDATE router.source AS s SET owner_id = other.owner_id FROM other WHERE s.id = other.id
        """,
        [source.identity for source in sources],
        [source.folder for source in sources],
        [source.owner_id for source in sources],
    )


async def profiles_of(database: Database, identities: Collection[str]) -> dict[str, str]:
    """Tell by which profile each of these was last read, as far as any was; by identity."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT DISTINCT identity, profile FROM router.source WHERE identity = ANY($1::text[])", list(identities)
        )
    return {row["identity"]: row["profile"] for row in rows}


async def note_profiles(database: Database, profiles: dict[int, str]) -> dict[int, str]:
    """Say which profiles read these sources now, each with all folders of its mailbox.

    Returned are the profiles that read them before, of sources whose profile was another.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            WITH taken AS (
                SELECT s.id, s.identity, s.profile AS former, w.profile
                FROM unnest($1::bigint[], $2::text[]) AS w (id, profile) JOIN router.source AS s USING (id)
            ), noted AS (
                UPDATE router.source AS s SET profile = taken.profile
                FROM taken WHERE s.identity = taken.identity AND s.profile <> taken.profile
            )
            SELECT id, former FROM taken WHERE former <> profile
            """,
            list(profiles),
            list(profiles.values()),
        )
    return {row["id"]: row["former"] for row in rows}
