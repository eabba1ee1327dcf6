"""The way out in the test's own process: a `Sender` on a real database, and relays of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from router.outgoing.sender import Sender
from router.profile import OutgoingProfile, Profiles
from router.profile.keys import OutgoingKeys
from router.repository import processes
from router.repository.database import Database
from transports.smtp import OUTGOING
from transports.smtp.settings import SmtpRelaySettings


def relay(
    port: int,
    name: str = "relay",
    sender: str = "*@example.com",
    *,
    line: int = 1,
    max_attempts: int | None = None,
    on_unknown: str = "hold",
    rate: str | None = None,
    return_path: str | None = None,
    **settings: Any,
) -> OutgoingProfile:
    """An outgoing profile for a relay on loopback; the settings are those of SMTP, in clear text."""
    keys = OutgoingKeys.model_validate({"senders": [sender], "rate": rate, "return_path": return_path})
    return OutgoingProfile(
        name=name,
        kind=OUTGOING,
        senders=(sender,),
        max_attempts=max_attempts,
        on_unknown=on_unknown,
        rate=keys.rate,
        return_path=keys.return_path,
        settings=SmtpRelaySettings(host="127.0.0.1", port=port, security="none", **settings),
        file="relays.toml",
        line=line,
    )


def profiles(*outgoing: OutgoingProfile) -> Profiles:
    """Profiles that only send."""
    return Profiles((), outgoing)


@asynccontextmanager
async def sending(
    dsn: str, *outgoing: OutgoingProfile, grace: float = 3, is_heard: Callable[[], bool] = lambda: True
) -> AsyncIterator[Sender]:
    """A sender that runs meanwhile, and is told to stop in the end."""
    lease, process_id, stop = timedelta(seconds=5), uuid4(), asyncio.Event()
    async with Database(dsn) as database:
        await processes.beat(database, process_id)
        sender = Sender(database, profiles(*outgoing), process_id, lease, is_heard)
        running = asyncio.create_task(sender.run(stop, grace))
        try:
            yield sender
        finally:
            stop.set()
            await running
