"""`kill -9` and a bad network while mail is handed to us: what was answered 250 is in the CRM, and nothing twice."""

import asyncio
import smtplib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from random import Random

import pytest

from tests.servers.ports import free_port
from tests.servers.proxy import Proxy
from tests.support.crm import Crm
from tests.support.holds import DECIDING, holding
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.traffic import message

MAILBOXES = ["ulla@in.test", "otto@in.test"]
CONNECTIONS = 4
ROUND = 20  # messages

IN_THE_CONTENT = "some of the content has come, its end has not"
BEFORE_THE_ANSWER = "the commit is done, the mail server has not heard of it"
AT_RANDOM = "some moment after some number of commits"
POINTS = [IN_THE_CONTENT, DECIDING, BEFORE_THE_ANSWER, AT_RANDOM] * 3
END = b"\r\n.\r\n"


class Queue:
    """A mail server's: messages are tried over several connections, again and again, until they are answered 250."""

    def __init__(self, kind: str, port: int) -> None:
        self._client = smtplib.LMTP if kind == "lmtp" else smtplib.SMTP
        self._port = port
        self._waiting: list[int] = []
        self._changed = threading.Condition()
        self._ended = False
        self.count = 0
        self.answered: set[int] = set()

    def add(self, count: int) -> None:
        with self._changed:
            self._waiting += range(self.count, self.count + count)
            self.count += count
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def work(self) -> None:
        """Deliver over one connection at a time, until the end."""
        while (number := self._next()) is not None:
            try:
                with self._client("127.0.0.1", self._port, timeout=5) as client:
                    while number is not None:
                        refused = client.sendmail("karl@kunde.test", MAILBOXES, message(number))
                        assert not refused
                        self.answered.add(number)
                        number = self._next()
            except (OSError, smtplib.SMTPException):
                with self._changed:
                    if number is not None:
                        self._waiting.append(number)
                    self._changed.wait(0.05)

    def _next(self) -> int | None:
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            return self._waiting.pop() if self._waiting and not self._ended else None


@asynccontextmanager
async def working(queue: Queue) -> AsyncIterator[None]:
    workers = [asyncio.create_task(asyncio.to_thread(queue.work)) for _ in range(CONNECTIONS)]
    try:
        yield
    finally:
        queue.end()
        await asyncio.gather(*workers)


def listener(kind: str, port: int) -> str:
    return f'[incoming.drop]\ntransport = "{kind}"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\nrule = "all"\n'


async def check_answered(crm: Crm, answered: set[int]) -> None:
    """All that was answered 250 is in the CRM, for both owners."""
    rows = await crm.admin.fetch(
        "SELECT e.message_id, count(*) FROM crm.receipt AS r JOIN crm.email AS e ON e.id = r.email_id GROUP BY 1"
    )
    assert {row["message_id"]: row["count"] for row in rows}.items() >= {
        (f"{number}@kunde.test", len(MAILBOXES)) for number in answered
    }


async def check_all(crm: Crm, queue: Queue) -> None:
    """Everything was answered, and is in the CRM once."""
    async with asyncio.timeout(60):
        while len(queue.answered) < queue.count:
            await asyncio.sleep(0.05)
    await check_answered(crm, queue.answered)
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == queue.count
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.receipt") == queue.count * len(MAILBOXES)
    assert (await crm.dispositions())["promoted"] == queue.count


async def kill_at(point: str, crm: Crm, router: RouterProcess, proxy: Proxy, queue: Queue, dice: Random) -> None:
    known = await crm.admin.fetchval("SELECT count(*) FROM crm.email")
    decided = await crm.admin.fetchval("SELECT count(*) FROM router.decision")
    if point == BEFORE_THE_ANSWER:
        proxy.hold_after(END)
    elif point == IN_THE_CONTENT:
        proxy.hold_before(END)
    async with holding(crm, DECIDING) if point == DECIDING else nullcontext() as hold:
        queue.add(ROUND)
        if hold is not None:
            await hold.reached()
        elif point == AT_RANDOM:
            wanted = known + dice.randrange(1, ROUND // 2)
            await crm.wait_for(True, "SELECT count(*) >= $1 FROM crm.email", wanted)
            await asyncio.sleep(dice.random() * 0.02)
        else:
            await asyncio.wait_for(proxy.held.wait(), 20)
        if point == BEFORE_THE_ANSWER:
            # What is held may be a message that the CRM has already, handed over once more.
            await crm.wait_for(True, "SELECT count(*) > $1 FROM router.decision", decided)
        await router.kill()
        answered = set(queue.answered)
        proxy.cut()
        proxy.resume()
        if hold is not None:
            await hold.undo()
    await check_answered(crm, answered)


@pytest.mark.parametrize("kind", ["smtp", "lmtp"])
async def test_killed_at_any_moment_of_a_delivery(crm: Crm, new_router: NewRouter, kind: str) -> None:
    dice = Random(7)
    for mailbox in MAILBOXES:
        await crm.owner(mailbox, "all")
    port = free_port()
    router = await new_router(listener(kind, port), lease=1, says=("listening",))
    async with Proxy(port) as proxy:
        queue = Queue(kind, proxy.port)
        async with working(queue):
            for point in dice.sample(POINTS, len(POINTS)):
                await kill_at(point, crm, router, proxy, queue, dice)
                await router.start("listening")
            await check_all(crm, queue)


@pytest.mark.parametrize("kind", ["smtp", "lmtp"])
async def test_a_network_that_breaks_loses_nothing_and_doubles_nothing(
    crm: Crm, new_router: NewRouter, kind: str
) -> None:
    for mailbox in MAILBOXES:
        await crm.owner(mailbox, "all")
    port = free_port()
    await new_router(listener(kind, port), says=("listening",))
    async with Proxy(port) as proxy:
        queue = Queue(kind, proxy.port)
        async with working(queue):
            queue.add(ROUND)
            for struck, answer in enumerate((rb"220 ", rb"354 ", rb"250 2\.0\.0 pro", rb"250 2\.1\.5"), 1):
                proxy.reset_within(answer, 1)
                queue.add(ROUND)
                while proxy.struck < struck:
                    await asyncio.sleep(0.02)
            proxy.cut_after(END)  # whole messages that nobody hears the answer to
            queue.add(ROUND)
            while proxy.struck < 10:
                await asyncio.sleep(0.02)
            proxy.cut_after(b"")
            proxy.hold_before(END)
            queue.add(ROUND)
            await asyncio.wait_for(proxy.held.wait(), 20)
            proxy.freeze()  # half-open: the clients give up after their timeout
            proxy.resume()
            await check_all(crm, queue)
