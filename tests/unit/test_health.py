"""A fault is told when it begins, when its words change, and when it is over."""

import asyncio
from datetime import datetime

import pytest
import structlog
from structlog.testing import capture_logs

from router.errors import DatabaseAway
from router.health import Health


class Notes:
    """What was written down; the database is away while `away`."""

    def __init__(self) -> None:
        self.written: list[str | None] = []
        self.next_tries: list[datetime | None] = []
        self.away = False
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, words: str | None, next_try: datetime | None) -> None:
        if words == "slowly":
            await self.may_end.wait()
        if self.away:
            raise DatabaseAway("gone")
        self.written.append(words)
        self.next_tries.append(next_try)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def health(notes: Notes) -> Health:
    return Health("a relay cannot be used now", notes, structlog.get_logger("test"))


async def test_a_fault_that_repeats_is_one_line_in_the_log_and_its_end_another(notes: Notes, health: Health) -> None:
    with capture_logs() as lines:
        await health.works()
        for _ in range(3):
            await health.fails("refused", 1.5)
        await health.fails("no such host", 3)
        assert health.fault == "no such host"
        await health.works()
        await health.works()
    assert [(line["log_level"], line["event"]) for line in lines if line["log_level"] != "debug"] == [
        ("warning", "a relay cannot be used now"),
        ("warning", "a relay cannot be used now"),
        ("info", "works again"),
    ]
    assert notes.written == [None, "refused", "refused", "refused", "no such host", None]
    assert all(notes.next_tries[1:-1])
    assert health.fault is None


async def test_what_the_database_was_not_told_is_told_with_the_next_call(notes: Notes, health: Health) -> None:
    notes.away = True
    await health.fails("refused")
    await health.works()
    notes.away = False
    await health.works()
    assert notes.written == [None]


async def test_what_is_told_last_is_written_down_last(notes: Notes, health: Health) -> None:
    notes.may_end.clear()
    fails = asyncio.create_task(health.fails("slowly"))
    await asyncio.sleep(0)
    late = [asyncio.create_task(health.works()), asyncio.create_task(health.fails("again"))]
    late.append(asyncio.create_task(health.works()))
    await asyncio.sleep(0)
    notes.may_end.set()
    await asyncio.gather(fails, *late)
    assert notes.written == ["slowly", None]
    await health.works()
    assert notes.written == ["slowly", None]
