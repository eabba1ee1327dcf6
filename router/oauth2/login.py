"""A person logs in once: in a browser (RFC 6749 §4.1 with PKCE, RFC 7636), or on another device (RFC 8628).

login = await begin(servers, oauth2, redirect_uri)   # show login.url
granted = await finish(servers, oauth2, login, address that the browser was sent to)
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

from oauthlib.oauth2 import WebApplicationClient

from router.http import Answer, server_of
from router.oauth2.causes import cause_of
from router.oauth2.exchange import Granted, Refused, Request, on_one_line, said_of
from router.oauth2.requests import TokenServers
from transports import OAuth2
from transports.errors import Permanent, Temporary, Unauthorized

_INTERVAL: Final = 5.0  # seconds between two questions (RFC 8628 §3.2), and what slow_down adds to them (§3.5)
_LONGEST: Final = 1800.0  # seconds that a device's code is waited for, whatever the server says
_GRANT: Final = "authorization_code"


@dataclass(frozen=True, slots=True)
class BrowserLogin:
    """A login that began: the person opens `url`, and the browser is sent to `redirect_uri` with a code."""

    url: str
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceLogin:
    """A login on another device: the person opens `url` and types `user_code`; durations are in seconds."""

    url: str
    user_code: str = field(repr=False)
    device_code: str = field(repr=False)
    interval: float
    lasts: float


async def begin(servers: TokenServers, oauth2: OAuth2, redirect_uri: str) -> BrowserLogin:
    """Say where a person logs in. Raises Temporary, and Permanent where the provider names no such page."""
    page = (await servers.endpoints(oauth2)).authorization_url
    if page is None:
        raise Permanent(f"{oauth2.where} names no page to log in at: set authorization_url, or log in by --device")
    client = WebApplicationClient(oauth2.client_id or "")
    verifier = client.create_code_verifier(64)
    state = secrets.token_urlsafe(32)
    query = {
        "response_type": "code",
        "client_id": oauth2.client_id or "",
        "redirect_uri": redirect_uri,
        "scope": oauth2.effective_scope,
        "state": state,
        "code_challenge": client.create_code_challenge(verifier, "S256"),
        "code_challenge_method": "S256",
    }
    if oauth2.provider == "google":  # gives a refresh token only if asked so
        query |= {"access_type": "offline", "prompt": "consent"}
    return BrowserLogin(f"{page}{'&' if '?' in page else '?'}{urlencode(query)}", redirect_uri, state, verifier)


async def finish(servers: TokenServers, oauth2: OAuth2, login: BrowserLogin, address: str) -> Granted:
    """Have the tokens for what the browser came back with.

    Raises Refused, Temporary, NoSecret; Unauthorized where the person refused; Permanent where it is another login.
    """
    try:
        told = parse_qs(urlsplit(address.strip()).query)
    except ValueError:
        told = {}
    [state, code, error, description] = [
        told.get(name, [""])[0] for name in ("state", "code", "error", "error_description")
    ]
    if not secrets.compare_digest(state.encode(), login.state.encode()):
        raise Permanent("what came back is not of this login (state differs): begin again, in one browser")
    if error:
        said = on_one_line(f"{error}: {description}" if description else error)
        raise Unauthorized(_refusal(oauth2, error, description, said))
    if not code:
        raise Permanent("what came back has no code: begin again")
    granted = await servers.redeem(oauth2, code=code, redirect_uri=login.redirect_uri, code_verifier=login.verifier)
    return _lasting(granted)


async def begin_on_device(servers: TokenServers, oauth2: OAuth2) -> DeviceLogin:
    """Have a code for a person to type on another device. Raises Temporary, Unauthorized, Permanent."""
    if (await servers.endpoints(oauth2)).device_url is None:
        raise Permanent(f"{oauth2.where} names no address for logins on another device: log in without --device")
    return _device_login(*await servers.begin_on_device(oauth2), oauth2)


async def finish_on_device(
    servers: TokenServers,
    oauth2: OAuth2,
    login: DeviceLogin,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Granted:
    """Ask until the person has logged in, as often as the server allows.

    Raises Refused where the person refused, NoSecret, and Permanent once the code has ended.
    """
    interval, ends = login.interval, clock() + login.lasts
    while clock() + interval < ends:
        await sleep(interval)
        try:
            return _lasting(await servers.redeem(oauth2, device_code=login.device_code))
        except Refused as refused:
            if refused.error == "slow_down":
                interval += _INTERVAL
            elif refused.error == "expired_token":
                break
            elif refused.error != "authorization_pending" and refused.cause.kind != "temporary":
                raise
        except Temporary:
            interval *= 2  # RFC 8628 §3.5, of a server that does not answer
    raise Permanent("nobody logged in before the code ended: begin again")


def _lasting(granted: Granted) -> Granted:
    if granted.refresh_token is None:
        raise Permanent("the provider gave no refresh token: ask for it by scope (offline_access), or allow it there")
    return granted


def _device_login(request: Request, answer: Answer, oauth2: OAuth2) -> DeviceLogin:
    server = server_of(request.url)
    if answer.status == 429 or answer.status >= 500:
        raise Temporary(f"{server} is out of order (HTTP {answer.status})", answer.retry_after)
    try:
        told = json.loads(answer.body)
        if "error" in told:
            error, description = str(told["error"]), str(told.get("error_description") or "")
            raise Unauthorized(_refusal(oauth2, error, description, said_of(answer, request)))
        page = told.get("verification_uri") or told["verification_url"]  # Google's name of it
        interval, lasts = float(told.get("interval") or _INTERVAL), float(told["expires_in"])
        login = DeviceLogin(
            on_one_line(str(page)), on_one_line(str(told["user_code"])), str(told["device_code"]), interval, lasts
        )
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise Permanent(f"what {server} answered (HTTP {answer.status}) begins no login on another device") from None
    if not (1 <= interval <= _LONGEST and lasts > 0):
        raise Permanent(f"{server} begins a login that cannot be waited for")
    return DeviceLogin(login.url, login.user_code, login.device_code, interval, min(lasts, _LONGEST))


def _refusal(oauth2: OAuth2, error: str, description: str, said: str) -> str:
    cause = cause_of(error, description, oauth2.provider, _GRANT)
    return f"{cause.words}: {said}; {cause.cure}"
