"""What is wanted runs, what is not is stopped, what ends by a bug starts again; and nothing waits for another."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest
import structlog

from router import supervise
from router.health import Health
from router.supervise import Job, Supervisor


class Part:
    """A job that counts its starts and ends, and does as it is told."""

    def __init__(self, work: Callable[[], Awaitable[None]] | None = None) -> None:
        self.starts = 0
        self.ends = 0
        self.faults: list[str | None] = []
        self._work = work or asyncio.get_running_loop().create_future

    async def run(self) -> None:
        self.starts += 1
        try:
            await self._work()
        finally:
            self.ends += 1

    async def note(self, words: str | None, _next_try: datetime | None) -> None:
        self.faults.append(words)

    def job(self, made_of: object = None) -> Job:
        return Job(self.run, Health("at fault", self.note, structlog.get_logger("test")), made_of)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LONGEST_PAUSE", 0.0)


async def test_what_is_wanted_runs_and_what_is_not_stops() -> None:
    jobs: Supervisor[str] = Supervisor()
    one, two, three = Part(), Part(), Part()
    jobs.want({"one": one.job(), "two": two.job()})
    await until(lambda: one.starts == two.starts == 1)
    jobs.want({"two": two.job(), "three": three.job()})
    await until(lambda: one.ends == 1 and three.starts == 1)
    assert (two.starts, two.ends) == (1, 0)
    assert jobs.running == {"two", "three"}
    await jobs.close()
    assert (two.ends, three.ends) == (1, 1)
    assert not jobs.running


async def test_a_job_that_is_made_of_something_else_replaces_the_other_once_that_has_ended() -> None:
    jobs: Supervisor[str] = Supervisor()
    may_end = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await may_end.wait()

    old, new, newer = Part(slow_to_end), Part(), Part()
    jobs.want({"one": old.job("a")})
    await until(lambda: old.starts == 1)
    jobs.want({"one": old.job("a")})
    jobs.want({"one": new.job("b")})
    await asyncio.sleep(0)
    jobs.want({"one": newer.job("c")})
    for _ in range(10):
        await asyncio.sleep(0)
    assert (new.starts, newer.starts) == (0, 0)
    may_end.set()
    await until(lambda: newer.starts == 1)
    assert (old.starts, old.ends, new.starts) == (1, 1, 0)
    await jobs.close()


async def test_a_job_that_will_not_end_delays_no_other() -> None:
    jobs: Supervisor[str] = Supervisor()
    may_end = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await may_end.wait()

    slow, quick = Part(slow_to_end), Part()
    jobs.want({"slow": slow.job(), "quick": quick.job()})
    await until(lambda: slow.starts == quick.starts == 1)
    assert await jobs.stop(["slow", "quick"], patience=0.05) == {"quick"}
    assert jobs.ending == {"slow"}
    may_end.set()
    await until(lambda: not jobs.ending)
    assert await jobs.stop(["slow"]) == {"slow"}


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("error", [ZeroDivisionError("1/0"), asyncio.CancelledError()], ids=["bug", "canceled"])
async def test_a_job_that_ends_by_a_bug_starts_again_and_its_fault_is_told(error: BaseException) -> None:
    jobs: Supervisor[str] = Supervisor()
    left = [error, error]

    async def breaking() -> None:
        if left:
            raise left.pop()
        await asyncio.get_running_loop().create_future()

    part, other = Part(breaking), Part()
    jobs.want({"part": part.job(), "other": other.job()})
    await until(lambda: part.starts == 3)
    assert len(part.faults) == 2
    assert part.faults[0] is not None
    assert part.faults[0].startswith(f"a bug of the router's own: {type(error).__name__} in breaking, line ")
    assert "1/0" not in part.faults[0]
    assert (other.starts, other.ends) == (1, 0)
    await jobs.close()


async def test_the_pauses_of_a_job_that_keeps_breaking_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    jobs: Supervisor[str] = Supervisor()

    async def breaking() -> None:
        if len(pauses) == 8:
            await asyncio.get_running_loop().create_future()
        raise ZeroDivisionError

    part = Part(breaking)
    with monkeypatch.context() as patch:
        patch.setattr(supervise, "_sleep", sleep)
        jobs.want({"part": part.job()})
        await until(lambda: part.starts == 9)
    assert pauses[0] <= 1.0
    assert pauses[-1] > 30.0
    await jobs.close()


async def test_a_job_that_returns_is_not_started_again() -> None:
    jobs: Supervisor[str] = Supervisor()

    async def done() -> None:
        return

    part = Part(done)
    jobs.want({"part": part.job()})
    await until(lambda: jobs.ended == {"part"})
    jobs.want({"part": part.job()})
    assert part.starts == 1
    await jobs.close()
