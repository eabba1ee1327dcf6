"""Has a token of one identity out of the database, and a new one from the token server: one process at a time asks.

Who asks holds a lease in the database, and no transaction. The others look again and again, until the row has a token
or a fault, or the lease has ended.
"""

import asyncio
import random
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from router.errors import DatabaseError
from router.model.identity import Identity
from router.model.token_fault import FaultKind, TokenFault
from router.oauth2.exchange import Granted, Refused, error_of
from router.oauth2.held import Held, held_of
from router.oauth2.requests import Material, TokenServers
from router.oauth2.shelf import Shelf
from router.oauth2.vault import Sealer, Secrets
from router.repository.oauth2.tokens import TokenRow, store_fault, store_token, take_lease
from router.repository.outgoing.sending import read_sending
from transports import OAuth2
from transports.base import storable
from transports.errors import Permanent, Temporary, TransportError, Unauthorized

_log = structlog.get_logger(__name__)

BEYOND: Final = 10.0
"""Seconds of the lease beyond the time that the token server may take."""

STORING: Final = 60.0
"""Seconds for which what was granted is offered to a database that is away."""

ANY: Final = "any"
"""In place of a token: whichever there is."""

_LOOK: Final = 0.2  # seconds between two looks at what another process does

_PAUSES: Final[dict[FaultKind, tuple[float, float]]] = {
    "temporary": (1.0, 60.0),
    "refused": (15.0, 900.0),
    "permanent": (15.0, 900.0),
}
"""Seconds: the first pause after a failure, and the longest."""


@dataclass(frozen=True, slots=True)
class Unstored:
    """What was granted, at `began`, and is not in the database yet; `used` is the refresh token that it was had by."""

    granted: Granted
    used: str | None = field(repr=False)
    kept: Secrets
    began: float


