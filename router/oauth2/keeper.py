"""Gives each login its access token: out of memory, so that a login costs no query while a token lasts.

A token is renewed some time before its end. While it is still good, whoever asks gets it, and one task renews it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final, Self
from uuid import uuid4

import structlog

from router.errors import DatabaseError
from router.model.identity import Identity
from router.oauth2.examine import examine
from router.oauth2.exchange import Granted, Refused
from router.oauth2.held import Held, held_of
from router.oauth2.identity import identities_of, identity_of
from router.oauth2.renewal import ANY, BEYOND, STORING, Renewal, Unstored, refusal
from router.oauth2.requests import TokenServers, read_material
from router.oauth2.shelf import Shelf
from router.oauth2.vault import Secrets, Vault, vault_of
from router.repository.database import Database
from router.repository.oauth2.tokens import note_refusal, read_tokens, store_login
from router.settings import Settings
from transports import NoToken, OAuth2
from transports.base import Finding
from transports.errors import Permanent, Temporary, TransportError

_log = structlog.get_logger(__name__)

_LEAVING: Final = 3.0  # seconds that requests under way have to end when the keeper does
_REMEMBERED: Final = 60.0  # seconds for which it is known whether a mailbox has a login of its own
_MOMENT: Final = 1.0  # seconds for which a token that is still good serves on, after it could not be renewed
_EXAMINED: Final = 30.0  # seconds for which what was found about an identity is told again

_YOUNG: Final = 60.0  # seconds for which a new token is not forgotten, whoever refuses it
_SELDOM: Final = 600.0  # seconds between two tokens of an identity that are forgotten


class Keeper:
    """The tokens of all profiles; `async with Keeper(database, vault) as keeper`. It is a `Tokens`.

    Without a database it asks and keeps in memory only, and has none by a person's login.
    """

    def __init__(
        self,
        database: Database | None,
        vault: Vault | None = None,
        servers: TokenServers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.servers = servers or TokenServers()
        self._shelf = None if database is None or vault is None else Shelf(database, vault)
        self._clock = clock
        self._id = uuid4()
        self._held: dict[Identity, Held] = {}
        self._renewing: dict[Identity, asyncio.Task[Held]] = {}
        self._chosen: dict[tuple[Identity, ...], tuple[float, Identity]] = {}
        self._refused: dict[Identity, float] = {}
        self._unstored: dict[Identity, Unstored] = {}
        self._failed: dict[tuple[Identity, str], tuple[float, TransportError]] = {}
        self._examined: dict[Identity, tuple[float, asyncio.Task[list[Finding]]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Let requests under way end, since what they are given may be given only once; not for long."""
        running = [*self._renewing.values(), *(task for _, task in self._examined.values())]
        if running:
            await asyncio.wait(running, timeout=_LEAVING)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def get(self, oauth2: OAuth2, mailbox: str) -> str:
        """Return an access token for a login to this mailbox; see `Tokens`."""
        identity = await self._choose(oauth2, mailbox)
        held, now = self._held.get(identity), self._clock()
        if held is not None and now < min(held.renew_at, held.ends_at):
            return held.token
        task = self._renewal(oauth2, identity)
        if held is not None and now < held.ends_at:
            return held.token
        try:
            return (await _shared(task)).token
        except Temporary as error:
            if identity.subject:
                raise NoToken(str(error), error.retry_after) from error
            raise

    async def refused(self, oauth2: OAuth2, mailbox: str, token: str) -> bool:
        """Hear that a server refused a token; see `Tokens`. It serves others until there is another."""
        try:
            identity = await self._choose(oauth2, mailbox, anew=True)
            if not await self._is_good(identity, token):
                held = self._held.get(identity)
                if held is not None and held.token == token:
                    del self._held[identity]
                return True
            if not await self._may_ask(identity):
                return False
            held = await _shared(self._renewal(oauth2, identity, other_than=token))
        except (DatabaseError, TransportError):
            return False
        return held.token != token

    async def examine(self, oauth2: OAuth2, mailbox: str) -> AsyncIterator[Finding]:
        """Try to have a token, step by step; see `Tokens`. Of one identity, many that ask are told the same."""
        try:
            identity = await self._choose(oauth2, mailbox, anew=True)
        except TransportError as error:
            yield Finding("token server", "failed", str(error))
            return
        known = self._examined.get(identity)
        if known is None or self._clock() > known[0]:
            task = asyncio.create_task(self._findings(oauth2, identity), name="examine a token")
            known = self._examined[identity] = self._clock() + oauth2.timeout + _EXAMINED, task
        for finding in await asyncio.shield(known[1]):
            yield finding

    async def require_place_for_login(self) -> None:
        """Raise Permanent where a person's login could not be kept: there is no database, or no key."""
        await self._database_shelf().sealer()

    async def keep_login(self, oauth2: OAuth2, owner: str, granted: Granted, elapsed: float) -> None:
        """Keep what a person's login gave: for one mailbox, or ("") for the whole profile.

        `elapsed` are the seconds since the request began. Raises DatabaseError, and Permanent where there is no
        database or no key.
        """
        shelf, identity = self._database_shelf(), identity_of(oauth2, owner)
        material = await asyncio.to_thread(read_material, oauth2)
        secrets = Secrets(granted.access_token, granted.refresh_token, material.made_of, material.seed)
        sealed = await shelf.seal(secrets)
        await store_login(
            shelf.database,
            identity,
            sealed,
            lasts=granted.lasts,
            scope=granted.scope,
            refresh_lasts=granted.refresh_lasts,
            elapsed=elapsed,
        )
        self._held.pop(identity, None)
        self._chosen.clear()

    def _database_shelf(self) -> Shelf:
        if self._shelf is None:
            raise Permanent("a login is kept in the database, and there is none")
        return self._shelf

    async def _choose(self, oauth2: OAuth2, mailbox: str, *, anew: bool = False) -> Identity:
        """Tell whose token it is: the owner's own login goes before that of the whole profile."""
        identities = identities_of(oauth2, mailbox)
        if self._shelf is None or not oauth2.is_by_login:
            return identities[-1]
        known = self._chosen.get(identities)
        if known is not None and self._clock() < known[0] and not anew:
            return known[1]
        try:
            rows = await read_tokens(self._shelf.database, identities)
        except DatabaseError as error:
            if known is not None:
                return known[1]
            raise _away(error) from error
        for identity in identities:
            if identity not in rows:  # somebody has forgotten this login
                self._held.pop(identity, None)
        chosen = next((one for one in identities if one in rows), identities[-1])
        self._chosen[identities] = self._clock() + _REMEMBERED, chosen
        return chosen

    def _renewal(self, oauth2: OAuth2, identity: Identity, other_than: str | None = None) -> asyncio.Task[Held]:
        """Return the task that has a new token, one for each identity; it goes on, whoever waits for it or goes."""
        task = self._renewing.get(identity)
        if task is None:
            task = asyncio.create_task(self._have(oauth2, identity, other_than=other_than), name="renew a token")
            self._renewing[identity] = task
            task.add_done_callback(lambda done: self._renewed(identity, done))
        return task

    def _renewed(self, identity: Identity, task: asyncio.Task[Held]) -> None:
        del self._renewing[identity]
        error = None if task.cancelled() else task.exception()  # asked for: perhaps nobody waits
        held = self._held.get(identity)
        if error is not None and held is not None:
            self._held[identity] = replace(held, renew_at=self._clock() + _MOMENT)
            if not isinstance(error, TransportError):
                _log.error("a token could not be renewed", issuer=identity.issuer, error=type(error).__name__)

    async def _have(
        self, oauth2: OAuth2, identity: Identity, *, other_than: str | None = None, patient: bool = True
    ) -> Held:
        """Have a token from the database or the token server; see `get` for what is raised, and `Renewal.run`."""
        within = 3 * (oauth2.timeout + BEYOND)
        try:
            # Beyond `within` what was asked for before is stored, and what is stored may be had only once.
            async with asyncio.timeout(within + oauth2.timeout + BEYOND + 2 * STORING):
                material = await asyncio.to_thread(read_material, oauth2)
                if self._shelf is None:
                    held = await self._without_database(oauth2, identity)
                else:
                    renewal = Renewal(
                        self._shelf,
                        self.servers,
                        self._id,
                        oauth2,
                        identity,
                        material,
                        self._clock,
                        self._unstored,
                        self._failed,
                    )
                    held = await renewal.run(other_than=other_than, patient=patient, within=within)
        except DatabaseError as error:
            raise _away(error) from error
        except TimeoutError:
            raise Temporary(f"no token was had from {oauth2.where} in time") from None
        self._held[identity] = held
        return held

    async def _without_database(self, oauth2: OAuth2, identity: Identity) -> Held:
        if oauth2.is_by_login:
            raise Permanent("a person's login is kept in the database, which cannot be asked here")
        began = self._clock()
        try:
            granted = await self.servers.ask(oauth2, identity.subject, None)
        except Refused as error:
            raise refusal(oauth2, error) from error
        return held_of(granted.access_token, began, granted.lasts, granted.lasts, granted.scope)

    async def _findings(self, oauth2: OAuth2, identity: Identity) -> list[Finding]:
        async def have() -> Held:
            # A login is lost with a process that ends while it is renewed: it is renewed only where it has to be.
            return await self._have(oauth2, identity, other_than=None if oauth2.is_by_login else ANY, patient=False)

        return [finding async for finding in examine(oauth2, self.servers, have)]

    async def _is_good(self, identity: Identity, token: str) -> bool:
        """Tell whether this is still the token of an identity, as far as anybody knows."""
        if self._shelf is None:
            held = self._held.get(identity)
            return held is not None and held.token == token
        row, secrets = await self._shelf.read(identity)
        if row is None or secrets is None:
            return row is not None
        return secrets.access_token == token and row.lasts > 0

    async def _may_ask(self, identity: Identity) -> bool:
        """Tell whether to ask for another token, since a server refused this one, and note that."""
        if self._shelf is None:
            return self._may_ask_alone(identity)
        row, _ = await self._shelf.read(identity)
        if row is None:
            return True
        age, refused = row.lifetime - row.lasts, row.invalidated  # seconds ago
        if age < _YOUNG or (refused is not None and age < refused < _SELDOM):
            return False
        if await note_refusal(self._shelf.database, identity, row.fence):
            _log.info("a mail server refused a token: another is asked for", issuer=identity.issuer)
        return True

    def _may_ask_alone(self, identity: Identity) -> bool:
        held, now = self._held[identity], self._clock()
        if now - held.granted_at < _YOUNG or now - self._refused.get(identity, now - _SELDOM) < _SELDOM:
            return False
        self._refused[identity] = now
        return True


def keeper_of(settings: Settings, database: Database | None) -> Keeper:
    """Make what keeps the tokens in this database, or without one in memory."""
    return Keeper(database, vault_of(settings))


def _away(error: DatabaseError) -> Temporary:
    return Temporary(f"the tokens are kept in the database, which cannot be asked: {error}")


async def _shared(task: asyncio.Task[Held]) -> Held:
    """Wait for what others wait for, too: who is canceled stops only its own waiting."""
    await asyncio.wait([task])
    if task.cancelled():
        raise Temporary("the router stops")
    return task.result()
