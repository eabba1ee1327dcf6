"""`sending status`, `sending stop` and `sending start`."""

from dataclasses import asdict

from router import app
from router.commands.status import sending_words, waiting_words
from router.commands.terminal import carry_out, say, say_json, who
from router.operations import sending as operation
from router.operations.sending import State, Switched
from router.operations.words import count
from router.settings import Settings


def show(*, as_json: bool) -> None:
    """Say whether the router sends, since when and by whom, and what waits for what."""

    async def work(settings: Settings) -> State:
        async with app.database_of(settings) as database:
            return await operation.read(database)

    state = carry_out(work)
    if as_json:
        say_json({**asdict(state.sending), "outbox": asdict(state.queue)})
        return
    say(f"sending is {sending_words(state.sending)}")
    for line in waiting_words(state.queue):
        say(line)


def switch(*, on: bool, reason: str | None, by: str | None) -> None:
    """Start or stop sending, for every process of the database."""

    async def work(settings: Settings) -> Switched:
        async with app.database_of(settings) as database:
            return await operation.switch(database, on=on, reason=reason, by=by or who())

    switched = carry_out(work)
    say(f"sending is {sending_words(switched.sending)}")
    if switched.was_copy:
        say(
            f"this copy of the database is the real one from now on: it reads the mailboxes, and sends what is pending "
            f"({count(switched.queue.due(), 'email')} due now); no router must work on the one that it was copied from"
        )
