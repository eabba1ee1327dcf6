"""What is told to end does so, even if a connection breaks while it is closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from router.errors import DatabaseAway
from router.health import Health
from router.incoming.budget import Budget
from router.incoming.follow import Follower
from router.incoming.listener import ListenerIntake
from router.incoming.turns import Slots
from router.model import Owner
from router.profile import IncomingProfile, load
from router.read import read
from router.repository.database import Database
from router.repository.incoming.sources import Lease
from router.workers.pool import Workers
from transports import ListenerSettings, MailboxSettings
from transports.errors import Unreachable

PROFILES = """
[incoming.read]
transport = "maildir"
path = "/nowhere/{mailbox}"
owners = ["*@in.test"]

[incoming.taken]
transport = "smtp"
listen = "127.0.0.1:0"
owners = ["*@out.test"]
copy = true
"""


class Connection:
    """Something that is used until canceled, and that breaks as it is closed."""

    def __init__(self, error: Exception) -> None:
        self.used = asyncio.Event()
        self.opened = 0
        self._error = error

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Connection"]:
        self.opened += 1
        try:
            yield self
        finally:
            if self.opened == 1:
                raise self._error

    async def use(self, *_: object) -> None:
        self.used.set()
        await asyncio.get_running_loop().create_future()

    serve = use

    async def is_used_until_cancelled(self, run: Callable[[], "asyncio.Future[None]"]) -> None:
        running = run()
        await asyncio.wait_for(self.used.wait(), 20)
        running.cancel()
        await asyncio.wait([running], timeout=5)
        assert running.cancelled()
        assert self.opened == 1


@pytest.fixture(params=[Unreachable("lost"), DatabaseAway("lost")], ids=repr)
def connection(request: pytest.FixtureRequest) -> Connection:
    return Connection(request.param)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database) as opened:
        yield opened


@pytest.fixture
def workers() -> Workers:
    return Workers(read, limit=30, size=1)


async def test_a_follower(
    workers: Workers, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text(PROFILES)
    profile = load(tmp_path).incoming[0]
    assert isinstance(profile.settings, MailboxSettings)
    owner = Owner(uuid4(), "ann@in.test")
    lease = Lease(1, uuid4(), epoch=1, account="maildir:/ann", cursor=None, begun=False, begins_at=datetime.now(UTC))
    told: list[str | None] = []

    async def note(words: str | None, _next_try: datetime | None) -> None:
        told.append(words)

    monkeypatch.setattr(Follower, "_open", lambda _: connection.open())
    monkeypatch.setattr(Follower, "_follow", lambda _, account, __: account.use())
    health = Health("at fault", note, structlog.get_logger("test"))
    follower = Follower(Database(""), workers, profile, profile.settings, owner, lease, Slots(1), health, Budget())
    await connection.is_used_until_cancelled(lambda: asyncio.ensure_future(follower.run()))
    assert told == []


async def test_a_listener(
    pool: Database, workers: Workers, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text(PROFILES)
    profiles = load(tmp_path)
    profile = profiles.incoming[1]
    assert isinstance(profile.settings, ListenerSettings)

    def listen(_: IncomingProfile) -> AbstractAsyncContextManager[Connection]:
        return connection.open()

    monkeypatch.setattr(IncomingProfile, "listen", listen)
    intake = ListenerIntake(pool, workers, lambda: profiles, profile, profile.settings, Budget())
    await connection.is_used_until_cancelled(lambda: asyncio.ensure_future(intake.run()))
