"""A reader holds room for what it fetches, and gives it back whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from router.incoming import reader
from router.incoming.budget import Budget
from router.incoming.reader import Reader
from router.model import Owner
from router.profile import load
from router.repository.database import Database
from router.repository.incoming.sources import Lease
from router.workers.pool import Workers
from transports.base import Cursor, Folder, Listed, Listing, Mailbox, Part, Place, Received
from transports.errors import Temporary

PROFILE = """
[incoming.a]
transport = "maildir"
path = "/var/mail/{mailbox}"
owners = ["*@in.test"]
"""


class Slow:
    """A folder of two messages of 60 bytes, of which nothing comes until it is told."""

    def __init__(self) -> None:
        self.comes = asyncio.Event()

    async def list(self, _after: Cursor | None, _limit: int) -> Listing:
        one, other = (Listed(Place("1", str(number)), 60, datetime.now(UTC)) for number in (1, 2))
        return Listing((one, other), Cursor("1:2"))

    async def fetch(self, _places: Sequence[Place], _part: Part) -> AsyncIterator[Received]:
        await self.comes.wait()
        return
        yield


@pytest.fixture
def budget() -> Budget:
    return Budget(100)


@pytest.fixture
def ann(tmp_path: Path, budget: Budget, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr(reader, "_SECONDS", 0.01)
    (tmp_path / "a.toml").write_text(PROFILE)
    profile = load(tmp_path).incoming[0]
    lease = Lease(1, uuid4(), 1, "", None, True, datetime(2026, 1, 1, tzinfo=UTC))
    workers = Workers(len, limit=30, size=1)
    return Reader(Database(""), workers, profile, Owner(uuid4(), "ann@in.test"), Folder("INBOX"), lease, budget)


async def test_a_server_that_hangs_holds_up_no_other_mailbox(ann: Reader, budget: Budget) -> None:
    slow = cast("Mailbox", Slow())
    for times in range(1, 3):
        reading = asyncio.ensure_future(anext(ann._portions(slow)))
        async with asyncio.timeout(20):
            while not budget.used:
                await asyncio.sleep(0)
            waiting = asyncio.ensure_future(budget.take(50))
            with pytest.raises(Temporary, match="120 bytes did not come in 0 s, and other mailboxes waited"):
                await reading
            (await waiting).release()
        assert budget.used == 0
        assert ann._gave_way == times  # it has twice the time then


async def test_room_is_released_with_the_portion_and_by_who_is_canceled(ann: Reader, budget: Budget) -> None:
    slow = Slow()
    reading = asyncio.ensure_future(anext(ann._portions(cast("Mailbox", slow))))
    while not budget.used:
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert budget.used == 0

    slow.comes.set()
    portion = await anext(ann._portions(cast("Mailbox", slow)))
    assert budget.used == 0  # nothing came
    portion.held.resize(10)
    portion.held.release()
    assert budget.used == 0
