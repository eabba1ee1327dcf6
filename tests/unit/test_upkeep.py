"""Work of which more and more is left: the rest of upkeep goes on as often as ever, and the database has pauses."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
import structlog

from router import upkeep
from router.health import Health
from router.repository.database import Database
from router.repository.retention import WALKS, Retention

AGE = timedelta(days=60)


async def test_a_large_work_has_pauses_and_nothing_is_pruned_more_often_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces, pauses, others = 0, [], 0
    pruned: list[str] = []
    done = asyncio.Event()
    sleep = asyncio.sleep

    async def large(_: Database) -> bool:
        nonlocal pieces
        await sleep(0.001)
        pieces += 1
        if pieces == 50:
            done.set()
        return True

    async def other(_: Database) -> bool:
        nonlocal others
        others += 1
        return False

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(seconds)

    async def prune(_database: Database, what: str, _retention: Retention, _faults: set[str]) -> int:
        pruned.append(what)
        return 0

    async def note(_fault: str | None, _next_try: datetime | None) -> None:
        pass

    monkeypatch.setattr(upkeep, "_WORK", ((large, True), (other, True)))
    monkeypatch.setattr(upkeep, "_TURN", 0.0)  # each piece is a turn
    monkeypatch.setattr(upkeep, "EVERY", 3600.0)
    monkeypatch.setattr(upkeep, "prune", prune)
    monkeypatch.setattr(asyncio, "sleep", pause)
    health = Health("the upkeep fails", note, structlog.get_logger("test"))
    job = asyncio.create_task(upkeep.keep_up(Database(""), Retention(AGE, AGE, AGE, AGE), health))
    async with asyncio.timeout(20):
        await done.wait()
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job
    assert others == 49
    assert len(pruned) == len(WALKS) + 2
    assert sum(seconds > 0 for seconds in pauses) >= 49
