"""Processes that do the work for the processor, so that the event loop stays free and a piece can be given up.

Why not a library: `concurrent.futures` cannot kill, pebble's and anyio's processes outlive a router that is killed
while they hang, and they import the command line again. multiprocessing would, too.
"""

import asyncio
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar, TypeVarTuple

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from router import metrics
from router.workers.worker import LENGTH

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")
_Call = tuple[Callable[..., object], tuple[object, ...]]

_log = structlog.get_logger(__name__)

_MOST_PIECES = 8  # that cross to a worker at once: enough that it is never idle, few enough that others have a turn
_PASSED_ON = ("LD_LIBRARY_PATH", "PYTHONHOME", "TZ")  # of our environment; the rest may hold secrets


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a piece of work has no answer, in words."""

    words: str


class Workers:
    """Applies functions in at most `size` processes, started when needed.

    `functions` are those that `map` is for; each stands at the top of a module, which a process loads when it starts. A
    piece that takes longer than `limit` seconds, or ends its process twice, is answered with a fault; the process is
    replaced, and no other piece is lost. Who has much to do takes turns with those who have little.
    """

    def __init__(self, *functions: Callable[..., object], limit: float, size: int) -> None:
        self._functions = functions
        self._limit = limit
        self._size = size
        self._turns = asyncio.Semaphore(size)
        metrics.workers_opened(size)
        self._idle: list[_Worker] = []  # the last used is used next, so that few are needed where there is little to do
        self._tasks: set[asyncio.Task[list[Any]]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.kill() for worker in self._idle))

    async def map(
        self, function: Callable[[*Arguments], Answer], pieces: Sequence[tuple[*Arguments]]
    ) -> list[Answer | Fault]:
        """Apply a function to the arguments of each piece; one answer or fault for each, in their order."""
        answers: dict[int, list[Answer | Fault]] = {}
        shares = self._shares([(function, piece) for piece in pieces])

        async def take_turns() -> None:
            for number, share in shares:
                answers[number] = await self._apart(share)

        await asyncio.gather(*(take_turns() for _ in range(min(self._size, len(pieces)))))
        return [answer for _, of_share in sorted(answers.items()) for answer in of_share]

    def _shares(self, pieces: Sequence[_Call]) -> Iterator[tuple[int, Sequence[_Call]]]:
        """Cut the pieces so that all workers have some until the end."""
        length = max(1, min(_MOST_PIECES, len(pieces) // (2 * self._size)))
        return ((start, pieces[start : start + length]) for start in range(0, len(pieces), length))

    async def _apart(self, pieces: Sequence[_Call]) -> list[Any]:
        """Do it in a task of its own: whoever is canceled while it waits leaves no worker in mid-answer."""
        task = asyncio.create_task(self._do(pieces))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _do(self, pieces: Sequence[_Call]) -> list[Any]:
        answers: list[Any] = []
        lost = -1  # the number of the piece that last lost a worker
        async with self._turns:
            with metrics.worker_busy():
                while len(answers) < len(pieces):
                    worker = self._idle.pop() if self._idle else await self._start()
                    try:
                        await worker.answer(pieces[len(answers) :], answers)
                    except EOFError:
                        status = await worker.ended()
                        words = self._words(status)
                        _log.warning("a worker was lost", reason=words)
                        metrics.worker_lost()
                        # Killed from outside, it is not the message's fault: so each has a second try.
                        again, lost = lost == len(answers), len(answers)
                        if again or status == -signal.SIGALRM:
                            answers.append(Fault(words))
                            metrics.piece_ended("given_up")
                    except BaseException:
                        await worker.kill()
                        raise
                    else:
                        self._idle.append(worker)
        return answers

    async def _start(self) -> "_Worker":
        """Start a worker; where that fails, mail waits, since it is no fault of any message."""

        def tell(state: RetryCallState) -> None:
            reason = str(state.outcome.exception()) if state.outcome else ""
            _log.error(
                "no worker can be started, so no mail is read", reason=reason, pause=round(state.upcoming_sleep, 1)
            )

        starting = AsyncRetrying(
            retry=retry_if_exception_type(OSError),
            wait=wait_random_exponential(multiplier=0.5, max=60),
            before_sleep=tell,
        )
        return await starting(_Worker.start, self._functions, self._limit)

    def _words(self, status: int) -> str:
        if status == -signal.SIGALRM:
            return f"it took longer than {self._limit:g} s"
        how = signal.strsignal(-status) if status < 0 else f"status {status}"
        return f"the process that did it ended ({how})"


class _Worker:
    """One process, and the connection to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, transport: asyncio.WriteTransport, answers: "_Answers"
    ) -> None:
        self._process = process
        self._transport = transport
        self._answers = answers

    @classmethod
    async def start(cls, functions: Sequence[Callable[..., object]], limit: float) -> Self:
        """Start one, and return it once it is ready: what is wrong with the installation is no piece's fault.

        Raises OSError where there can be none now.
        """
        ours, theirs = socket.socketpair()
        transport, answers = await asyncio.get_running_loop().create_unix_connection(_Answers, sock=ours)
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "router.workers.worker", str(os.getpid()), str(limit),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"PYTHONPATH": path},
                    start_new_session=True,  # Ctrl-C at the terminal is for the router
                )  # fmt: skip
        except BaseException:
            transport.close()
            raise
        worker = cls(process, transport, answers)
        try:
            transport.write(pickle.dumps(functions))
            await answers.next()
        except EOFError:
            status = await worker.ended()
            raise ChildProcessError(f"it ended with status {status}; what it wrote to stderr says why") from None
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def answer(self, pieces: Sequence[_Call], answers: list[Any]) -> None:
        """Add the answer for each piece as it comes. Raises EOFError when the process ends before the last."""
        if self._transport.is_closing():
            raise EOFError
        self._transport.writelines([pickle.dumps(piece, pickle.HIGHEST_PROTOCOL) for piece in pieces])
        for _ in pieces:
            answer, words = await self._answers.next()
            answers.append(answer if words is None else Fault(words))
            metrics.piece_ended("answered" if words is None else "failed")

    async def ended(self) -> int:
        """Wait for its end, which has begun, and return its exit status, or minus the signal that ended it."""
        self._transport.close()
        return await self._process.wait()

    async def kill(self) -> None:
        """End it at once: it has nothing to lose."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self.ended()


class _Answers(asyncio.Protocol):
    """What a worker answers. All that it wrote before its end comes before its end, which a StreamReader may forget."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._whole: asyncio.Queue[bytes | None] = asyncio.Queue()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                break
            self._whole.put_nowait(bytes(self._buffer[LENGTH.size : end]))
            del self._buffer[:end]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._whole.put_nowait(None)

    async def next(self) -> Any:
        """Wait for the next answer. Raises EOFError when there is none to come."""
        answer = await self._whole.get()
        if answer is None:
            raise EOFError
        return pickle.loads(answer)  # noqa: S301  from our own program
