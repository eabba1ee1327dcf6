"""Every exception of aioimaplib, ssl, the socket and asyncio becomes one of ours, wherever it strikes."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from unittest import mock

import aioimaplib
import pytest

from tests.support.scripted_imap import in_time, session
from transports.errors import TransportError, Unreachable
from transports.imap.connection import ImapConnection


class _Login(aioimaplib.Command):
    """A command that holds a password, which aioimaplib's exceptions would show."""

    def __init__(self) -> None:
        """Not the library's, which wants a running loop."""

    def __repr__(self) -> str:
        return "A1 LOGIN user secret"


_COMMAND = _Login()
FOREIGN: list[BaseException] = [
    aioimaplib.AioImapException("words"),
    aioimaplib.Error("words"),
    aioimaplib.Abort("words"),
    aioimaplib.aioimaplib.CommandTimeout(_COMMAND),
    aioimaplib.aioimaplib.IncompleteRead(_COMMAND),
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
    ConnectionResetError(104, "words"),
    ConnectionAbortedError(),
    ConnectionRefusedError(),
    BrokenPipeError(),
    asyncio.IncompleteReadError(b"", 1),
    asyncio.LimitOverrunError("words", 1),
    asyncio.InvalidStateError("words"),
    asyncio.SendfileNotAvailableError("words"),
    asyncio.BrokenBarrierError("words"),
    RuntimeError("unable to perform operation; the handler is closed"),  # uvloop's
]


def name(error: object) -> str:
    return type(error).__name__


@pytest.fixture(scope="module")
def writes() -> int:
    """How often a whole session writes, and its greeting."""
    heard: list[bytes] = []

    def note(answer: bytes) -> bytes:
        heard.append(answer)
        return answer

    in_time([note] * 500)
    return len(heard)


@pytest.mark.parametrize("error", FOREIGN, ids=name)
def test_raised_where_we_write(error: BaseException, writes: int) -> None:
    # The first answer is the greeting. Fetching, which connects again, and the LOGOUT may get over it.
    recovered = 0
    for place in range(1, writes):
        try:
            assert len(in_time([*[None] * place, lambda _: error], timeout=5)) == 9
            recovered += 1
        except TransportError as ours:
            words = str(ours)
            assert "secret" not in words  # not every place raises
    assert recovered == 4


@pytest.mark.parametrize("error", FOREIGN, ids=name)
async def test_raised_where_we_connect(error: BaseException) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise error

    with pytest.raises(TransportError):
        await session(iter(()), connect)


@pytest.mark.parametrize("error", FOREIGN, ids=name)
async def test_raised_where_tls_begins(error: BaseException) -> None:
    async def begin(*_: object) -> None:
        raise error

    with mock.patch.object(ImapConnection, "starttls", begin), pytest.raises(TransportError):
        await session(iter(()), security="starttls")


@pytest.mark.parametrize("error", FOREIGN, ids=name)
async def test_told_as_the_reason_of_a_loss(error: Exception) -> None:
    protocol = ImapConnection("server", 20)
    protocol.connection_made(asyncio.Transport())
    with mock.patch.object(asyncio.Transport, "abort"), mock.patch.object(asyncio.Transport, "write"):
        pending = [asyncio.create_task(work) for work in (protocol.run("NOOP"), protocol.idle_for(600))]
        await asyncio.sleep(0)
        protocol.connection_lost(error)
        for result in await asyncio.gather(*pending, return_exceptions=True):
            assert isinstance(result, Unreachable)


@pytest.mark.parametrize("error", [error for error in FOREIGN if isinstance(error, OSError)], ids=name)
async def test_raised_where_certificates_are_read(error: BaseException) -> None:
    def read(*_: object, **__: object) -> Callable[[], None]:
        raise error

    with mock.patch.object(ssl, "create_default_context", read), pytest.raises(TransportError):
        await session(iter(()), security="tls", ca_file=f"/nowhere/{name(error)}.pem")
