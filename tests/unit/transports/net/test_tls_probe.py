"""Asking a silent server whether it speaks TLS, on the loop that the router runs on."""

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvloop

from transports._net.tls import _speaks_tls

_MOMENT = 0.01  # seconds; what comes later than that is missed, and fails no test
_TURNS = 30  # of the loop, within which a probe of this machine is connected and has begun TLS


@contextmanager
def _serving(greeting: bytes) -> Iterator[int]:
    """A server on a port of this machine that greets so, and is silent then; in a thread, so beside the loop."""
    accepted: list[socket.socket] = []

    def greet() -> None:
        with suppress(OSError):  # it was closed
            while True:
                accepted.append(server.accept()[0])
                accepted[-1].sendall(greeting)

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=greet)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in (server, *accepted):
            one.close()


async def _turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.parametrize("greeting", [b"", b"220 hello\r\n"], ids=["silent", "in clear text"])
def test_a_probe_that_is_canceled_at_any_time_leaves_no_error_behind(greeting: bytes) -> None:
    reported: list[dict[str, Any]] = []

    async def probe_and_cancel() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        with _serving(greeting) as port:
            for turns in range(_TURNS):
                probe = asyncio.create_task(_speaks_tls("127.0.0.1", port))
                await _turn(turns)
                probe.cancel()
                await asyncio.gather(probe, return_exceptions=True)
                await asyncio.sleep(_MOMENT)  # what was under way comes in
                gc.collect()

    gc.collect()
    gc.freeze()  # what was there before is not looked at each time
    try:
        uvloop.run(probe_and_cancel())
    finally:
        gc.unfreeze()
    assert reported == []


def test_who_greets_in_clear_text_does_not_speak_tls() -> None:
    async def probe() -> bool:
        with _serving(b"220 hello\r\n") as port:
            return await _speaks_tls("127.0.0.1", port)

    assert not uvloop.run(probe())
