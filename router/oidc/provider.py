"""Asks the provider: where one signs in, for what a browser came back with, and for its keys.

It answers nobody else but who waits for it: each question ends within seconds, those at the same time ask once, and no
more wait than a few.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from joserfc.jwk import Key
from oauthlib.oauth2 import WebApplicationClient

from router.http import Answer, Http, server_of
from router.oauth2.discovery import Endpoints
from router.oauth2.exchange import Refused, on_one_line
from router.oauth2.requests import TokenServers
from router.oidc.attempt import Attempt
from router.oidc.id_token import NotBelieved, UnknownKey, claims_of, keys_of
from router.settings import Settings
from transports import OAuth2, Secret
from transports.errors import Temporary, TransportError

_PATIENCE: Final = 8.0  # seconds for all that one person waits for; a page has nine
_TIMEOUT: Final = 5.0  # seconds for one answer
_KNOWN_FOR: Final = 3600.0  # seconds for which keys are not asked for again
_ANEW: Final = 30.0  # seconds between two questions for keys, however many tokens name unknown ones
_MOST_WAITING: Final = 32  # people who wait for the provider at once

T = TypeVar("T")


class ProviderAway(Exception):
    """The provider does not answer now; it may later."""


class ProviderRefused(Exception):
    """The provider did not sign the person in, or says what cannot be right. `told`: in words for the person."""

    def __init__(self, reason: str, told: str = "") -> None:
        self.told = told
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class _Known:
    keys: tuple[Key, ...]
    at: float


class Provider:
    """The provider that the settings name; what it said of itself is remembered for an hour."""

    def __init__(self, oauth2: OAuth2, title: str, *, http: Http | None = None) -> None:
        assert oauth2.issuer is not None
        assert oauth2.client_id is not None
        self.issuer = oauth2.issuer
        self.client_id = oauth2.client_id
        self.title = title
        self._oauth2 = oauth2
        self._servers = TokenServers(http)
        self._known: _Known | None = None
        self._asking: dict[str, asyncio.Task[Any]] = {}
        self._waiting = 0

    async def begin(self, attempt: Attempt, redirect_uri: str) -> str:
        """Say where the browser goes. Raises ProviderAway, ProviderRefused."""
        page = (await self._in_time(self._endpoints)).authorization_url
        if page is None:
            raise ProviderRefused("its discovery document names no authorization_endpoint")
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._oauth2.effective_scope,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": WebApplicationClient(self.client_id).create_code_challenge(attempt.verifier, "S256"),
            "code_challenge_method": "S256",
        }
        return f"{page}{'&' if '?' in page else '?'}{urlencode(query)}"

    async def finish(self, attempt: Attempt, redirect_uri: str, said: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the claims about the person with whom a browser came back.

        `said` is the query it came with, whose state was that of the attempt. Raises ProviderAway, ProviderRefused.
        """
        return await self._in_time(lambda: self._finish(attempt, redirect_uri, said))

    async def end_url(self, back: str) -> str | None:
        """Say where the person's session at the provider is ended, to come back here then; None where nowhere."""
        url = (await self._in_time(self._endpoints)).end_url
        query = urlencode({"client_id": self.client_id, "post_logout_redirect_uri": back})
        return url and f"{url}{'&' if '?' in url else '?'}{query}"

    async def examine(self) -> tuple[Endpoints, int]:
        """Return its endpoints, and how many keys it has. Raises ProviderAway, ProviderRefused."""

        async def ask() -> tuple[Endpoints, int]:
            endpoints = await self._endpoints()
            return endpoints, len((await self._keys(endpoints, anew=True)).keys)

        return await self._in_time(ask)

    async def knows_us(self, redirect_uri: str) -> str | None:
        """Show the provider our id and secret, with a code that is none; None where it takes them, else why not.

        Raises ProviderAway. A server authenticates the application before it looks at the code (RFC 6749 §4.1.3).
        """

        async def ask() -> str | None:
            try:
                await self._servers.redeem(
                    self._oauth2, code="none", redirect_uri=redirect_uri, code_verifier=Attempt.begin("/", 0).verifier
                )
            except Refused as refused:
                if refused.cause.kind == "temporary":
                    raise ProviderAway(str(refused)) from None
                ours = refused.error in ("invalid_client", "unauthorized_client")
                return str(refused) if ours else None
            return None

        return await self._in_time(ask)

    async def _finish(self, attempt: Attempt, redirect_uri: str, said: Mapping[str, str]) -> Mapping[str, Any]:
        endpoints = await self._endpoints()
        # Where there are several providers, one could hand a browser to another (RFC 9207).
        if said.get("iss", self.issuer) != self.issuer or (endpoints.names_itself and "iss" not in said):
            raise ProviderRefused("what came back is of another provider (iss)")
        if said.get("error"):
            words = on_one_line(f"{said['error']}: {said.get('error_description', '')}".rstrip(": "))
            if said["error"] in ("temporarily_unavailable", "server_error"):
                raise ProviderAway(words)
            raise ProviderRefused(words, f"{self.title} did not sign you in.")
        if not said.get("code"):
            raise ProviderRefused("what came back has no code")
        granted = await self._servers.redeem(
            self._oauth2, code=said["code"], redirect_uri=redirect_uri, code_verifier=attempt.verifier
        )
        if granted.id_token is None:
            raise ProviderRefused("it gave no ID token: does EMAIL_ROUTER_OIDC_SCOPE have openid?")
        return await self._believed(granted.id_token, attempt, endpoints)

    async def _believed(self, token: str, attempt: Attempt, endpoints: Endpoints) -> Mapping[str, Any]:
        def verified(known: _Known) -> Mapping[str, Any]:
            return claims_of(
                token,
                known.keys,
                issuer=self.issuer,
                client_id=self.client_id,
                nonce=attempt.nonce,
                now=time.time(),
            )

        known = await self._keys(endpoints)
        try:
            return verified(known)
        except UnknownKey:
            # It may have made a new key since.
            return verified(await self._keys(endpoints, anew=True))

    async def _endpoints(self) -> Endpoints:
        return await self._shared("endpoints", lambda: self._servers.endpoints(self._oauth2))

    async def _keys(self, endpoints: Endpoints, *, anew: bool = False) -> _Known:
        """Have the keys of the provider; `anew` where the ones that are known do not fit."""
        age = time.monotonic() - self._known.at if self._known else _KNOWN_FOR
        if self._known is None or age >= (_ANEW if anew else _KNOWN_FOR):
            self._known = await self._shared("keys", lambda: self._read_keys(endpoints))
        return self._known

    async def _read_keys(self, endpoints: Endpoints) -> _Known:
        if endpoints.keys_url is None:
            raise ProviderRefused("its discovery document names no jwks_uri, or one that is not https")
        answer = await self._get(endpoints.keys_url)
        keys = keys_of(answer)
        if not keys:
            raise ProviderRefused("it has no key that signs: neither RSA of 2048 bits, nor EC, nor Ed25519")
        return _Known(tuple(keys), time.monotonic())

    async def _get(self, url: str) -> Answer:
        answer = await self._servers.http.get(url, ca_file=self._oauth2.ca_file, timeout=_TIMEOUT)
        if answer.status != 200:
            raise Temporary(f"{server_of(url)} answers {answer.status} for its keys")
        return answer

    async def _shared(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask once for all who want the same; who gives up takes nothing from the others."""
        task: asyncio.Task[T] | None = self._asking.get(what)
        if task is None or task.done():
            task = asyncio.ensure_future(_awaited(ask))
            # It may end after everybody has given up; what it raises is then nobody's.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asking[what] = task
        return await asyncio.shield(task)

    async def _in_time(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask within bounds, and tell in two errors what may be wrong with the provider."""
        if self._waiting >= _MOST_WAITING:
            raise ProviderAway(f"{self._waiting} people wait for {server_of(self.issuer)} already")
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                return await ask()
        except TimeoutError:
            raise ProviderAway(f"{server_of(self.issuer)} did not answer within {_PATIENCE:g} s") from None
        except Temporary as error:
            raise ProviderAway(str(error)) from None
        except Refused as refused:
            if refused.cause.kind == "temporary":
                raise ProviderAway(str(refused)) from None
            raise ProviderRefused(f"{refused}; {refused.cause.cure}") from None
        except (TransportError, NotBelieved) as error:
            raise ProviderRefused(str(error)) from None
        finally:
            self._waiting -= 1


async def _awaited(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


def provider_of(settings: Settings, http: Http | None = None) -> Provider | None:
    """Make the provider that the settings name; None where they name none."""
    if settings.oidc_issuer is None:
        return None
    oauth2 = OAuth2(
        issuer=settings.oidc_issuer,
        grant="authorization_code",
        client_id=settings.oidc_client_id,
        client_secret=Secret(file=settings.oidc_client_secret) if settings.oidc_client_secret else None,
        scope=settings.oidc_scope,
        ca_file=settings.oidc_ca_file,
        timeout=_TIMEOUT,
    )
    return Provider(oauth2, settings.oidc_title, http=http)
