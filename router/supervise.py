"""Keyed tasks: what is wanted runs, what is not is stopped, and what ends by a bug is started again."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from router.backoff import Backoff
from router.errors import whereabouts
from router.health import Health

Key = TypeVar("Key", bound=Hashable)

STABLE: Final = 60.0
"""Seconds after which a job that ends by a bug counts as one that had worked: its pauses begin with the shortest."""

LONGEST_PAUSE: Final = 300.0
"""Seconds between two starts of a job that ends by the same bug again and again."""

CALM: Final = 5.0
"""Seconds that a job runs after a bug until the bug counts as over."""

PATIENCE: Final = 5.0
"""Seconds that `stop` waits for jobs to end, unless told otherwise; one that takes longer ends by itself."""

_log = structlog.get_logger(__name__)
_sleep = asyncio.sleep
_BUG: Final = "a bug of the router's own"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to run under a key, and the health that tells of its bugs.

    `run` is called anew for each start; it ends when it is cancelled, or returns when there is no more to do. Two jobs
    of one key are the same where `made_of` is equal: the first then goes on.
    """

    run: Callable[[], Awaitable[None]]
    health: Health
    made_of: object = None


class Supervisor(Generic[Key]):
    """The running jobs, by key.

    Jobs know nothing of one another: one that fails, or that will not end, delays only its own key.
    """

    def __init__(self) -> None:
        self._running: dict[Key, tuple[Job, asyncio.Task[None]]] = {}
        self._ending: dict[asyncio.Task[None], Key] = {}

    def want(self, jobs: Mapping[Key, Job]) -> None:
        """Let exactly these run. A job that changed starts once its predecessor has ended; nothing is waited for."""
        for key in [
            key for key, (job, _) in self._running.items() if key not in jobs or job.made_of != jobs[key].made_of
        ]:
            self._end(key)
        for key, job in jobs.items():
            if key not in self._running:
                self.start(key, job)

    def start(self, key: Key, job: Job) -> None:
        """Let one more run, once all that ran under its key has ended."""
        assert key not in self._running, f"{key} runs"
        before = [task for task, other in self._ending.items() if other == key]
        self._running[key] = job, asyncio.create_task(self._keep(job, before), name=str(key))

    async def stop(self, keys: Collection[Key], patience: float = PATIENCE) -> set[Key]:
        """Stop these, all at once; return the keys of those that have ended within `patience` seconds."""
        for key in keys:
            if key in self._running:
                self._end(key)
        ending = {task for task, key in self._ending.items() if key in keys}
        if ending:
            await asyncio.wait(ending, timeout=patience)
        return set(keys) - self.ending

    async def close(self, patience: float = PATIENCE) -> None:
        """Stop all; wait for their ends, at most `patience` seconds."""
        await self.stop([*self._running, *self._ending.values()], patience)

    @property
    def running(self) -> frozenset[Key]:
        """The keys of the jobs that run, or wait to be started again."""
        return frozenset(key for key, (_, task) in self._running.items() if not task.done())

    @property
    def ended(self) -> frozenset[Key]:
        """The keys of the jobs that returned and were not stopped yet."""
        return frozenset(key for key, (_, task) in self._running.items() if task.done())

    @property
    def ending(self) -> frozenset[Key]:
        """The keys of the jobs that were stopped and have not ended yet."""
        return frozenset(key for task, key in self._ending.items() if not task.done())

    def _end(self, key: Key) -> None:
        _, task = self._running.pop(key)
        task.cancel()
        self._ending[task] = key
        task.add_done_callback(self._ending.pop)

    async def _keep(self, job: Job, before: Collection[asyncio.Task[None]]) -> None:
        """Run a job until it returns or is cancelled; a bug is told, and the job starts again, ever more slowly."""
        if before:
            await asyncio.wait(before)
        with job.health:
            await self._run(job)

    async def _run(self, job: Job) -> None:
        backoff = Backoff(first=1.0, longest=LONGEST_PAUSE)
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            healing = asyncio.create_task(_heal(job.health, job.health.fault), name="heal")
            try:
                await job.run()
            except (Exception, asyncio.CancelledError) as error:  # a bug of one job must not end the others
                if _is_cancelled(error):
                    raise
                if clock() - started > STABLE:
                    backoff.reset()
                pause = backoff.next()
                _log.error("a bug of the router's own, and it starts again", exc_info=error, pause=round(pause, 1))
                await job.health.fails(f"{_BUG}: {whereabouts(error)}", pause)
                await _sleep(pause)
            else:
                return
            finally:
                healing.cancel()


async def _heal(health: Health, fault: str | None) -> None:
    """Tell that a bug is over, once the job has run for a while after it; another fault is not ours to end."""
    if fault is None or not fault.startswith(_BUG):
        return
    await _sleep(CALM)
    if health.fault == fault:
        await health.works()


def _is_cancelled(error: BaseException) -> bool:
    """Whether we were told to end; a job may also raise CancelledError by a bug, as when a task of its own was."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
