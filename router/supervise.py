"""Keyed tasks: what is wanted runs, what is not is stopped, and what ends by a bug is started again."""

import asyncio
import math
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

_TELLING: Final = 5.0  # seconds that the telling of a bug may take; the job starts again, told or not

_log = structlog.get_logger(__name__)
_sleep = asyncio.sleep
_BUG: Final = "a bug of the router's own"
"""How the fault of a bug begins. `_heal` knows by it which faults are its own, also those of an earlier process."""


def end_if_told(error: BaseException) -> None:
    """Raise CancelledError if the task that calls was canceled, whatever error its cleanup met since.

    For each loop that tries again after an error: a connection that breaks while it is closed replaces the
    CancelledError by its own error, and what was told to end would begin anew.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return
    if isinstance(error, asyncio.CancelledError):
        raise error
    _log.debug("an error while a job ended", task=task.get_name(), reason=whereabouts(error))
    raise asyncio.CancelledError from error


@dataclass(frozen=True, slots=True)
class Job:
    """What is to run under a key, and the health that tells of its bugs.

    `run` is called anew for each start; it ends when it is canceled. That it returns before is a bug, unless it
    `may_return`: when there is no more to do. Two jobs of one key are the same where `made_of` is equal: the first then
    goes on. `longest_pause` are the seconds between two starts at most, where LONGEST_PAUSE is too long.
    """

    run: Callable[[], Awaitable[None]]
    health: Health
    made_of: object = None
    may_return: bool = False
    longest_pause: float = math.inf


class Returned(Exception):
    """A job that is to run until it is canceled has returned."""


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

    async def close(self, patience: float = PATIENCE) -> frozenset[Key]:
        """Stop all; wait for their ends, at most `patience` seconds. Return the keys of those that have not ended."""
        await self.stop([*self._running, *self._ending.values()], patience)
        return self.ending

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
        """Run a job until it returns or is canceled; a bug is told, and the job starts again, ever more slowly."""
        if before:
            await asyncio.wait(before)
        backoff = Backoff(first=1.0, longest=min(LONGEST_PAUSE, job.longest_pause))
        clock = asyncio.get_running_loop().time
        with job.health:
            while True:
                started = clock()
                bug = await _run(job)
                if bug is None:
                    return
                if clock() - started > STABLE:
                    backoff.reset()
                pause = backoff.next()
                _log.error("a bug of the router's own, and it starts again", exc_info=bug, pause=round(pause, 1))
                await _tell(job.health.fails(f"{_BUG}: {whereabouts(bug)}", pause))
                await _sleep(pause)


async def _run(job: Job) -> BaseException | None:
    """Run a job once; return the bug by which it ended, or None if it may end so."""
    healing = asyncio.create_task(_heal(job.health, job.health.fault), name="heal")
    try:
        await _run_to_its_end(job)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # a bug of one job must not end the others
        end_if_told(error)
        return error  # a CancelledError, too: of a task of the job's own
    finally:
        healing.cancel()
    return None


async def _run_to_its_end(job: Job) -> None:
    await job.run()
    if not job.may_return:
        raise Returned


async def _heal(health: Health, fault: str | None) -> None:
    """Tell that a bug is over, once the job has run for a while after it; another fault is not ours to end."""
    if fault is None or not fault.startswith(_BUG):
        return
    await _sleep(CALM)
    if health.fault == fault:
        await _tell(health.works())


async def _tell(telling: Awaitable[None]) -> None:
    """Tell the health of a job; that it cannot be told changes nothing for the job."""
    try:
        async with asyncio.timeout(_TELLING):
            await telling
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # a bug in the telling is no more than that
        end_if_told(error)
        _log.error("the health of a job could not be told", exc_info=error)
