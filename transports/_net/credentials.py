"""What a login shows to a server: a password, or an access token that somebody keeps for all of them.

credential = await credential_of(auth, mailbox, tokens)
mechanism = sasl.choose(offered, credential, …)
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from transports._net.auth import Auth
from transports._net.oauth2 import OAuth2
from transports._net.secret import fill
from transports.base import Finding
from transports.errors import Permanent, Temporary, Unauthorized


class NoToken(Temporary):
    """The token of one mailbox cannot be had now; those of others may well be."""


class Tokens(Protocol):
    """Keeps the access tokens of all logins: one request at a time for each, in all processes of a database."""

    async def get(self, oauth2: OAuth2, mailbox: str) -> str:
        """Return an access token for a login to this mailbox, or ("") for all of a profile.

        Raises Temporary where the token server cannot be asked now (NoToken for what is one mailbox's), Unauthorized
        where it refuses, Permanent for what somebody has to put right (NoSecret, nobody has logged in yet); each in
        words without secrets.
        """
        ...

    async def refused(self, oauth2: OAuth2, mailbox: str, token: str) -> bool:
        """Hear that a server refused a token. True: it is forgotten, and another can be had, so that is worth a try.

        It is True once in a while only: what refuses fresh tokens does not mean the token.
        """
        ...

    def examine(self, oauth2: OAuth2, mailbox: str) -> AsyncIterator[Finding]:
        """Try to have a token, step by step (token server, grant, scope). Never raises a TransportError."""
        ...


class _NoTokens:
    """Where nobody keeps tokens, as in what only looks at profiles."""

    async def get(self, *_: object) -> str:
        raise Permanent(_NOBODY)

    async def refused(self, *_: object) -> bool:
        return False

    async def examine(self, *_: object) -> AsyncIterator[Finding]:
        yield Finding("token server", "failed", _NOBODY)


NO_TOKENS: Final[Tokens] = _NoTokens()


@dataclass(frozen=True, slots=True)
class Password:
    """A login by password. `act_as`: in whose name `user` comes, if not in its own."""

    user: str
    secret: str = field(repr=False)
    act_as: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A login by access token, as `user`, which names the mailbox to open (RFC 7628)."""

    user: str
    secret: str = field(repr=False)


Credential = Password | Token


def whom(credential: Credential) -> str:
    """Say who logs in, and in whose name."""
    act_as = credential.act_as if isinstance(credential, Password) else ""
    return f"{credential.user} for {act_as}" if act_as else credential.user


_NOBODY: Final = "no tokens can be had here: nobody keeps them"

_Result = TypeVar("_Result")


def whose(auth: Auth, mailbox: str) -> str:
    """Name the mailbox whose tokens are asked for: a service account acts for the user who is named at the login."""
    return fill(auth.user, mailbox) if auth.oauth2 is not None and auth.oauth2.is_of_mailbox else mailbox


async def credential_of(auth: Auth, mailbox: str, tokens: Tokens, act_as: str = "") -> Credential:
    """Have what `auth` says for a mailbox. Raises TransportError (`Tokens.get`), NoSecret."""
    user = fill(auth.user, mailbox)
    if auth.oauth2 is not None:
        return Token(user, await tokens.get(auth.oauth2, whose(auth, mailbox)))
    assert auth.password is not None
    return Password(user, await asyncio.to_thread(auth.password.reveal, mailbox), fill(act_as, mailbox))


async def logging_in(
    auth: Auth, mailbox: str, tokens: Tokens, log_in: Callable[[Credential], Awaitable[_Result]], act_as: str = ""
) -> _Result:
    """Log in; where the server refuses a token that it need not know any more, once again with another."""
    credential = await credential_of(auth, mailbox, tokens, act_as)
    try:
        return await log_in(credential)
    except Unauthorized:
        if auth.oauth2 is None or not await tokens.refused(auth.oauth2, whose(auth, mailbox), credential.secret):
            raise
    return await log_in(await credential_of(auth, mailbox, tokens, act_as))
