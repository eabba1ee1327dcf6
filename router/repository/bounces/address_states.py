"""What is known of addresses by the mail that bounced: `crm.address_state`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from router.model.bounce import kind_of_bounce
from router.repository.database import Connection, storable

_WORDS: Final = 500  # characters that are kept of what a server said


@dataclass(frozen=True, slots=True)
class Failed:
    """An address to which an email failed for good, and the code and words of a server that the caller believes."""

    address: str
    code: str
    text: str


async def note_bounces(connection: Connection, failed: Sequence[Failed]) -> None:
    """Mark the addresses that are none any more, and count the other bounces.

    These rows are the last that a transaction locks, in the order of their addresses.
    """
    told = [(one, kind) for one in failed if (kind := kind_of_bounce(one.code)) is not None]
    if not told:
        return
    await connection.execute(
        """
        INSERT INTO crm.address_state AS s (address, state, code, text, since, last_at, hard_bounces, soft_bounces)
        SELECT w.address, CASE WHEN bool_or(w.hard) THEN 'bounced' ELSE 'usable' END,
            -- Of several, that of a hard one.
            (array_agg(w.code ORDER BY w.hard DESC))[1], (array_agg(w.text ORDER BY w.hard DESC))[1], now(), now(),
            count(*) FILTER (WHERE w.hard), count(*) FILTER (WHERE NOT w.hard)
        FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[]) AS w (address, code, text, hard)
        GROUP BY w.address ORDER BY w.address
        ON CONFLICT (address) DO UPDATE SET
            state = CASE WHEN excluded.state = 'bounced' THEN 'bounced' ELSE s.state END,
            code = CASE WHEN excluded.state = s.state OR excluded.state = 'bounced' THEN excluded.code ELSE s.code END,
            text = CASE WHEN excluded.state = s.state OR excluded.state = 'bounced' THEN excluded.text ELSE s.text END,
            since = CASE WHEN excluded.state = 'bounced' AND s.state <> 'bounced' THEN excluded.since ELSE s.since END,
            last_at = excluded.last_at,
            hard_bounces = s.hard_bounces + excluded.hard_bounces,
            soft_bounces = s.soft_bounces + excluded.soft_bounces
        """,
        [one.address for one, _ in told],
        [storable(one.code) for one, _ in told],
        [(storable(one.text) or "")[:_WORDS] for one, _ in told],
        [kind == "hard" for _, kind in told],
    )
