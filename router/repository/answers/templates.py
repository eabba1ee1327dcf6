"""Templates of answers, as a person looks at them."""

from dataclasses import dataclass
from datetime import datetime

from router.model.answer import TemplateText, Values
from router.repository.answers.template_values import VALUES, values_of
from router.repository.database import Database


@dataclass(frozen=True, slots=True)
class Template:
    """A template: the mailboxes that are acknowledged by it, and how many acknowledgements wait.

    `fault` says why nothing can be made of it, as far as that is known, and `next_try_at` when it is tried again.
    """

    name: str
    owners: tuple[str, ...]
    waiting: int
    changed_at: datetime
    fault: str | None
    next_try_at: datetime | None


async def list_all(database: Database) -> list[Template]:
    """List all templates, by name."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT t.name, t.changed_at, t.fault, CASE WHEN t.fault IS NOT NULL THEN t.next_try_at END AS next_try_at,
                ARRAY(SELECT coalesce(o.mailbox, o.record_id::text) FROM crm.owner AS o
                      WHERE o.acknowledgement = t.name ORDER BY 1) AS owners,
                (SELECT count(*) FROM crm.owner AS o JOIN router.acknowledgement AS a ON a.owner_id = o.record_id
                 WHERE o.acknowledgement = t.name) AS waiting
            FROM crm.template AS t ORDER BY t.name
            """
        )
    return [Template(**{**row, "owners": tuple(row["owners"])}) for row in rows]


async def find(database: Database, name: str) -> TemplateText | None:
    """Read what a template says; None where there is none of this name."""
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT subject, text_body, html_body FROM crm.template WHERE name = $1", name)
    return None if row is None else TemplateText(*row)


async def find_values(database: Database, name: str, message_id: str) -> Values | None:
    """Read what a template would be given of an email, by its Message-ID; None where there is none.

    It is answered in the name of who received it and acknowledges by this template, or else of its own owner.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow(
            f"""
            WITH named AS (
                SELECT m.email_id AS id FROM router.message_id AS m WHERE m.hash = router.message_id_hash($1)
                UNION
                SELECT k.email_id FROM router.known_id AS k WHERE k.hash = router.message_id_hash($1)
            )
            {VALUES}
            JOIN named ON named.id = e.id
            WHERE o.record_id = coalesce(
                (SELECT q.record_id FROM crm.receipt AS c JOIN crm.owner AS q ON q.record_id = c.owner_id
                 WHERE c.email_id = e.id AND q.acknowledgement = $2 ORDER BY q.mailbox LIMIT 1), e.owner_id)
            LIMIT 1
            """,  # noqa: S608  # constants
            message_id,
            name,
        )
    return None if row is None else values_of(row)
