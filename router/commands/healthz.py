"""`healthz`."""

from router.commands.terminal import carry_out, say
from router.errors import RouterError
from router.settings import ConsoleAddress, Settings
from router.web.ask import is_alive


def ask() -> None:
    """Ask the console of the router on this machine whether the process lives; exit status 1 if it does not."""
    say(carry_out(_ask))


async def _ask(settings: Settings) -> str:
    address = settings.console_address
    if address is None:
        return "the console is off: nothing to ask"
    if not await _answers(address):
        raise RouterError(f"no router answers at http://{address}/healthz")
    return f"alive: a router answers at http://{address}/healthz"


async def _answers(address: ConsoleAddress) -> bool:
    try:
        return await is_alive(address)
    except OSError:
        return False
