"""How fast the router drains mailboxes into PostgreSQL: python -m tests.benchmarks.inbound [ROUNDS]

2,000 messages in four mailboxes of a Dovecot of its own, over TLS, by one router process and by two: 8 KB at the
median, 270 KB at the 95th percentile, HTML, attachments, many charsets, threads of up to eight. Timed from when the
first mailbox is held to the last decision; everything, PostgreSQL with fsync too, is on this machine. The processor's
time is that of the routers and their workers from start to end, which other work on the machine does not change.
"""

import asyncio
import base64
import math
import random
import resource
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from tests.benchmarks.stage import Stage, staged

MESSAGES = 2_000
MAILBOXES = [f"drain-{number}@in.test" for number in range(4)]
TEXT = "Angebot order delivery naïve Größe invoice réunion 請求書 договор thanks meeting Rechnung price and the"
CHARSETS = ["utf-8", "iso-8859-1", "windows-1252", "utf-8"]


def message(number: int, dice: random.Random) -> bytes:
    """One letter of a thread, with what real ones have."""
    thread, position = divmod(number, 8)
    text = " ".join(dice.choices(TEXT.split(), k=int(min(dice.lognormvariate(5.6, 1), 4_000))))
    charset = dice.choice(CHARSETS)
    headers = [
        f"Received: from mx{n}.out.test by mx{n + 1}.out.test; Sat, 21 Nov 2026 01:02:03 +0000" for n in range(4)
    ]
    headers += [
        f"From: =?utf-8?q?J=C3=BCrgen?= Kunde <kunde{thread}@out.test>",
        f"To: staff@in.test, other{position}@in.test",
        f"Subject: {'Re: ' if position else ''}=?utf-8?b?{base64.b64encode(f'Größe {thread}'.encode()).decode()}?=",
        f"Date: Sat, 21 Nov 2026 01:{position:02}:03 +0000",
        f"Message-ID: <{thread}.{position}@out.test>",
    ]
    if position:
        headers.append("References: " + "\r\n ".join(f"<{thread}.{before}@out.test>" for before in range(position)))
        headers.append(f"In-Reply-To: <{thread}.{position - 1}@out.test>")
    parts = [
        f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
        + lines(text).encode(charset, "replace"),
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(f"<html><body><p>{text}</p></body></html>".encode()).replace(b"\n", b"\r\n"),
    ]
    if dice.random() < 0.15:
        size = int(min(dice.lognormvariate(11.5, 0.9), 1_000_000))
        parts.append(
            f'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="{number}.pdf"\r\n'
            "Content-Transfer-Encoding: base64\r\n\r\n".encode()
            + base64.encodebytes(dice.randbytes(size)).replace(b"\n", b"\r\n")
        )
    kind = "mixed" if len(parts) > 2 else "alternative"
    head = "\r\n".join([*headers, "MIME-Version: 1.0", f'Content-Type: multipart/{kind}; boundary="cut"', "", ""])
    return head.encode() + b"".join(b"--cut\r\n" + part + b"\r\n" for part in parts) + b"--cut--\r\n"


def lines(text: str) -> str:
    words = text.split()
    return "\r\n".join(" ".join(words[start : start + 10]) for start in range(0, len(words), 10)) + "\r\n"


def fill(stage: Stage) -> list[int]:
    """Append the messages, a thread's into one mailbox; return their sizes."""
    dice = random.Random(1)
    sizes = []
    messages = [message(number, dice) for number in range(MESSAGES)]
    for index, mailbox in enumerate(MAILBOXES):
        with stage.dovecot.connect(mailbox) as imap:
            for number, content in enumerate(messages):
                if number // 8 % len(MAILBOXES) == index:
                    imap.append("INBOX", None, None, content)
                    sizes.append(len(content))
    return sorted(sizes)


async def drain(stage: Stage, processes: int) -> tuple[float, float]:
    """Messages a second, and the processor's seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(stage.database(MAILBOXES))
        sql = await asyncpg.connect(dsn)
        await sql.execute("UPDATE crm.owner SET approved = false")
        for _ in range(processes):
            await stack.enter_async_context(stage.router(dsn, "all", "seen", LEASE="2"))
        while await sql.fetchval("SELECT count(*) FROM router.process") < processes:
            await asyncio.sleep(0.05)
        await sql.execute("UPDATE crm.owner SET approved = true")
        while not await sql.fetchval("SELECT count(*) FROM router.source WHERE process_id IS NOT NULL"):
            await asyncio.sleep(0.01)
        begun = time.perf_counter()
        while await sql.fetchval("SELECT count(*) FROM router.decision") < MESSAGES:
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - begun
        promoted = await sql.fetchval("SELECT count(*) FROM crm.email")
        correlated = await sql.fetchval("SELECT count(*) FROM crm.email WHERE correlated_id IS NOT NULL")
        if promoted != MESSAGES or correlated != MESSAGES * 7 // 8:
            raise AssertionError(f"{promoted} emails, {correlated} of them in threads")
        await sql.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return MESSAGES / seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    async with staged(Path(__file__).stem) as stage:
        sizes = await asyncio.to_thread(fill, stage)
        print(f"{MESSAGES} messages, {sum(sizes) / 1e6:.0f} MB, median {sizes[MESSAGES // 2] / 1000:.0f} KB,", end=" ")
        print(f"95th percentile {sizes[MESSAGES * 95 // 100] / 1000:.0f} KB")
        best = {1: (0.0, math.inf), 2: (0.0, math.inf)}
        for _ in range(rounds):
            for processes, (speed, work) in best.items():
                found_speed, found_work = await drain(stage, processes)
                best[processes] = max(speed, found_speed), min(work, found_work)
        for processes, (speed, work) in best.items():
            of = f"{processes} router process{'es' if processes > 1 else ''}"
            print(f"{of}: {speed:.0f} messages/s, {work:.1f} s of the processor", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
