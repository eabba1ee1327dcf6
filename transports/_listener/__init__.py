"""What SMTP and LMTP listeners have in common.

    settings ─┬─ listener   takes mail at an endpoint → conversation (one connection) → body
              └─ probe      whether it can listen, or does already

An endpoint is an address (address), a protocol (conversation) and limits (limits).
"""

from collections.abc import AsyncIterator
from typing import TypeVar

from transports._kinds import ListenerKind
from transports._listener.conversation import Conversation
from transports._listener.listener import MailListener, endpoint_of
from transports._listener.probe import probe_listener
from transports._listener.settings import MailListenerSettings
from transports.base import Finding

_Settings = TypeVar("_Settings", bound=MailListenerSettings)


def listener_kind(name: str, settings: type[_Settings], protocol: type[Conversation]) -> ListenerKind[_Settings]:
    """Make a kind of listener of what is its own: its settings, and what is spoken."""

    def open_listener(settings: _Settings) -> MailListener:
        return MailListener(endpoint_of(settings, protocol))

    def probe(settings: _Settings) -> AsyncIterator[Finding]:
        return probe_listener(settings, protocol)

    return ListenerKind(name, settings=settings, open=open_listener, probe=probe)
