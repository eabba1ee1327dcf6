"""Where the demo's outgoing mail ends: an SMTP server on loopback that keeps each message as an .eml file."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path
from typing import Self, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

_REFUSED = re.compile(r"gone\b", re.IGNORECASE)


class Capture:
    """`async with Capture(folder) as capture`: takes mail at 127.0.0.1, `capture.port`; refuses `gone@` anywhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    def _talk(self) -> SMTP:
        return SMTP(self, enable_SMTPUTF8=True, ident="the demo's capture server", loop=asyncio.get_running_loop())

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, recipient: str, options: Sequence[str]
    ) -> str:
        """Refuse who is gone, so that there is something that fails."""
        if _REFUSED.match(recipient):
            return f"550 5.1.1 <{recipient}>: nobody of this name works here any more"
        envelope.rcpt_tos.append(recipient)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Keep the message before it is answered for."""
        await asyncio.to_thread(self._keep, cast("bytes", envelope.content))
        return "250 2.0.0 kept by the demo's capture server"

    def _keep(self, content: bytes) -> None:
        """Write the message under its time and subject; what is there already is never overwritten."""
        subject = str(make_header(decode_header(message_from_bytes(content).get("Subject", ""))))
        slug = re.sub(r"[^\w]+", "-", subject)[:60].strip("-")
        stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{slug}"
        for number in range(1, 1000):
            path = self.folder / (f"{stem}.eml" if number == 1 else f"{stem}-{number}.eml")
            try:
                with path.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                continue
            return
        raise FileExistsError(str(self.folder / stem))
