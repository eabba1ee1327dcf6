"""Word that files may have changed: at once where the system tells, and every second besides."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from pathlib import Path
from typing import Final

import structlog
from watchfiles import awatch

POLL: Final = 1.0
"""Seconds between two looks where nothing is told: no such folder yet, a network's disk, a mount over the old one."""

_STEP: Final = 100  # milliseconds without a change after which a burst of changes counts as over
_BURST: Final = 800  # milliseconds that a burst of changes may take

_log = structlog.get_logger(__name__)


async def changes_of(folders: Callable[[], Awaitable[Collection[Path]]]) -> AsyncGenerator[None, None]:
    """Yield at once, and then whenever something in `folders()` may have changed."""
    yield
    while True:
        try:
            watched = frozenset(await folders())
            async with aclosing(_events(watched)) as events:
                async for _ in events:
                    yield
                    if frozenset(await folders()) != watched:
                        break
        except (OSError, RuntimeError) as error:
            _log.debug("folders cannot be watched now", reason=str(error))
            await asyncio.sleep(POLL)
            yield


def _events(folders: Collection[Path]) -> AsyncGenerator[object, None]:
    return awatch(
        *folders,
        watch_filter=None,
        recursive=False,
        step=_STEP,
        debounce=_BURST,
        rust_timeout=int(POLL * 1000),
        yield_on_timeout=True,
    )
