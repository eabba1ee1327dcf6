"""Mail in both directions, in numbers, and the proof that each came through exactly once."""

import asyncio
import smtplib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from random import Random

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.servers.dovecot import MASTER_USER, Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm

CONNECTIONS = 4


def incoming(port: int) -> str:
    return f"""
        [incoming.staff]
        transport = "imap"
        host = "127.0.0.1"
        port = {port}
        security = "none"
        auth = {{ user = "{{mailbox}}*{MASTER_USER}", password = {{ env = "IMAP_PASSWORD" }} }}
        owners = ["*@in.test"]
        start = "all"
        after = "seen"
        poll = 1
    """


def outgoing(port: int) -> str:
    return f"""
        [outgoing.relay]
        transport = "smtp"
        host = "127.0.0.1"
        port = {port}
        security = "none"
        senders = ["*@example.com", "*@in.test"]
        connections = {CONNECTIONS}
    """


def message(number: int) -> bytes:
    return (
        f"From: karl@kunde.test\r\nTo: staff@in.test\r\nSubject: {number}\r\n"
        f"Date: Sat, 21 Nov 2026 00:00:00 +0000\r\nMessage-ID: <{number}@kunde.test>\r\n\r\nnumber {number}\r\n"
    ).encode()


class Post:
    """Delivers every message into the mailbox of one owner, and some into several; remembers what lies where."""

    def __init__(self, dovecot: Dovecot, mailboxes: Sequence[str], dice: Random) -> None:
        self._dovecot = dovecot
        self._mailboxes = mailboxes
        self._dice = dice
        self.addressees: dict[str, list[str]] = {}

    def deliver(self, count: int) -> None:
        with smtplib.LMTP("127.0.0.1", self._dovecot.lmtp) as lmtp:
            for _ in range(count):
                number = len(self.addressees)
                mailboxes = self._dice.sample(
                    self._mailboxes, min(self._dice.choice([1, 1, 1, 1, 2, 3]), len(self._mailboxes))
                )
                for mailbox in mailboxes:
                    lmtp.sendmail("karl@kunde.test", [mailbox], message(number))
                self.addressees[f"{number}@kunde.test"] = mailboxes

    @property
    def copies(self) -> int:
        return sum(map(len, self.addressees.values()))


async def check_received(crm: Crm, dovecot: Dovecot, post: Post) -> None:
    """As `check_promoted`, and every copy that lies there is settled."""
    await check_promoted(crm, post)
    for source in await crm.admin.fetch("SELECT id, mailbox FROM router.source"):
        decided = await crm.admin.fetch("SELECT place FROM router.decision WHERE source_id = $1", source["id"])
        flags = await asyncio.to_thread(dovecot.flags, source["mailbox"])
        assert sorted(int(row["place"]) for row in decided) == sorted(flags)
        assert all("\\Seen" in of_one for of_one in flags.values())


async def check_promoted(crm: Crm, post: Post) -> None:
    """Every message is one email with a receipt for each owner; every copy has one decision, and that it is settled.

    And the ledger of each source balances.
    """
    await crm.wait_for_decisions(post.copies, timeout=30)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL", timeout=30)
    await crm.check_balance()
    emails = await crm.admin.fetch("SELECT message_id FROM crm.email WHERE direction = 'in'")
    assert sorted(email["message_id"] for email in emails) == sorted(post.addressees)
    others = post.copies - len(post.addressees)
    assert Counter(await crm.dispositions()) == Counter(promoted=len(post.addressees), duplicate=others)
    receipts: dict[str, list[str]] = defaultdict(list)
    for row in await crm.admin.fetch(
        "SELECT e.message_id, o.mailbox FROM crm.receipt AS r JOIN crm.email AS e ON e.id = r.email_id "
        "JOIN crm.owner AS o ON o.record_id = r.owner_id"
    ):
        receipts[row["message_id"]].append(row["mailbox"])
    assert {key: sorted(value) for key, value in receipts.items()} == {
        key: sorted(value) for key, value in post.addressees.items()
    }
    events = await crm.admin.fetch("SELECT kind, count(*) FROM crm.event GROUP BY kind")
    assert sum(row["count"] for row in events if row["kind"] in ("promoted", "received")) == post.copies


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
