"""Programs of PostgreSQL that we run, and that do not outlive us."""

import asyncio
import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up now: a forked child should do as little as it can


@dataclass(frozen=True)
class SystemUser:
    """The operating system's user that PostgreSQL runs as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, uid: int) -> Self:
        """Look up the user with this uid; KeyError if /etc/passwd has no name for it."""
        entry = pwd.getpwuid(uid)
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)


class Child:
    """A direct child process, in its own session, that gets `death` when the thread that made it ends.

    Make it in the event loop's own thread: the kernel ties the death signal to the thread, not to the process.
    It reads `text` (less than a pipe holds, 64 KB), writes to `output`, inherits the descriptor `lock`, and nothing of
    our environment, which may hold secrets.
    """

    def __init__(
        self,
        command: Sequence[Path | str],
        user: SystemUser,
        lock: int,
        output: int,
        *,
        death: signal.Signals,
        text: str = "",
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603  our own list of arguments, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd="/",  # ours may be one that the user cannot enter
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            umask=0o077,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C at the terminal is for us; we stop the server in order
            preexec_fn=_before_exec(user, os.getpid(), death),  # noqa: PLW1509  see there
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(text.encode())
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended. It is our unreaped child: the number is nobody else's."""
        if self.running:
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end and return its exit status, or minus the signal that ended it."""
        await self._ended.wait()
        return self._process.wait()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._ended.set()


def _before_exec(user: SystemUser, parent: int, death: signal.Signals) -> Callable[[], None]:
    """Make what the child does between fork and exec.

    A preexec_fn, because the death signal must be set after the change of user, which clears it, and before exec.
    It takes no locks and allocates next to nothing, so that threads of the parent cannot hang it.
    """
    drop = os.geteuid() == 0

    def before_exec() -> None:
        if drop:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
        if _prctl(_PR_SET_PDEATHSIG, int(death), 0, 0, 0) != 0 or os.getppid() != parent:
            os._exit(1)  # the parent died before the signal was set

    return before_exec
