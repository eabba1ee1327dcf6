"""Which webhooks this process tells, and a task for each: one that is slow or dead holds up no other."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog

from router.errors import DatabaseError, whereabouts
from router.health import Health
from router.names import Names
from router.repository.api import webhooks
from router.repository.api.events import CHANNEL
from router.repository.api.webhooks import Taken
from router.repository.database import Database
from router.supervise import end_if_told
from transports.errors import TransportError

_log = structlog.get_logger(__name__)

_CONNECTIONS: Final = 2  # to the database, so that webhooks take none that mail needs
_STATEMENT: Final = 10.0  # seconds
_LOOK: Final = 2.0  # seconds between two looks: an event can become visible later than its notification came
_NONE_LOOK: Final = 5.0  # seconds between two looks where there is no webhook
_GATHERING: Final = 0.05  # seconds in which notifications come together
_AGAIN: Final = 1.0  # seconds after a fault of the database
_UNOPENED: Final = 60.0  # seconds for which a secret that this process has no key of is left to others


class Vault(Protocol):
    """Opens what is sealed; see `router.oauth2.vault`, which is loaded only where there is a webhook."""

    def decrypt(self, sealed: bytes) -> tuple[bytes, bytes | None] | None:
        """Open it, and seal it anew where another key had sealed it; None where no key fits."""


async def tell_webhooks(
    database: Database, process_id: UUID, lease: timedelta, vault: Callable[[], Vault], health: Health
) -> None:
    """Tell webhooks of what happens, until canceled; without one, look from time to time whether there is one."""
    while True:
        try:
            if await webhooks.has_any(database):
                async with database.share(_CONNECTIONS, statement=_STATEMENT) as shared:
                    await _Telling(shared, process_id, lease, vault(), health).run()
            await health.works()
            pause = _NONE_LOOK
        except DatabaseError as error:
            end_if_told(error)
            await health.fails(str(error), _AGAIN)
            pause = _AGAIN
        await asyncio.sleep(pause)


class _Telling:
    def __init__(self, database: Database, process_id: UUID, lease: timedelta, vault: Vault, health: Health) -> None:
        self._database = database
        self._process_id = process_id
        self._lease = lease
        self._vault = vault
        self._health = health
        self._names = Names()
        self._running: set[int] = set()
        self._unopened: dict[int, float] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Tell all webhooks until there is none any more. Raises DatabaseError."""
        clock = asyncio.get_running_loop().time
        tasks: set[asyncio.Task[None]] = {asyncio.create_task(self._listen(), name="webhooks: listen")}
        try:
            while self._running or await webhooks.has_any(self._database):
                self._news.clear()
                others = {one for one, until in self._unopened.items() if until > clock()}
                for taken in await webhooks.take(self._database, self._process_id, self._lease, self._running | others):
                    self._running.add(taken.id)
                    task = asyncio.create_task(self._turn(taken), name=f"webhook {taken.name}")
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                await self._health.works()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await self._news.wait()
                await asyncio.sleep(_GATHERING)
        finally:
            ending = list(tasks)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            with suppress(DatabaseError):
                await self._database.listen(CHANNEL, self._news)
            await asyncio.sleep(_AGAIN)

    async def _turn(self, taken: Taken) -> None:
        """Give a webhook its turn; whatever becomes of it is its own."""
        from router.webhooks.tell import fail, tell  # noqa: PLC0415  # what it needs is loaded where there is a webhook

        try:
            try:
                secret = await self._secret(taken)
                if secret is not None:
                    await tell(self._database, taken, secret, self._names)
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001  # a bug that one event meets must not end the others
                _log.error("a bug of the router's own, with a webhook", webhook=taken.name, exc_info=error)
                await fail(self._database, taken, f"a bug of the router's own: {whereabouts(error)}")
        except DatabaseError as error:
            end_if_told(error)
            _log.debug("a webhook waits for the database", webhook=taken.name, reason=str(error))
            await asyncio.sleep(_AGAIN)
        finally:
            self._running.discard(taken.id)
            self._news.set()

    async def _secret(self, taken: Taken) -> str | None:
        """Open its secret; None where this process cannot: that is told, and another process may."""
        try:
            opened = await asyncio.to_thread(self._vault.decrypt, taken.secret)
            fault = "its secret was sealed by a key that is not among those of EMAIL_ROUTER_TOKEN_KEYS"
        except TransportError as error:
            opened, fault = None, str(error)
        if opened is None:
            self._unopened[taken.id] = asyncio.get_running_loop().time() + _UNOPENED
            await webhooks.note_unopened(self._database, taken, fault)
            return None
        secret, again = opened
        if again is not None:
            await webhooks.reseal(self._database, taken, again)
        return secret.decode()
