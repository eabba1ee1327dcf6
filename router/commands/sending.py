"""`sending stop` and `sending start`."""

from router import app
from router.commands.status import sending_words
from router.commands.terminal import carry_out, say
from router.operations import sending as operation
from router.operations.sending import Sending
from router.settings import Settings


def switch(*, on: bool, reason: str | None) -> None:
    """Start or stop sending, for every process of the database."""

    async def work(settings: Settings) -> Sending:
        async with app.database_of(settings) as database:
            return await operation.switch(database, on=on, reason=reason)

    say(f"sending is {sending_words(carry_out(work))}")
