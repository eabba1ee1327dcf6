"""An IMAP server that answers commands by how they begin, and an account opened on it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from transports import NO_TOKENS, Tokens
from transports.base import After
from transports.imap.account import ImapAccount
from transports.imap.mailbox import ImapMailbox
from transports.imap.settings import ImapSettings

LOGIN = {"LOGIN": ["OK done"], "SELECT": ["* 3 EXISTS", "* OK [UIDVALIDITY 7] ok", "* OK [UIDNEXT 4] ok", "OK done"]}


class Server:
    """Answers commands by how they begin, the longest first; the last line of an answer gets the tag.

    DROP in its place closes the connection, HANG says nothing more.
    """

    def __init__(self, answers: Mapping[str, list[str]], capabilities: str, greeting: str) -> None:
        self.answers = {"CAPABILITY": [f"* CAPABILITY IMAP4rev1 {capabilities}", "OK done"], "NOOP": ["OK done"]}
        self.answers |= {"LOGOUT": ["OK bye"], "LIST": ['* LIST () "/" INBOX', "OK done"], **answers}
        self._greeting = greeting
        self.heard: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self._greeting}\r\n".encode())
        try:
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                tag, _, command = line.partition(" ")
                self.heard.append(command)
                begin = max((start for start in self.answers if command.startswith(start)), key=len)
                *data, last = self.answers[begin]
                if last == "DROP":
                    return
                if last == "HANG":
                    await reader.read()
                    return
                for answer in data:
                    writer.write(f"{answer}\r\n".encode())
                    if answer.startswith("+"):
                        self.heard.append((await reader.readline()).decode().rstrip("\r\n"))
                writer.write(f"{tag} {last}\r\n".encode())
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def opened(
    answers: Mapping[str, list[str]] | None = None,
    capabilities: str = "",
    security: str = "none",
    greeting: str = "* OK ready",
    tokens: Tokens = NO_TOKENS,
    **changes: Any,
) -> AsyncIterator[tuple[ImapAccount, Server]]:
    script = Server(LOGIN | dict(answers or {}), capabilities, greeting)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    settings = ImapSettings.model_validate(
        {
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "security": security,
            "timeout": 20,
            "poll": 600,
            "auth": {"user": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}},
        }
        | changes
    )
    try:
        async with ImapAccount(settings, "a@in.test", After("keep"), tokens) as account:
            yield account, script
    finally:
        server.close()


@asynccontextmanager
async def opened_inbox(
    answers: Mapping[str, list[str]] | None = None, capabilities: str = ""
) -> AsyncIterator[tuple[ImapMailbox, Server]]:
    async with opened(answers, capabilities) as (account, server):
        yield account.folder("INBOX"), server
