"""Webhooks: subscribers who are told of events; added, listed, paused, resumed, replayed and removed."""

import re
from collections.abc import Collection, Sequence
from typing import Final

from router.errors import UnknownName
from router.model.event import BEGINNING, KINDS, Place
from router.model.webhook import ROUTER, Webhook
from router.operations.backing import Conflict, Refused, Vault
from router.operations.words import count
from router.repository.api import webhooks
from router.repository.database import Database
from router.webhooks import target
from router.webhooks.sign import new_secret
from transports.errors import TransportError

__all__ = [
    "BEGINNING",
    "KINDS",
    "Place",
    "Webhook",
    "add",
    "fault_words",
    "find",
    "list_all",
    "missed_words",
    "pause",
    "place_of",
    "remove",
    "replay",
    "resume",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CURSOR: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,18})")  # what xid8 and bigint can hold in any case


def place_of(cursor: str) -> Place | None:
    """Read a cursor of events. Raises Refused; None for `now`, BEGINNING for `beginning`."""
    if cursor == "now":
        return None
    if cursor == "beginning":
        return BEGINNING
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise Refused("it is no cursor of events: hand it back as it came, or write beginning or now")
    return Place(int(match[1]), int(match[2]))


async def add(
    database: Database, vault: Vault, url: str, kinds: Collection[str], name: str | None, by: str, *, here: bool
) -> tuple[str, str]:
    """Add a webhook from now on; return its name and its secret, which is known nowhere else.

    `kinds`: none are all. `here`: it may be on this machine. Raises Refused, or Conflict where the name is taken.
    """
    try:
        host = target.check(url)
    except ValueError as error:
        raise Refused(str(error)) from None
    if not here and target.is_here(host):
        raise Refused('a webhook of this machine is added on it: "email-router webhooks add"')
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise Refused(f"there is no kind {', '.join(unknown)}; there are {', '.join(KINDS)}")
    name = name or host.replace(":", "-").strip("-._")[:64]
    if not _NAME.fullmatch(name):
        raise Refused(f"{name!r} is no name of a webhook: up to 64 of a-z, A-Z, 0-9, '.', '_' and '-'")
    secret = new_secret()
    try:
        sealed = vault.encrypt(secret.encode())
    except TransportError as error:
        raise Refused(str(error)) from None
    chosen = [kind for kind in KINDS if kind in kinds]
    added = await webhooks.add(database, name, url, chosen, sealed, by)
    if added is None:
        raise Refused(f"there are {webhooks.MOST} webhooks already: remove those that nobody needs")
    if not added:
        raise Conflict(f"there is a webhook {name}: remove it first, or choose another name")
    return name, secret


async def list_all(database: Database) -> Sequence[Webhook]:
    """List all webhooks, by name."""
    return await webhooks.list_all(database)


async def find(database: Database, name: str) -> Webhook:
    """Find a webhook. Raises UnknownName."""
    found = await webhooks.find(database, name)
    if found is None:
        raise UnknownName(f"there is no webhook {name}")
    return found


async def remove(database: Database, name: str, by: str) -> None:
    """Remove a webhook: it is told nothing any more. Raises UnknownName."""
    _known(await webhooks.remove(database, name, by), name)


async def pause(database: Database, name: str, by: str) -> Webhook:
    """Pause a webhook: what happens waits for it, as long as events are kept. Raises UnknownName."""
    _known(await webhooks.pause(database, name, by), name)
    return await find(database, name)


async def resume(database: Database, name: str, by: str) -> Webhook:
    """Have a webhook told at once from where it stands. Raises UnknownName."""
    _known(await webhooks.resume(database, name, by), name)
    return await find(database, name)


async def replay(database: Database, name: str, after: Place | None, by: str) -> Webhook:
    """Have a webhook told, at once, what came after a place; None: only what comes from now on. Raises UnknownName."""
    _known(await webhooks.replay(database, name, after, by), name)
    return await find(database, name)


def missed_words(one: Webhook) -> str:
    """Put into words that events were pruned before a webhook was told of them."""
    events = count(one.missed, "event")
    return f"{events} came and were pruned (EMAIL_ROUTER_KEEP_EVENTS) before it was told of them"


def fault_words(one: Webhook) -> str | None:
    """Put into words what is wrong with a webhook, if anything is; that a person paused it is not."""
    if one.paused_by == ROUTER:
        return f"paused after {count(one.failures, 'failure')} in a row: {one.fault}"
    if one.paused_at is None and one.fault is not None:
        return one.fault
    return missed_words(one) if one.missed else None


def _known(found: object, name: str) -> None:
    if not found:
        raise UnknownName(f"there is no webhook {name}")
