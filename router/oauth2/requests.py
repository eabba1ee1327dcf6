"""Has a token by HTTP: the secrets are read, the endpoints found, the request sent, and its answer read."""

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from typing import Final

from router import metrics
from router.http import Answer, Http
from router.oauth2.assertion import account_assertion, client_assertion
from router.oauth2.discovery import Endpoints, endpoints_of
from router.oauth2.exchange import Granted, Refused, Request, device_request_of, read_answer, request_of
from transports import OAuth2
from transports.errors import Permanent, Temporary, Unreachable

_KNOWN_FOR: Final = 3600.0  # seconds for which an issuer's endpoints are not asked again


@dataclass(frozen=True, slots=True)
class Material:
    """What a request is made of: a hash of profile and secrets, and the refresh token to begin with, with its hash."""

    made_of: str
    refresh_token: str | None = field(default=None, repr=False)
    seed: str = ""


def read_material(oauth2: OAuth2) -> Material:
    """Read all secrets of a profile now; blocking. Raises NoSecret, and Permanent for a certificate."""
    settings = oauth2.model_dump(mode="json", exclude={"timeout", "client_secret_expires"})
    secrets = [one.reveal() for one in (oauth2.client_secret, oauth2.service_account) if one is not None]
    certificate = oauth2.client_certificate
    if certificate is not None:
        try:
            secrets += [
                hashlib.sha256(path.read_bytes()).hexdigest() for path in (certificate.file, certificate.key) if path
            ]
        except OSError as error:
            raise Permanent(f"the client certificate {certificate.file} cannot be read: {error.strerror}") from None
    first = oauth2.refresh_token.reveal() if oauth2.refresh_token is not None else None
    return Material(_hash(json.dumps([settings, secrets, first])), first, _hash(first or ""))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class TokenServers:
    """The token servers of all profiles, over one HTTP client."""

    def __init__(self, http: Http | None = None) -> None:
        self.http = http or Http()
        self._endpoints: dict[tuple[object, ...], tuple[float, Endpoints]] = {}

    async def endpoints(self, oauth2: OAuth2) -> Endpoints:
        """Name the endpoints; those of an issuer are remembered for an hour. Raises Temporary, Permanent."""
        key = (oauth2.issuer, oauth2.token_url, oauth2.provider, oauth2.tenant)
        known = self._endpoints.get(key)
        if known is None or time.monotonic() > known[0]:
            known = time.monotonic() + _KNOWN_FOR, await endpoints_of(oauth2, self.http)
            self._endpoints[key] = known
        return known[1]

    async def ask(self, oauth2: OAuth2, mailbox: str, refresh_token: str | None) -> Granted:
        """Ask for a token, once, within the profile's `timeout`. Raises Refused, Temporary, Permanent, NoSecret."""
        try:
            async with asyncio.timeout(oauth2.timeout):
                grant: dict[str, str] = {}
                if oauth2.effective_grant == "jwt_bearer":
                    url = (await self.endpoints(oauth2)).token_url
                    grant["assertion"] = await asyncio.to_thread(account_assertion, oauth2, mailbox, url)
                elif refresh_token is not None:
                    grant["refresh_token"] = refresh_token
                granted = await self._ask(oauth2, grant)
        except TimeoutError:
            metrics.tokens.request_ended("away")
            raise _silent(oauth2) from None
        except Refused as refused:
            metrics.tokens.request_ended("away" if refused.cause.kind == "temporary" else "refused")
            raise
        except Temporary:
            metrics.tokens.request_ended("away")
            raise
        metrics.tokens.request_ended("granted")
        return granted

    async def redeem(self, oauth2: OAuth2, **grant: str) -> Granted:
        """Ask, as `ask` does, for the tokens of a person's login; `grant` is what `request_of` takes for it.

        What they last counts from now.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(oauth2.timeout):
                granted = await self._ask(oauth2, grant)
        except TimeoutError:
            raise _silent(oauth2) from None
        return replace(granted, lasts=granted.lasts - (time.monotonic() - began))

    async def _ask(self, oauth2: OAuth2, grant: dict[str, str]) -> Granted:
        endpoints = await self.endpoints(oauth2)
        request = request_of(oauth2, endpoints, **await _client_authentication(oauth2, endpoints), **grant)
        return read_answer(await self._post(oauth2, request), request, oauth2, oauth2.effective_grant)

    async def begin_on_device(self, oauth2: OAuth2) -> tuple[Request, Answer]:
        """Ask for a code that a person types on another device. Raises Temporary, Permanent, NoSecret."""
        endpoints = await self.endpoints(oauth2)
        request = device_request_of(oauth2, endpoints, **await _client_authentication(oauth2, endpoints))
        return request, await self._post(oauth2, request)

    async def _post(self, oauth2: OAuth2, request: Request) -> Answer:
        return await self.http.post(
            request.url, request.form, request.headers, ca_file=oauth2.ca_file, timeout=oauth2.timeout
        )


async def _client_authentication(oauth2: OAuth2, endpoints: Endpoints) -> dict[str, str]:
    """Have what authenticates the application: its secret, or an assertion signed with its certificate."""
    if oauth2.client_secret is not None:
        return {"secret": await asyncio.to_thread(oauth2.client_secret.reveal)}
    if oauth2.client_certificate is not None:
        return {"client_assertion": await asyncio.to_thread(client_assertion, oauth2, endpoints.token_url)}
    return {}


def _silent(oauth2: OAuth2) -> Unreachable:
    return Unreachable(f"{oauth2.where} did not answer within {oauth2.timeout:g} s")
