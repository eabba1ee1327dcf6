"""TLS between a connection and its protocol, in little memory.

asyncio and uvloop keep a buffer of 256 KB for each TLS connection, which stays resident once much has been received
at a time: too much for hundreds of mailboxes that mostly wait. Here what comes goes through OpenSSL in small pieces.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

PIECE = 16 << 10
"""Bytes given to OpenSSL at a time; its own buffer grows to as many, and keeps them."""


class TlsLink(asyncio.Protocol, asyncio.Transport):
    """The protocol of the network's transport, and the transport of `protocol`.

    `begin` is called once the handshake is done. An error of TLS is the reason of the loss that `protocol` hears of, or
    is raised by `handshake_done`.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        host: str,
        protocol: asyncio.Protocol,
        begin: Callable[[asyncio.BaseTransport], None],
    ) -> None:
        asyncio.Transport.__init__(self)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._protocol = protocol
        self._begin = begin
        self._network: asyncio.Transport | None = None
        self._handshake_done = asyncio.Event()
        self._error: Exception | None = None
        self._is_lost = False

    async def handshake_done(self) -> None:
        """Wait until the handshake is done. Raises OSError where it fails; closes the connection if canceled."""
        try:
            await self._handshake_done.wait()
        except BaseException:
            self.abort()
            raise
        if self._is_lost:
            raise self._error or ConnectionResetError("the connection was closed while TLS began")

    # To the network

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin TLS."""
        self._network = transport  # type: ignore[assignment]  # uvloop's are no subclass, but do what it does
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the network."""
        for start in range(0, len(data), PIECE):
            if self._error is not None or self._is_lost:
                return
            self._incoming.write(data[start : start + PIECE])
            self._advance()

    def pause_writing(self) -> None:
        """Tell it on."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell it on."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell it on."""
        self._is_lost = True
        self._error = self._error or exc
        self._handshake_done.set()
        self._protocol.connection_lost(self._error)

    # To the protocol

    def write(self, data: Any) -> None:
        """Send. Raises ssl.SSLError where TLS is broken."""
        self._tls.write(data)
        self._flush()

    def abort(self) -> None:
        """Close the connection now."""
        if self._network is not None:
            self._network.abort()

    close = abort

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._network is None or self._network.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what asyncio's TLS transports tell: peercert, cipher, ssl_object, or the network's own."""
        match name:
            case "peercert":
                return self._tls.getpeercert()
            case "cipher":
                return self._tls.cipher()
            case "ssl_object":
                return self._tls
        return self._network.get_extra_info(name, default) if self._network is not None else default

    # Inside

    def _advance(self) -> None:
        try:
            if not self._handshake_done.is_set():
                self._tls.do_handshake()
                self._handshake_done.set()
                self._begin(self)
            while piece := self._tls.read(PIECE):
                self._protocol.data_received(piece)
            self.abort()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._error = error
        # Also an alert is to be sent that says why.
        self._flush()
        if self._error is not None:
            assert self._network is not None
            self._network.close()

    def _flush(self) -> None:
        if self._network is not None and self._outgoing.pending:
            self._network.write(self._outgoing.read())
