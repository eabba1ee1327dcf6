"""A session with an IMAP server that is in memory, answers at once, and errs where it is told to."""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from transports.base import After, Cursor, Received, Settlement
from transports.imap.account import ImapAccount
from transports.imap.settings import ImapSettings

Fault = Callable[[bytes], bytes | BaseException | None]
"""What becomes of an answer: other bytes, the loss of the connection (None), or an exception where we write."""

CONTENT = b"Subject: a * b {5}\r\n\r\n(:-)\r\n"
_GREETING = (
    b"* OK [CAPABILITY IMAP4rev1 IDLE STARTTLS NAMESPACE SPECIAL-USE LIST-EXTENDED LIST-STATUS MOVE UIDPLUS] hi\r\n"
)
_ANSWERS = {
    b"LOGIN": b"* CAPABILITY IMAP4rev1 IDLE NAMESPACE SPECIAL-USE LIST-EXTENDED LIST-STATUS MOVE UIDPLUS NOTIFY "
    b"ENABLE CONDSTORE QRESYNC\r\n",
    b"ENABLE": b"* ENABLED CONDSTORE QRESYNC\r\n",
    b'LIST "" "*"': b'* LIST () "/" INBOX\r\n* LIST (\\Sent) "/" "Sent"\r\n* LIST () "/" {3}\r\nB(x\r\n',
    b"LIST": b'* LIST () "/" Sent\r\n* STATUS Sent (UIDNEXT 9 UIDVALIDITY 7)\r\n',
    b"NAMESPACE": b'* NAMESPACE (("" "/")) NIL (("shared/" "/"))\r\n',
    b"SELECT": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 4] ok\r\n* OK [PERMANENTFLAGS (\\*)] ok\r\n"
    b"* OK [HIGHESTMODSEQ 9] ok\r\n* VANISHED (EARLIER) 9\r\n* 3 FETCH (UID 3 FLAGS () MODSEQ (9))\r\n",
    b"UID SEARCH": b"* SEARCH 1 2 3\r\n",
    b"UID FETCH 1:3 (UID RFC": b"".join(
        b'* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE " 1-Jan-2026 10:00:00 +0000")\r\n' % (n, n, len(CONTENT))
        for n in (1, 2, 3)
    ),
    b"UID FETCH": b"".join(
        b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (n, n, len(CONTENT), CONTENT) for n in (1, 2, 3)
    ),
    b"NOOP": b"* 4 EXISTS\r\n* 2 EXPUNGE\r\n",
    b"IDLE": b"+ idling\r\n* 5 EXISTS\r\n",
}


class ErringServer(asyncio.Transport):
    """The network and the server in one: what is written is answered at once."""

    def __init__(self, protocol: asyncio.Protocol, faults: Iterator[Fault | None]) -> None:
        super().__init__()
        self._protocol, self._faults = protocol, faults
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._idle = b""

    def begin(self) -> None:
        self._protocol.connection_made(self)
        self._say(_GREETING)

    def write(self, data: Any) -> None:
        for line in bytes(data).splitlines():
            tag, _, command = line.partition(b" ")
            if line == b"DONE":
                self._say(self._idle + b" OK done\r\n")
            elif command == b"IDLE":
                self._idle = tag
                self._say(_ANSWERS[b"IDLE"])
            else:
                begin = max((start for start in _ANSWERS if command.startswith(start)), key=len, default=None)
                self._say((_ANSWERS[begin] if begin else b"") + tag + b" OK done\r\n")

    def _say(self, answer: bytes) -> None:
        fault = next(self._faults, None)
        erring = answer if fault is None else fault(answer)
        if isinstance(erring, BaseException):
            raise erring
        if erring is None:
            self.abort()
        for start in range(0, len(erring or b""), 50):
            self._loop.call_soon(self._hear, (erring or b"")[start : start + 50])

    def _hear(self, piece: bytes) -> None:
        if self._open:
            self._protocol.data_received(piece)

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._loop.call_soon(self._protocol.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return not self._open


async def session(faults: Iterator[Fault | None], connect: Any = None, **changes: Any) -> list[Received]:
    """Read every folder, settle all ways, and wait: what a session can be asked for. Return the copies read."""

    async def connect_to_memory(make: Any, *_: Any, **__: Any) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = make()
        server = ErringServer(protocol, faults)
        server.begin()
        return server, protocol

    auth = {"user": "{mailbox}", "password": {"env": "IMAP_SCRIPT_PASSWORD"}}
    made = {"host": "127.0.0.1", "security": "none", "timeout": 0.03, "folders": ["*"], "auth": auth} | changes
    copies = []
    with (
        mock.patch.dict(os.environ, {"IMAP_SCRIPT_PASSWORD": "secret"}),
        mock.patch.object(asyncio.get_running_loop(), "create_connection", connect or connect_to_memory),
    ):
        async with ImapAccount(ImapSettings.model_validate(made), "a@in.test", After("keep")) as account:
            for folder in await account.folders():
                view = account.folder(folder.name)
                await view.list(Cursor("7:2:8"), 10)
                listing = await view.list(None, 10)
                places = [listed.place for listed in listing.copies]
                copies += [copy async for copy in view.fetch(places, "whole")]
                for action in ("seen", "keyword:x", "move:Sent", "delete"):
                    await view.settle([Settlement(place, After.parse(action)) for place in places])
                await account.changed()
                await account.wait(0.01)
    return copies


def in_time(faults: list[Fault | None], **changes: Any) -> list[Received]:
    """Run a session in which the answers have these faults, in their order; fails if it does not end."""

    async def run() -> list[Received]:
        async with asyncio.timeout(30):
            return await session(iter(faults), **changes)

    return asyncio.run(run())
