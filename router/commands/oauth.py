"""`oauth login`, `oauth list` and `oauth forget`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import typer

from router import app, profile
from router.commands.terminal import carry_out, confirm, read_line, say, say_json, say_table
from router.commands.words import moment, since
from router.model import normalize
from router.oauth2.keeper import keeper_of
from router.oauth2.login import BrowserLogin, DeviceLogin
from router.operations import logins
from router.operations.logins import KeptLogin, LoginFailed
from router.operations.tokens import TokenState, listed_logins
from router.profile.served import read_clear
from router.settings import Settings


def login(name: str, owner: str | None, *, device: bool, paste: bool) -> None:
    """Log a person in for a profile, or for one mailbox of it."""
    if device and paste:
        raise typer.BadParameter("on another device there is no address to paste", param_hint="--paste")

    async def work(settings: Settings) -> logins.Asked:
        asked = logins.find(profile.read_folder(settings.profiles).profiles, name, normalize(owner or ""))
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


def show(*, as_json: bool) -> None:
    """List the logins by access token."""

    async def work(settings: Settings) -> Sequence[TokenState]:
        profiles = read_clear(settings.profiles)
        async with app.database_of(settings) as database:
            return await listed_logins(database, profiles)

    listed, now = carry_out(work), datetime.now(UTC)
    if as_json:
        say_json({"logins": [_document(one, now) for one in listed]})
    elif not listed:
        say("no profile logs in by access token")
    else:
        rows = [
            (one.profile, one.subject or "all mailboxes", one.grant, _words(one, now), _ends(one)) for one in listed
        ]
        say_table(["profile", "mailbox", "grant", "state", "ends"], rows)


def forget(name: str, owner: str | None, *, yes: bool) -> None:
    """Forget a person's login, after asking."""

    async def look(settings: Settings) -> KeptLogin:
        profiles = profile.read_folder(settings.profiles).profiles
        async with app.database_of(settings) as database:
            return await logins.find_kept(database, profiles, name, normalize(owner or ""))

    async def work(settings: Settings) -> None:
        async with app.database_of(settings) as database:
            await logins.forget(database, kept)

    kept = carry_out(look)
    whose = f"the login of {' and '.join(kept.users)} for {kept.owner or 'all mailboxes'}"
    if not yes:
        typer.echo(f"{whose}: {_stops(kept)}", err=True)
        confirm("forget it?")
    carry_out(work)
    say(f"forgotten: {whose}; {_stops(kept)}")


def _stops(kept: KeptLogin) -> str:
    if kept.of_nobody:
        return "nothing needs it, since the mailbox is of no owner any more"
    if kept.instead:
        return "the mailbox is opened by the login for all mailboxes from now on"
    return "nothing is read or sent by it until somebody logs in again"


def _state(one: TokenState, now: datetime) -> str:
    if one.of_nobody:
        return "of no owner"
    if one.fault is not None:
        return "fault"
    if one.waits_for_login:
        return "not logged in"
    return "works" if one.expires_at is not None and one.expires_at > now else "idle"


def _words(one: TokenState, now: datetime) -> str:
    state = _state(one, now)
    if state == "of no owner":
        return "of no owner any more"
    if state == "fault":
        began = f" {since(one.fault_since, now)}" if one.fault_since is not None else ""
        return f"no new token{began}: {one.fault}"
    if state == "not logged in":
        return "nobody has logged in yet"
    return f"works until {moment(one.expires_at)}" if state == "works" and one.expires_at else "asks when it is needed"


def _ends(one: TokenState) -> str:
    return ", ".join(f"{what} {at:%Y-%m-%d}" for what, at in sorted(one.ends.items(), key=lambda end: end[1]))


def _document(one: TokenState, now: datetime) -> dict[str, Any]:
    return {
        "profile": one.profile.strip("[]"),
        "mailbox": one.subject or None,
        "grant": one.grant,
        "token_server": one.issuer,
        "state": _state(one, now),
        "works_until": one.expires_at,
        "fault": one.fault,
        "fault_since": one.fault_since,
        "next_try_at": one.next_try_at,
        "ends": dict(one.ends),
    }
