"""Mail with HTML, pictures and files, brought in without a mail server, as pages show it."""

from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from uuid import UUID, uuid4

from router.decide import decide_batch
from router.model import Rule
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.incoming.registry import Source, register
from tests.support.build import copy

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003010100"
    "c9fe92ef0000000049454e44ae426082"
)
"""A picture of one pixel."""

Part = tuple[str, str, bytes, str | None]
"""A part of a message: file name, media type, content, and Content-ID where it is inline."""


def html_mail(html: str, parts: Sequence[Part] = (), subject: str = "Offer", text: str = "Hello") -> bytes:
    """Write a message with HTML, and what came with it."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = "Lena Kestrel <lena@kestrel.test>"
    mail["To"] = "anna@in.test"
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{uuid4()}@kestrel.test>"
    mail.set_content(text)
    mail.add_alternative(html.encode(errors="replace").decode(), subtype="html", cte="base64")
    for filename, media_type, content, content_id in parts:
        kind, _, subtype = media_type.partition("/")
        mail.add_attachment(
            content, kind, subtype, filename=filename, disposition="inline" if content_id else "attachment",
            cid=f"<{content_id}>" if content_id else None,
        )  # fmt: skip
    return mail.as_bytes()


async def bring_in(database: Database, owner_id: UUID, mailbox: str, raws: Sequence[bytes]) -> list[UUID]:
    """Promote messages that lie in a mailbox; the ids of their emails."""
    source = Source("staff", mailbox, f"imap:{mailbox}", "INBOX", owner_id, "all")
    source_id = (await register(database, [source]))[source]
    copies = [replace(copy(raw, Rule.ALL, owner_id), source_id=source_id) for raw in raws]
    decisions = await inbox.promote(database, Batch(copies), decide_batch)
    return [decision.email_id for decision in decisions if decision.email_id]
