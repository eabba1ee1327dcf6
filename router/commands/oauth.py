"""`oauth login`."""

import asyncio

import typer

from router import app, profile
from router.commands.terminal import carry_out, say
from router.errors import UnknownName
from router.model import normalize
from router.oauth2.keeper import keeper_of
from router.oauth2.login import BrowserLogin, DeviceLogin
from router.operations import logins
from router.settings import Settings


def login(name: str, owner: str | None, *, device: bool) -> None:
    """Log a person in for a profile, or for one mailbox of it."""

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
                await logins.by_browser(keeper, asked, _show_page)
        return asked

    asked = carry_out(work)
    whose = f"the mailbox {asked.owner}" if asked.owner else "all mailboxes"
    say(f"logged in: {asked.profile.title} opens {whose} by this login")


async def _show_page(begun: BrowserLogin) -> str:
    say("open this page in a browser, and log in:\n")
    say(f"    {begun.url}\n")
    say("The browser is then sent to an address that begins with http://localhost/ and cannot be shown: copy it.")
    return await asyncio.to_thread(_answer)


def _answer() -> str:
    answer: str = typer.prompt("that address", err=True)
    return answer


def _show_code(begun: DeviceLogin) -> None:
    say(f"open {begun.url} on any device, and type the code {begun.user_code}; waiting for that …")
