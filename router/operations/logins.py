"""Logs a person in for a profile, in a browser or on another device, keeps what the provider gives, and forgets it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from router.errors import RouterError, UnknownName
from router.model.identity import Identity
from router.oauth2 import login
from router.oauth2.exchange import Granted, Refused
from router.oauth2.identity import identity_of
from router.oauth2.keeper import Keeper
from router.oauth2.login import BrowserLogin, DeviceLogin
from router.oauth2.loopback import Loopback
from router.operations.probe import choose, every
from router.operations.tokens import whose
from router.profile import IncomingProfile, Profile, Profiles
from router.profile.tokens import oauth2_of
from router.repository.database import Database
from router.repository.oauth2.kept_tokens import forget_login, list_tokens
from router.repository.outgoing.sending import read_sending
from router.repository.owners.owners import find_owners
from transports import OAuth2
from transports.errors import TransportError

REDIRECT: Final = "http://localhost/"
"""Where the browser is sent with the code where nobody listens: the person copies the address."""

PATIENCE: Final = 600.0
"""Seconds for which a browser is waited for; the codes of most providers end by then."""


class LoginFailed(RouterError):
    """A person's login did not come to a token, and why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A login for a profile, or (`owner`) for one mailbox of it. `users` are titles of the profiles that go by it."""

    profile: Profile
    oauth2: OAuth2
    owner: str
    users: Sequence[str]


def find(profiles: Profiles, name: str, owner: str) -> Asked:
    """Find what to log in for. Raises UnknownName, LoginFailed where no person logs in."""
    asked = _find(profiles, name, owner)
    if owner and _served(profiles, asked.profile, owner) is not asked.profile:
        raise UnknownName(f"{asked.profile.title} does not serve {owner}")
    return asked


def _find(profiles: Profiles, name: str, owner: str) -> Asked:
    chosen = [one for one in choose(profiles, name) if any(True for _ in oauth2_of(one))]
    if not chosen:
        raise LoginFailed(f"the profile {name} logs in by a password: it has no oauth2")
    profile = chosen[0]  # of two of one name, both have the same identity, or the name is said in full
    oauth2 = next(oauth2_of(profile))
    if oauth2.effective_grant != "authorization_code":
        words = f"{profile.title} has its tokens by {oauth2.effective_grant}"
        raise LoginFailed(f'{words}, so nobody need log in: grant = "authorization_code" lets a person do so')
    whole = identity_of(oauth2, "")
    users = [one.title for one in every(profiles) if any(identity_of(other, "") == whole for other in oauth2_of(one))]
    return Asked(profile, oauth2, owner, users)


@dataclass(frozen=True, slots=True)
class KeptLogin:
    """A login that is kept. `users` are the titles of the profiles that go by it; `instead`: another does, then."""

    identity: Identity
    owner: str
    users: Sequence[str]
    instead: bool
    of_nobody: bool


async def find_kept(database: Database, profiles: Profiles, name: str, owner: str) -> KeptLogin:
    """Find a login that may be forgotten; of an owner, too, who is none any more. Raises UnknownName, LoginFailed."""
    asked = _find(profiles, name, owner)
    identity = identity_of(asked.oauth2, owner)
    kept = {one.identity for one in await list_tokens(database)}
    if identity not in kept:
        raise LoginFailed(f"there is no login of {whose(asked.profile.title, owner)}, so there is nothing to forget")
    instead = bool(owner) and identity_of(asked.oauth2, "") in kept
    of_nobody = bool(owner) and owner not in await find_owners(database, [owner])
    return KeptLogin(identity, owner, asked.users, instead, of_nobody)


async def forget(database: Database, kept: KeptLogin) -> None:
    """Delete all that is kept of a login. Routers that run notice it within a minute."""
    await forget_login(database, kept.identity)


async def refuse_copy(database: Database) -> None:
    """Raise LoginFailed in a copy of a database, which renews no login: that could end it for the original."""
    if (await read_sending(database)).copied:
        cure = '"email-router sending start" first, if it replaces the other'
        raise LoginFailed(f"this database is a copy of another, so no login is renewed in it: {cure}")


async def by_browser(
    keeper: Keeper,
    asked: Asked,
    show: Callable[[BrowserLogin], Awaitable[str]],
    *,
    listen: bool = True,
    patience: float = PATIENCE,
) -> Granted:
    """Log in in a browser; `show` shows the page, and returns the address that the browser was sent to, if pasted.

    With `listen`, the browser is waited for on loopback, too, and `show` is canceled once it came. Within `patience`
    seconds one of both has to.
    """

    async def grant() -> Granted:
        async with AsyncExitStack() as stack:
            loopback = await stack.enter_async_context(Loopback()) if listen else None
            redirect = loopback.redirect_uri if loopback is not None else REDIRECT
            begun = await login.begin(keeper.servers, asked.oauth2, redirect)
            ways = [show(begun)] if loopback is None else [show(begun), loopback.come_back(begun.state)]
            try:
                async with asyncio.timeout(patience):
                    address = await _first(ways)
            except TimeoutError:
                raise LoginFailed(f"nobody came back within {patience / 60:g} minutes: begin again") from None
            return await login.finish(keeper.servers, asked.oauth2, begun, address)

    return await _log_in_and_keep(keeper, asked, grant)


async def _first(ways: Sequence[Awaitable[str]]) -> str:
    """Wait for the first of some, and cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def on_device(keeper: Keeper, asked: Asked, show: Callable[[DeviceLogin], None]) -> Granted:
    """Log in on another device; `show` shows the code."""

    async def grant() -> Granted:
        begun = await login.begin_on_device(keeper.servers, asked.oauth2)
        show(begun)
        return await login.finish_on_device(keeper.servers, asked.oauth2, begun)

    return await _log_in_and_keep(keeper, asked, grant)


async def _log_in_and_keep(keeper: Keeper, asked: Asked, grant: Callable[[], Awaitable[Granted]]) -> Granted:
    try:
        await keeper.require_place_for_login()  # before, or the person logs in for nothing
        granted = await grant()
        await keeper.keep_login(asked.oauth2, asked.owner, granted, 0.0)
    except Refused as error:
        raise LoginFailed(f"{error}: {error.cause.cure}") from None
    except TransportError as error:
        raise LoginFailed(str(error)) from error
    return granted


def _served(profiles: Profiles, profile: Profile, owner: str) -> Profile | None:
    incoming = isinstance(profile, IncomingProfile)
    return profiles.incoming_for(owner) if incoming else profiles.outgoing_for(owner)
