"""The sample messages: files as they could come from anywhere, with fixed Message-IDs and dates."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import aiosmtplib

from router.model import Message
from router.model.mail_address import smtp_address
from router.parse.message import parse

_OURS = "@velo.example"
_MESSAGES = Path(__file__).with_name("messages")
_PLACEHOLDER = re.compile(rb"\{\{([a-z_.]+)\}\}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One message, and to whom of ours it goes."""

    name: str
    content: bytes
    message: Message
    recipients: tuple[str, ...]

    @classmethod
    def of(cls, name: str, content: bytes) -> Self:
        """Read a message as the router will; its recipients are those among its To and Cc that are ours."""
        message = parse(content)
        named = (mention.address for mention in (*message.of("to"), *message.of("cc")))
        return cls(name, content, message, tuple(address for address in named if address.endswith(_OURS)))

    @property
    def blanks(self) -> frozenset[str]:
        """What an answer must take from the email that it answers."""
        return frozenset(name.decode() for name in _PLACEHOLDER.findall(self.content))

    def filled(self, values: Mapping[str, str]) -> "Sample":
        """Fill in the blanks. The key stays as it is: it is made of Message-ID and Date."""
        content = _PLACEHOLDER.sub(lambda match: values[match[1].decode()].encode(), self.content)
        return replace(self, content=content, message=parse(content))

    async def hand_in(self, port: int, recipients: Collection[str]) -> None:
        """Hand the message to the listener, as a mail server would. Raises aiosmtplib.SMTPException, OSError."""
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=30, start_tls=False)
        async with client:
            await client.sendmail(
                smtp_address(self.message.sender or ""),
                [smtp_address(recipient) for recipient in recipients],
                self.content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
            )


def load(folder: str = ".") -> list[Sample]:
    """Read the samples of a folder of messages/, in the order of their numbers."""
    return [Sample.of(path.stem, path.read_bytes()) for path in sorted((_MESSAGES / folder).glob("*.eml"))]
