"""Faults between us and a server happen when a test says so."""

import asyncio
import smtplib

import pytest

from tests.servers.postfix import Postfix
from tests.servers.proxy import HOST, Proxy


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, proxy.port)


async def test_what_is_said_goes_both_ways(postfix: Postfix) -> None:
    async with Proxy(postfix.smtp, delay=0.001) as proxy:
        reader, writer = await connect(proxy)
        assert (await reader.readline()).startswith(b"220 ")
        writer.write(b"QUIT\r\n")
        assert (await reader.readline()).startswith(b"221 ")
        assert await reader.read() == b""
        writer.close()
        assert proxy.connections == 1


async def test_cut_breaks_every_connection(postfix: Postfix) -> None:
    async with Proxy(postfix.smtp) as proxy:
        reader, writer = await connect(proxy)
        await reader.readline()
        proxy.cut()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_refusing_ends_new_connections(postfix: Postfix) -> None:
    async with Proxy(postfix.smtp) as proxy:
        proxy.refusing = True
        reader, writer = await connect(proxy)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_stalled_until_resumed(postfix: Postfix) -> None:
    async with Proxy(postfix.smtp) as proxy:
        reader, writer = await connect(proxy)
        await reader.readline()
        proxy.stall()
        writer.write(b"NOOP\r\n")
        answer = asyncio.create_task(reader.readline())
        done, _ = await asyncio.wait([answer], timeout=0.1)
        assert not done
        proxy.resume()
        assert (await answer).startswith(b"250 ")
        writer.close()


async def test_cut_after_the_final_dot_leaves_the_mail_with_the_server(postfix: Postfix, mailbox: str) -> None:
    async with Proxy(postfix.smtp) as proxy:
        proxy.cut_after(b"\r\n.\r\n")

        def send() -> None:
            with smtplib.SMTP(HOST, proxy.port, timeout=20) as smtp:
                smtp.sendmail(mailbox, ["one@example.com"], b"Subject: hi\r\n\r\nhi\r\n")

        with pytest.raises(smtplib.SMTPServerDisconnected):
            await asyncio.to_thread(send)
        assert len(await asyncio.to_thread(postfix.wait_for, 1, mailbox)) == 1
