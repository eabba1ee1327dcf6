"""Whose time on the processor a benchmark took: the routers', their workers', PostgreSQL's, the mail server's.

This time depends far less than messages a second on what else the machine does.
"""

import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple, Self

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What a process has used, in seconds: by itself, and in its children that ended and theirs."""

    parent: int
    own: float
    ended: float


def usage(pid: int) -> Usage:
    """Read it (proc(5), stat: ppid, utime, stime, cutime, cstime). OSError where there is no such process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, ended_user, ended_system = (int(ticks) * TICK for ticks in words[11:15])
    return Usage(int(words[1]), user + system, ended_user + ended_system)


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of processor time, in user and in system mode, by kind of process."""

    router: float
    workers: float
    postgresql: float
    mail_server: float

    @classmethod
    def now(cls, routers: Iterable[int], postgresql: int, mail_server: int) -> Self:
        """What these processes, and all that they started, have used so far."""
        processes: dict[int, Usage] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    processes[int(folder.name)] = usage(int(folder.name))
                except OSError:  # it ended: its time is with whoever waited for it
                    continue
        routers = list(routers)
        own = sum(processes[pid].own for pid in routers)
        family = sum(_family(pid, processes) for pid in routers)
        return cls(own, family - own, _family(postgresql, processes), _family(mail_server, processes))

    def __sub__(self, other: Self) -> Self:
        return type(self)(*(mine - its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    @property
    def ours(self) -> float:
        """Of the routers and their workers."""
        return self.router + self.workers


def _family(pid: int, processes: dict[int, Usage]) -> float:
    """Add up a process, its descendants, and those of them that ended."""
    children = [child for child, of_child in processes.items() if of_child.parent == pid]
    return processes[pid].own + processes[pid].ended + sum(_family(child, processes) for child in children)
