"""The claim: a relay takes what its free connections can start now, and nobody waits for anybody.

    pending_send ──claim──▶ sending ──start──▶ (MAIL FROM …) ──record──▶ sent | failed | unknown | pending_send again

One statement finds what is ready, owner by owner, from the owner after the last one served; locks it, passing over what
others have locked; and commits the lease, the Message-ID, the token and the date. What it returns can always be handed
over, whatever the CRM wrote: times go as numbers, since Python has no year 20000.

The index router.outbox_ready holds what is ready, and nothing else: the cost does not grow with what waits for later,
with owners who send nothing, or with how much one owner has queued.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from router.errors import ContentRefused
from router.model import KEY_VERSION, Outgoing
from router.repository.database import Database
from router.repository.outgoing.outgoing import PARTIES, outgoing_of
from router.repository.owners.choices import TOKENS

OUTBOX_CHANNEL: Final = "router_outbox"
"""Tells that something is ready, with the name of the profile that carries it; or empty, if none does."""

NOBODY: Final = UUID(int=0)
"""The owner after whom a relay begins."""

_PIECE: Final = 500  # emails that become ready in one transaction


@dataclass(frozen=True, slots=True)
class Offer:
    """What an attempt is known by, and a token for an email that has none yet."""

    attempt_id: UUID
    token: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What a relay asks for: at most as many emails as there are offers, `bulk` of them of that lane.

    `after` is the owner last served, in each lane. The first `start` of those without attachments begin at once.
    Where there is a rate, `interval` are the seconds between two emails, and as many may go at once as fit in `burst`
    seconds. What has been tried less than `resend_below` times by then is sent again if its outcome stays unknown (see
    `outbox.Start`).
    """

    profile: str
    offers: Sequence[Offer]
    bulk: int
    after: tuple[UUID, UUID] = (NOBODY, NOBODY)
    start: int = 0
    resend_below: int = 0
    relay: str | None = None
    interval: float = 0.0
    burst: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed email, or why it cannot be understood.

    `known`: answers and copies of it find it by its Message-ID. `started`: it has begun, as by `outbox.start`.
    """

    email_id: UUID
    attempt_id: UUID
    lane: str
    known: bool
    started: bool
    email: Outgoing | ContentRefused


@dataclass(frozen=True, slots=True)
class RelayFault:
    """Why nothing is claimed for a relay now, and in how many seconds it is tried."""

    state: str
    words: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What a claim came to. `after`: where the next one goes on.

    `again`: nothing was claimed of the owners that were looked at, though there may be others. `seconds`: the rate
    allows no more for so long.
    """

    claims: Sequence[Claim]
    after: tuple[UUID, UUID]
    again: bool
    fault: RelayFault | None
    seconds: float | None


