"""The router's side of a fork server and its workers; `worker` is the other.

Workers are forked from a process that has loaded what they need: to start one takes 3 ms, where loading it anew takes
100.
"""

import asyncio
import os
import pickle
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from typing import Self, TypeVar

from router.workers.worker import BEGUN, LENGTH, REPORT, Answer

Outcome = TypeVar("Outcome")

_FORKS_WITHIN = 30.0  # seconds in which a fork server is there, and has forked
_ENDS_WITHIN = 2.0  # seconds that a fork server has to end what it forked
_PASSED_ON = ("LD_LIBRARY_PATH", "PYTHONHOME", "TZ")  # of our environment; the rest may hold secrets


class ForkServer:
    """The process that forks workers: started when the first is wanted, and again where it was lost."""

    def __init__(self, functions: Sequence[Callable[..., object]], limit: float) -> None:
        self._functions = functions
        self._limit = limit
        self._one_at_a_time = asyncio.Lock()
        self._running: _Running | None = None

    async def fork(self) -> "Worker":
        """Fork a worker. Raises OSError where there can be none now."""
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(_FORKS_WITHIN):
                    return await self._fork()
            except TimeoutError:
                await self.stop()
                raise TimeoutError(f"none was ready within {_FORKS_WITHIN:g} s") from None

    async def _fork(self) -> "Worker":
        if self._running is None or self._running.is_lost:
            await self.stop()
            self._running = await _Running.start(self._functions, self._limit)
        ours, theirs = socket.socketpair()
        with theirs:
            begun = FileIO(os.memfd_create("begun"), "r+")
            try:
                ended = await self._running.fork(theirs, begun.fileno())
            except BaseException:
                ours.close()
                begun.close()
                raise
        transport, answers = await asyncio.get_running_loop().create_unix_connection(_Answers, sock=ours)
        return Worker(ended, transport, answers, begun)

    async def stop(self) -> None:
        """End it, and all that it forked."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()


class _Running:
    """A fork server that runs, and the connection to it."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._asked: deque[asyncio.Future[int]] = deque()
        self._ends: dict[int, asyncio.Future[int | None]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, functions: Sequence[Callable[..., object]], limit: float) -> Self:
        """Start one, and return it once it is ready: what is wrong with the installation is no piece's fault.

        Raises OSError where there can be none now.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "router.workers.worker", str(os.getpid()), str(limit),
                    stdin=theirs.fileno(),
                    stdout=2,  # what a library prints is no answer
                    env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"PYTHONPATH": path},
                    start_new_session=True,  # Ctrl-C at the terminal is for the router
                )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        running = cls(process, ours)
        try:
            await running._told(lambda: ours.send(pickle.dumps(functions)))
        except BaseException:
            await running.stop()
            raise
        return running

    @property
    def is_lost(self) -> bool:
        """Whether it has ended."""
        return self._reading.done()

    async def fork(self, connection: socket.socket, begun: int) -> "asyncio.Future[int | None]":
        """Fork a worker that talks over this, and notes in a file how much it has begun.

        Returns what will be its exit status. Raises OSError.
        """
        pid = await self._told(lambda: socket.send_fds(self._control, [b"\0"], [connection.fileno(), begun]))
        return self._ends[pid]

    async def _told(self, ask: Callable[[], object]) -> int:
        """Ask, and return the process id that it tells."""
        if self.is_lost:
            raise ChildProcessError("it has ended")
        ask()
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked.append(told)
        return await told

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while report := await loop.sock_recv(self._control, REPORT.size):
                has_ended, pid, status = REPORT.unpack(report)
                if has_ended:
                    _settle(self._ends.pop(pid), status)
                elif pid:
                    self._ends[pid] = loop.create_future()
                    _settle(self._asked.popleft(), pid)
                else:
                    _settle(self._asked.popleft(), OSError(status, os.strerror(status)))
        except OSError:
            pass  # as if it had closed the connection
        finally:
            for end in self._ends.values():
                _settle(end, None)
            for told in self._asked:
                _settle(told, ChildProcessError("it ended; what it wrote to stderr says why"))

    async def stop(self) -> None:
        """End it, and all that it forked, at once: they have nothing to lose."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_ENDS_WITHIN):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()  # which ends the workers, too
            await self._process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._control.close()


def _settle(future: "asyncio.Future[Outcome]", outcome: Outcome | OSError) -> None:
    if future.done():
        return  # whoever asked was canceled
    if isinstance(outcome, OSError):
        future.set_exception(outcome)
        future.exception()  # nobody may ask
    else:
        future.set_result(outcome)


class Worker:
    """One worker: the connection to it, what `ended` will return, and the file in which it notes what is begun."""

    def __init__(
        self, end: "asyncio.Future[int | None]", transport: asyncio.WriteTransport, answers: "_Answers", begun: FileIO
    ) -> None:
        self._end = end
        self._transport = transport
        self._answers = answers
        self._begun = begun

    async def work(self, function: Callable[..., object], pieces: Sequence[tuple[object, ...]]) -> Sequence[Answer]:
        """Apply a function to the arguments of each piece, and return the answers. Raises EOFError when it ends."""
        os.pwrite(self._begun.fileno(), BEGUN.pack(0), 0)
        if self._transport.is_closing():
            raise EOFError
        self._transport.write(pickle.dumps((function, pieces), pickle.HIGHEST_PROTOCOL))
        return await self._answers.next()

    @property
    def begun(self) -> int:
        """How many pieces of its last share it had begun when it ended; 0: it ended before it had any."""
        return int(BEGUN.unpack(os.pread(self._begun.fileno(), BEGUN.size, 0))[0])

    async def ended(self) -> int | None:
        """Wait for its end, which has begun, and return its exit status, or minus the signal that ended it.

        None where it ended with its fork server, and so with all others.
        """
        self.give_up()
        return await self._end

    def give_up(self) -> None:
        """Ask no more of it: it ends when it has nothing more to do, or at its limit."""
        self._transport.close()
        self._begun.close()


class _Answers(asyncio.Protocol):
    """What a worker answers. All that it wrote before its end comes before its end, which a StreamReader may forget."""

    def __init__(self) -> None:
        self._coming = bytearray()
        self._whole: asyncio.Queue[bytearray | None] = asyncio.Queue()

    def data_received(self, data: bytes) -> None:
        self._coming += data
        size = len(self._coming) - LENGTH.size
        if size >= 0 and size == LENGTH.unpack_from(self._coming)[0]:
            self._whole.put_nowait(self._coming)
            self._coming = bytearray()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._whole.put_nowait(None)

    async def next(self) -> Sequence[Answer]:
        """Wait for the answers for one share. Raises EOFError when there are none to come."""
        answers = await self._whole.get()
        if answers is None:
            raise EOFError
        found: Sequence[Answer] = pickle.loads(memoryview(answers)[LENGTH.size :])  # noqa: S301  from our own program
        return found
