"""The tokens of OAuth2, which all processes share, and the lease by which one of them at a time asks for new ones.

What is stored comes sealed, and is stored by whoever has the lease and its fencing number. No time of day leaves the
database: all is said in seconds from now, so that clocks that differ, or jump, do no harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from router.model.identity import Identity
from router.model.token_fault import FaultKind, TokenFault
from router.repository.database import Database, storable

PIECE: Final = 1000
"""Rows that are deleted at once."""

_LONGEST_LEASE: Final = 90.0
_LONGEST_PAUSE: Final = 3600.0
_SPARE: Final = 10.0
"""Seconds. What would last longer was written before the database's clock was set back: it is over."""

_WORDS: Final = 1000  # characters that are kept of why there is no token


@dataclass(frozen=True, slots=True)
class TokenRow:
    """The state of one identity; durations are in seconds, from now.

    `lasts` is how long the access token is good, of its whole `lifetime`; at most 0 where there is none. `leased` is
    how long somebody else may be asking; at most 0 if nobody does. `invalidated` is how long ago a mail server refused
    the access token, or None.
    """

    fence: int
    sealed: bytes | None = field(repr=False)
    lasts: float
    lifetime: float
    granted_scope: str | None
    fault: TokenFault | None
    leased: float
    invalidated: float | None
    broken: bool = False
    """Whether the last lease ended without an outcome: its holder was stopped while it asked."""


_ROW: Final = """
    t.id, t.fence, t.sealed, t.granted_scope, t.fault, t.fault_kind, t.failures,
    coalesce(extract(epoch FROM t.expires_at - clock_timestamp()), 0)::float8 AS lasts,
    coalesce(extract(epoch FROM t.expires_at - t.granted_at), 0)::float8 AS lifetime,
    coalesce(extract(epoch FROM t.next_try_at - clock_timestamp()), 0)::float8 AS pause,
    coalesce(extract(epoch FROM t.refreshing_until - clock_timestamp()), 0)::float8 AS leased,
    extract(epoch FROM clock_timestamp() - t.invalidated_at)::float8 AS invalidated,
    t.refreshing_by IS NOT NULL AS asking
"""


async def read_tokens(database: Database, identities: Sequence[Identity]) -> Mapping[Identity, TokenRow]:
    """Read the rows that there are."""
    by_key = {identity.key: identity for identity in identities}
    async with database.connection() as connection:
        rows = await connection.fetch(
            f"SELECT {_ROW} FROM router.token AS t WHERE t.id = ANY($1::bytea[])",  # noqa: S608  # a constant
            list(by_key),
        )
    return {by_key[row["id"]]: _row(row) for row in rows}


async def take_lease(
    database: Database, identity: Identity, holder: UUID, seconds: float, *, fence: int
) -> TokenRow | None:
    """Take the right to ask the token server, for so many seconds; None if somebody else has it, or had it meanwhile.

    `fence` is the number that was read, 0 where there was no row; the row that is returned has the new one.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            INSERT INTO router.token AS t
                (id, issuer, client, scope, grant_type, subject, refreshing_by, refreshing_until, fence)
            VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8 * interval '1 s', 1)
            ON CONFLICT (id) DO UPDATE SET refreshing_by = excluded.refreshing_by,
                refreshing_until = excluded.refreshing_until, fence = t.fence + 1
                WHERE t.fence = $9 AND coalesce(t.refreshing_until <= clock_timestamp()
                    OR t.refreshing_until > clock_timestamp() + interval '{_LONGEST_LEASE} s', true)
            RETURNING {_ROW}
            """,  # noqa: S608  # constants
            *_named(identity),
            holder,
            float(seconds),
            fence,
        )
    return None if row is None else _row(row)


async def store_token(
    database: Database,
    identity: Identity,
    fence: int,
    sealed: bytes,
    *,
    lasts: float,
    scope: str | None,
    refresh_lasts: float | None,
    elapsed: float = 0.0,
) -> bool:
    """Keep what the token server gave, and end the lease; False if the row has another fence by now.

    The fence is raised, so that whoever read the row before can neither write it nor take a lease. `lasts` are the
    seconds that the access token is good, `refresh_lasts` those of the grant, where the server says; both since the
    request began, `elapsed` seconds ago.
    """
    async with database.connection() as connection:
        return bool(
            await connection.fetchval(
                """
                UPDATE router.token SET sealed = $3, granted_at = clock_timestamp() - $4 * interval '1 s',
                    expires_at = clock_timestamp() + ($5::float8 - $4::float8) * interval '1 s', granted_scope = $6,
                    refresh_expires_at = coalesce(
                        clock_timestamp() + ($7::float8 - $4::float8) * interval '1 s', refresh_expires_at),
                    fault = NULL, fault_kind = NULL, fault_since = NULL, failures = 0, next_try_at = NULL,
                    refreshing_by = NULL, refreshing_until = NULL, fence = fence + 1
                WHERE id = $1 AND fence = $2 RETURNING true
                """,
                identity.key,
                fence,
                sealed,
                float(elapsed),
                float(lasts),
                storable(scope),
                refresh_lasts,
            )
        )


