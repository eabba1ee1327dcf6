"""Where a webhook may be: what an administrator can mean, and not what somebody else has a name point to.

A CRM is often in a private network, so that is allowed. This machine is where the URL says so, and no name leads
there; link-local addresses, where clouds tell machines their secrets, are nobody's CRM.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from router.names import Names

_LONGEST: Final = 2000  # characters of a URL


def check(url: str) -> str:
    """Return the host of a URL that a webhook may have. Raises ValueError, in an administrator's words."""
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > _LONGEST:
        raise ValueError(f"a URL is up to {_LONGEST} ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("a URL is such as https://crm.example.com/email-events")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("a URL has no user, password or fragment here: requests are known by their signature")
    if parts.scheme != "https" and not is_here(host):
        raise ValueError("beyond this machine a URL begins with https://")
    if (fault := _fault(host, host)) is not None:
        raise ValueError(fault)
    return host


def is_here(host: str) -> bool:
    """Whether a host is written as this machine's loopback."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


class Allowed(AbstractResolver):
    """Asks for the addresses of servers, and knows none of those where no webhook may be."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses, each of which may be used. Raises OSError."""
        found = await self._names.resolve(host, port, family)
        for one in found:
            if (fault := _fault(host, one["host"])) is not None:
                raise OSError(None, fault)
        return found

    async def close(self) -> None:
        """Do nothing: the names are shared."""


def _fault(host: str, found: str) -> str | None:
    address = _address(found)
    if address is None:
        return None
    if address.is_loopback:
        return None if is_here(host) else f"{host} is an address of this machine ({found})"
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return f"{host} is no address of a CRM ({found})"
    return None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
