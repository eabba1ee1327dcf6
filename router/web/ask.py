"""Asking a console, as the image's health check does."""

import asyncio
from typing import Final

from router.settings import ConsoleAddress

_PATIENCE: Final = 3.0  # seconds
_MOST: Final = 65536  # bytes of an answer
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not bound, but asked


async def is_alive(address: ConsoleAddress) -> bool:
    """Whether a router process answers /healthz there. Raises OSError where nothing can be connected to."""
    try:
        async with asyncio.timeout(_PATIENCE):
            host = _EVERYWHERE.get(address.host, address.host)
            reader, writer = await asyncio.open_connection(host, address.port, limit=_MOST)
            try:
                writer.write(f"GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.readuntil(b"}")
            finally:
                writer.transport.abort()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    return answer.startswith(b"HTTP/1.1 200 ") and b'"alive"' in answer
