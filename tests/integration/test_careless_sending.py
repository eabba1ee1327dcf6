"""All mistakes that a CRM developer makes in sending, with the CRM's rights, while other mail flows.

Each is refused in words, or hurts only the email on which it was made.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from tests.support.crm import Crm, Parcel
from tests.support.databases import Postgres
from tests.support.scripted_smtp import SILENCE, ScriptedSmtp
from tests.support.sending import relay, sending

ULLA, KARL = "ulla@example.com", "karl@kunde.test"

# On a draft of which $1 is the id.
ON_A_DRAFT = [
    *(
        f"UPDATE crm.email SET send_after = '{time}' WHERE id = $1"
        for time in ("-infinity", "infinity", "0044-03-15 BC")
    ),
    "UPDATE crm.email SET token = 'abcdefgh' WHERE id = $1",
    "UPDATE crm.email SET status = 'sending' WHERE id = $1",
    "UPDATE crm.email SET status = 'sent' WHERE id = $1",
    "UPDATE crm.email SET status = 'queued' WHERE id = $1",
    "UPDATE crm.email SET direction = 'in', status = 'received' WHERE id = $1",
    """UPDATE crm.email SET headers = '[["X-A", "a\\r\\nBcc: evil@in.test"]]' WHERE id = $1""",
    """UPDATE crm.email SET headers = '[["From", "boss@example.com"]]' WHERE id = $1""",
    "UPDATE crm.email SET unsubscribe_url = E'https://a\\r\\nBcc: evil@in.test' WHERE id = $1",
    "UPDATE crm.email SET lane = 'express' WHERE id = $1",
    "UPDATE crm.email SET priority = 32767 WHERE id = $1",
    "INSERT INTO crm.email (id, direction, status, send_after) SELECT $1, 'out', 'sent', '-infinity'",
    "INSERT INTO crm.email (id, direction, status, token) SELECT $1, 'out', 'draft', E'a\\r\\nb'",
    "INSERT INTO crm.email (id, direction, status, message_id) SELECT $1, 'out', 'draft', E'a@b\\r\\nc'",
    "INSERT INTO crm.email (id, direction, status) SELECT $1, 'out', 'pending_send'",
    "INSERT INTO crm.party (email_id, role, address) SELECT $1, 'to', repeat('a', 8000) || '@kunde.test'",
    "INSERT INTO crm.party (email_id, role, address) SELECT $1, 'to', 'Karl@Kunde.test'",
    "INSERT INTO crm.party (email_id, role, address) SELECT $1, 'to', 'ann@ａ.test'",
    "UPDATE router.outbox SET next_at = now() WHERE email_id = $1",
    "DELETE FROM crm.delivery WHERE email_id = $1",
    "UPDATE crm.owner SET approved = true WHERE $1::uuid IS NOT NULL",
]

NO_ADDRESSES = [
    "bob@my/bank.example",
    "ann@exam,ple.com",
    "ann@exam\u200bple.com",
    "a\nb@kunde.test",
    "",
]

# On what is pending or being sent.
TOO_LATE = [
    "UPDATE crm.party SET email_id = $2 WHERE email_id = $1 AND role <> 'from'",
    "UPDATE crm.attachment SET email_id = $2, position = 9 WHERE email_id = $1",
    "UPDATE crm.party SET email_id = $1 WHERE email_id = $2",
    "UPDATE crm.party SET address = 'evil@in.test' WHERE email_id = $1 AND $2::uuid IS NOT NULL",
    "INSERT INTO crm.party (email_id, role, address) SELECT $1, 'bcc', 'evil@in.test' WHERE $2::uuid IS NOT NULL",
    "DELETE FROM crm.party WHERE email_id = $1 AND $2::uuid IS NOT NULL",
    "DELETE FROM crm.attachment WHERE email_id = $1 AND $2::uuid IS NOT NULL",
    "UPDATE crm.email SET subject = 'Other' WHERE id = $1 AND $2::uuid IS NOT NULL",
    "UPDATE crm.email SET owner_id = $2 WHERE id = $1",
    """UPDATE crm.email SET headers = '[["X-A", "a"]]' WHERE id = $1 AND $2::uuid IS NOT NULL""",
    "UPDATE crm.email SET send_after = '-infinity' WHERE id = $1 AND $2::uuid IS NOT NULL",
]
IN_MID_SEND = [
    "DELETE FROM crm.email WHERE id = $1 AND $2::uuid IS NOT NULL",
    *(
        f"UPDATE crm.email SET status = '{status}' WHERE id = $1 AND $2::uuid IS NOT NULL"
        for status in ("draft", "canceled", "sent", "failed", "pending_send")
    ),
]


@asynccontextmanager
async def another(postgres: Postgres, database: str) -> AsyncIterator[Crm]:
    """Another session with the CRM's rights."""
    name = urlsplit(database).path.removeprefix("/")
    sql, admin = await asyncpg.connect(postgres.server.superuser_dsn(name)), await asyncpg.connect(database)
    try:
        await sql.execute("SET ROLE email_router_crm")
        yield Crm(sql, admin)
    finally:
        sql.terminate()
        await admin.close()


