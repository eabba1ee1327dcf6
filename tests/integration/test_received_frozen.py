"""What was received stays as it came, whatever the CRM's role does (FAULTS A10)."""

import re
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.model import Attachment
from tests.support.crm import Crm
from tests.support.senders import Senders

KARL = "karl@kunde.test"
TEXT = Attachment("list.txt", "text/plain", b"one, two")


async def snapshot(crm: Crm) -> list[Any]:
    """What the sender wrote, and who took part."""
    rows = await crm.admin.fetch(
        """
        SELECT to_jsonb(e) - '{regarding_id,correlated_id,correlation_method,flags,private,owner_id}'::text[],
            (
                SELECT jsonb_agg(DISTINCT to_jsonb(p) - 'record_id' - 'candidates')
                FROM crm.party AS p WHERE p.email_id = e.id
            ),
            (SELECT jsonb_agg(a ORDER BY a.position) FROM crm.attachment AS a WHERE a.email_id = e.id)
        FROM crm.email AS e WHERE e.direction = 'in' ORDER BY e.id
        """
    )
    return [tuple(row) for row in rows]


REWRITES = [
    "UPDATE crm.email SET subject = 'other' WHERE id = $1",
    "UPDATE crm.email SET text_body = 'other' WHERE id = $1",
    "UPDATE crm.email SET text_body = NULL WHERE id = $1",
    "UPDATE crm.email SET html_body = 'other' WHERE id = $1",
    "UPDATE crm.party SET address = 'other@kunde.test' WHERE email_id = $1 AND role = 'from'",
    "UPDATE crm.party SET name = 'Other' WHERE email_id = $1",
    "UPDATE crm.party SET role = 'bcc' WHERE email_id = $1 AND role = 'to'",
    "UPDATE crm.party SET position = 7 WHERE email_id = $1",
    "UPDATE crm.party SET email_id = $2 WHERE email_id = $1",
    "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'cc', 'other@kunde.test')",
    "INSERT INTO crm.party (email_id, role, position, address, name) VALUES ($1, 'from', 0, 'karl@kunde.test', 'X')",
    "DELETE FROM crm.party WHERE email_id = $1 AND role = 'to'",
    "DELETE FROM crm.party WHERE email_id = $1",
    "UPDATE crm.attachment SET filename = 'other.txt' WHERE email_id = $1",
    "UPDATE crm.attachment SET email_id = $2 WHERE email_id = $1",
    "DELETE FROM crm.attachment WHERE email_id = $1",
    "INSERT INTO crm.attachment (email_id, position, filename, size, sha256) VALUES ($1, 1, 'b', 1, sha256('x'))",
]


async def test_the_crm_cannot_rewrite_what_was_received(crm: Crm, senders: Senders) -> None:
    [email_id] = await senders.write(KARL, attachments=(TEXT,))
    draft = await crm.draft("staff@in.test", KARL)
    before = await snapshot(crm)
    for change in REWRITES:
        arguments = (email_id, draft)[: 2 if "$2" in change else 1 if "$1" in change else 0]
        with pytest.raises(asyncpg.CheckViolationError) as told:
            await crm.sql.execute(change, *arguments)
        assert re.match(f"email {email_id} was received, so .* cannot change\n", str(told.value)), change
        assert told.value.hint
    assert await snapshot(crm) == before


async def test_the_crm_says_what_it_is_about_who_took_part_and_deletes_it(crm: Crm, senders: Senders) -> None:
    one, two = await crm.record("contact", "One"), await crm.record("contact", "Two")
    email_id, other = await senders.write(KARL, 2, attachments=(TEXT,))
    before = await snapshot(crm)
    await crm.sql.execute(
        "UPDATE crm.email SET subject = subject, regarding_id = $2, correlated_id = $3, flags = '{seen}', "
        "private = true, owner_id = $2 WHERE id = $1",
        email_id,
        one,
        other,
    )
    # A row for each record that a party is, and one at least.
    sender = "email_id = $1 AND role = 'from'"
    await crm.sql.execute(f"UPDATE crm.party SET record_id = $2 WHERE {sender}", email_id, one)
    await crm.sql.execute(
        f"""
        INSERT INTO crm.party (email_id, role, position, address, name, record_id)
        SELECT email_id, role, position, address, name, $2 FROM crm.party WHERE {sender}
        """,
        email_id,
        two,
    )
    await crm.sql.execute(f"DELETE FROM crm.party WHERE {sender} AND record_id = $2", email_id, one)
    with pytest.raises(asyncpg.CheckViolationError, match="its party cannot change"):
        await crm.sql.execute(f"DELETE FROM crm.party WHERE {sender}", email_id)
    assert await senders.sender_of(email_id) == two
    assert await snapshot(crm) == before
    await crm.sql.execute("DELETE FROM crm.email WHERE id = $1", email_id)
    assert len(await snapshot(crm)) == 1


async def test_what_the_crm_imports_is_its_own_to_put_right(crm: Crm, senders: Senders) -> None:
    await senders.write(KARL)
    imported: UUID = uuid4()
    await crm.sql.execute(
        "INSERT INTO crm.email (id, direction, status, subject) VALUES ($1, 'in', 'received', 'Ofer')", imported
    )
    await crm.sql.copy_records_to_table(
        "party", schema_name="crm", columns=["email_id", "role", "address"], records=[(imported, "from", KARL)]
    )
    await crm.sql.execute("UPDATE crm.email SET subject = 'Offer' WHERE id = $1", imported)
    await crm.sql.execute("UPDATE crm.party SET name = 'Karl' WHERE email_id = $1", imported)
    await crm.sql.execute("DELETE FROM crm.party WHERE email_id = $1", imported)
