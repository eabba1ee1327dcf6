"""An error at every step with a mailbox, and at every statement about it: it delays that mailbox, and no other."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from router import supervise
from router.incoming.budget import Budget
from router.incoming.follow import Follower
from router.incoming.mailboxes import MailboxAssignment
from router.profile import IncomingProfile, load
from router.read import read
from router.repository import processes
from router.repository.database import Database
from router.workers.pool import Workers
from tests.support.breaking import Breaking, once, unbroken
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.scripted_account import STEPS, ScriptedAccount
from transports.errors import CursorLost, Missing, Permanent, Temporary, Unauthorized, Unreachable

ERRORS: dict[str, Callable[[], Exception]] = {
    "temporary": lambda: Temporary("later"),
    "temporary, for a time": lambda: Temporary("later", retry_after=2),
    "unreachable": lambda: Unreachable("gone"),
    "permanent": lambda: Permanent("no"),
    "unauthorized": lambda: Unauthorized("who?"),
    "missing": lambda: Missing("no such folder"),
    "cursor lost": lambda: CursorLost("another folder"),
    "a bug": lambda: KeyError("a bug of ours"),
    "a foreign error": lambda: ConnectionResetError("not translated"),
}
_TRIES = 7  # of a step, until its fault is over
_LONG = 7.0  # seconds that pauses have grown to by then

_numbers = itertools.count(1)

PROFILE = '[incoming.staff]\ntransport = "maildir"\npath = "/{mailbox}"\nowners = ["*@in.test"]\nrule = "all"\n'


class World:
    """Two mailboxes that are followed by one process; `pauses` are those that were to be made, in seconds."""

    def __init__(self) -> None:
        self.one, self.other = ScriptedAccount(), ScriptedAccount()
        self.pauses: list[float] = []
        self.look: Callable[[], None] = lambda: None

    def deliver(self) -> None:
        for account in (self.one, self.other):
            for _ in range(3):
                account.deliver(letter("karl@kunde.test", "ulla@in.test"))

    async def until_settled(self, account: ScriptedAccount, when: str) -> None:
        await self._until(lambda: not account.unsettled, f"all mail is settled, {when}")

    async def until_tried(self, step: str) -> None:
        await self._until(lambda: self.one.steps[step] >= _TRIES, f"{step} is tried again and again")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(20):
                while not condition():
                    self.look()
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise TimeoutError(f"not within 20 s: {what}; {self.one.steps}, pauses {self.pauses}") from None


@pytest.fixture
async def broken(database: str) -> AsyncIterator[Breaking]:
    async with Breaking(database) as opened:
        yield opened


@pytest.fixture
async def sound(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    async with Workers(read, limit=30, size=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def untold() -> Iterator[None]:
    """Hundreds of tracebacks take long to write."""
    with capture_logs():
        yield


_AT_WORK = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
            AND backend_type = 'client backend'
    )
"""


@pytest.fixture
def following(
    crm: Crm, sound: Database, broken: Breaking, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], AbstractAsyncContextManager[World]]:
    """Follow two new mailboxes; what waits goes on at once, and says how long it would have waited."""
    (tmp_path / "staff.toml").write_text(PROFILE)
    profiles = load(tmp_path)
    accounts: dict[str, ScriptedAccount] = {}
    monkeypatch.setattr(IncomingProfile, "open", lambda _, mailbox: accounts[mailbox])

    @asynccontextmanager
    async def following() -> AsyncIterator[World]:
        world = World()

        async def pause(seconds: float) -> None:
            if seconds != supervise.CALM:
                world.pauses.append(seconds)
            await asyncio.sleep(0.001)

        monkeypatch.setattr(Follower, "_pause", lambda _, seconds: pause(seconds))
        monkeypatch.setattr(supervise, "_sleep", pause)
        number = next(_numbers)
        for name, account in (("one", world.one), ("other", world.other)):
            accounts[f"{name}{number}@in.test"] = account
            await crm.owner(f"{name}{number}@in.test")
        process_id = uuid4()
        await processes.beat(sound, process_id)
        lease = timedelta(seconds=60)
        assignment = MailboxAssignment(broken, workers, profiles, process_id, lease, Budget())
        world.look = lambda: assignment.update(profiles)
        task = asyncio.create_task(assignment.run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # What was canceled may go on at the server for a moment, and would stand in the way of emptying tables.
            while await crm.admin.fetchval(_AT_WORK):
                await asyncio.sleep(0.01)
            # Each is followed by the whole process, and not by its share of two.
            await crm.admin.execute(
                "DELETE FROM crm.owner; DELETE FROM router.process; TRUNCATE router.source, crm.email CASCADE"
            )

    return following


def _at(step: str, error: Callable[[], Exception]) -> Callable[[str], Exception | None]:
    """Fail at one step; a connection is closed only where another fault has ended it."""

    def fails(at: str) -> Exception | None:
        if step == "close" and at == "wait":
            return Unreachable("gone")
        return error() if at == step else None

    return fails


async def _check_all_in(crm: Crm, world: World) -> None:
    await world.until_settled(world.one, "with no fault any more")
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    await crm.wait_for(0, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
    assert await crm.dispositions() == {"promoted": len(world.one.settled) + len(world.other.settled)}


@pytest.mark.parametrize("error", ERRORS)
async def test_what_fails_at_one_step_delays_its_mailbox_alone_and_is_tried_ever_more_slowly(
    crm: Crm, following: Callable[[], AbstractAsyncContextManager[World]], error: str
) -> None:
    for step in STEPS:
        async with following() as world:
            world.one.fails = _at(step, ERRORS[error])
            world.deliver()
            await world.until_settled(world.other, f"with a fault at {step}")
            await world.until_tried(step)
            tries, waits = world.one.steps[step], world.one.steps["wait"]
            # A lost cursor is followed by another listing at once, from the beginning.
            times = 2 if error == "cursor lost" else 1
            assert tries <= times * (len(world.pauses) + waits + 2), (step, tries, world.pauses)
            if len(world.pauses) >= _TRIES - 1:
                assert max(world.pauses) > _LONG, (step, world.pauses)
            if step in ("settle", "wait", "close"):  # what comes in before is in, and so is what comes meanwhile
                world.deliver()
                await crm.wait_for_decisions(12)
            world.one.fails = lambda _step: None
            await _check_all_in(crm, world)


@pytest.mark.parametrize("how", ["40P01", "lost", "P0001", "bug"])
async def test_a_statement_that_breaks_once_anywhere_is_made_up_for(
    crm: Crm, broken: Breaking, following: Callable[[], AbstractAsyncContextManager[World]], how: str
) -> None:
    async with following() as world:
        world.deliver()
        await world.until_settled(world.other, "with no fault")
        await _check_all_in(crm, world)
    places = list(broken.ran)
    assert len(places) > 15, places
    for place in places:
        broken.breaks = once(place, KeyError("a bug of ours") if how == "bug" else how)
        async with following() as world:
            world.deliver()
            await world.until_settled(world.other, f"with a fault at {place}")
            await _check_all_in(crm, world)
        broken.breaks = unbroken
