"""Who logs in to a relay: one login for all mail, or one for each mailbox (`user = "{mailbox}"`).

A login of one mailbox that does not work stops the mail of that mailbox alone. It is tried again after a while, and not
for each email.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from transports._net.credentials import Credential, NoToken, Tokens, logging_in
from transports.errors import Permanent, Temporary
from transports.smtp.settings import SmtpRelaySettings

_FIRST, _LONGEST, _PASSES = 30.0, 900.0, 60.0
"""Seconds between two tries of a login that did not work, doubled each time; at most the last for what passes."""

_Session = TypeVar("_Session")


NO_LOGIN = "4.7.8"
"""The status of mail whose mailbox cannot log in now (RFC 5248: authentication credentials invalid)."""


class NoLogin(Temporary):
    """One mailbox cannot log in now; the relay works, for all that is known."""


class RefusedLogin(Exception):
    """What a login met, once connected: `error` is a TransportError."""

    def __init__(self, error: Permanent | Temporary) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Failure:
    times: int
    until: float
    words: str


class Logins:
    """The logins at one relay, as one process knows them."""

    def __init__(
        self, settings: SmtpRelaySettings, tokens: Tokens, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._auth = settings.auth
        self._tokens = tokens
        self._clock = clock
        self._failures: dict[str, _Failure] = {}

    @property
    def are_of_mailboxes(self) -> bool:
        """Whether each mailbox has a login of its own."""
        return self._auth is not None and self._auth.is_of_mailbox

    def of(self, mailbox: str) -> str:
        """Name the login by which mail of a mailbox is sent; empty where there is one for all."""
        return mailbox if self.are_of_mailboxes else ""

    async def open(self, login: str, connect: Callable[[Credential | None], Awaitable[_Session]]) -> _Session:
        """Have a connection that is logged in. Raises NoLogin for one mailbox's login; for all others what it met.

        `connect` raises RefusedLogin for what it meets once it is connected.
        """
        if (failure := self._failures.get(login)) is not None and self._clock() < failure.until:
            raise NoLogin(failure.words, failure.until - self._clock())
        try:
            session = await self._connected(login, connect)
        except (Permanent, NoToken) as error:  # there is no token, or the login is refused
            if login:
                raise self._fails(login, error) from error
            raise
        except RefusedLogin as refused:
            if login:
                raise self._fails(login, refused.error) from refused.error
            raise refused.error from None
        self._failures.pop(login, None)
        return session

    async def _connected(self, login: str, connect: Callable[[Credential | None], Awaitable[_Session]]) -> _Session:
        if self._auth is None:
            return await connect(None)

        async def logged_in(credential: Credential) -> _Session:
            try:
                return await connect(credential)
            except RefusedLogin as refused:
                if isinstance(refused.error, Permanent):  # it may be the token
                    raise refused.error from None
                raise

        return await logging_in(self._auth, login, self._tokens, logged_in)

    def _fails(self, login: str, error: Permanent | Temporary) -> NoLogin:
        times = self._failures[login].times + 1 if login in self._failures else 1
        longest = _PASSES if isinstance(error, NoToken) else _LONGEST
        pause = min(longest, _FIRST * 2.0 ** min(times - 1, 10))
        words = f"no login for {login}: {error}"
        self._failures[login] = _Failure(times, self._clock() + pause, words)
        return NoLogin(words, pause)
