"""How a request came to us: by which proxy, from whom, under which path, and whether anybody could listen on the way.

What proxies say (X-Forwarded-For, -Proto, -Host, -Prefix, and the name of a person who is signed in there) holds only
where it comes from a network that EMAIL_ROUTER_TRUSTED_PROXIES names; from elsewhere it is as if it were not there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network

_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_NAMED: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::[0-9]*)?")

CANNOT_BE: Final = (
    "Passwords, tokens and mail do not go over a network in the clear: use https, by a proxy with TLS that sends "
    "X-Forwarded-Proto and whose network EMAIL_ROUTER_TRUSTED_PROXIES names; or, on this machine or through a tunnel, "
    "http://localhost."
)
"""Why a request is refused that anybody could have listened to."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """The networks of proxies that are trusted, and the header in which they name who is signed in there."""

    networks: Sequence[Network] = ()
    person: str | None = None

    def trusts(self, address: str | None) -> bool:
        """Whether a proxy is there."""
        parsed = _address(address)
        return parsed is not None and any(parsed in network for network in self.networks)


class Forwarded:
    """An application that sees requests as the browser made them.

    `scope["state"]["proxy_person"]` is the name of the person who is signed in at the proxy, or None.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            names = {name for name, _ in scope["headers"]}
            if {b"content-length", b"transfer-encoding"} <= names:
                # A proxy may have gone by the one where we go by the other, and what one of them takes for the body is
                # a request to the other, of whoever comes next (RFC 9112 §6.3).
                words = "a body has Content-Length or Transfer-Encoding, not both\n"
                await PlainTextResponse(words, 400, headers={"Connection": "close"})(scope, receive, send)
                return
            scope = self._seen(scope)
        await self._app(scope, receive, send)

    def _seen(self, scope: Scope) -> Scope:
        state = {**scope.get("state", {}), "proxy_person": None}
        scope = {**scope, "state": state}
        peer = scope["client"][0] if scope.get("client") else None
        if not self._proxies.trusts(peer):
            return scope
        headers = Headers(scope=scope)
        if self._proxies.person is not None:
            # Of two names one is what a client says, which the proxy should have taken out.
            [named, *others] = headers.getlist(self._proxies.person) or [""]
            state["proxy_person"] = named if named and not others else None
        scheme = _last(headers, "x-forwarded-proto").lower()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        host = _last(headers, "x-forwarded-host")
        if _HOST.fullmatch(host):
            kept = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"] = [(b"host", host.encode()), *kept]
        scope["client"] = (self._client(headers, peer), 0)
        prefix = headers.get("x-forwarded-prefix", "").rstrip("/")
        if _PREFIX.fullmatch(prefix) and ".." not in prefix:
            scope["root_path"] = prefix
            # Some proxies take it off the path, and some leave it there.
            if not (scope["path"] + "/").startswith(prefix + "/"):
                scope["path"] = prefix + scope["path"]
        return scope

    def _client(self, headers: Headers, peer: str | None) -> str | None:
        """The last address that no trusted proxy of ours has: those before it are whatever a client says."""
        said = [one.strip() for line in headers.getlist("x-forwarded-for") for one in line.split(",")]
        client = peer
        for one in reversed(said):
            parsed = _address(one)
            if parsed is None:
                break
            client = str(parsed)
            if not self._proxies.trusts(client):
                break
        return client


class Private:
    """An application that serves nobody whom others could listen to."""

    def __init__(self, app: ASGIApp, *, as_json: bool = False) -> None:
        self._app = app
        self._as_json = as_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not is_private(scope):
            await self._refusal()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self) -> Response:
        headers = {"Cache-Control": "no-store"}
        if not self._as_json:
            return PlainTextResponse(CANNOT_BE + "\n", 403, headers=headers)
        problem = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": CANNOT_BE}
        return JSONResponse(problem, 403, headers=headers, media_type="application/problem+json")


def is_private(scope: Scope) -> bool:
    """Whether nobody could listen: by TLS, or since the browser speaks to its own machine, or to a tunnel's end there.

    Who is named localhost is asked, not where the connection comes from: it comes through a tunnel, or a container's
    network. And a page from elsewhere, whose name was made to mean this machine, does not get at us.
    """
    if scope["scheme"] == "https":
        return True
    host = Headers(scope=scope).get("host", "")
    named = _NAMED.fullmatch(host)
    name = named[1].strip("[]").lower() if named else ""
    parsed = _address(name)
    return name == "localhost" or name.endswith(".localhost") or (parsed is not None and parsed.is_loopback)


def _last(headers: Headers, name: str) -> str:
    """What the proxy next to us says."""
    values = headers.getlist(name)
    return values[-1].rpartition(",")[2].strip() if values else ""


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        # The zone of an address is this machine's, or a proxy's, alone: no database knows it.
        parsed = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
