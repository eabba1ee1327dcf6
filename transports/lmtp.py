"""LMTP in: a mail server delivers to us, over the network or a Unix socket, and hears of each recipient by itself.

RFC 2033.
"""

import re
from collections.abc import Sequence
from typing import Self

from aiosmtpd.lmtp import LMTP
from pydantic import Field, field_validator, model_validator

from transports._listener import listener_kind
from transports._listener.address import Address, Inet, Unix
from transports._listener.conversation import Conversation, one_line
from transports._listener.settings import MailListenerSettings
from transports.base import Acceptance

_MODE = re.compile(r"0?[0-7]{3}")


class LmtpConversation(Conversation, LMTP):
    """A conversation in LMTP."""

    @staticmethod
    def reply(answers: Sequence[Acceptance]) -> str:
        """Answer for each recipient, in a line of its own (RFC 2033 §4.2)."""
        return "\r\n".join(map(one_line, answers))


class LmtpListenerSettings(MailListenerSettings):
    """A listener, to which a mail server delivers; at a Unix socket, its permissions say who may."""

    listen: str = Field(description='address to listen at: "unix:/run/email-router/lmtp" or "127.0.0.1:2424"')
    mode: str = Field("0660", description="permissions of the Unix socket; who may write to it may hand over mail")
    group: str | None = Field(None, description='group of the Unix socket, such as "postfix"; by default the router\'s')

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        _parse(listen, 0, None)
        return listen

    @field_validator("mode")
    @classmethod
    def _is_mode(cls, mode: str) -> str:
        if not _MODE.fullmatch(mode):
            raise ValueError('must be three octal digits, such as "0660"')
        return mode

    @model_validator(mode="after")
    def _is_told_who_may_connect(self) -> Self:
        if self.listen.startswith("unix:"):
            if "clients" in self.model_fields_set:
                raise ValueError("clients means nothing at a Unix socket: mode and group say who may connect")
        elif said := {"mode", "group"} & self.model_fields_set:
            raise ValueError(
                f"{min(said)} is for a Unix socket: at an address of the network, clients says who may connect"
            )
        return self

    @property
    def where(self) -> str:
        """Where it listens; a Unix socket needs no TLS."""
        return self.listen if self.listen.startswith("unix:") else super().where

    @property
    def listen_address(self) -> Address:
        """Where it listens."""
        return _parse(self.listen, int(self.mode, 8), self.group)


def _parse(listen: str, mode: int, group: str | None) -> Address:
    return Unix.parse(listen, mode, group) if listen.startswith("unix:") else Inet.parse(listen)


INCOMING = listener_kind("lmtp", LmtpListenerSettings, LmtpConversation)
