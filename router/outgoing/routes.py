"""Keeps router.route: which outgoing profile carries what each owner sends, and why nothing does."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from router.backoff import Backoff
from router.errors import DatabaseError
from router.model.mail_address import message_id_domain
from router.profile import Profiles
from router.repository.database import Database
from router.repository.outgoing import routes
from router.repository.outgoing.routes import Route, Sender

_log = structlog.get_logger(__name__)

_STRAYS: Final = 10.0  # seconds between looks for what waits and does not know its route
_OWNERS: Final = 60.0  # seconds between looks at all owners; changes are told by NOTIFY
_SOON: Final = 1.0  # seconds between two looks, at least, if something is queued that nobody carries
_BLOCK: Final = 500  # owners that are looked at before others have their turn

NO_PROFILE: Final = "no outgoing profile has"
"""How the reason begins for which an email waits until a profile carries it."""


class Routes:
    """Writes the routes of one process' profiles when they change, or owners do, and tells what waits."""

    def __init__(self, database: Database, process_id: UUID, lease: timedelta) -> None:
        self.stray = asyncio.Event()
        """Something was queued that nobody carries."""
        self.changed = asyncio.Event()
        """Owners may have changed, or profiles."""
        self._database = database
        self._process_id = process_id
        self._lease = lease
        self._profiles = Profiles((), ())
        self._found: dict[str, tuple[str | None, str | None]] = {}

    def use(self, profiles: Profiles) -> None:
        """Find the routes by these profiles from now on."""
        self._profiles = profiles
        self._found = {}
        self.changed.set()

    async def run(self) -> None:
        """Keep the routes until canceled."""
        backoff = Backoff()
        self.changed.set()
        looked = 0.0
        while True:
            is_due = self.changed.is_set() or time.monotonic() - looked >= _OWNERS
            self.changed.clear()
            self.stray.clear()
            try:
                if is_due:
                    await self._write()
                    looked = time.monotonic()
                await routes.find_strays(self._database)
                while await routes.align(self._database):
                    pass
            except DatabaseError as error:
                if is_due:
                    self.changed.set()
                _log.debug("routes cannot be written now", reason=str(error))
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                await self._wait()

    async def _wait(self) -> None:
        changed = asyncio.create_task(self.changed.wait())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SOON):
                    await asyncio.shield(changed)
            if not changed.done():
                stray = asyncio.create_task(self.stray.wait())
                try:
                    await asyncio.wait([changed, stray], timeout=_STRAYS, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    stray.cancel()
        finally:
            changed.cancel()

    async def _write(self) -> None:
        found = []
        for place, owner in enumerate(await routes.senders(self._database)):
            found.append(self._route(owner))
            if place % _BLOCK == _BLOCK - 1:
                await asyncio.sleep(0)
        served = [profile.name for profile in self._profiles.outgoing]
        await routes.write(self._database, self._process_id, self._lease, found, served)

    def _route(self, owner: Sender) -> Route:
        if owner.mailbox is None:
            return Route(owner.owner_id, None, "its owner has no mailbox yet", "")
        domain = message_id_domain(owner.mailbox)
        if not owner.approved:
            return Route(owner.owner_id, None, f"the mailbox {owner.mailbox} is not approved yet", domain)
        if owner.mailbox not in self._found:
            self._found[owner.mailbox] = self._carrier(owner.mailbox)
        return Route(owner.owner_id, *self._found[owner.mailbox], domain)

    def _carrier(self, mailbox: str) -> tuple[str | None, str | None]:
        profile = self._profiles.outgoing_for(mailbox)
        if profile is not None:
            return profile.name, None
        broken = [one.title for one in self._profiles.routes_of(mailbox).broken if one.direction == "outgoing"]
        but = f" but {broken[0]}, which is broken" if broken else ""
        return None, f"{NO_PROFILE} {mailbox} among its senders{but}"
