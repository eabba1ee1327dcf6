"""Whether the router sends: stopped and started for all processes at once."""

from router.repository import sending
from router.repository.database import Database
from router.repository.sending import Sending

__all__ = ["Sending", "switch"]


async def switch(database: Database, *, on: bool, reason: str | None = None) -> Sending:
    """Start or stop sending, and say how it is then."""
    await sending.set_sending(database, on=on, reason=reason)
    return await sending.read_sending(database)