def _lane(lane: str, room: str, after: str) -> str:
    """Find emails of one lane, at most `room` of them: from the owner behind `after` on, and then from the first."""
    ready = f"q.process_id IS NULL AND q.ready AND q.profile = $2 AND q.lane = '{lane}'"
    return f"""
    {lane}_on AS (
        (SELECT q.owner_id, 1 AS place FROM router.outbox AS q
         WHERE {ready} AND q.owner_id > {after} AND {room} > 0 ORDER BY q.owner_id LIMIT 1)
        UNION ALL
        SELECT (SELECT q.owner_id FROM router.outbox AS q
                WHERE {ready} AND q.owner_id > l.owner_id ORDER BY q.owner_id LIMIT 1), l.place + 1
        FROM {lane}_on AS l WHERE l.owner_id IS NOT NULL AND l.place < {room}
    ), {lane}_around AS (
        (SELECT q.owner_id, (SELECT count(*) FROM {lane}_on) + 1 AS place FROM router.outbox AS q
         WHERE {ready} AND q.owner_id <= {after}
            AND (SELECT count(*) FROM {lane}_on AS l WHERE l.owner_id IS NOT NULL) < {room}
         ORDER BY q.owner_id LIMIT 1)
        UNION ALL
        SELECT (SELECT q.owner_id FROM router.outbox AS q
                WHERE {ready} AND q.owner_id > l.owner_id AND q.owner_id <= {after} ORDER BY q.owner_id LIMIT 1),
            l.place + 1
        FROM {lane}_around AS l WHERE l.owner_id IS NOT NULL AND l.place <= {room}
    ), {lane}_seen AS MATERIALIZED (
        SELECT l.owner_id, l.place FROM (SELECT * FROM {lane}_on UNION ALL SELECT * FROM {lane}_around) AS l
        WHERE l.owner_id IS NOT NULL ORDER BY l.place LIMIT {room}
    ), {lane}_owners AS MATERIALIZED (
        -- Whose approval was just taken back is still in the index.
        SELECT l.owner_id, l.place, o.mailbox FROM {lane}_seen AS l JOIN crm.owner AS o ON o.record_id = l.owner_id
        WHERE o.approved AND o.mailbox IS NOT NULL ORDER BY l.place
    ), {lane}_picked AS MATERIALIZED (
        SELECT d.email_id, d.attached, w.owner_id, w.mailbox, d.turn, w.place
        FROM {lane}_owners AS w CROSS JOIN LATERAL (
            -- The email is locked too: a CRM that is just canceling it is not waited for, it is skipped.
            SELECT q.email_id, row_number() OVER () AS turn,
                EXISTS (SELECT FROM crm.attachment AS a WHERE a.email_id = q.email_id) AS attached
            FROM (
                SELECT q.email_id FROM router.outbox AS q JOIN crm.email AS e ON e.id = q.email_id
                WHERE {ready} AND q.owner_id = w.owner_id AND q.next_at <= now()
                ORDER BY q.priority DESC, q.next_at
                LIMIT (SELECT ceil({room}::numeric / greatest(1, count(*)))::int FROM {lane}_owners)
                FOR UPDATE OF e, q SKIP LOCKED
            ) AS q
        ) AS d
        LIMIT {room}
    )"""  # noqa: S608  # constants


# $1 process, $2 profile, $3 attempts, $4 tokens, $5 bulk, $6 and $7 owners, $8 interval, $9 burst
_PICKED: Final = f"""
    WITH RECURSIVE rate AS MATERIALIZED (
        -- Another process that has it just takes its turn.
        SELECT extract(epoch FROM greatest(r.next_at, now()) - now())::float8 AS ahead FROM router.rate AS r
        WHERE r.profile = $2 AND $8::float8 > 0 FOR UPDATE SKIP LOCKED
    ), gate AS MATERIALIZED (
        SELECT CASE
            WHEN NOT router.may_send() OR EXISTS (SELECT FROM router.relay AS r WHERE r.profile = $2) THEN 0
            WHEN $8::float8 > 0 THEN coalesce(
                (SELECT least(cardinality($3::uuid[]), greatest(0, floor(($9::float8 - r.ahead) / $8 + 0.000001)))::int
                 FROM rate AS r), 0)
            ELSE cardinality($3::uuid[])
        END AS room
    ), {_lane("normal", "(SELECT room FROM gate)", "$6::uuid")},
    rest AS MATERIALIZED (
        SELECT least((SELECT room FROM gate) - (SELECT count(*) FROM normal_picked), $5::int)::int AS room
    ), {_lane("bulk", "(SELECT room FROM rest)", "$7::uuid")},
    picked AS MATERIALIZED (
        SELECT p.*, row_number() OVER (ORDER BY p.lane DESC, p.turn, p.place) AS n
        FROM (SELECT *, 'normal' AS lane FROM normal_picked UNION ALL SELECT *, 'bulk' FROM bulk_picked) AS p
    )
"""  # noqa: S608  # constants

