"""`sending stop` and `sending start`."""

from router import app
from router.commands.status import told_sending
from router.commands.terminal import carry_out, say
from router.repository.sending import Sending, read_sending, set_sending
from router.settings import Settings


def switch(*, on: bool, reason: str | None) -> None:
    """Start or stop sending, for every process of the database."""

    async def work(settings: Settings) -> Sending:
        async with app.database_of(settings) as database:
            await set_sending(database, on=on, reason=reason)
            return await read_sending(database)

    say(f"sending is {told_sending(carry_out(work))}")
