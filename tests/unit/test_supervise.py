"""What is wanted runs, what is not is stopped, what ends by a bug starts again; and nothing waits for another."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest
import structlog

from router import supervise
from router.errors import DatabaseAway
from router.health import Health
from router.supervise import Job, Supervisor
from transports.errors import Unreachable


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

    def job(self, made_of: object = None, *, may_return: bool = False, longest_pause: float = math.inf) -> Job:
        health = Health("at fault", self.note, structlog.get_logger("test"))
        return Job(self.run, health, made_of, may_return, longest_pause)


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


async def test_a_job_that_may_return_and_does_is_not_started_again() -> None:
    jobs: Supervisor[str] = Supervisor()

    async def done() -> None:
        return

    part = Part(done)
    jobs.want({"part": part.job(may_return=True)})
    await until(lambda: jobs.ended == {"part"})
    jobs.want({"part": part.job(may_return=True)})
    assert part.starts == 1
    assert part.faults == []
    await jobs.close()


@pytest.mark.usefixtures("no_pauses")
async def test_that_another_job_returns_before_it_is_told_to_is_a_bug() -> None:
    jobs: Supervisor[str] = Supervisor()

    async def done_at_first() -> None:
        if part.starts > 1:
            await asyncio.get_running_loop().create_future()

    part = Part(done_at_first)
    jobs.want({"part": part.job()})
    await until(lambda: part.starts == 2)
    assert jobs.running == {"part"}
    assert part.faults[0] is not None
    assert part.faults[0].startswith("a bug of the router's own: Returned in ")
    await jobs.close()
    assert part.starts == part.ends == 2


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("error", [ZeroDivisionError(), Unreachable("gone"), DatabaseAway("gone"), None], ids=repr)
async def test_a_job_that_was_told_to_end_ends_whatever_its_cleanup_meets(error: Exception | None) -> None:
    jobs: Supervisor[str] = Supervisor()

    async def breaks_as_it_ends() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if old.starts > 1:
                raise
            if error is not None:
                raise error from None

    old, new = Part(breaks_as_it_ends), Part()
    jobs.want({"part": old.job("a")})
    await until(lambda: old.starts == 1)
    jobs.want({"part": new.job("b")})
    await until(lambda: new.starts == 1)
    assert (old.starts, old.ends, old.faults) == (1, 1, [])
    assert await jobs.close() == frozenset()


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("hangs", [False, True], ids=["breaks", "hangs"])
async def test_a_job_starts_again_even_where_its_fault_cannot_be_told(
    hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_TELLING", 0.01)
    jobs: Supervisor[str] = Supervisor()

    class Untold(Part):
        async def note(self, _words: str | None, _next_try: datetime | None) -> None:
            if hangs:
                await asyncio.get_running_loop().create_future()
            raise ZeroDivisionError

    async def breaking() -> None:
        if part.starts < 3:
            raise ZeroDivisionError
        await asyncio.get_running_loop().create_future()

    part = Untold(breaking)
    jobs.want({"part": part.job()})
    await until(lambda: part.starts == 3)
    await jobs.close()
    assert part.ends == 3


@pytest.mark.usefixtures("no_pauses")
async def test_a_bug_is_not_told_to_be_over_while_its_job_waits_to_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "CALM", 0.0)
    jobs: Supervisor[str] = Supervisor()
    told: list[str | None] = []

    async def breaking() -> None:
        if part.starts < 4:
            raise ZeroDivisionError
        told.extend(part.faults)
        await asyncio.get_running_loop().create_future()

    part = Part(breaking)
    jobs.want({"part": part.job()})
    await until(lambda: part.starts == 4)
    assert len(told) == 3
    assert None not in told
    await until(lambda: part.faults[-1] is None)
    await jobs.close()


async def test_a_job_may_ask_for_shorter_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    jobs: Supervisor[str] = Supervisor()

    async def breaking() -> None:
        if part.starts < 9:
            raise ZeroDivisionError
        await asyncio.get_running_loop().create_future()

    part = Part(breaking)
    with monkeypatch.context() as patch:
        patch.setattr(supervise, "_sleep", sleep)
        patch.setattr(supervise, "_heal", _no_healing)
        jobs.want({"part": part.job(longest_pause=2.0)})
        await until(lambda: part.starts == 9)
    assert len(pauses) == 8
    assert max(pauses) <= 2.0
    await jobs.close()


async def _no_healing(_health: Health, _fault: str | None) -> None: ...


async def test_closing_says_what_has_not_ended() -> None:
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
    assert await jobs.close(0.05) == {"slow"}
    may_end.set()
    await until(lambda: not jobs.ending)
    assert await jobs.close() == frozenset()
