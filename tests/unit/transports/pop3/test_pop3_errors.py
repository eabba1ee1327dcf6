"""Every exception of poplib, ssl and the socket becomes one of ours, wherever it strikes."""

import asyncio
import poplib
import socket
import ssl
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests.conformance.reading import fetched
from tests.support.scripted_pop3 import PASSWORD, SECRET, Pop3Server, all_of, mail
from transports.base import After, Settlement
from transports.errors import TransportError

FOREIGN: list[BaseException] = [
    poplib.error_proto("-ERR EOF"),
    poplib.error_proto("line too long"),
    poplib.error_proto(b"-ERR words"),
    poplib.error_proto(),
    ssl.SSLError(1, "words"),
    ssl.SSLZeroReturnError(),
    ssl.SSLWantReadError(),
    ssl.SSLWantWriteError(),
    ssl.SSLSyscallError(),
    ssl.SSLEOFError(),
    ssl.SSLCertVerificationError(1, "words"),
    socket.gaierror(-2, "words"),
    socket.herror(1, "words"),
    TimeoutError(),
    OSError(),
    OSError("cannot read from timed out object"),
    ConnectionResetError(104, "words"),
    ConnectionRefusedError(),
    BrokenPipeError(),
    EOFError(),
    ValueError("I/O operation on closed file"),
]
every_error = pytest.mark.parametrize("error", FOREIGN, ids=lambda error: f"{type(error).__name__} {error}")

PLACES = [(socket.socket, "sendall"), (socket.SocketIO, "readinto")]


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, PASSWORD)


async def whole_session(security: str = "none") -> None:
    """Everything that a mailbox can be asked for."""
    drop = [(b"%d" % number, mail(f"{number}")) for number in range(3)]
    async with (
        Pop3Server(drop, ["USER", "UIDL", "TOP", "STLS"]) as server,
        server.open("delete", security=security) as account,
    ):
        box = account.folder("INBOX")
        copies = await all_of(box)
        places = [copy.place for copy in copies]
        await fetched(box, places, "headers")
        await fetched(box, places)
        await box.settle([Settlement(places[0], After("delete"))])
        await account.changed()
        await account.wait(0)


class Striking:
    """Does what a method does, but for the one call that raises; `calls` counts."""

    def __init__(self, method: Callable[..., Any], at: int = 0, error: BaseException | None = None) -> None:
        self.calls = 0
        self._method, self._at, self._error = method, at, error

    def patch(self, owner: type, name: str) -> Any:
        def call(this: Any, *arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self._at and self._error is not None:
                raise self._error
            return self._method(this, *arguments)

        return mock.patch.object(owner, name, call)


@pytest.mark.parametrize(("owner", "name"), PLACES, ids=["write", "read"])
@every_error
async def test_raised_where_we_write_or_read(error: BaseException, owner: type, name: str) -> None:
    method = getattr(owner, name)
    sound = Striking(method)
    with sound.patch(owner, name):
        await whole_session()
    assert sound.calls > 12
    raised: list[str] = []
    for place in range(1, sound.calls + 1):
        with Striking(method, place, error).patch(owner, name):
            try:
                await asyncio.wait_for(whole_session(), 30)
            except TransportError as ours:
                raised.append(str(ours))
    assert all("127.0.0.1" in words and PASSWORD not in words for words in raised)
    # Reading, which tries again, and QUIT where nothing is deleted get over it.
    assert len(raised) > sound.calls / 2


@pytest.mark.parametrize("error", [error for error in FOREIGN if isinstance(error, OSError)], ids=repr)
async def test_raised_where_we_connect(error: BaseException) -> None:
    loop = asyncio.get_running_loop()
    for name in ("sock_connect", "getaddrinfo"):
        with mock.patch.object(loop, name, side_effect=error), pytest.raises(TransportError, match=r"127\.0\.0\.1"):
            await whole_session()


@pytest.mark.parametrize("security", ["tls", "starttls"])
@every_error
async def test_raised_where_tls_begins(error: BaseException, security: str) -> None:
    with mock.patch.object(ssl.SSLContext, "wrap_socket", side_effect=error), pytest.raises(TransportError):
        await whole_session(security)
