"""The pool of connections to one relay: kept for a while after a message, replaced when they turn out to be dead."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Self

from transports.base import Begin, Envelope, Interrupted, Outcome
from transports.errors import TransportError, Unauthorized
from transports.smtp.endpoints import Endpoint, Endpoints, together
from transports.smtp.hello import own_name
from transports.smtp.session import Session
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.transaction import Delivery, Unheard


class SmtpRelay:
    """A relay over SMTP. At most `settings.connections` at once; one is dropped after `idle` seconds or `messages`."""

    def __init__(
        self,
        settings: SmtpRelaySettings,
        *,
        idle: float = 30,
        messages: int = 100,
    ) -> None:
        self._settings = settings
        self._idle = idle
        self._messages = messages
        self._slots = asyncio.Semaphore(settings.connections)
        self._endpoints = Endpoints(settings)
        self._kept: list[tuple[Session, float]] = []  # since when it is idle; the last one used is the last
        self._sweeping: asyncio.TimerHandle | None = None
        self._name: str | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._name = await asyncio.to_thread(own_name)
        self._is_open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._is_open = False
        if self._sweeping is not None:
            self._sweeping.cancel()
        kept, self._kept = self._kept, []
        for session, _ in kept:  # at once: a cancellation must not leave one open
            session.hang_up()
        await asyncio.gather(*(session.ended() for session, _ in kept))

    @property
    def warm(self) -> int:
        """How many connections are ready for a message (see `Relay.warm`)."""
        return sum(session.is_ready for session, _ in self._kept)

    async def send(self, envelope: Envelope, begin: Begin) -> Sequence[Outcome]:
        """Hand over one message; one outcome per recipient, in their order (see `Relay.send`)."""
        if not envelope.recipients:
            return ()
        async with self._slots:
            session = self._take() or await self._open()
            try:
                await begin()
            except BaseException:
                session.abort()
                raise
            return await self._deliver(session, Delivery(envelope, self._settings))

    async def connect(self) -> None:
        """Open a connection, log in, and keep it for the next message (see `Relay.connect`)."""
        async with self._slots:
            self._keep(await self._open())

    async def _deliver(self, session: Session, delivery: Delivery) -> Sequence[Outcome]:
        """Let it have its transactions: over this connection, and others where this one is found dead."""
        failed: set[Endpoint] = set()
        try:
            while delivery.waiting:
                try:
                    await delivery.transact(session)
                except Unheard as unheard:
                    session.abort()
                    if not unheard.is_stale:
                        self._endpoints.fails(session.endpoint)
                        failed.add(session.endpoint)
                    another = await self._another(delivery, unheard, failed)
                    if another is None:
                        break
                    session = another
        except asyncio.CancelledError as error:
            session.abort()
            raise Interrupted(delivery.known) from error
        except BaseException:
            session.abort()
            raise
        self._keep(session)
        return delivery.outcomes

    async def _another(self, delivery: Delivery, unheard: Unheard, failed: Collection[Endpoint]) -> Session | None:
        """Connect to a server that has not failed this message; None, and the rest is deferred, if there is none."""
        try:
            return await self._open(failed)
        except TransportError as error:
            if unheard.is_stale and not failed and not delivery.has_begun:
                raise  # nothing was said but to a connection that was dead
            delivery.give_up(unheard, error if unheard.is_stale else None)
        return None

    async def _open(self, without: Collection[Endpoint] = ()) -> Session:
        """Connect to the first server that lets us in. Raises TransportError, in the words of all of them."""
        assert self._is_open, "the relay is not open"
        errors: list[TransportError] = []
        async for endpoint in self._endpoints.in_order(errors):
            if endpoint in without:
                continue
            try:
                session = await Session.open(endpoint, self._name)
            except Unauthorized:
                raise  # the same password is no better elsewhere, and each failure counts towards a lock
            except TransportError as error:
                self._endpoints.fails(endpoint)
                errors.append(error)
            else:
                self._endpoints.works(endpoint)
                return session
        raise together(errors)

    def _take(self) -> Session | None:
        """Take the connection that was used last, so that those not needed grow idle."""
        while self._kept:
            session, _ = self._kept.pop()
            if session.is_ready:
                return session
            session.abort()
        return None

    def _keep(self, session: Session) -> None:
        if not session.is_ready:
            session.abort()
        elif not self._is_open or session.messages >= self._messages or session.is_worn:
            session.hang_up()
        else:
            loop = asyncio.get_running_loop()
            self._kept.append((session, loop.time()))
            if self._sweeping is None:
                self._sweeping = loop.call_later(self._idle, self._sweep)

    def _sweep(self) -> None:
        """Drop what has been idle for long, or is dead."""
        self._sweeping = None
        loop = asyncio.get_running_loop()
        kept, self._kept = self._kept, []
        for session, since in kept:
            if not session.is_ready:
                session.abort()
            elif loop.time() - since >= self._idle:
                session.hang_up()
            else:
                self._kept.append((session, since))
        if self._kept:
            oldest = min(since for _, since in self._kept)
            self._sweeping = loop.call_at(oldest + self._idle, self._sweep)