# Each table is asked for its keys: the planner may think that the outbox is empty where a million emails wait by now,
# and would read it whole to join it.
_CLAIM: Final = f"""{_PICKED}, claimed AS (
        UPDATE router.outbox AS o SET process_id = $1, attempt_id = f.attempt_id, attempts = o.attempts + 1
        FROM picked AS p JOIN unnest($3::uuid[], $4::text[]) WITH ORDINALITY AS f (attempt_id, token, n) ON f.n = p.n
        WHERE o.email_id = ANY(ARRAY(SELECT email_id FROM picked)) AND o.email_id = p.email_id
        RETURNING o.email_id, o.owner_id, o.attempt_id, o.attempts, o.spent, o.deferred_at, p.lane, p.mailbox,
            p.attached, f.token AS offered, p.n, NOT p.attached AND p.n <= $10::int AS started
    ), attempted AS (
        INSERT INTO router.attempt (id, email_id, number, process_id, started_at, profile, relay, resend)
        SELECT c.attempt_id, c.email_id, c.attempts, $1, CASE WHEN c.started THEN clock_timestamp() END,
            $2, $13, c.attempts < $11::int
        FROM claimed AS c
    ), sending AS (
        UPDATE crm.email AS e SET
            status = 'sending',
            token = coalesce(e.token, c.offered),
            message_id = coalesce(e.message_id, e.id || '@' || coalesce(nullif(r.domain, ''), 'crm.invalid')),
            dated_at = coalesce(e.dated_at, date_trunc('second', now())),
            in_reply_to = coalesce(e.in_reply_to, parent.message_id),
            thread_ids = CASE WHEN cardinality(e.thread_ids) > 0 OR parent.message_id IS NULL THEN e.thread_ids
                ELSE array_append(parent.thread_ids, parent.message_id) END
        FROM claimed AS c
        JOIN crm.email AS old ON old.id = c.email_id
        LEFT JOIN crm.email AS parent ON parent.id = old.correlated_id
        LEFT JOIN router.route AS r ON r.owner_id = c.owner_id
        WHERE e.id = ANY(ARRAY(SELECT email_id FROM claimed)) AND e.id = c.email_id
            AND old.id = ANY(ARRAY(SELECT email_id FROM claimed))
        RETURNING e.id, e.message_id, e.dated_at, e.token, e.subject, e.text_body, e.html_body, e.in_reply_to,
            e.thread_ids, e.headers, e.automatic, e.unsubscribe_url, e.send_anyway, e.status,
            old.message_id IS NULL AND old.dated_at IS NULL AS is_new
    ), hashed AS (
        -- Nobody can have used these ids before, so nobody is waited for.
        INSERT INTO router.message_id (hash, email_id)
        SELECT router.message_id_hash(s.message_id), s.id FROM sending AS s WHERE s.is_new ON CONFLICT DO NOTHING
    ), keyed AS (
        INSERT INTO router.message (key, version, email_id)
        SELECT router.message_key(s.message_id, s.dated_at), $12::smallint, s.id FROM sending AS s WHERE s.is_new
        ON CONFLICT DO NOTHING
    ), paid AS (
        UPDATE router.rate AS r
        SET next_at = greatest(r.next_at, now()) + (SELECT count(*) FROM claimed) * $8::float8 * interval '1 second'
        WHERE r.profile = $2 AND $8::float8 > 0 AND EXISTS (SELECT FROM claimed)
    )
    SELECT g.room, f.state, f.fault,
        extract(epoch FROM least(greatest(f.next_try_at, now()), now() + interval '1 day') - now())::float8 AS seconds,
        (SELECT ahead FROM rate) AS ahead,
        (SELECT s.owner_id FROM normal_seen AS s ORDER BY s.place DESC LIMIT 1) AS after_normal,
        (SELECT s.owner_id FROM bulk_seen AS s ORDER BY s.place DESC LIMIT 1) AS after_bulk,
        c.email_id, c.owner_id, c.attempt_id, c.attempts, c.spent, c.lane, c.mailbox, c.attached, c.started,
        extract(epoch FROM now() - c.deferred_at)::float8 AS deferred_for,
        e.is_new, e.message_id, extract(epoch FROM e.dated_at)::float8 AS dated, e.token, e.subject, e.text_body,
        e.html_body, e.in_reply_to, e.thread_ids, e.headers::text AS headers, e.automatic, e.unsubscribe_url,
        ARRAY(SELECT p FROM ({PARTIES}) AS p) AS parties, {TOKENS} AS tokens,
        CASE WHEN (SELECT count(*) FROM sending WHERE status = 'sending') < (SELECT count(*) FROM claimed)
            THEN router.refuse('a trigger on crm.email, or a rule, does not let it become sending') END AS refused
    FROM gate AS g LEFT JOIN router.relay AS f ON f.profile = $2
    LEFT JOIN (claimed AS c JOIN sending AS e ON e.id = c.email_id) ON true
    ORDER BY c.n
"""  # noqa: S608  # constants

