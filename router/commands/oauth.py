"""`oauth login`."""

import asyncio
from functools import partial

import typer

from router import app, profile
from router.commands.terminal import carry_out, read_line, say
from router.errors import UnknownName
from router.model import normalize
from router.oauth2.keeper import keeper_of
from router.oauth2.login import BrowserLogin, DeviceLogin
from router.operations import logins
from router.operations.logins import LoginFailed
from router.settings import Settings


def login(name: str, owner: str | None, *, device: bool, paste: bool) -> None:
    """Log a person in for a profile, or for one mailbox of it."""
    if device and paste:
        raise typer.BadParameter("on another device there is no address to paste", param_hint="--paste")

    async def work(settings: Settings) -> logins.Asked:
        try:
            asked = logins.find(profile.read_folder(settings.profiles).profiles, name, normalize(owner or ""))
        except UnknownName as error:
            raise typer.BadParameter(str(error)) from None
        async with app.database_of(settings) as database, keeper_of(settings, database) as keeper:
            await logins.refuse_copy(database)
            if device:
                await logins.on_device(keeper, asked, _show_code)
            else:
                await logins.by_browser(keeper, asked, partial(_show_page, waits=not paste), listen=not paste)
        return asked

    asked = carry_out(work)
    whose = f"the mailbox {asked.owner}" if asked.owner else "all mailboxes"
    users = ", ".join(asked.users)
    say(f"logged in: {users} {'opens' if len(asked.users) == 1 else 'open'} {whose} by this login")


async def _show_page(begun: BrowserLogin, *, waits: bool) -> str:
    """Show the page, and read the address; where we listen for the browser (`waits`), nobody need paste any."""
    say("open this page in a browser, and log in:\n")
    say(f"    {begun.url}\n")
    if waits:
        say("The browser comes back to this machine, and the command goes on. Where the browser is on another machine,")
        say(f"it cannot show the address that it is sent to, which begins with {begun.redirect_uri}: copy it.")
    else:
        say(f"The browser is then sent to an address that cannot be shown ({begun.redirect_uri}…): copy it.")
    while (address := await read_line("that address")) is not None:
        if address.strip():
            return address
    if not waits:
        raise LoginFailed("no address was pasted")
    browser: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await browser  # nobody types here: we are canceled once it came


def _show_code(begun: DeviceLogin) -> None:
    say(f"open {begun.url} on any device, and type the code {begun.user_code}; waiting for that …")
