"""Probes a listener: whether we can listen there, or do already, and who may come."""

import asyncio
from collections.abc import AsyncIterator

from transports._listener.address import Unix
from transports._listener.conversation import IDENT, NOT_A_CLIENT, TOO_MANY, Conversation
from transports._listener.listener import Endpoint, MailListener, endpoint_of
from transports._listener.settings import MailListenerSettings
from transports.base import Finding
from transports.errors import TransportError

_BANNER_TIMEOUT = 5.0  # seconds


async def probe_listener(settings: MailListenerSettings, protocol: type[Conversation]) -> AsyncIterator[Finding]:
    """See `ListenerKind.probe`."""
    try:
        endpoint = endpoint_of(settings, protocol)
    except TransportError as error:
        yield Finding("TLS", "failed", str(error), "are cert_file and key_file right, and may we read them?")
        return
    yield await _bind(endpoint)
    yield _clients(endpoint)


async def _bind(endpoint: Endpoint) -> Finding:
    name = endpoint.address.name
    try:
        async with MailListener(endpoint):
            return Finding("address", "ok", f"{name} is free to listen at; no router does so now")
    except TransportError as error:
        banner = await _banner(endpoint)
        if any(words in banner for words in (IDENT, NOT_A_CLIENT, TOO_MANY)):
            return Finding("address", "ok", f"{name} is served: a router listens there")
        if banner:
            advice = 'choose another address for "listen", or end that program'
            return Finding("address", "failed", f"{error}; it says: {banner}", advice)
        if isinstance(endpoint.address, Unix):
            advice = "does the router's user own the folder, and is the profile's group one of its groups?"
        else:
            advice = (
                'does this machine have the address in "listen", and is the port above 1023 or the router allowed it?'
            )
        return Finding("address", "failed", str(error), advice)


async def _banner(endpoint: Endpoint) -> str:
    """Read what whoever listens there says first."""
    try:
        async with asyncio.timeout(_BANNER_TIMEOUT):
            reader, writer = await endpoint.address.connect()
            try:
                return (await reader.readline()).decode(errors="replace").strip()
            finally:
                writer.close()
    except (OSError, ValueError):
        return ""


def _clients(endpoint: Endpoint) -> Finding:
    address, limits = endpoint.address, endpoint.limits
    if isinstance(address, Unix):
        group = address.group or "the router's group"
        who = {0o002: "every user of this machine", 0o020: f"the router's user and {group}"}
        words = next((words for bit, words in who.items() if address.mode & bit), "only the router's user")
        return Finding("clients", "ok", f"{words} may hand over mail")
    if address.is_local and not any(network.is_loopback for network in limits.clients):
        words = f"nobody may hand over mail: {address.name} is reached only from this machine"
        return Finding("clients", "failed", words, 'add 127.0.0.0/8 to "clients", or leave it out')
    if address.is_local:
        return Finding("clients", "ok", "only programs on this machine reach it")
    allowed = ", ".join(map(str, limits.clients))
    if all(network.is_loopback for network in limits.clients):
        words = f"{address.name} is open to other machines, but only {allowed} may hand over mail"
        return Finding("clients", "warning", words, 'add the networks of your mail servers to "clients"')
    if not limits.require_tls:
        words = f"only {allowed} may hand over mail; it may come in clear text"
        return Finding("clients", "warning", words, 'unless that network is yours alone, say "require_tls = true"')
    return Finding("clients", "ok", f"only {allowed} may hand over mail, over TLS")
