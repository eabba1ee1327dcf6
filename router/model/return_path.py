"""The return path of an outgoing email, to which its reports come (VERP): `bounces+crm-5f…@example.com`.

Its id is that of the attempt, 122 random bits, which stand nowhere else in the message: who writes to that address has
seen the email as its recipients and the mail systems on its way have, and not only an answer that quotes it.
"""

import re
from collections.abc import Container
from typing import Final
from uuid import UUID

from router.model.ids import normalize
from router.model.token import untag

PLACE: Final = "{id}"
"""Where the id stands in the return path of a profile."""

LONGEST_LOCAL: Final = 64
"""Characters before the @ (RFC 5321 §4.5.3.1.1)."""

_ID: Final = re.compile(r"(?<![a-z0-9])crm-([0-9a-f]{32})@", re.IGNORECASE | re.ASCII)
_TAG: Final = re.compile(r"([^@]+)[+=-]crm-[0-9a-f]{32}(@[^@]+)", re.IGNORECASE | re.ASCII)


def return_path(pattern: str, attempt_id: UUID) -> str:
    """Make the return path of one attempt to send."""
    return pattern.replace(PLACE, f"crm-{attempt_id.hex}")


def find_return_id(address: str) -> UUID | None:
    """Find the attempt in the return path of which this is; None: it is another address."""
    found = _ID.search(address)
    return UUID(hex=found[1]) if found else None


def mailbox_of(address: str) -> str:
    """Name the mailbox that mail to this address is for, normalized: without our token, or the id of a return path."""
    return normalize(mailbox_of_return_path(untag(address)[0]))


def without_detail(address: str) -> str | None:
    """Take what follows the first plus off a normalized `ann+news@example.com` (RFC 5233 §1); None: nothing does."""
    local, _, domain = address.rpartition("@")
    user, plus, _ = local.partition("+")
    return f"{user}@{domain}" if user and plus else None


def find_mailbox(mailbox: str, known: Container[str]) -> str:
    """Name the mailbox among those known that mail to a normalized address is for: itself, else without the detail."""
    base = without_detail(mailbox)
    return base if mailbox not in known and base is not None and base in known else mailbox


def mailbox_of_return_path(address: str) -> str:
    """Take the id off `bounces+crm-5f…@example.com`, normalized; any other address comes back unchanged."""
    found = _TAG.fullmatch(address.strip())
    return normalize(found[1] + found[2]) if found else address
