"""`sending stop` and `sending start`."""

from router import app
from router.commands.status import sending_words
from router.commands.terminal import carry_out, say
from router.operations import sending as operation
from router.operations.sending import Switched
from router.operations.words import count
from router.settings import Settings


def switch(*, on: bool, reason: str | None) -> None:
    """Start or stop sending, for every process of the database."""

    async def work(settings: Settings) -> Switched:
        async with app.database_of(settings) as database:
            return await operation.switch(database, on=on, reason=reason)

    switched = carry_out(work)
    say(f"sending is {sending_words(switched.sending)}")
    if switched.was_copy:
        say(
            f"this copy of the database is the real one from now on: it reads the mailboxes, and sends what is pending "
            f"({count(switched.due, 'email')} due now); no router must work on the one that it was copied from"
        )
