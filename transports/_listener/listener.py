"""Takes mail at an address: many conversations at once, within limits."""

import asyncio
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from transports._listener.address import Address
from transports._listener.conversation import Conversation, Service
from transports._listener.limits import Budget, Limits, Seldom, limits_of
from transports._listener.settings import MailListenerSettings
from transports.base import Accept, Admit

GRACE = 5.0
"""Seconds that messages get which wait to be accepted when we stop."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a listener stands, what is spoken there, and whom and how much it lets in."""

    address: Address
    protocol: type[Conversation]
    limits: Limits


def endpoint_of(settings: MailListenerSettings, protocol: type[Conversation]) -> Endpoint:
    """Put together what a listener needs. Raises Permanent if the certificate cannot be used."""
    return Endpoint(settings.listen_address, protocol, limits_of(settings))


class MailListener:
    """Takes mail at an endpoint: bound when it is entered, open while it serves."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._bound = ExitStack()
        self._socket: socket.socket | None = None
        self._conversations: set[Conversation] = set()
        self.port = 0
        """Once it is bound at an address of the network, its port."""

    async def __aenter__(self) -> Self:
        self._socket = self._bound.enter_context(self._endpoint.address.bound())
        name = self._socket.getsockname()
        self.port = name[1] if isinstance(name, tuple) else 0
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._bound.close()
        for conversation in list(self._conversations):
            conversation.abort()

    async def serve(self, accept: Accept, admit: Admit) -> None:
        """Serve until canceled (see `Listener.serve`)."""
        assert self._socket is not None, "the listener is not open"
        limits, protocol = self._endpoint.limits, self._endpoint.protocol
        hostname = await asyncio.to_thread(socket.getfqdn)
        service = Service(accept, admit, limits, Budget(limits.max_in_flight), hostname, self._conversations, Seldom())
        server = await self._endpoint.address.serve(lambda: protocol(service), self._socket)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        """Let messages finish that wait to be accepted, for a while; whoever gets no answer will deliver again."""
        going = "4.3.2 Going down, please come back later"
        for conversation in list(self._conversations):
            if conversation.acceptance is None:
                conversation.goodbye(going)
        try:
            if waiting := [
                conversation.acceptance for conversation in self._conversations if conversation.acceptance is not None
            ]:
                await asyncio.wait(waiting, timeout=GRACE)
        finally:
            for conversation in list(self._conversations):
                if conversation.acceptance is None:
                    conversation.goodbye(going)
                else:
                    conversation.abort()
