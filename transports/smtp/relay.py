"""The pool of connections to one relay: kept for a while after a message, replaced when they turn out to be dead."""

import asyncio
from collections.abc import Sequence
from typing import Self

from transports.base import Begin, Envelope, Outcome
from transports.smtp.hello import own_name
from transports.smtp.session import Session
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.transaction import Stale, hand_over


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
        self._kept: dict[Session, asyncio.TimerHandle] = {}
        self._name: str | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._name = await asyncio.to_thread(own_name)
        self._is_open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._is_open = False
        for session in list(self._kept):
            self._drop(session)

    async def send(self, envelope: Envelope, begin: Begin) -> Sequence[Outcome]:
        """Hand over one message; one outcome per recipient, in their order (see `Relay.send`)."""
        if not envelope.recipients:
            return ()
        async with self._slots:
            session = await self._kept_session() or await self._open()
            try:
                await begin()
                try:
                    outcomes = await hand_over(session, envelope)
                except Stale:
                    session.abort()
                    session = await self._open()
                    outcomes = await hand_over(session, envelope)
            except BaseException:
                session.abort()
                raise
            self._keep(session)
            return outcomes

    async def connect(self) -> None:
        """Open a connection, log in, and keep it for the next message."""
        async with self._slots:
            self._keep(await self._open())

    @property
    def warm(self) -> int:
        """How many connections are kept."""
        return len(self._kept)

    async def _open(self) -> Session:
        assert self._is_open, "the relay is not open"
        return await Session.open(self._settings, self._name)

    async def _kept_session(self) -> Session | None:
        """Take the connection that was used last, so that those not needed grow idle."""
        while self._kept:
            session, timer = self._kept.popitem()
            timer.cancel()
            try:
                if await session.ready():
                    return session
            except BaseException:
                session.abort()
                raise
            session.abort()
        return None

    def _keep(self, session: Session) -> None:
        if not session.alive:
            session.abort()
        elif not self._is_open or session.messages >= self._messages:
            session.hang_up()
        else:
            self._kept[session] = asyncio.get_running_loop().call_later(self._idle, self._drop, session)

    def _drop(self, session: Session) -> None:
        self._kept.pop(session).cancel()
        session.hang_up()
