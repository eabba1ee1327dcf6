"""How fast a folder of 2,000 messages is fetched over TLS: python -m tests.benchmarks.imap_drain

Ours (list and fetch, as the router does), aioimaplib as it is, and the stdlib's imaplib, each in ranges of 50 and of
200 UIDs, from a Dovecot of its own on this machine; each figure is the best of three, in messages/s.
"""

import asyncio
import imaplib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aioimaplib
import uvloop

import transports._imap_fetch
from tests.servers.dovecot import HOST, PASSWORD, Dovecot
from tests.servers.tls import Tls, make_tls
from transports.imap import ImapSettings

MESSAGES = 2_000
MAILBOX = "drain@in.test"
ROUNDS = 3


def fill(server: Dovecot) -> int:
    """Append the messages, 4 KB at the median; return their bytes."""
    dice = random.Random(1)
    total = 0
    with server.connect(MAILBOX) as imap:
        for number in range(MESSAGES):
            size = min(int(dice.lognormvariate(8.3, 1)), 300_000)
            content = f"From: a@out.test\r\nSubject: number {number}\r\n\r\n".encode() + b"x" * 70 + b"\r\n"
            content += (b"All work and no play makes Jack a dull boy.\r\n" * (size // 45 + 1))[: size - 2] + b"\r\n"
            imap.append("INBOX", None, None, content)
            total += len(content)
    return total


async def ours(server: Dovecot, tls: Tls, _step: int) -> int:
    auth = {"user": "{mailbox}", "password": {"env": "IMAP_BENCHMARK_PASSWORD"}}
    settings = ImapSettings.model_validate({"host": HOST, "port": server.imaps, "ca_file": tls.ca_file, "auth": auth})
    count = 0
    async with settings.open(MAILBOX) as account:
        inbox = account.folder("INBOX")
        listing = await inbox.list(None, MESSAGES)
        async for copy in inbox.fetch([listed.place for listed in listing.copies], "whole"):
            count += bool(copy.content)
    return count


async def theirs(server: Dovecot, tls: Tls, step: int) -> int:
    imap = aioimaplib.IMAP4_SSL(HOST, server.imaps, ssl_context=tls.client_context())
    await imap.wait_hello_from_server()
    await imap.login(MAILBOX, PASSWORD)
    await imap.select()
    uids = (await imap.uid_search("ALL")).lines[0].split()
    count = 0
    for first in range(0, len(uids), step):
        asked = b",".join(uids[first : first + step]).decode()
        reply = await imap.uid("fetch", asked, "(UID INTERNALDATE BODY.PEEK[])")
        count += sum(isinstance(line, bytearray) for line in reply.lines)
    await imap.logout()
    return count


def stdlib(server: Dovecot, _tls: Tls, step: int) -> int:
    count = 0
    with server.connect(MAILBOX) as imap:
        imap.select(readonly=True)
        uids = imap.uid("SEARCH", "ALL")[1][0].split()
        for first in range(0, len(uids), step):
            asked = b",".join(uids[first : first + step]).decode()
            count += sum(
                isinstance(part, tuple) for part in imap.uid("FETCH", asked, "(UID INTERNALDATE BODY.PEEK[])")[1]
            )
    return count


def on(new_loop: Callable[[], asyncio.AbstractEventLoop], drain: Callable[..., object]) -> Callable[..., int]:
    def run(*arguments: object) -> int:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(drain(*arguments))  # type: ignore[arg-type]  # a coroutine function

    return run


def measure(drain: Callable[..., int], server: Dovecot, tls: Tls, step: int) -> str:
    best = 0.0
    for _ in range(ROUNDS):
        transports._imap_fetch.FETCH_UIDS = step
        begun = time.perf_counter()
        count = drain(server, tls, step)
        if count != MESSAGES:
            return f"{count} came"
        best = max(best, MESSAGES / (time.perf_counter() - begun))
    return f"{best:,.0f}"


def main() -> None:
    os.environ["IMAP_BENCHMARK_PASSWORD"] = PASSWORD
    ways = {
        "ours, asyncio": on(asyncio.new_event_loop, ours),
        "ours, uvloop": on(uvloop.new_event_loop, ours),
        "aioimaplib, asyncio": on(asyncio.new_event_loop, theirs),
        "aioimaplib, uvloop": on(uvloop.new_event_loop, theirs),
        "stdlib imaplib": stdlib,
    }
    with tempfile.TemporaryDirectory() as folder:
        tls = make_tls(Path(folder))
        server = Dovecot(tls)
        try:
            print(f"{MESSAGES} messages, {fill(server) / 1e6:.0f} MB")
            print(f"{'messages/s, UIDs in one FETCH':32}{50:>10}{200:>10}")
            for name, drain in ways.items():
                print(
                    f"{name:32}{''.join(f'{measure(drain, server, tls, step):>10}' for step in (50, 200))}", flush=True
                )
        finally:
            server.close()


if __name__ == "__main__":
    sys.exit(main())
