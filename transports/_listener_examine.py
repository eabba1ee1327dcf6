"""Examining a listener: whether we can listen there, or do already, and who may come."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address

from transports._listener import IDENT, NOT_A_CLIENT, Door, MailListener
from transports.base import Finding, TransportError

_BANNER_TIMEOUT = 5.0  # seconds


async def examine_listener(listener: MailListener, door: Door) -> AsyncIterator[Finding]:
    """See `ListenerSettings.examine`."""
    yield await _bind(listener, door)
    yield _clients(door)


async def _bind(listener: MailListener, door: Door) -> Finding:
    try:
        async with listener:
            return Finding("address", "ok", f"{door.name} is free to listen at; no router does so now")
    except TransportError as error:
        banner = await _banner(door)
        if IDENT in banner or NOT_A_CLIENT in banner:
            return Finding("address", "ok", f"{door.name} is served: a router listens there")
        if banner:
            advice = 'choose another port for "listen", or end that program'
            return Finding("address", "failed", f"{error}; it says: {banner}", advice)
        advice = 'does this machine have the address in "listen", and is the port above 1023 or the router allowed it?'
        return Finding("address", "failed", str(error), advice)


async def _banner(door: Door) -> str:
    """Read what whoever listens there says first."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not bound, but looked for
    try:
        async with asyncio.timeout(_BANNER_TIMEOUT):
            reader, writer = await asyncio.open_connection(everywhere.get(door.host, door.host), door.port)
            try:
                return (await reader.readline()).decode(errors="replace").strip()
            finally:
                writer.close()
    except (OSError, ValueError):
        return ""


def _clients(door: Door) -> Finding:
    allowed = ", ".join(map(str, door.clients))
    if ip_address(door.host).is_loopback:
        return Finding("clients", "ok", "only programs on this machine reach it")
    if any(network.prefixlen == 0 for network in door.clients):
        words = f"anybody who reaches {door.name} may hand over mail"
        return Finding("clients", "warning", words, 'write as "clients" only the networks of your mail servers')
    if all(network.is_loopback for network in door.clients):
        words = f"{door.name} is open to other machines, but only {allowed} may hand over mail"
        return Finding("clients", "warning", words, 'add the networks of your mail servers to "clients"')
    return Finding("clients", "ok", f"only {allowed} may hand over mail")
