"""Queues that acknowledge by a template, and mail that waits for that, written by SQL: no mail server is needed."""

from uuid import UUID

from tests.support.crm import Crm

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
"""A template that never ends."""


async def queue_of(crm: Crm, name: str, text: str = "We have it.") -> UUID:
    """Make the queue `name`@in.test, and the template of that name by which its mail is acknowledged."""
    owner_id = await crm.owner(f"{name}@in.test", "all", kind="queue")
    await crm.sql.execute("INSERT INTO crm.template (name, subject, text_body) VALUES ($1, 'Re', $2)", name, text)
    await crm.sql.execute("UPDATE crm.owner SET acknowledgement = $2 WHERE record_id = $1", owner_id, name)
    return owner_id


async def mail_for(crm: Crm, owner_id: UUID, count: int = 1, subject: str = "A chair broke") -> list[UUID]:
    """Let so many emails wait for an acknowledgement, of a sender each."""
    rows = await crm.admin.fetch(
        """
        WITH e AS (
            INSERT INTO crm.email (direction, status, owner_id, subject)
            SELECT 'in', 'received', $1::uuid, $3 FROM generate_series(1, $2::int) RETURNING id
        ), p AS (
            INSERT INTO crm.party (email_id, role, position, address)
            SELECT id, 'from', 0, 'ann-' || md5(id::text) || '@kunde.test' FROM e
        )
        INSERT INTO router.acknowledgement (email_id, owner_id) SELECT id, $1 FROM e RETURNING email_id
        """,
        owner_id,
        count,
        subject,
    )
    return [row["email_id"] for row in rows]
