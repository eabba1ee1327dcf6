"""Why mail is in the CRM or is not, as a person asks on a page: of the mail that the person may see, and no other."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from router.errors import UnknownName
from router.model import normalize
from router.model.viewer import Viewer
from router.operations import explain, trace
from router.operations.backing import Backing, Refused
from router.operations.explain import Origin
from router.operations.trace import Sought, Traced, Within

__all__ = ["EMAILS", "Known", "Origin", "Why", "find"]

EMAILS: Final = 20
"""Emails that are found at most."""

_READING: Final = 3.0  # seconds in which held and dead mail is read, to tell whether it is what was sought


@dataclass(frozen=True, slots=True)
class Known:
    """What a person knows of a message, as typed; empty where nothing is known. `days` is how far back it may be."""

    message_id: str = ""
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    email: str = ""
    days: int = 7

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to look for."""
        return not any((self.message_id, self.sender, self.recipient, self.subject, self.email))


@dataclass(frozen=True, slots=True)
class Why:
    """What was found, and of each email who decided that it is there; an email that was just erased has no origin."""

    traced: Traced
    origins: dict[UUID, Origin]


async def find(backing: Backing, viewer: Viewer, known: Known) -> Why:
    """Look for mail in the CRM; where there is none, tell what is known of the mailboxes it would be in.

    Raises Refused for what cannot be looked for.
    """
    within = Within(None if viewer.sees_all else viewer.owners, private_subjects=False)
    database, settings = backing.database, backing.settings
    sought = _sought(known)
    kept_for = timedelta(days=settings.keep_decisions)
    traced = await trace.trace(
        database, backing.lease, settings.profiles, sought, kept_for=kept_for, limit=EMAILS, why=False, anywhere=True,
        within=within,
    )  # fmt: skip
    if not traced.emails:
        with suppress(TimeoutError):
            async with asyncio.timeout(_READING):
                traced = await trace.look_into_letters(database, backing.workers, traced)
    return Why(traced, {one.id: one for one in await _origins(backing, traced, within)})


async def _origins(backing: Backing, traced: Traced, within: Within) -> Sequence[Origin]:
    if len(traced.emails) > 1 and not traced.sought.message_id:
        return []  # a list: one of them is looked at next
    found = []
    for one in traced.emails:
        with suppress(UnknownName):  # erased at this moment
            found.append(await explain.origin(backing.database, one.id, within))
    return found


def _sought(known: Known) -> Sought:
    message_id = known.message_id.strip().removeprefix("<").removesuffix(">").strip()
    try:
        email_id = UUID(known.email) if known.email else None
    except ValueError:
        raise Refused(f"{known.email!r} is no number of an email") from None
    exact = bool(message_id or email_id)
    return Sought(
        _address(known.sender) if known.sender else "",
        _address(known.recipient) if known.recipient else "",
        tuple(known.subject.split()),
        message_id,
        email_id,
        None if exact else datetime.now(UTC) - timedelta(days=known.days),
    )


def _address(written: str) -> str:
    local, at, domain = written.strip().rpartition("@")
    if not at or not domain or " " in local:
        raise Refused(f"{written!r} is no address: write ann@example.com, or @example.com for a whole domain")
    return normalize(written)