async def store_fault(
    database: Database, identity: Identity, fence: int, sealed: bytes, kind: FaultKind, words: str, pause: float
) -> bool:
    """Say why there is no new token, end the lease, and pause; False if the row has another fence by now.

    The tokens stay: `sealed` holds them, and a hash of what was tried.
    """
    async with database.connection() as connection:
        return bool(
            await connection.fetchval(
                """
                UPDATE router.token SET sealed = $3, fault = $4, fault_kind = $5,
                    fault_since = coalesce(fault_since, clock_timestamp()),
                    failures = failures + 1, next_try_at = clock_timestamp() + $6 * interval '1 s',
                    refreshing_by = NULL, refreshing_until = NULL
                WHERE id = $1 AND fence = $2 RETURNING true
                """,
                identity.key,
                fence,
                sealed,
                (storable(words) or "")[:_WORDS],
                kind,
                float(pause),
            )
        )


async def note_refusal(database: Database, identity: Identity, fence: int) -> bool:
    """Note that a mail server refused the access token; False if the row has another fence by now."""
    async with database.connection() as connection:
        return bool(
            await connection.fetchval(
                """
                UPDATE router.token SET invalidated_at = clock_timestamp()
                WHERE id = $1 AND fence = $2 RETURNING true
                """,
                identity.key,
                fence,
            )
        )


async def reseal(database: Database, identity: Identity, old: bytes, new: bytes) -> None:
    """Replace what an older key encrypted (`old`), unless something else is stored by now."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE router.token SET sealed = $3 WHERE id = $1 AND sealed = $2", identity.key, old, new
        )


async def store_login(
    database: Database,
    identity: Identity,
    sealed: bytes,
    *,
    lasts: float,
    scope: str | None,
    refresh_lasts: float | None,
    elapsed: float = 0.0,
) -> None:
    """Keep what a person's login gave, in place of all that there was; durations are as in `store_token`.

    The fence is raised: a renewal that is under way is not stored.
    """
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO router.token AS t
                (id, issuer, client, scope, grant_type, subject, sealed, granted_at, expires_at, granted_scope,
                 refresh_expires_at, fence)
            VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() - $8 * interval '1 s',
                clock_timestamp() + ($9::float8 - $8::float8) * interval '1 s', $10,
                clock_timestamp() + ($11::float8 - $8::float8) * interval '1 s',
                -- No number of a login that was forgotten comes again.
                (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
            ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed, granted_at = excluded.granted_at,
                expires_at = excluded.expires_at, granted_scope = excluded.granted_scope,
                refresh_expires_at = excluded.refresh_expires_at, fence = t.fence + 1, fault = NULL, fault_kind = NULL,
                fault_since = NULL, failures = 0, next_try_at = NULL, invalidated_at = NULL, refreshing_by = NULL,
                refreshing_until = NULL
            """,
            *_named(identity),
            sealed,
            float(elapsed),
            float(lasts),
            storable(scope),
            refresh_lasts,
        )


async def forget_unused(database: Database) -> int:
    """Delete rows that nobody has asked for a month, at most `PIECE`; returns how many. A person's login stays."""
    async with database.connection() as connection:
        return int(
            await connection.fetchval(
                f"""
                WITH old AS (
                    SELECT id FROM router.token
                    WHERE grant_type IN ('client_credentials', 'jwt_bearer')
                        AND greatest(expires_at, next_try_at, refreshing_until, granted_at) < now() - interval '30 days'
                    LIMIT {PIECE} FOR UPDATE SKIP LOCKED
                ), gone AS (
                    DELETE FROM router.token WHERE id IN (SELECT id FROM old) RETURNING 1
                )
                SELECT count(*) FROM gone
                """  # noqa: S608  # a constant
            )
        )


def _named(identity: Identity) -> tuple[bytes, str, str, str, str, str]:
    return identity.key, identity.issuer, identity.client, identity.scope, identity.grant, identity.subject


def _row(row: Any) -> TokenRow:
    fault = None
    if row["fault"] is not None:
        pause = _sane(row["pause"], _LONGEST_PAUSE + _SPARE)
        fault = TokenFault(row["fault_kind"], row["fault"], row["failures"], pause)
    leased = _sane(row["leased"], _LONGEST_LEASE)
    return TokenRow(
        row["fence"],
        row["sealed"],
        _sane(row["lasts"], row["lifetime"] + _SPARE),
        row["lifetime"],
        row["granted_scope"],
        fault,
        leased,
        row["invalidated"],
        row["asking"] and leased <= 0,
    )


def _sane(seconds: float, most: float) -> float:
    return seconds if seconds <= most else 0.0
