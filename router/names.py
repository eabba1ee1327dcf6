"""Asks for the addresses of servers, in threads of its own: a name server that is silent keeps nobody else waiting.

asyncio asks in the few threads that all others use, too, and one that waits for a name server cannot be stopped.
"""

import asyncio
import socket
import threading
from contextlib import suppress

from aiohttp.abc import AbstractResolver, ResolveResult


class Names(AbstractResolver):
    """One thread at a time for each name, whoever asks for it."""

    def __init__(self) -> None:
        self._asking: dict[tuple[str, int, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses. Raises OSError, and UnicodeError for what is no name."""
        asked = (host, port, int(family))
        answer = self._asking.get(asked)
        if answer is None:
            answer = self._asking[asked] = self._ask(*asked)
            answer.add_done_callback(lambda done: self._answered(asked, done))
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Do nothing: a thread that waits ends by itself."""

    def _ask(self, host: str, port: int, family: int) -> asyncio.Future[list[ResolveResult]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def run() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                try:
                    found = _addresses_of(host, port, family)
                except Exception as error:  # noqa: BLE001  # it is for whoever waits
                    loop.call_soon_threadsafe(answer.set_exception, error)
                else:
                    loop.call_soon_threadsafe(answer.set_result, found)

        # A daemon, since the end of the process waits for no name server.
        threading.Thread(target=run, name="names", daemon=True).start()
        return answer

    def _answered(self, asked: tuple[str, int, int], answer: asyncio.Future[list[ResolveResult]]) -> None:
        del self._asking[asked]
        if not answer.cancelled():
            answer.exception()  # asked for: perhaps nobody waits


def _addresses_of(host: str, port: int, family: int) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
        )
        for kind, _, protocol, _, address in found
    ]
