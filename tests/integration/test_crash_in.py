"""`kill -9` while mail comes in: nothing is lost, nothing is promoted twice, nothing stays unsettled."""

import asyncio
import smtplib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from random import Random

from tests.crm import Crm
from tests.holds import DECIDING, SETTLING, holding
from tests.router_process import NewRouter, RouterProcess
from tests.servers.dovecot import MASTER_PASSWORD, MASTER_USER, Dovecot
from tests.servers.proxy import Proxy

KILLS = 20
MESSAGES = 500
OWNERS = 4

BEFORE_SETTLE = "the commit is done, the mail server is not told"
AT_RANDOM = "some moment after some number of decisions"
POINTS = [DECIDING, BEFORE_SETTLE, SETTLING, AT_RANDOM, AT_RANDOM] * (KILLS // 5)


def profile(port: int) -> str:
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
                mailboxes = self._dice.sample(self._mailboxes, self._dice.choice([1, 1, 1, 1, 2, 3]))
                for mailbox in mailboxes:
                    lmtp.sendmail("karl@kunde.test", [mailbox], message(number))
                self.addressees[f"{number}@kunde.test"] = mailboxes

    @property
    def copies(self) -> int:
        return sum(map(len, self.addressees.values()))


async def check(crm: Crm, dovecot: Dovecot, post: Post) -> None:
    """Every message is one email with a receipt for each owner; every copy has one decision and is settled."""
    await crm.wait_for_decisions(post.copies, timeout=30)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL", timeout=30)
    emails = await crm.admin.fetch("SELECT message_id FROM crm.email")
    assert sorted(email["message_id"] for email in emails) == sorted(post.addressees)
    assert await crm.dispositions() == {
        "promoted": len(post.addressees),
        "duplicate": post.copies - len(post.addressees),
    }
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
    assert sum(row["count"] for row in events) == post.copies
    for source in await crm.admin.fetch("SELECT id, mailbox FROM router.source"):
        decided = await crm.admin.fetch("SELECT place FROM router.decision WHERE source_id = $1", source["id"])
        flags = await asyncio.to_thread(dovecot.flags, source["mailbox"])
        assert sorted(int(row["place"]) for row in decided) == sorted(flags)
        assert all("\\Seen" in of_one for of_one in flags.values())


async def kill_at(point: str, crm: Crm, router: RouterProcess, proxy: Proxy, post: Post, dice: Random) -> None:
    """Deliver some messages while the router starts, and kill it when it has come to this point with them."""
    count = MESSAGES // KILLS
    known = await crm.admin.fetchval("SELECT count(*) FROM router.decision")
    if point == BEFORE_SETTLE:
        proxy.hold_before(b" STORE ")
    async with holding(crm, point) if point in (DECIDING, SETTLING) else nullcontext() as hold:
        await asyncio.gather(asyncio.to_thread(post.deliver, count), router.start())
        if hold is not None:
            await hold.reached()
        elif point == BEFORE_SETTLE:
            await asyncio.wait_for(proxy.held.wait(), 20)
            assert await crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE settled_at IS NULL") > 0
        else:
            wanted = known + dice.randrange(1, count)
            await crm.wait_for(True, "SELECT count(*) >= $1 FROM router.decision", wanted)
            await asyncio.sleep(dice.random() * 0.05)
        await router.kill()
        proxy.cut()
        proxy.resume()
        if hold is not None:
            await hold.undo()


async def test_killed_at_any_moment_while_promoting(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, new_mailbox: Callable[[str], str]
) -> None:
    dice = Random(20)
    mailboxes = [new_mailbox(f"owner{number}") for number in range(OWNERS)]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    post = Post(dovecot, mailboxes, dice)
    async with Proxy(dovecot.imap) as proxy:
        router = await new_router(profile(proxy.port), lease=1, IMAP_PASSWORD=MASTER_PASSWORD)
        await router.kill()
        for point in dice.sample(POINTS, KILLS):
            await kill_at(point, crm, router, proxy, post, dice)
        await router.start()
        await check(crm, dovecot, post)