_PUT_OFF: Final = f"""{_PICKED}
    UPDATE router.outbox AS o SET ready = false, next_at = now() + $10::interval
    WHERE o.email_id = ANY(ARRAY(SELECT p.email_id FROM picked AS p WHERE p.n = 1))
        AND $1::uuid IS NOT NULL AND cardinality($4::text[]) > 0
    RETURNING o.email_id
"""  # noqa: S608  # constants


async def claim(database: Database, process_id: UUID, ask: Ask) -> Turn:
    """Claim what is ready for a relay, at most what it asks for: the lane `normal` first, and owners in turn.

    Nothing is claimed for a relay that does not work, of an owner who is not approved, while sending is stopped, or in
    a copy of the database. An error may be that of one of the emails, as where a trigger of the CRM's refuses one.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            _CLAIM, *_arguments(process_id, ask), ask.start, ask.resend_below, KEY_VERSION, ask.relay
        )
    first = rows[0]
    claims = [
        Claim(row["email_id"], row["attempt_id"], row["lane"], row["is_new"], row["started"], outgoing_of(row))
        for row in rows
        if row["email_id"] is not None
    ]
    fault = None
    if first["state"] is not None:
        fault = RelayFault(first["state"], first["fault"], first["seconds"] or 0.0)
    after = (first["after_normal"] or ask.after[0], first["after_bulk"] or ask.after[1])
    seconds = None
    if ask.interval and fault is None and first["room"] < len(ask.offers):
        taken = len(claims) * ask.interval
        # Of a rate that another process has just locked nothing is known.
        seconds = ask.interval if first["ahead"] is None else first["ahead"] + taken - ask.burst + ask.interval
        seconds = max(seconds, min(ask.interval, 0.01))
    return Turn(claims, after, after != ask.after and not claims, fault, seconds)


async def put_off(database: Database, process_id: UUID, ask: Ask, delay: timedelta) -> UUID | None:
    """Put off the email that the same `ask`, of one offer, would claim, and return its id. crm.email stays as it is."""
    async with database.connection() as connection:
        put: UUID | None = await connection.fetchval(_PUT_OFF, *_arguments(process_id, ask), delay)
    return put


def _arguments(process_id: UUID, ask: Ask) -> Sequence[object]:
    return (
        process_id,
        ask.profile,
        [offer.attempt_id for offer in ask.offers],
        [offer.token for offer in ask.offers],
        ask.bulk,
        *ask.after,
        ask.interval,
        ask.burst,
    )


async def make_ready(database: Database) -> bool:
    """Make ready what has become due, and tell those who claim; True if there may be more."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            WITH due AS MATERIALIZED (
                SELECT o.email_id FROM router.outbox AS o
                WHERE NOT o.ready AND o.process_id IS NULL AND o.profile IS NOT NULL AND o.next_at <= now()
                ORDER BY o.next_at LIMIT $1 FOR UPDATE SKIP LOCKED
            ), made AS (
                UPDATE router.outbox AS o SET ready = true WHERE o.email_id = ANY(ARRAY(SELECT email_id FROM due))
                RETURNING o.profile
            ), told AS (
                SELECT pg_notify($2, p.profile) FROM (SELECT DISTINCT profile FROM made) AS p
            )
            SELECT (SELECT count(*) FROM made) AS made, (SELECT count(told) FROM told) AS told
            """,
            _PIECE,
            OUTBOX_CHANNEL,
        )
    assert row is not None
    return bool(row["made"] == _PIECE)


async def hold_rate(database: Database, profile: str) -> None:
    """Make the row by which all processes together keep to the rate of a profile."""
    async with database.connection() as connection:
        await connection.execute("INSERT INTO router.rate (profile) VALUES ($1) ON CONFLICT DO NOTHING", profile)
