"""Promoting a copy, and rolling it back: it shows whether the copy gets in."""

from dataclasses import dataclass, replace

from router.model import Copy
from router.repository.database import Connection, Database
from router.repository.incoming.batch import Batch
from router.repository.incoming.inbox import Decide, promote_in


@dataclass(frozen=True, slots=True)
class Trial:
    """A copy to try, and the Message-ID of the email that it answers or reports on, to these recipients.

    That email is there only while the copy is tried. None: it answers nothing, or what there is.
    """

    copy: Copy
    answered: str | None = None
    recipients: tuple[str, ...] = ()


async def try_out(database: Database, trial: Trial, decide: Decide, *, again: bool = False) -> None:
    """Promote one copy and roll back, to see whether it can be promoted, perhaps again. Raises as `promote` does."""
    async with database.rolled_back() as connection:
        if trial.answered is not None:
            await _insert_answered(connection, trial.answered, trial.recipients)
        # Its content can be stored whatever it is, so it is left out.
        await promote_in(connection, Batch([replace(trial.copy, content=b"")], again=again), decide, {})


async def _insert_answered(connection: Connection, message_id: str, recipients: tuple[str, ...]) -> None:
    await connection.execute(
        """
        WITH email AS (
            INSERT INTO crm.email (direction, status, message_id) VALUES ('out', 'sent', $1) RETURNING id
        ), known AS (
            INSERT INTO router.known_id (hash, email_id) SELECT router.message_id_hash($1), id FROM email
        )
        INSERT INTO crm.party (email_id, role, position, address)
        SELECT email.id, 'to', number, address
        FROM email, unnest($2::text[]) WITH ORDINALITY AS r (address, number)
        """,
        message_id,
        list(recipients),
    )
