"""A password that is put right while a login is under way is used at once, and not after minutes."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import cast
from uuid import uuid4

import structlog

from router.health import Health
from router.incoming.budget import Budget
from router.incoming.follow import Follower
from router.incoming.turns import Slots
from router.profile import IncomingProfile
from router.repository.database import Database
from router.repository.incoming.sources import Lease
from router.workers.pool import Workers
from transports import MailboxSettings
from transports.base import Account
from transports.errors import Unauthorized


class Refusing:
    """A profile and its account in one: each login waits, and is then refused."""

    name = "mail"

    def __init__(self) -> None:
        self.logins = 0
        self.may_end = asyncio.Semaphore(0)

    def open(self, _mailbox: str) -> Account:
        return cast("Account", self)

    async def __aenter__(self) -> Account:
        self.logins += 1
        await self.may_end.acquire()
        raise Unauthorized("no")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


async def test_what_is_put_right_during_a_login_is_tried_at_once_and_with_the_first_pause() -> None:
    profile = Refusing()
    pauses: asyncio.Queue[timedelta] = asyncio.Queue()

    async def note(_words: str | None, next_try: datetime | None) -> None:
        assert next_try is not None
        pauses.put_nowait(next_try - datetime.now(UTC))

    follower = Follower(
        cast("Database", None),
        cast("Workers", None),
        cast("IncomingProfile", profile),
        cast("MailboxSettings", None),
        None,
        Lease(1, uuid4(), 1, "", None, True, datetime.now(UTC)),
        Slots(1),
        Health("at fault", note, structlog.get_logger("test")),
        Budget(),
    )
    following = asyncio.create_task(follower.run())
    for number in range(1, 6):
        async with asyncio.timeout(20):
            while profile.logins < number:
                await asyncio.sleep(0.01)
            follower.retry()
            profile.may_end.release()
            # Without the retry, the pauses after logins that were refused would be twice as long each time.
            assert await pauses.get() <= timedelta(seconds=60)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
