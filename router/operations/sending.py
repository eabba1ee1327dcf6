"""Whether the router sends: stopped and started for all processes at once."""

from dataclasses import dataclass

from router.repository import sending
from router.repository.database import Database
from router.repository.queue import read_queue
from router.repository.sending import Sending

__all__ = ["Sending", "Switched", "switch"]


@dataclass(frozen=True, slots=True)
class Switched:
    """How it is after a switch. `was_copy`: this copy of a database is the real one only now; `due`: emails that go."""

    sending: Sending
    was_copy: bool
    due: int


async def switch(database: Database, *, on: bool, reason: str | None = None) -> Switched:
    """Start or stop sending, and say how it is then. Starting makes a copy of the database the one that works."""
    due = (await read_queue(database)).due  # before: a router that runs takes it within a moment
    was_copy = await sending.set_sending(database, on=on, reason=reason)
    return Switched(await sending.read_sending(database), on and was_copy, due)
