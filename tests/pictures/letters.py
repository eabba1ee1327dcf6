"""The people of the pictures, and what they write: all invented. The sample CRM is that of a bicycle maker."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

OWNERS: Final = {"anna": ("user", "Anna Berg"), "sales": ("queue", "Sales"), "support": ("queue", "Support")}
"""Whose mailboxes are read: the name before the @ of velo.example, the kind of record and its name."""

RECORDS: Final = (
    ("account", "Kestrel Tours", "info@kestrel.example"),
    ("account", "Heron Logistics", "office@heron.example"),
    ("contact", "Lena Kestrel", "lena@kestrel.example"),
    ("contact", "Karl Heron", "karl@heron.example"),
    ("contact", "Greta Wren", "greta@wren.example"),
)
"""Whom the CRM knows: kind, name and address."""

FOLDER: Final = "{name}/Maildir"


@dataclass(frozen=True)
class Letter:
    """A message to one of the owners, that came so many minutes ago."""

    ago: int
    to: str
    sender: str
    subject: str
    text: str
    file: tuple[str, int] | None = None
    bulk: bool = False


_KESTREL: Final = """\
Dear Anna,

Thursday suits us. Could you tell me the carrier, and whether all twelve
frames come in one box? I have put the delivery note below.

Best regards,
Jo

On Mon, 2 Nov 2026 at 16:05, Anna Berg <anna@velo.example> wrote:
> Dear Jo,
>
> the frames leave us on Thursday.
>
> Anna

-- 
Jo Marsh
Purchasing
Kestrel Tours Ltd
"""  # noqa: W291  # a signature begins so

_SANDPIPER: Final = """\
Good morning,

we are a new tour operator on the coast and need 40 touring bikes by May.
What would you charge?

Kind regards,
Ida Sandpiper

Sandpiper Coast Tours GmbH
"""

LETTERS: Final[Sequence[Letter]] = (
    Letter(
        4, "anna", "Jo Marsh <jo.marsh@kestrel.example>", "Frames for the spring season", _KESTREL, ("note.pdf", 88)
    ),
    Letter(190, "anna", "Jo Marsh <jo.marsh@kestrel.example>", "Color of the frames", "Blue, please.\n\nJo"),
    Letter(55, "sales", "Lena Kestrel <lena@kestrelmail.example>", "From my other address", "Dear all, …\n\nLena"),
    Letter(38, "anna", "Kestrel Accounts <accounts@kestrel.example>", "Invoice 118 again, please", "Please resend it."),
    Letter(12, "sales", "Ida Sandpiper <ida@sandpiper.example>", "Offer for 40 touring bikes?", _SANDPIPER),
    Letter(21, "sales", "Emil Sandpiper <emil@sandpiper.example>", "With e-drive, please", "I forgot.\n\nEmil"),
    Letter(95, "support", "Wilma Whinchat <wilma@whinchat.example>", "Gears that slip", "They still do.\n\nWilma"),
    Letter(1700, "support", "Wilma Whinchat <wilma@whinchat.example>", "Gears that slip", "They slip.\n\nWilma"),
    Letter(130, "sales", "Birgit Heron <birgit@heron.example>", "Delivery note", "See the file.", ("note.pdf", 9)),
    Letter(260, "sales", "Łucja Żuraw <lucja@zuraw.example>", "Zamówienie nr 4471", "Dzień dobry, …\n\nŁucja"),
    Letter(310, "support", "Dr. Fritz Fulmar <fritz@fulmar.example>", "Bikes for our staff", "Do you lease?\n\nFulmar"),
    Letter(420, "support", "Petra Plover <petra@plover.example>", "Photos of the fork", "Broken.", ("fork.jpg", 240)),
    Letter(500, "sales", "Ελένη Ερωδιού <eleni@erodios.example>", "Προσφορά για ποδήλατα", "…\n\nΕλένη"),
    Letter(75, "sales", "Bike World <news@letters.example>", "Twelve rides for the winter", "Ride on.", bulk=True),
    Letter(30, "anna", "Lena Kestrel <lena@kestrel.example>", "Spring season", "Jo will write to you.\n\nLena"),
)


def write(folder: Path) -> None:
    """Put each letter into its Maildir below `folder`, with the time at which it came."""
    now = datetime.now(UTC)
    for name in OWNERS:
        for part in ("new", "cur", "tmp"):
            (folder / FOLDER.format(name=name) / part).mkdir(parents=True)
    for number, letter in enumerate(LETTERS):
        at = now - timedelta(minutes=letter.ago)
        path = folder / FOLDER.format(name=letter.to) / "new" / f"{at.timestamp():.0f}.{number}.velo"
        path.write_bytes(_message(letter, at, number).as_bytes())
        os.utime(path, (at.timestamp(), at.timestamp()))


def _message(letter: Letter, at: datetime, number: int) -> EmailMessage:
    message = EmailMessage()
    message["Authentication-Results"] = "mx.velo.example; dmarc=pass header.from=" + letter.sender.split("@")[1].strip(
        ">"
    )
    message["From"], message["To"] = letter.sender, f"{letter.to}@velo.example"
    message["Subject"], message["Date"] = letter.subject, format_datetime(at)
    message["Message-ID"] = f"<{number}@pictures.example>"
    if letter.bulk:
        message["List-Unsubscribe"], message["Precedence"] = "<https://letters.example/u>", "bulk"
    message.set_content(letter.text)
    if letter.file:
        name, size = letter.file
        message.add_attachment(b"%PDF-1.4\n".ljust(size * 1000), "application", "pdf", filename=name)
    return message
