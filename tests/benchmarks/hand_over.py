"""Handing mail to a listener, as a mail server does: LMTP or SMTP over one connection, or over several at once."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import chain

Envelope = tuple[Sequence[str], bytes]
"""The recipients, and the message."""

AT_ONCE = 200  # recipients that are named before an answer is read


async def connect(where: int | str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port, or to the path of a Unix socket."""
    if isinstance(where, int):
        return await asyncio.open_connection("127.0.0.1", where)
    return await asyncio.open_unix_connection(where)


async def listens(where: int | str) -> bool:
    try:
        _, writer = await connect(where)
    except OSError:
        return False
    writer.close()
    return True


async def hand_over(where: int | str, envelopes: Iterator[Envelope], kind: str = "lmtp") -> list[float]:
    """Hand over what there is, one after the other; seconds from each final dot to its last answer."""
    reader, writer = await connect(where)

    async def answer() -> bytes:
        while (reply := await reader.readline())[3:4] == b"-":
            pass
        return reply

    async def say(line: bytes, answers: int = 1) -> None:
        writer.write(line)
        for _ in range(answers):
            reply = await answer()
            if not reply.startswith((b"2", b"354")):
                raise AssertionError(reply)

    await answer()
    await say(b"LHLO bench.test\r\n" if kind == "lmtp" else b"EHLO bench.test\r\n")
    seconds = []
    for recipients, content in envelopes:
        await say(b"MAIL FROM:<karl@kunde.test>\r\n")
        for start in range(0, len(recipients), AT_ONCE):
            some = recipients[start : start + AT_ONCE]
            await say("".join(f"RCPT TO:<{recipient}>\r\n" for recipient in some).encode(), len(some))
        await say(b"DATA\r\n")
        writer.write(content)
        began = time.perf_counter()
        await say(b".\r\n", len(recipients) if kind == "lmtp" else 1)
        seconds.append(time.perf_counter() - began)
    writer.close()
    return seconds


async def hand_over_by_many(
    where: int | str, envelopes: Iterator[Envelope], connections: int, kind: str = "lmtp"
) -> list[float]:
    """Hand over what there is by so many connections, which take from the same heap; the seconds, sorted."""
    clients = [hand_over(where, envelopes, kind) for _ in range(connections)]
    return sorted(chain.from_iterable(await asyncio.gather(*clients)))
