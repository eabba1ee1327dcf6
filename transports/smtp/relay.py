"""The pool of connections to one relay: kept for a while after a message, replaced when they turn out to be dead."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

from transports._net.credentials import NO_TOKENS, Credential, Tokens
from transports.base import Begin, Envelope, Interrupted, Outcome
from transports.errors import TransportError, Unauthorized
from transports.smtp.endpoints import Endpoint, Endpoints, together
from transports.smtp.hello import own_name
from transports.smtp.logins import NO_LOGIN, Logins, NoLogin, RefusedLogin
from transports.smtp.session import Session
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.transaction import Delivery, Unheard


@dataclass(frozen=True, slots=True)
class _Kept:
    """A connection that waits for a message of its login, idle since a time of the loop."""

    session: Session
    login: str
    since: float


class SmtpRelay:
    """A relay over SMTP. At most `settings.connections` at once; one is dropped after `idle` seconds or `messages`."""

    def __init__(
        self,
        settings: SmtpRelaySettings,
        tokens: Tokens = NO_TOKENS,
        *,
        idle: float = 30,
        messages: int = 100,
    ) -> None:
        self._settings = settings
        self._idle = idle
        self._messages = messages
        self._slots = asyncio.Semaphore(settings.connections)
        self._endpoints = Endpoints(settings)
        self._logins = Logins(settings, tokens)
        self._busy = 0
        self._kept: list[_Kept] = []  # the last one used is the last
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
        for one in kept:  # at once: a cancellation must not leave one open
            one.session.hang_up()
        await asyncio.gather(*(one.session.ended() for one in kept))

    @property
    def warm(self) -> int:
        """How many connections are ready for a message (see `Relay.warm`); none for any, where each has its mailbox."""
        if self._logins.are_of_mailboxes:
            return 0
        return sum(one.session.is_ready for one in self._kept)

    async def send(self, envelope: Envelope, begin: Begin) -> Sequence[Outcome]:
        """Hand over one message; one outcome per recipient, in their order (see `Relay.send`)."""
        if not envelope.recipients:
            return ()
        login = self._logins.of(envelope.mailbox)
        async with self._slots:
            with self._counted():
                return await self._send(envelope, begin, login)

    async def _send(self, envelope: Envelope, begin: Begin, login: str) -> Sequence[Outcome]:
        try:
            session = self._take(login) or await self._open(login)
        except NoLogin as error:
            return [Outcome(one, "deferred", NO_LOGIN, str(error)) for one in envelope.recipients]
        try:
            await begin()
        except BaseException:
            session.abort()
            raise
        return await self._deliver(session, Delivery(envelope, self._settings), login)

    async def connect(self) -> None:
        """Open a connection, log in, and keep it for the next message (see `Relay.connect`).

        Where each mailbox has a login of its own, there is nobody to log in as.
        """
        async with self._slots:
            with self._counted():
                if self._logins.are_of_mailboxes:
                    await (await self._connect(Session.connect)).end()
                else:
                    self._keep(await self._open(""), "")

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def _make_room(self) -> None:
        """Close what is kept for other logins, so that all together are no more than there may be."""
        while self._kept and self._busy + len(self._kept) > self._settings.connections:
            self._kept.pop(0).session.hang_up()

    async def _deliver(self, session: Session, delivery: Delivery, login: str) -> Sequence[Outcome]:
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
                    another = await self._another(delivery, unheard, failed, login)
                    if another is None:
                        break
                    session = another
        except asyncio.CancelledError as error:
            session.abort()
            raise Interrupted(delivery.known) from error
        except BaseException:
            session.abort()
            raise
        self._keep(session, login)
        return delivery.outcomes

    async def _another(
        self, delivery: Delivery, unheard: Unheard, failed: Collection[Endpoint], login: str
    ) -> Session | None:
        """Connect to a server that has not failed this message; None, and the rest is deferred, if there is none."""
        try:
            return await self._open(login, failed)
        except TransportError as error:
            if unheard.is_stale and not failed and not delivery.has_begun:
                raise  # nothing was said but to a connection that was dead
            delivery.give_up(unheard, error if unheard.is_stale else None)
        return None

    async def _open(self, login: str, without: Collection[Endpoint] = ()) -> Session:
        """Connect and log in. Raises TransportError; NoLogin for a login that is one mailbox's."""
        self._make_room()

        async def connect(credential: Credential | None) -> Session:
            return await self._connect(partial(Session.open, credential=credential), without)

        return await self._logins.open(login, connect)

    async def _connect(
        self, connect: Callable[[Endpoint, str | None], Awaitable[Session]], without: Collection[Endpoint] = ()
    ) -> Session:
        """Connect to the first server that lets us in. Raises TransportError, in the words of all of them."""
        assert self._is_open, "the relay is not open"
        errors: list[TransportError] = []
        async for endpoint in self._endpoints.in_order(errors):
            if endpoint in without:
                continue
            try:
                session = await connect(endpoint, self._name)
            except RefusedLogin as refused:
                # The same password is no better elsewhere, and each failure counts towards a lock.
                if self._logins.are_of_mailboxes or isinstance(refused.error, Unauthorized):
                    raise
                self._endpoints.fails(endpoint)
                errors.append(refused.error)
            except TransportError as error:
                self._endpoints.fails(endpoint)
                errors.append(error)
            else:
                self._endpoints.works(endpoint)
                return session
        raise together(errors)

    def _take(self, login: str) -> Session | None:
        """Take the connection of a login that was used last, so that those not needed grow idle."""
        for kept in [one for one in reversed(self._kept) if one.login == login]:
            self._kept.remove(kept)
            if kept.session.is_ready:
                return kept.session
            kept.session.abort()
        return None

    def _keep(self, session: Session, login: str) -> None:
        if not session.is_ready:
            session.abort()
        elif not self._is_open or session.messages >= self._messages or session.is_worn:
            session.hang_up()
        else:
            loop = asyncio.get_running_loop()
            self._kept.append(_Kept(session, login, loop.time()))
            if self._sweeping is None:
                self._sweeping = loop.call_later(self._idle, self._sweep)

    def _sweep(self) -> None:
        """Drop what has been idle for long, or is dead."""
        self._sweeping = None
        loop = asyncio.get_running_loop()
        kept, self._kept = self._kept, []
        for one in kept:
            if not one.session.is_ready:
                one.session.abort()
            elif loop.time() - one.since >= self._idle:
                one.session.hang_up()
            else:
                self._kept.append(one)
        if self._kept:
            oldest = min(one.since for one in self._kept)
            self._sweeping = loop.call_at(oldest + self._idle, self._sweep)
