"""`email-router` in a process of its own, forked from one that has loaded it.

To load the router takes 0.7 s of the processor, and the tests start it a thousand times. What is forked is a process
like any other: it has its own process id, environment and files, and its exit status; only what Python frees at its end
is left to the kernel. `test_demo.py`, `test_contributing.py`, and `test_cli.py` where a command goes on, start it as an
admin does.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from typing import BinaryIO

import pytest

from tests.support.fork_server import MOST, REPORT, Ask
from tests.support.paths import ROOT


class Forked:
    """One `email-router`, with what `asyncio.subprocess.Process` has of it."""

    def __init__(self, pid: int, reports: socket.socket, pipes: Mapping[int, int]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._reports = reports
        self._pipes = pipes
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(reports.fileno(), self._read)

    async def wait(self) -> int:
        """Return its exit status, or minus the signal that ended it, once it has ended."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self, given: bytes = b"") -> tuple[bytes, bytes]:
        """Give it all that it reads; returns what it printed to stdout and to stderr, once it has ended."""
        if 0 in self._pipes:
            _give(self._pipes[0], given)
        try:
            await self.wait()
        except BaseException:
            self.kill()
            raise
        finally:
            printed, complained = (_content(self._pipes.get(number)) for number in (1, 2))
        return printed, complained

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read(self) -> None:
        asyncio.get_running_loop().remove_reader(self._reports.fileno())
        with self._reports:
            (self.returncode,) = REPORT.unpack(self._reports.recv(REPORT.size))
        self._ended.set()


class _Server:
    """The process that is forked; one for each process of tests, from the first time that it is wanted."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None

    def fork(self, ask: Ask, files: Sequence[int]) -> socket.socket:
        """Have `email-router` run with these three files; returns the socket of its reports."""
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.support.fork_server"],
                    cwd=ROOT,
                    stdin=theirs.fileno(),
                    start_new_session=True,
                )
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [json.dumps(ask).encode()], [*files, theirs.fileno()])
        return ours

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
            self._process.wait(20)


_server = _Server()


async def email_router(
    *arguments: str,
    env: Mapping[str, str],
    stdin: int | BinaryIO = DEVNULL,
    stdout: int | BinaryIO = DEVNULL,
    stderr: int | BinaryIO = DEVNULL,
    start_new_session: bool = False,
) -> Forked:
    """Run it in the project's root; all is as with `asyncio.create_subprocess_exec`.

    What it prints to a PIPE is kept in memory until `communicate`.
    """
    ask = Ask(arguments=list(arguments), environment=dict(env), new_session=start_new_session)
    reports, pipes = _fork(ask, stdin, stdout, stderr)
    reports.setblocking(False)
    (pid,) = REPORT.unpack(await asyncio.get_running_loop().sock_recv(reports, REPORT.size))
    return Forked(pid, reports, pipes)


def run_email_router(
    *arguments: str, env: Mapping[str, str], given: str = "", timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, as `subprocess.run` does; `given` is what it reads."""
    ask = Ask(arguments=list(arguments), environment=dict(env), new_session=False)
    reports, pipes = _fork(ask, PIPE, PIPE, PIPE)
    _give(pipes[0], given.encode())
    with reports:
        (pid,) = REPORT.unpack(reports.recv(REPORT.size))
        reports.settimeout(timeout)
        try:
            (status,) = REPORT.unpack(reports.recv(REPORT.size))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            printed, complained = (_content(pipes[number]).decode() for number in (1, 2))
    return subprocess.CompletedProcess(arguments, status, printed, complained)


def _fork(ask: Ask, *streams: int | BinaryIO) -> tuple[socket.socket, dict[int, int]]:
    """Have it run with these as its stdin, stdout and stderr.

    Returns the socket of its reports, and our ends of those that are PIPE by their numbers.
    """
    pipes: dict[int, int] = {}
    files: list[int] = []
    with ExitStack() as theirs:
        for number, stream in enumerate(streams):
            if stream == DEVNULL:
                files.append(os.open(os.devnull, os.O_RDWR))
                theirs.callback(os.close, files[-1])
            elif stream == STDOUT:
                files.append(files[1])
            elif stream != PIPE:
                files.append(stream if isinstance(stream, int) else stream.fileno())
            elif number == 0:
                reads, pipes[number] = os.pipe()
                theirs.callback(os.close, reads)
                files.append(reads)
            else:
                pipes[number] = os.memfd_create("printed")
                files.append(pipes[number])
        return _server.fork(ask, files), pipes


def _give(stdin: int, given: bytes) -> None:
    with FileIO(stdin, "w") as pipe, suppress(BrokenPipeError):
        pipe.write(given)


def _content(file: int | None) -> bytes:
    """All that was written to a file in memory, which is closed."""
    if file is None:
        return b""
    with FileIO(file) as written:
        written.seek(0)
        return written.readall()


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[None]:
    """End the process that is forked when the tests end."""
    yield
    _server.close()