class Flow:
    """Other mail: one email after the other, each of which is to leave soon."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._stop = asyncio.Event()
        self.sent = 0

    async def run(self) -> None:
        while not self._stop.is_set():
            email_id = await self._crm.send(ULLA, f"good{self.sent}@kunde.test", "Good")
            await self._crm.wait_for_status(email_id, "sent", timeout=10)
            self.sent += 1

    async def more(self) -> None:
        """Return once two more have left that were queued one after the other: all of the other's mail flows."""
        until = self.sent + 2
        async with asyncio.timeout(25):
            while self.sent < until:
                await asyncio.sleep(0.02)

    def stop(self) -> None:
        self._stop.set()


async def refused(crm: Crm, statement: str, *arguments: object) -> None:
    """Check that a statement is refused, in words: what is told is no constraint's name and no bug of ours."""
    with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError)) as caught:
        await crm.sql.execute(statement, *arguments)
    if isinstance(caught.value, asyncpg.CheckViolationError):
        assert caught.value.hint or "status_of_direction" in str(caught.value), statement


async def test_every_mistake_is_refused_in_words_or_hurts_only_itself(
    crm: Crm, postgres: Postgres, database: str
) -> None:
    await crm.owner(ULLA)
    await crm.admin.execute(
        """
        CREATE FUNCTION public.careless() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
        CREATE TRIGGER careless BEFORE UPDATE ON crm.email FOR EACH ROW
            WHEN (NEW.status = 'sent' AND NEW.subject = 'Bad') EXECUTE FUNCTION public.careless();
        """
    )
    async with (
        ScriptedSmtp({"RCPT TO:<slow@": SILENCE}) as server,
        sending(database, relay(server.port, connections=4)),
        another(postgres, database) as other,
        another(postgres, database) as left_open,
    ):
        flow = Flow(other)
        running = asyncio.create_task(flow.run())
        try:
            await _make_all_mistakes(crm, left_open, flow)
        finally:
            flow.stop()
            await running
    sent = [command for session in server.commands for command in session if command.startswith("RCPT")]
    assert not [command for command in sent if "evil" in command or "bank" in command or "ple.com" in command]
    good = [command for command in sent if "<good" in command]
    assert len(good) == len(set(good)) == flow.sent


async def _make_all_mistakes(crm: Crm, left_open: Crm, flow: Flow) -> None:
    file = Parcel("a.txt", "text/plain", b"a")
    draft, spare = await crm.draft(ULLA, KARL, "Draft", attachments=[file]), await crm.draft(ULLA, KARL, "Spare")
    for statement in ON_A_DRAFT:
        await refused(crm, statement, draft)
    for address in NO_ADDRESSES:
        await crm.sql.execute("INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'cc', $2)", draft, address)
        await refused(crm, "UPDATE crm.email SET status = 'pending_send' WHERE id = $1", draft)
        await crm.sql.execute("DELETE FROM crm.party WHERE email_id = $1 AND role = 'cc'", draft)
    await flow.more()

    # Pending, since it is to be sent tomorrow.
    await crm.sql.execute("UPDATE crm.email SET send_after = now() + interval '1 day' WHERE id = $1", draft)
    await crm.move(draft, "pending_send")
    for statement in TOO_LATE:
        await refused(crm, statement, draft, spare)

    # At a relay that does not answer.
    slow = await crm.send(ULLA, "slow@kunde.test", "Slow", attachments=[file])
    await crm.wait_for(True, "SELECT started_at IS NOT NULL FROM router.attempt WHERE email_id = $1", slow)
    for statement in TOO_LATE + IN_MID_SEND:
        await refused(crm, statement, slow, spare)
    await flow.more()

    # A trigger that raises, and an attachment that is not what it says.
    bad = await crm.send(ULLA, KARL, "Bad")
    torn = await crm.draft(ULLA, KARL, "Torn")
    await crm.sql.execute("INSERT INTO crm.blob VALUES (sha256('torn'), 'zlib', 'no zlib')")
    await crm.sql.execute(
        "INSERT INTO crm.attachment (email_id, position, filename, size, sha256) SELECT $1, 0, 'a', 4, sha256('torn')",
        torn,
    )
    await crm.move(torn, "pending_send")
    await crm.wait_for_status(torn, "failed")
    await crm.wait_for(1, "SELECT count(*) FROM router.unrecorded JOIN router.attempt AS a ON a.id = attempt_id")
    assert (await crm.email(bad))["status"] == "sending"
    await flow.more()

    # Transactions that are left open: of one that is queued, and of one that is deleted while it is pending.
    late = await crm.draft(ULLA, KARL, "Late")
    async with left_open.sql.transaction():
        await left_open.move(late, "pending_send")
        await left_open.sql.execute("DELETE FROM crm.email WHERE id = $1", draft)
        await flow.more()
        assert (await crm.email(late))["status"] == "draft"
    await crm.wait_for_status(late, "sent")
    assert await _progress(crm, slow) == ("sending", 1, None)
    assert await _progress(crm, torn) == ("failed", 1, None)


async def _progress(crm: Crm, email_id: UUID) -> tuple[str, int, str | None]:
    [row] = await crm.rows("SELECT status, recipients, waits_for FROM crm.email_progress WHERE email_id = $1", email_id)
    return row["status"], row["recipients"], row["waits_for"]
