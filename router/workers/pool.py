"""Processes that do the work for the processor, so that the event loop stays free and a piece can be given up.

Why not a library: `concurrent.futures` cannot kill, pebble's and anyio's processes outlive a router that is killed
while they hang, and they import the command line again. multiprocessing would, too.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self, TypeVar, TypeVarTuple

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from router import metrics
from router.workers.fork_server import ForkServer, Worker
from router.workers.worker import Answer as Answered

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

Piece = tuple[object, ...]
"""The arguments of a function."""

_log = structlog.get_logger(__name__)

_MOST_PIECES = 8  # that cross to a worker at once: enough that it is never idle, few enough that others have a turn
_MOST_LOSSES = 5  # of a piece that is not the cause


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a piece of work has no answer, in words."""

    words: str


class Workers:
    """Applies functions in at most `size` processes, started when needed.

    `functions` are those that `map` is for; each stands at the top of a module, which a process loads when it starts. A
    piece that takes longer than `limit` seconds, or ends its process twice, is answered with a fault; the process is
    replaced, and no other piece is lost. Callers with many pieces take turns with callers with few.
    """

    def __init__(
        self,
        *functions: Callable[..., object],
        limit: float,
        size: int,
        work: str = "mail is read",
        uncounted: Collection[Callable[..., object]] = (),
    ) -> None:
        """`work` is what is not done where no process can be started.

        The metrics are of messages that are read; pieces of the functions that are `uncounted` are none.
        """
        self._work = work
        self._counted = frozenset(functions) - frozenset(uncounted)
        self._server = ForkServer(functions, limit)
        self._limit = limit
        self._size = size
        self._turns = asyncio.Semaphore(size)
        if self._counted:
            metrics.workers_opened(size)
        self._idle: list[Worker] = []  # the last used is used next, so that few are needed where there is little to do
        self._tasks: set[asyncio.Task[list[Any]]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._idle:
            worker.give_up()
        await self._server.stop()

    async def map(
        self, function: Callable[[*Arguments], Answer], pieces: Sequence[tuple[*Arguments]]
    ) -> list[Answer | Fault]:
        """Apply a function to the arguments of each piece; one answer or fault for each, in their order."""
        answers: dict[int, list[Answer | Fault]] = {}
        shares = self._shares(pieces)

        async def take_turns() -> None:
            for number, share in shares:
                answers[number] = await self._apart(function, share)

        await asyncio.gather(*(take_turns() for _ in range(min(self._size, len(pieces)))))
        return [answer for _, of_share in sorted(answers.items()) for answer in of_share]

    def _shares(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Sequence[Piece]]]:
        """Cut the pieces so that all workers have some until the end."""
        length = max(1, min(_MOST_PIECES, len(pieces) // (2 * self._size)))
        return ((start, pieces[start : start + length]) for start in range(0, len(pieces), length))

    async def _apart(self, function: Callable[..., object], share: Sequence[Piece]) -> list[Any]:
        """Do it in a task of its own: whoever is canceled while it waits leaves no worker in mid-answer."""
        task = asyncio.create_task(self._do(function, share))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _do(self, function: Callable[..., object], share: Sequence[Piece]) -> list[Any]:
        """Have a share done by one worker after another, until each piece has its answer or fault."""
        answers: list[Any] = []
        losses: Counter[int] = Counter()  # of workers, by the number of the piece that each had in hand
        given_up: dict[int, Fault] = {}
        end = len(share)
        counts = function in self._counted
        async with self._turns:
            with metrics.worker_busy() if counts else nullcontext():
                while (begin := len(answers)) < len(share):
                    if begin in given_up:
                        answers.append(given_up[begin])
                        end = len(share)
                        continue
                    was_idle = bool(self._idle)
                    worker = self._idle.pop() if was_idle else await self._start()
                    try:
                        answered = await worker.work(function, share[begin:end])
                        answers += [_answer_or_fault(one, counts=counts) for one in answered]
                        end = len(share)
                    except EOFError:
                        begun = worker.begun
                        cause = begin + max(begun - 1, 0)
                        # One that had nothing to do may have been killed long before: no piece of these was the cause.
                        if begun or not was_idle:
                            losses[cause] += 1
                        status = await worker.ended()
                        words = self._words(status)
                        _log.warning("a worker was lost", reason=words)
                        if self._counted:
                            metrics.worker_lost()
                        # Killed from outside, it is not the message's fault: so each has a second try.
                        if status == -signal.SIGALRM or losses[cause] >= (_MOST_LOSSES if status is None else 2):
                            given_up[cause] = Fault(words)
                            if counts:
                                metrics.piece_ended("given_up")
                        # What the lost one had answered before is asked again, apart from the cause.
                        end = cause if cause > begin else len(share)
                    except BaseException:
                        worker.give_up()
                        raise
                    else:
                        self._idle.append(worker)
        return answers

    async def _start(self) -> Worker:
        """Start a worker; where that fails, mail waits, since it is no fault of any message."""

        def tell(state: RetryCallState) -> None:
            reason = str(state.outcome.exception()) if state.outcome else ""
            _log.error(
                f"no worker can be started, so no {self._work}", reason=reason, pause=round(state.upcoming_sleep, 1)
            )

        starting = AsyncRetrying(
            retry=retry_if_exception_type(OSError),
            wait=wait_random_exponential(multiplier=0.5, max=60),
            before_sleep=tell,
        )
        return await starting(self._server.fork)

    def _words(self, status: int | None) -> str:
        if status is None:
            return "the process that forks workers ended, and they with it"
        if status == -signal.SIGALRM:
            return f"it took longer than {self._limit:g} s"
        how = signal.strsignal(-status) if status < 0 else f"status {status}"
        return f"the process that did it ended ({how})"


def _answer_or_fault(answered: Answered, *, counts: bool) -> Any:
    answer, words = answered
    if counts:
        metrics.piece_ended("answered" if words is None else "failed")
    return answer if words is None else Fault(words)
