"""Outgoing email whose attempts have ended, without a relay that ended them."""

import json
from uuid import UUID, uuid4

from tests.support.crm import Crm

ULLA, KARL = "ulla@in.test", "karl@kunde.test"


async def ended(crm: Crm, status: str, *, owner: str = ULLA, state: str = "refused") -> UUID:
    """Return an email whose only attempt ended so."""
    email_id = await crm.send(owner, [KARL], "Offer", "Chairs")
    message_id = f"{email_id}@in.test"
    await crm.admin.execute(
        "UPDATE crm.email SET status = 'sending', message_id = $2 WHERE id = $1", email_id, message_id
    )
    await crm.admin.execute("DELETE FROM router.outbox WHERE email_id = $1", email_id)
    await crm.admin.execute(
        "INSERT INTO router.message_id (hash, email_id) VALUES (router.message_id_hash($1), $2)", message_id, email_id
    )
    replies = [{"state": state, "code": "5.1.1", "text": "no such user", "recipients": [KARL]}]
    columns = "id, email_id, number, process_id, profile, relay, started_at, finished_at, outcome, replies"
    await crm.admin.execute(
        f"INSERT INTO router.attempt ({columns}) VALUES ($1, $2, 1, $1, 'relay', 'smtp.test:25', now(), now(), $3, $4)",
        uuid4(), email_id, status, json.dumps(replies),
    )  # fmt: skip
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state, code, text) VALUES ($1, $2, $3, '5.1.1', 'no such user')",
        email_id, KARL, state,
    )  # fmt: skip
    await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", email_id, status)
    return email_id
