"""What connections at rest and one large message cost: python -m tests.benchmarks.imap_memory

300 accounts over TLS to a Dovecot of its own on this machine, each of them idling (IDLE), before and after each has
fetched a message of 500 KB; and one message of 50 MB. Memory is resident, and that of a connection what all of them
have added, divided by their number.
"""

import asyncio
import gc
import os
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from tests.servers.dovecot import HOST, PASSWORD, Dovecot
from tests.servers.tls import Tls, make_tls
from transports.base import After
from transports.imap.account import ImapAccount
from transports.imap.settings import ImapSettings

ACCOUNTS = 300
REST = 20
LARGE = 50 << 20
MESSAGE = b"Subject: x\r\n\r\n" + b"x\r\n" * 170_000


def resident() -> int:
    """Bytes of memory this process has now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def settings_for(server: Dovecot, tls: Tls) -> ImapSettings:
    auth = {"user": "{mailbox}", "password": {"env": "IMAP_BENCHMARK_PASSWORD"}}
    return ImapSettings.model_validate({"host": HOST, "port": server.imaps, "ca_file": tls.ca_file, "auth": auth})


async def rest(server: Dovecot, tls: Tls) -> str:
    settings = settings_for(server, tls)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(ImapAccount(settings, "first@in.test", After("keep")))
        await drain(first)
        before = resident()
        accounts = []
        mailboxes = [f"rest-{os.getpid()}-{number}@in.test" for number in range(ACCOUNTS)]
        for number in range(ACCOUNTS):
            account = await stack.enter_async_context(ImapAccount(settings, mailboxes[number], After("keep")))
            await drain(account)
            accounts.append(account)
        async with waiting(accounts):
            fresh = (resident() - before) / ACCOUNTS / 1024
            begun = time.process_time()
            await asyncio.sleep(REST)
            cpu = (time.process_time() - begun) / REST * 100
            for mailbox in mailboxes:
                await asyncio.to_thread(server.deliver, mailbox, MESSAGE)
        for account in accounts:
            await drain(account)
        async with waiting(accounts):
            used = (resident() - before) / ACCOUNTS / 1024
    return f"{ACCOUNTS} at rest: {fresh:.0f} KB each, {used:.0f} KB after a message, {cpu:.2f}% of a processor together"


async def drain(account: ImapAccount) -> None:
    inbox = account.folder("INBOX")
    listing = await inbox.list(None, 100)
    async for _ in inbox.fetch([listed.place for listed in listing.copies], "whole"):
        pass


@asynccontextmanager
async def waiting(accounts: Sequence[ImapAccount]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(account.wait(600)) for account in accounts]
    await asyncio.sleep(12)  # they look more often just after mail has come
    yield
    # What has come ends the waiting; no wait is canceled, as that would end the connection.
    for account in accounts:
        account.folder("INBOX").watch.dirty = True
        account._session.connection._wake.set()
    await asyncio.gather(*tasks)


async def large(server: Dovecot, tls: Tls) -> str:
    async with ImapAccount(settings_for(server, tls), "large@in.test", After("keep")) as account:
        inbox = account.folder("INBOX")
        listing = await inbox.list(None, 1)
        before = resident()
        copies = [copy async for copy in inbox.fetch([listing.copies[0].place], "whole")]
        size, after = len(copies[0].content), resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    held, most = (after - before) / 1e6, (peak - before) / 1e6
    return f"a message of {size / 1e6:.0f} MB: {held:.0f} MB held, {most:.0f} MB at the peak"


def in_a_process_of_its_own(work: Callable[[], str]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, work().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        words = pipe.read()
    os.waitpid(child, 0)
    return words


def main() -> None:
    os.environ["IMAP_BENCHMARK_PASSWORD"] = PASSWORD
    with tempfile.TemporaryDirectory() as folder:
        tls = make_tls(Path(folder))
        server = Dovecot(tls)
        try:
            server.append("large@in.test", b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * (LARGE // 2))
            for name, new_loop in (("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
                for scene in (large, rest):

                    def work() -> str:
                        with asyncio.Runner(loop_factory=new_loop) as runner:  # noqa: B023  # called before the next
                            return runner.run(scene(server, tls))  # noqa: B023

                    print(f"{name}: {in_a_process_of_its_own(work)}", flush=True)
        finally:
            server.close()


if __name__ == "__main__":
    main()
