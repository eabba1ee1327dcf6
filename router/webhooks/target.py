"""Where a webhook may be: what an administrator can mean, and not what somebody else has a name point to.

A CRM is often in a private network, so that is allowed. This machine is where the URL says so, and no name leads
there; addresses where clouds tell machines their secrets, link-local ones above all, are nobody's CRM. An address of
IPv6 in which one of IPv4 is written (mapped, NAT64, 6to4, Teredo) leads to that one, and is judged by it, too.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
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
    faults = (_fault_of(host, found, address) for address in _addresses(found))
    return next((fault for fault in faults if fault is not None), None)


def _fault_of(host: str, found: str, address: IPv4Address | IPv6Address) -> str | None:
    if address.is_loopback:
        return None if is_here(host) else f"{host} is an address of this machine ({found})"
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _SECRETS:
        return f"{host} is no address of a CRM ({found})"
    return None


_SECRETS: Final = frozenset(
    ip_address(one)
    for one in (
        "fd00:ec2::254",  # Amazon's metadata
        "fd00:ec2::23",  # credentials of its containers
        "fd20:ce::254",  # Google's metadata
        "100.100.100.200",  # Alibaba's
        "192.0.0.192",  # Oracle's, of old machines
        "168.63.129.16",  # Azure's
    )
)
"""Where clouds tell machines their secrets beyond link-local addresses."""

_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_COMPATIBLE: Final = (IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))  # RFC 4291 §2.5.5.1, RFC 2765 §2.1
_LOWER_32_BITS: Final = 0xFFFFFFFF


def _addresses(text: str) -> list[IPv4Address | IPv6Address]:
    """Read an address, and those of IPv4 that are written in it; none where it is a name."""
    address = _address(text)
    if address is None:
        return []
    found: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address):
        if any(address in network for network in (*_NAT64, *_COMPATIBLE)) and not _is_plain(address):
            found.append(IPv4Address(int(address) & _LOWER_32_BITS))
        found += [one for one in (address.sixtofour, *(address.teredo or ())) if one is not None]
    return found


def _is_plain(address: IPv6Address) -> bool:
    """Whether it is :: or ::1, in which no other is written."""
    return address.is_unspecified or address.is_loopback


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
