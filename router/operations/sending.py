"""Whether the router sends: stopped and started for all processes at once."""

from dataclasses import dataclass

from router.repository.database import Database
from router.repository.outgoing import sending
from router.repository.outgoing.queue import Queue, read_queue
from router.repository.outgoing.sending import Sending

__all__ = ["Queue", "Sending", "State", "Switched", "read", "switch"]


@dataclass(frozen=True, slots=True)
class State:
    """Whether the router sends, and what waits."""

    sending: Sending
    queue: Queue


@dataclass(frozen=True, slots=True)
class Switched(State):
    """How it is after a switch, and what waited before. `was_copy`: this copy is the real database only now."""

    was_copy: bool


async def read(database: Database) -> State:
    """Tell how it is."""
    return State(await sending.read_sending(database), await read_queue(database))


async def switch(database: Database, *, on: bool, reason: str | None = None, by: str | None = None) -> Switched:
    """Start or stop sending, and say how it is then. Starting makes a copy of the database the one that works."""
    queue = await read_queue(database)  # before: a router that runs takes it within a moment
    was_copy = await sending.set_sending(database, on=on, reason=reason, by=by)
    return Switched(await sending.read_sending(database), queue, on and was_copy)
