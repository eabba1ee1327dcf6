"""Tokens of the API: made for a program, shown once, listed, ended, and recognized with each request."""

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from router.errors import RouterError, UnknownName
from router.repository.api import staff_tokens
from router.repository.api.staff_tokens import StaffToken
from router.repository.database import Database

__all__ = ["MOST_DAYS", "SCOPES", "StaffToken", "end", "list_all", "make", "recognize"]

SCOPES: Final[Mapping[str, str]] = {
    "audit:read": "see who did what",
    "emails:read": "read emails, and what became of them",
    "emails:raw": "fetch received emails as they came, headers and all; each is in the audit log",
    "emails:send": "send emails, and cancel and release them",
    "events:read": "follow what happens",
    "letters:read": "see held mail and dead letters, and why they wait",
    "letters:decide": "release, replay and drop them",
    "owners:read": "see owners, and the profiles that serve them",
    "owners:manage": "approve owners, set their rules, and try others",
    "records:read": "find and read records, and their addresses",
    "records:write": "make and change records, and their addresses",
    "status:read": "see how sources and relays are",
    "unresolved:read": "see who waits to be named, and what was ruled",
    "unresolved:decide": "rule who a sender is, and undo that",
    "webhooks:read": "see webhooks, and how far each has come",
    "webhooks:manage": "add, pause, resume, replay and remove webhooks, which are told all events",
}
"""What a token can allow."""

MOST_DAYS: Final = 3660
"""Days that a token lasts, at most."""

_PREFIX: Final = "ert_"  # by which a token is found where it was left by mistake
_TOKEN: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


async def make(database: Database, name: str, scopes: Collection[str], lasts: timedelta) -> str:
    """Make a token, and return it: it is known nowhere else. Raises RouterError for what cannot be."""
    if not _NAME.fullmatch(name):
        raise RouterError(f"{name!r} is no name of a token: up to 64 of a-z, A-Z, 0-9, '.', '_' and '-'")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise RouterError(f"there is no scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    if not scopes:
        raise RouterError(f"a token needs a scope: {', '.join(SCOPES)}")
    token = _PREFIX + secrets.token_urlsafe(32)
    if await staff_tokens.add(database, _digest(token), name, scopes, lasts) is None:
        raise RouterError(f'there is a token {name}, and it is valid: end it first by "email-router staff end {name}"')
    return token


async def list_all(database: Database) -> Sequence[StaffToken]:
    """List all tokens, those that are valid first."""
    return await staff_tokens.list_tokens(database)


async def end(database: Database, name: str) -> None:
    """End the valid token of this name. Raises UnknownName."""
    if not await staff_tokens.end(database, name):
        raise UnknownName(f"there is no valid token {name}")


async def recognize(database: Database, token: str) -> StaffToken | None:
    """Find whose token this is; None where it is none, was ended, or has expired.

    It is looked up by its hash, so how long that takes tells nothing of the tokens that there are.
    """
    if not _TOKEN.fullmatch(token):
        return None
    found = await staff_tokens.find(database, _digest(token))
    return found if found is not None and found.is_valid else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
