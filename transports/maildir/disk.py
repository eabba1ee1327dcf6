"""What blocks is done in threads of their own, so that a disk that hangs delays nothing else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from transports.errors import Unreachable

_P = ParamSpec("_P")
_T = TypeVar("_T")

_threads = ThreadPoolExecutor(16, thread_name_prefix="maildir")


class Disk:
    """Where one mailbox lies, at `root`. It answers within `timeout` seconds, or is away."""

    def __init__(self, root: Path, timeout: float) -> None:
        self.root = root
        self._timeout = timeout

    async def run(self, work: Callable[_P, _T], *arguments: _P.args, **keys: _P.kwargs) -> _T:
        """Do what blocks in a thread. Raises Unreachable where that takes too long."""
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.get_running_loop().run_in_executor(_threads, partial(work, *arguments, **keys))
        except TimeoutError:
            words = f"{self.root}: the disk has not answered for {self._timeout:g} seconds"
            raise Unreachable(words) from None
