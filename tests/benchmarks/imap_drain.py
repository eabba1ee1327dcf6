"""How fast a folder of 2,000 messages is fetched over TLS: python -m tests.benchmarks.imap_drain

Ours, aioimaplib as it is, and the stdlib's imaplib, each in ranges of 50 and of 200 UIDs, from a Dovecot of its own on
this machine. What is measured is the fetching, after the login and once the UIDs are known; each figure is the best of
five rounds, which take turns so that a busy machine is unfair to none.
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aioimaplib
import uvloop

import transports.imap.mailbox
from tests.servers.dovecot import HOST, PASSWORD, Dovecot
from tests.servers.tls import Tls, make_tls
from transports.base import After
from transports.imap.account import ImapAccount
from transports.imap.settings import ImapSettings

MESSAGES = 2_000
MAILBOX = "drain@in.test"
ROUNDS = 5
STEPS = (50, 200)


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


async def ours(server: Dovecot, tls: Tls, step: int) -> float:
    transports.imap.mailbox.FETCH_UIDS = step
    auth = {"user": "{mailbox}", "password": {"env": "IMAP_BENCHMARK_PASSWORD"}}
    settings = ImapSettings.model_validate({"host": HOST, "port": server.imaps, "ca_file": tls.ca_file, "auth": auth})
    async with ImapAccount(settings, MAILBOX, After("keep")) as account:
        inbox = account.folder("INBOX")
        listing = await inbox.list(None, MESSAGES)
        begun = time.perf_counter()
        contents = [copy.content async for copy in inbox.fetch([listed.place for listed in listing.copies], "whole")]
        seconds = time.perf_counter() - begun
    return checked(len(contents), seconds)


async def theirs(server: Dovecot, tls: Tls, step: int) -> float:
    imap = aioimaplib.IMAP4_SSL(HOST, server.imaps, ssl_context=tls.client_context())
    await imap.wait_hello_from_server()
    await imap.login(MAILBOX, PASSWORD)
    await imap.select()
    uids = (await imap.uid_search("ALL")).lines[0].split()
    contents = []
    begun = time.perf_counter()
    for first in range(0, len(uids), step):
        asked = b",".join(uids[first : first + step]).decode()
        reply = await imap.uid("fetch", asked, "(UID BODY.PEEK[])")
        contents += [line for line in reply.lines if isinstance(line, bytearray)]
    seconds = time.perf_counter() - begun
    await imap.logout()
    return checked(len(contents), seconds)


def stdlib(server: Dovecot, _tls: Tls, step: int) -> float:
    with server.connect(MAILBOX) as imap:
        imap.select(readonly=True)
        uids = imap.uid("SEARCH", "ALL")[1][0].split()
        contents = []
        begun = time.perf_counter()
        for first in range(0, len(uids), step):
            asked = b",".join(uids[first : first + step]).decode()
            reply = imap.uid("FETCH", asked, "(UID BODY.PEEK[])")[1]
            contents += [part[1] for part in reply if isinstance(part, tuple)]
        seconds = time.perf_counter() - begun
    return checked(len(contents), seconds)


def checked(count: int, seconds: float) -> float:
    if count != MESSAGES:
        raise AssertionError(f"{count} of {MESSAGES} messages came")
    return MESSAGES / seconds


def on(new_loop: Callable[[], asyncio.AbstractEventLoop], drain: Callable[..., Any]) -> Callable[..., float]:
    def run(*arguments: object) -> float:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return float(runner.run(drain(*arguments)))

    return run


def main() -> None:
    os.environ["IMAP_BENCHMARK_PASSWORD"] = PASSWORD
    ways = {
        "ours, asyncio": on(asyncio.new_event_loop, ours),
        "ours, uvloop": on(uvloop.new_event_loop, ours),
        "aioimaplib, asyncio": on(asyncio.new_event_loop, theirs),
        "aioimaplib, uvloop": on(uvloop.new_event_loop, theirs),
        "stdlib imaplib": stdlib,
    }
    best = {(name, step): 0.0 for name in ways for step in STEPS}
    with tempfile.TemporaryDirectory() as folder:
        tls = make_tls(Path(folder))
        server = Dovecot(tls)
        try:
            size = fill(server) / 1e6
            for _ in range(ROUNDS):
                for name, step in list(best):
                    best[name, step] = max(best[name, step], ways[name](server, tls, step))
        finally:
            server.close()
    print(f"{MESSAGES} messages, {size:.0f} MB; messages/s by UIDs in one FETCH")
    print(f"{'':24}" + "".join(f"{step:>10}" for step in STEPS))
    for name in ways:
        print(f"{name:24}" + "".join(f"{best[name, step]:>10,.0f}" for step in STEPS))


if __name__ == "__main__":
    main()
