"""`kill -9` while mail goes out: none is lost, none is sent twice, and unknown is at most what was under way."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from random import Random

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.crm import Crm
from tests.holds import CLAIMING, RECORDING, STARTING, holding
from tests.router_process import NewRouter, RouterProcess
from tests.servers.ports import free_port
from tests.servers.proxy import Proxy

KILLS = 20
EMAILS = 500
CONNECTIONS = 4

BEFORE_MAIL = "the start is committed, the relay has not heard of it"
BEFORE_ANSWER = "the relay has the message, its answer did not come"
AT_RANDOM = "some moment after some number of outcomes"
POINTS = [CLAIMING, STARTING, BEFORE_MAIL, BEFORE_ANSWER, RECORDING, *[AT_RANDOM] * 5] * (KILLS // 10)

FINISHED = "SELECT count(*) FROM router.attempt WHERE finished_at IS NOT NULL"


class Capture:
    """A relay that takes everything and counts it by Message-ID, in a thread of its own."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        self.accepted[message_from_bytes(envelope.content)["Message-ID"].strip("<>")] += 1
        return "250 2.0.0 kept"


@pytest.fixture
def capture() -> Iterator[Capture]:
    capture = Capture()
    capture.start()
    yield capture
    capture.stop()


def profile(port: int) -> str:
    return f"""
        [outgoing.relay]
        transport = "smtp"
        host = "127.0.0.1"
        port = {port}
        security = "none"
        senders = ["*@example.com"]
        connections = {CONNECTIONS}
    """


async def queue(crm: Crm, count: int, mailboxes: list[str]) -> None:
    """Queue so many emails at once, over all the mailboxes."""
    for mailbox in mailboxes:
        await crm.sql.execute(
            """
            WITH e AS (
                INSERT INTO crm.email (direction, status, subject, text_body)
                SELECT 'out', 'draft', 'number ' || n, 'hello' FROM generate_series(1, $1::int) AS n RETURNING id
            )
            INSERT INTO crm.party (email_id, role, address)
            SELECT id, role, address FROM e, (VALUES ('from', $2), ('to', 'karl@kunde.test')) AS p (role, address)
            """,
            count // len(mailboxes),
            mailbox,
        )
    await crm.sql.execute("UPDATE crm.email SET status = 'pending_send' WHERE status = 'draft'")


async def statuses(crm: Crm) -> Counter[str]:
    rows = await crm.rows("SELECT status, count(*) FROM crm.email GROUP BY status")
    return Counter({row["status"]: row["count"] for row in rows})


async def kill_at(point: str, crm: Crm, router: RouterProcess, proxy: Proxy, finished: int, dice: Random) -> None:
    """Kill the router when it has come to this point, after so many outcomes were recorded."""
    await crm.wait_for(True, f"SELECT ({FINISHED}) >= $1", finished)
    if point == AT_RANDOM:
        await asyncio.sleep(dice.random() * 0.05)
        await router.kill()
    elif point in (BEFORE_MAIL, BEFORE_ANSWER):
        proxy.hold_before(b"MAIL FROM:") if point == BEFORE_MAIL else proxy.hold_after(b"\r\n.\r\n")
        await asyncio.wait_for(proxy.held.wait(), 20)
        await router.kill()
        proxy.cut()
        proxy.resume()
    else:
        async with holding(crm, point) as hold:
            await hold.reached()
            await router.kill()
            await hold.undo()


async def test_killed_at_any_moment_while_sending(crm: Crm, new_router: NewRouter, capture: Capture) -> None:
    dice = Random(20)
    mailboxes = ["ulla@example.com", "otto@example.com"]
    for mailbox in mailboxes:
        await crm.owner(mailbox)
    await queue(crm, EMAILS, mailboxes)
    async with Proxy(capture.port) as proxy:
        router = await new_router(profile(proxy.port), lease=1)
        for number, point in enumerate(dice.sample(POINTS, KILLS)):
            # Less than an even share: what is unknown does not finish.
            await kill_at(point, crm, router, proxy, number * 18 + dice.randrange(18), dice)
            await router.start()
        await crm.wait_for(0, "SELECT count(*) FROM router.outbox", timeout=30)

        found = await statuses(crm)
        assert found.keys() <= {"sent", "unknown"}
        assert found.total() == EMAILS
        rows = await crm.admin.fetch(
            "SELECT count(*) FROM router.attempt WHERE started_at IS NOT NULL AND finished_at IS NULL GROUP BY process_id"
        )
        assert max(row["count"] for row in rows) <= CONNECTIONS
        assert sum(row["count"] for row in rows) == found["unknown"] > 0
        sent = {row["message_id"] for row in await crm.rows("SELECT message_id FROM crm.email WHERE status = 'sent'")}
        assert sent <= capture.accepted.keys()
        assert set(capture.accepted.values()) == {1}

        # What a person does, who looks whether it arrived.
        for row in await crm.rows("SELECT id, message_id FROM crm.email WHERE status = 'unknown'"):
            await crm.move(row["id"], "sent" if row["message_id"] in capture.accepted else "pending_send")
        await crm.wait_for(EMAILS, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
        assert len(capture.accepted) == EMAILS
        assert set(capture.accepted.values()) == {1}
