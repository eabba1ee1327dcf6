"""How full the disk of the embedded PostgreSQL is: where it is full, no mail is stored, and none is sent."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from router.health import Health

_FULL: Final = 16_777_216  # bytes: without room for one more segment of its log, PostgreSQL stops
_POLL: Final = 60.0  # seconds between two looks

_sleep = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of `folder`, in bytes; `free` is what an ordinary user may still write.

    `fault` says in an admin's words that it is full, or fuller than the setting, and is None otherwise. Its words stay
    the same while that is so.
    """

    folder: str
    total: int
    used: int
    free: int
    fault: str | None

    @property
    def full(self) -> bool:
        """Whether PostgreSQL stops, or is about to."""
        return self.free < _FULL

    @property
    def used_percent(self) -> int:
        """As df tells it: of what ordinary users may write, rounded up."""
        return -(-100 * self.used // (self.used + self.free)) if self.used + self.free else 100


def read_disk(folder: Path, warn_at: int) -> Disk | None:
    """Look at the disk; it is at fault where more than `warn_at` percent are used. None where there is no folder."""
    try:
        told = os.statvfs(folder.expanduser())
    except OSError:
        return None
    block = told.f_frsize
    disk = Disk(
        folder=str(folder),
        total=block * told.f_blocks,
        used=block * (told.f_blocks - told.f_bfree),
        free=block * told.f_bavail,
        fault=None,
    )
    if disk.full:
        full = f"the disk of {folder} is full: no mail is stored and none is sent until there is room"
        return replace(disk, fault=full)
    if disk.used_percent > warn_at:
        return replace(disk, fault=f"more than {warn_at}% of the disk of {folder} is used: make room before it is full")
    return disk


async def watch_disk(folder: Path, warn_at: int, health: Health) -> None:
    """Tell when the disk fills up, and when there is room again; runs until canceled."""
    while True:
        disk = await asyncio.to_thread(read_disk, folder, warn_at)
        if disk is not None and disk.fault is not None:
            await health.fails(disk.fault, _POLL)
        else:
            await health.works()
        await _sleep(_POLL)