class Renewal:
    """Has a token of one identity, once; `holder` names this process in leases, `clock` is the monotonic one.

    The caller keeps two tables from one renewal to the next. `unstored`: what was granted and could not be stored; the
    token server may not give it again. `failed`: by identity and hash of the request (`Material.made_of`), when to try
    again what failed, and how it failed.
    """

    def __init__(
        self,
        shelf: Shelf,
        servers: TokenServers,
        holder: UUID,
        oauth2: OAuth2,
        identity: Identity,
        material: Material,
        clock: Callable[[], float],
        unstored: MutableMapping[Identity, Unstored],
        failed: MutableMapping[tuple[Identity, str], tuple[float, TransportError]],
    ) -> None:
        self._shelf = shelf
        self._servers = servers
        self._holder = holder
        self._oauth2 = oauth2
        self._identity = identity
        self._material = material
        self._clock = clock
        self._unstored = unstored
        self._failed = failed

    async def run(self, *, other_than: str | None, patient: bool, within: float) -> Held:
        """Look, wait, or ask, until there is a token or a fault. Raises TransportError, DatabaseError.

        `other_than`: a token that will not do, or `ANY`: the one that is stored now will not do. `patient`: in the
        pause after a failure, the stored token is returned, or the failure raised, and nobody is asked. After `within`
        seconds no other process is waited for, and no request begins.
        """
        ends = self._clock() + within
        while (now := self._clock()) < ends:
            row, secrets = await self._read()
            if await self._settle(row, secrets):
                continue
            if other_than == ANY:
                other_than = secrets.access_token
            held = None if row is None else _of_row(row, secrets, now)
            if held is not None and now < held.renew_at and held.token != other_than:
                return held
            if patient and (fault := self._fault(row, secrets)) is not None:
                if held is None:
                    raise error_of(fault.kind, fault.words, fault.pause)
                return replace(held, renew_at=now + fault.pause)
            if row is not None and row.leased > 0:
                if held is not None and held.token != other_than:
                    return replace(held, renew_at=now + _LOOK)
            elif (given := await self._try(row, secrets)) is not None:
                return given
            await asyncio.sleep(_LOOK)
        raise Temporary(f"no token was had within {within:g} s, though others seem to ask for one")

    async def _read(self) -> tuple[TokenRow | None, Secrets]:
        row, secrets = await self._shelf.read(self._identity)
        if secrets is not None:
            return row, secrets
        words = "no key of EMAIL_ROUTER_TOKEN_KEYS opens the tokens that the database keeps"
        if self._oauth2.is_by_login:
            raise Permanent(f'{words}: put the key that sealed them back, or log in again ("email-router oauth login")')
        _log.warning(f"{words}: others are asked for", issuer=self._identity.issuer)
        return row, Secrets()

    def _fault(self, row: TokenRow | None, secrets: Secrets) -> TokenFault | None:
        """Tell why nobody asks now: the last try, by the same profile and secrets, failed a moment ago.

        Another profile, or a process with other keys, may have tried since: then what this process knows counts.
        """
        fault = None if row is None else row.fault
        if fault is None:
            return None
        if secrets.made_of != self._material.made_of:
            until, error = self._failed.get((self._identity, self._material.made_of), (0.0, None))
            if error is None:
                return None
            fault = TokenFault(_kind_of(error), str(error), fault.failures, until - self._clock())
        return fault if fault.pause > 0 else None

    async def _try(self, row: TokenRow | None, secrets: Secrets) -> Held | None:
        """Ask for a token, if nobody else does; None if another was faster."""
        refresh_token = self._refresh_token(secrets)
        if refresh_token is not None and (await read_sending(self._shelf.database)).copied:
            # To renew it here may end it for the original.
            raise Permanent("the login belongs to another database, of which this one is a copy")
        seal = await self._shelf.sealer()
        lease = await take_lease(
            self._shelf.database,
            self._identity,
            self._holder,
            self._oauth2.timeout + BEYOND,
            fence=0 if row is None else row.fence,
        )
        if lease is None:
            return None
        began = self._clock()
        broken = row is not None and row.broken
        try:
            granted = await self._servers.ask(self._oauth2, self._identity.subject, refresh_token)
        except Refused as refused:
            error = refusal(self._oauth2, refused, broken=broken and refresh_token is not None)
            if await self._note(lease, seal, secrets, refused.cause.kind, error, refused.retry_after):
                raise error from refused
            return None
        except TransportError as error:
            if await self._note(lease, seal, secrets, _kind_of(error), error, getattr(error, "retry_after", None)):
                raise
            return None
        kept = Secrets(
            granted.access_token,
            granted.refresh_token or refresh_token,
            self._material.made_of,
            self._material.seed,
        )
        self._unstored[self._identity] = unstored = Unstored(granted, refresh_token, kept, began)
        return await self._store(lease.fence, unstored, seal(kept))

    async def _settle(self, row: TokenRow | None, secrets: Secrets) -> bool:
        """Store what could not be stored before, unless the row has another login, or another token, since.

        Whoever asked meanwhile by the same refresh token was refused, most likely, and the new one is only here. True:
        the row is to be read again.
        """
        unstored = self._unstored.get(self._identity)
        if unstored is None:
            return False
        if row is None or unstored.used is None or self._refresh_token(secrets) != unstored.used:
            self._unstored.pop(self._identity, None)
            return False
        await self._store(row.fence, unstored, await self._shelf.seal(unstored.kept))
        return True

    def _refresh_token(self, secrets: Secrets) -> str | None:
        """Choose what to renew by: what the database has, unless the profile begins anew."""
        if not self._oauth2.is_by_login:
            return None
        if self._material.refresh_token is not None and secrets.seed != self._material.seed:
            return self._material.refresh_token
        if secrets.refresh_token is None:
            alone = f", for {self._identity.subject} alone with --owner" if self._identity.subject else ""
            cure = f'"email-router oauth login PROFILE" does{alone}'
            # Nobody refused anything: a login is noticed soon.
            raise Permanent(f"nobody has logged in at {self._oauth2.where} yet, or for too little: {cure}")
        return secrets.refresh_token

    async def _store(self, fence: int, unstored: Unstored, sealed: bytes) -> Held | None:
        """Keep what was granted before anybody uses it; None where the row is another by now.

        It is given once, so a database that is away is waited for.
        """
        granted, began = unstored.granted, unstored.began
        stored = False
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(DatabaseError),
            wait=wait_exponential(multiplier=0.2, max=5),
            stop=stop_after_delay(STORING),
            reraise=True,
        ):
            with attempt:
                stored = await store_token(
                    self._shelf.database,
                    self._identity,
                    fence,
                    sealed,
                    lasts=granted.lasts,
                    scope=granted.scope,
                    refresh_lasts=granted.refresh_lasts,
                    elapsed=self._clock() - began,
                )
        if not stored:
            return None
        self._unstored.pop(self._identity, None)
        return held_of(granted.access_token, began, granted.lasts, granted.lasts, granted.scope)

    async def _note(
        self,
        lease: TokenRow,
        seal: Sealer,
        secrets: Secrets,
        kind: FaultKind,
        error: TransportError,
        retry_after: float | None,
    ) -> bool:
        """Say why there is none, and pause; False if somebody else has the lease by now."""
        first, longest = _PAUSES[kind]
        failures = lease.fault.failures if lease.fault is not None else 0
        pause = min(longest, first * 2.0 ** min(failures, 20)) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load
        pause = max(pause, retry_after or 0.0)
        self._failed[self._identity, self._material.made_of] = self._clock() + pause, error
        sealed = seal(replace(secrets, made_of=self._material.made_of))
        return await store_fault(self._shelf.database, self._identity, lease.fence, sealed, kind, str(error), pause)


def refusal(oauth2: OAuth2, refused: Refused, *, broken: bool = False) -> TransportError:
    """Say what a token server refused, with its own words, what that means, and what to do.

    `broken`: a process ended while it renewed the login, so that what replaced it may be lost.
    """
    after = ""
    if broken and refused.error == "invalid_grant":
        after = ", perhaps since a process ended in the midst of renewing it"
    words = f"{oauth2.where} gives no token: {refused.cause.words}{after}: {refused.cause.cure}"
    said = f" ({refused.said})" if refused.said else ""
    return error_of(refused.cause.kind, storable(words + said), refused.retry_after)


def _kind_of(error: TransportError) -> FaultKind:
    if isinstance(error, Temporary):
        return "temporary"
    return "refused" if isinstance(error, Unauthorized) else "permanent"


def _of_row(row: TokenRow, secrets: Secrets, now: float) -> Held | None:
    if secrets.access_token is None:
        return None
    held = held_of(secrets.access_token, now, row.lasts, row.lifetime, row.granted_scope)
    return held if now < held.ends_at else None
