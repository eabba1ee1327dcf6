"""Work that blocks, in a thread of its own: whoever a server keeps waiting keeps nobody else waiting."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result], stop: Callable[[], None]) -> Result:
    """Return what `work` returns, or raise what it raises. Canceled, it calls `stop`, which must end the work soon."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  # it is for whoever waits
                loop.call_soon_threadsafe(done.set_exception, error)
            else:
                loop.call_soon_threadsafe(done.set_result, result)

    # A daemon, since the end of the process waits for no server.
    threading.Thread(target=run, name="in_thread", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait([done])
        done.exception()  # asked for, or asyncio would complain that nobody did
        raise
