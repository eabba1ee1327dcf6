"""Tries to have a token, step by step, and says what is wrong and what to do about it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from router.http import server_of
from router.oauth2.assertion import claims_of
from router.oauth2.exchange import Refused
from router.oauth2.held import Held
from router.oauth2.requests import TokenServers
from transports import OAuth2, valid_until
from transports.base import Finding
from transports.errors import TransportError

_SOON: Final = timedelta(days=30)

_OF_LOGINS: Final = frozenset({"openid", "offline_access", "profile", "email"})
"""Scopes that say what else a login gives, and that no server repeats."""

_FOR_MAIL: Final = ("IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp")
"""What an application may do with Exchange Online (learn.microsoft.com)."""

_NO_ROLE: Final = (
    "IMAP.AccessAsApp or POP.AccessAsApp has to be among the application permissions of Office 365 Exchange Online, "
    "with an admin's consent; to send, SMTP.SendAsApp, or Exchange's own role Application SMTP.SendAsApp, which no "
    "token shows"
)


async def examine(oauth2: OAuth2, servers: TokenServers, have: Callable[[], Awaitable[Held]]) -> AsyncIterator[Finding]:
    """Yield what is found of the token server, the grant and the scope; `have` has a token."""
    try:
        endpoints = await servers.endpoints(oauth2)
        server = server_of(endpoints.token_url)
        answer = await servers.http.get(endpoints.token_url, ca_file=oauth2.ca_file, timeout=oauth2.timeout)
    except TransportError as error:
        cure = "let this machine reach it over HTTPS, or correct its address in the profile"
        yield Finding("token server", "failed", str(error), cure)
        return
    how = f"over TLS, at {answer.peer}" if server.startswith("https:") else f"in clear text, at {answer.peer}"
    yield Finding("token server", "ok", f"{server} answers {how}")
    for warning in await asyncio.to_thread(lambda: list(_ends(oauth2))):
        yield warning
    try:
        held = await have()
    except TransportError as error:
        yield _failed(error)
        return
    minutes = max(0.0, held.ends_at - time.monotonic()) / 60
    yield Finding("grant", "ok", f"{oauth2.effective_grant} gives a token, good for {minutes:.0f} minutes")
    yield _scope(oauth2, held, claims_of(held.token))


def _failed(error: TransportError) -> Finding:
    refused = error.__cause__
    if isinstance(refused, Refused):
        return Finding("grant", "failed", str(refused), refused.cause.cure)
    return Finding("grant", "failed", str(error), getattr(error, "advice", ""))


def _ends(oauth2: OAuth2) -> Iterator[Finding]:
    """Warn of what ends soon."""
    now = datetime.now(UTC)
    if (day := oauth2.client_secret_expires) is not None and (day - now.date()) < _SOON:
        cure = "make a new one, and put it and its day into the profile"
        yield Finding("grant", "warning", f"the client secret ends on {day:%Y-%m-%d}", cure)
    certificate = oauth2.client_certificate
    if certificate is not None and (end := valid_until(certificate.file)) is not None and end - now < _SOON:
        cure = "make a new one, and upload it to the application before"
        yield Finding("grant", "warning", f"the client certificate ends on {end:%Y-%m-%d}", cure)


def _scope(oauth2: OAuth2, held: Held, claims: Mapping[str, Any]) -> Finding:
    """Compare what was granted with what was asked; of Microsoft's tokens, what they allow."""
    told = _told(claims)
    if oauth2.provider == "microsoft" and claims and oauth2.effective_grant == "client_credentials":
        roles = claims.get("roles")
        named = [str(role) for role in roles] if isinstance(roles, list) else []
        if not any(role in _FOR_MAIL for role in named):
            # No failure: RBAC for Applications lets an application send whose tokens have no role (Microsoft 365
            # roadmap, 498356). The login, which comes next, tells.
            return Finding("scope", "warning", f"the token names no permission for mail{told}", _NO_ROLE)
    asked = {word.casefold(): word for word in oauth2.effective_scope.split()}
    granted = {word.casefold() for word in (held.scope or "").split()}
    missing = [
        word
        for folded, word in asked.items()
        if folded not in granted and folded not in _OF_LOGINS and not folded.endswith("/.default")
    ]
    if held.scope is not None and missing:
        cure = "allow it at the provider, and log in again" if oauth2.effective_grant != "client_credentials" else ""
        return Finding("scope", "warning", f"not granted: {' '.join(missing)}; granted: {held.scope[:300]}", cure)
    return Finding("scope", "ok", f"granted: {(held.scope or oauth2.effective_scope)[:300]}{told}")


def _told(claims: Mapping[str, Any]) -> str:
    """Say what a token says of itself, without verifying it; it is no secret, and nobody's name."""
    words = []
    for name in ("aud", "scp", "roles"):
        value = claims.get(name)
        if isinstance(value, str | list) and value:
            shown = value if isinstance(value, str) else " ".join(map(str, value))
            words.append(f"{name} {shown[:200]}")
    return f" ({'; '.join(words)})" if words else ""
