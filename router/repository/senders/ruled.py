"""What a ruling on a sender would touch, as far as it may be seen; and a record that is made together with one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from router.repository.database import Database
from router.repository.records.creation_asked import is_ours
from router.repository.records.creation_ends import lock
from router.repository.rulings.rulings import Made
from router.repository.rulings.subjects import address_of
from router.repository.senders.bound import bound
from router.repository.senders.seen import owners_seen

_COUNTED: Final = 2000  # senders of a domain, and parties, that are counted


@dataclass(frozen=True, slots=True)
class Touched:
    """Received emails that wait, and sent ones whose recipient would be known; at least so many with `more`."""

    past: int
    sent: int
    more: bool
    examples: tuple[UUID, ...]


async def count_touched(
    database: Database, seen: frozenset[UUID] | None, subject: str, examples: int
) -> Touched | None:
    """Count what a ruling on an address, or on @ and a domain, would touch; None: nothing waits that is seen."""
    owners = owners_seen(seen)
    of_domain, subject = subject.startswith("@"), address_of(subject)
    own = "AND NOT EXISTS (SELECT FROM router.rulings_on(s.address) AS r WHERE r.subject = s.address)"
    senders = (
        f"s.owner_id = ANY($1::uuid[]) AND s.domain = router.domain_of($2) {own}"
        if of_domain
        else "s.owner_id = ANY($1::uuid[]) AND s.address = $2"
    )
    whose = (
        "substring(p.address FROM '[^@]*$') = router.domain_of($2)"
        if of_domain
        else "substring(p.address FROM '[^@]*$') = router.domain_of($2) AND p.address = $2"
    )
    async with bound(database) as connection:
        row = await connection.fetchrow(
            f"""
            SELECT count(*) AS rows, coalesce(sum(t.number), 0)::bigint AS past,
                (array_agg(t.latest_id ORDER BY t.latest_at DESC))[:$4] AS examples
            FROM (
                SELECT s.number, s.latest_id, s.latest_at FROM router.sender_waiting AS s WHERE {senders} LIMIT $3
            ) AS t
            """,  # noqa: S608  # constants
            owners,
            subject,
            _COUNTED,
            examples,
        )
        assert row is not None
        if not row["rows"]:
            return None
        past, more = row["past"], row["rows"] == _COUNTED
        if len(owners) > 1 and not of_domain and past <= _COUNTED:
            found = await connection.fetchval(
                """
                SELECT array_agg(m.email_id) FROM router.sender_mail AS m
                WHERE m.owner_id = ANY($1::uuid[]) AND m.address = $2
                """,
                owners,
                subject,
            )
            past = len(set(found or ()))
        parties = await connection.fetch(
            f"""
            SELECT CASE WHEN e.direction = 'out' AND ($4 OR e.owner_id = ANY($1::uuid[])) THEN e.id END AS sent
            FROM (
                SELECT p.email_id FROM crm.party AS p WHERE p.record_id IS NULL AND {whose} LIMIT $3
            ) AS p CROSS JOIN LATERAL (
                SELECT e.id, e.direction, e.owner_id FROM crm.email AS e WHERE e.id = p.email_id LIMIT 1
            ) AS e
            """,  # noqa: S608  # constants
            owners,
            subject,
            _COUNTED,
            seen is None,
        )
    # Told apart here: counted in their order, all emails there are would be read for it.
    sent = {party["sent"] for party in parties} - {None}
    ids: Sequence[UUID] = row["examples"] or ()
    return Touched(past, len(sent), more or len(parties) == _COUNTED, tuple(dict.fromkeys(ids)))


async def was_seen(database: Database, seen: frozenset[UUID] | None, ruling_id: int) -> bool:
    """Whether some of the latest emails that a ruling has resolved may be seen."""
    if seen is None:
        return True
    async with database.connection() as connection:
        found: bool = await connection.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM (
                    SELECT p.email_id FROM router.ruled_party AS p WHERE p.ruling_id = $2 LIMIT $3
                ) AS p JOIN crm.email AS e ON e.id = p.email_id
                WHERE e.owner_id = ANY($1::uuid[]) OR EXISTS (
                    SELECT FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = ANY($1::uuid[])
                )
            )
            """,
            sorted(seen),
            ruling_id,
            _COUNTED,
        )
    return found


async def is_public(database: Database, domain: str) -> bool:
    """Whether anybody can have an address at a domain."""
    async with database.connection() as connection:
        public: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM crm.public_domain WHERE domain = $1)", domain
        )
    return public


async def make_record(
    database: Database, address: str, kind: str, name: str, owner_id: UUID | None, by: str, expected: int | None
) -> Made:
    """Make a record with this address, and rule that it is the sender; neither without the other, nor undone so.

    Where records or addresses are views, the CRM alone can make one.
    """
    async with database.transaction() as connection:
        if not await is_ours(connection):
            return Made(None, "the CRM keeps its records elsewhere: make it there, and link the sender to it here")
        # As rules for records from mail do: two who make a record of one sender come one after the other.
        await lock(connection, address)
        record_id: UUID = await connection.fetchval(
            "INSERT INTO crm.record (kind, name, owner_id) VALUES ($1, $2, $3) RETURNING id", kind, name, owner_id
        )
        row = await connection.fetchrow(
            "SELECT ruling_id, refused FROM router.rule('resolve', $1, $2, $3, $4)", address, record_id, by, expected
        )
        assert row is not None
        if row["refused"] is not None:
            # Whoever refuses has written nothing; the record goes with it.
            await connection.execute("DELETE FROM crm.record WHERE id = $1", record_id)
            return Made(None, row["refused"])
        await connection.execute(
            "INSERT INTO crm.address (address, record_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", address, record_id
        )
        await connection.execute(
            """
            INSERT INTO router.ruled_record (ruling_id, record_id, mark) VALUES ($1, $2, router.record_mark($2))
            """,
            row["ruling_id"],
            record_id,
        )
    return Made(row["ruling_id"], None)
