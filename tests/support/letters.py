"""Mail as people send it."""

import secrets
from collections.abc import Iterable
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from tests.support.crm import Parcel


def letter(
    sender: str,
    to: str,
    subject: str = "Hello",
    text: str = "Hello.\n",
    *,
    html: str | None = None,
    attachments: Iterable[Parcel] = (),
    **headers: str | None,
) -> bytes:
    """Write a message; further headers by name, with `_` for `-`; None: without it."""
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = new_id()
    for name, value in headers.items():
        header = name.replace("_", "-")
        del message[header]
        if value is not None:
            message[header] = value
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    for parcel in attachments:
        main, _, sub = parcel.media_type.partition("/")
        message.add_attachment(parcel.content, main, sub, filename=parcel.filename)
    return bytes(message)


def new_id() -> str:
    """Make a Message-ID, with its angle brackets."""
    return f"<{secrets.token_hex(8)}@out.test>"
