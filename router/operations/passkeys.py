"""Passkeys (WebAuthn): added by who is signed in, and signed in with, with the authenticator's own check of the person.

They work at one address of the console: browsers bind them to its host, and show what they sign to no other site.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import ModuleType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import structlog

from router.operations import sign_in
from router.operations.backing import Refused
from router.operations.sign_in import Client, SignedIn
from router.repository.database import Database
from router.repository.people import audit_log, passkeys
from router.repository.people import people as accounts
from router.repository.people.passkeys import CHALLENGE_LASTS, Key, Passkey
from router.settings import Settings

__all__ = ["Mine", "Passkey", "Site", "add", "begin", "begin_to_add", "finish", "list_mine", "remove", "site_of"]

MOST: Final = 20
"""Passkeys of one person, at most."""

_LONGEST_NAME: Final = 60  # characters
_TIMEOUT: Final = round(CHALLENGE_LASTS.total_seconds() * 1000)  # milliseconds

_log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """Where passkeys work: the host that they are bound to, and the origin of the console's pages."""

    host: str
    origin: str


@dataclass(frozen=True, slots=True)
class Mine:
    """A person's passkeys; none can be added by whose role follows groups at the provider."""

    passkeys: Sequence[Passkey]
    by_groups: bool


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a browser sent; nothing of it is verified yet."""

    said: dict[str, Any]
    credential_id: bytes
    challenge: bytes


def site_of(settings: Settings) -> Site | None:
    """Say where passkeys work; None where they cannot: they take https, or localhost, and a host that has a name."""
    parts = urlsplit(settings.console_link)
    host = parts.hostname or ""
    try:
        if not ip_address(host).is_loopback:
            return None
        host = "localhost"
    except ValueError:
        pass
    if parts.scheme != "https" and host != "localhost" and not host.endswith(".localhost"):
        return None
    port = f":{parts.port}" if parts.port else ""
    return Site(host, f"{parts.scheme}://{host}{port}")


async def list_mine(database: Database, who: SignedIn) -> Mine:
    """List the passkeys of who is signed in."""
    listed = await passkeys.list_of(database, who.viewer.id)
    return Mine(listed, await accounts.follows_groups(database, who.viewer.id))


async def begin_to_add(database: Database, site: Site, who: SignedIn) -> Mapping[str, Any]:
    """Say what the browser makes a passkey of. Raises Refused where there are too many, or one signed in long ago."""
    if not who.is_fresh:
        # It outlives the session: nobody who finds or steals one gets in for good.
        raise Refused("you signed in more than half an hour ago: sign out and in again to add a passkey")
    challenge = secrets.token_bytes(32)
    async with database.transaction() as connection:
        account = await accounts.hold(connection, who.viewer.id)
        there = await passkeys.ids_of(connection, who.viewer.id)
        if account.follows_groups:
            raise Refused("your role is that of your groups at the provider, so you sign in there")
        if len(there) >= MOST:
            raise Refused(f"you have {MOST} passkeys: remove one first")
        await passkeys.put_challenge(connection, challenge, who.viewer.id)
    handle, name = _handle(who.viewer.id), who.viewer.name
    options: Mapping[str, Any] = await asyncio.to_thread(
        lambda: _library().to_create(site.host, handle, name, challenge, there, _TIMEOUT)
    )
    return options


async def add(database: Database, site: Site, who: SignedIn, name: str, credential: str, client: Client) -> None:
    """Add the passkey that a browser has made. Raises Refused."""
    name = " ".join(name.split())[:_LONGEST_NAME] or "Passkey"
    sent = await _read(credential)
    if sent is None or not await passkeys.take_challenge(database, sent.challenge, who.viewer.id):
        raise Refused("this took more than five minutes, or was done already: try it again")
    made: tuple[bytes, bytes, int] | None = await _verified(
        lambda: _library().created(sent.said, sent.challenge, site.host, site.origin)
    )
    if made is None:
        raise Refused("what the browser made is no passkey that can be used here")
    credential_id, public_key, count = made
    key = Key(credential_id, who.viewer.id, name, public_key, count)
    async with database.transaction() as connection:
        account = await accounts.hold(connection, who.viewer.id)
        if account.follows_groups or len(await passkeys.ids_of(connection, who.viewer.id)) >= MOST:
            raise Refused("no more passkeys can be added")
        if not await passkeys.add(connection, key):
            raise Refused("this passkey is there already")
        await audit_log.note(
            connection, account.name, "passkey-added", account.name, address=client.address, details={"passkey": name}
        )


async def remove(database: Database, who: SignedIn, number: int, client: Client) -> bool:
    """Remove a passkey of who is signed in; False where there is none."""
    async with database.transaction() as connection:
        name = await passkeys.remove(connection, who.viewer.id, number)
        if name is not None:
            await audit_log.note(
                connection, who.viewer.name, "passkey-removed", who.viewer.name, address=client.address,
                details={"passkey": name},
            )  # fmt: skip
    return name is not None


async def begin(database: Database, site: Site, client: Client) -> Mapping[str, Any]:
    """Say what a browser has signed by who wants to sign in. Raises Barred."""
    await sign_in.count_attempt(database, "passkey", client)
    challenge = secrets.token_bytes(32)
    async with database.transaction() as connection:
        await passkeys.put_challenge(connection, challenge, None)
    options: Mapping[str, Any] = await asyncio.to_thread(lambda: _library().to_sign(site.host, challenge, _TIMEOUT))
    return options


async def finish(database: Database, site: Site, credential: str, client: Client) -> tuple[str, str]:
    """Begin a session of the person whose passkey has signed; returns its secret, and that of the browser.

    Raises Refused.
    """
    sent = await _read(credential)
    if sent is None or not await passkeys.take_challenge(database, sent.challenge, None):
        raise Refused("This took more than five minutes, or was done already: try it again.")
    async with database.connection() as connection:
        key = await passkeys.find(connection, sent.credential_id)
    used = None if key is None else await _used(key, sent, site)
    if key is None or used is None:
        await _note_refusal(database, "", client, "no passkey that is known here")
        raise Refused("This passkey is not good here: it was removed, or is of another console.")
    fault = ""
    async with database.transaction() as connection:
        account = await accounts.hold(connection, key.person_id)
        if account.is_disabled:
            fault = f"The account {account.name} is disabled: an administrator can enable it."
        elif account.follows_groups:
            fault = "Your role is that of your groups at the provider: sign in there."
        elif not await passkeys.use(connection, key.id, used):
            fault = (
                "This passkey counts less than before, so there may be a copy of it. Ask an administrator for a link."
            )
            _log.warning("a passkey may have been copied", person=account.name, passkey=key.name)
        if not fault:
            await sign_in.forgive(connection, "passkey", client)
            return await sign_in.begin_in(connection, key.person_id, account.name, client, "passkey")
    await _note_refusal(database, account.name, client, fault)
    raise Refused(fault)


async def _read(credential: str) -> _Sent | None:
    """Read what a browser sent; None where it is nonsense. Raises Refused where it is nothing, as without a script."""
    if not credential:
        raise Refused("Passkeys take JavaScript, and a browser that knows them.")
    read: tuple[dict[str, Any], bytes, bytes] | None = await _verified(lambda: _library().read(credential))
    return _Sent(*read) if read is not None else None


async def _used(key: Key, sent: _Sent, site: Site) -> int | None:
    """Verify what a passkey has signed; returns how often it says that it was used, or None where it is not good."""
    handle = _handle(key.person_id)
    signed: tuple[bool, int] | None = await _verified(
        lambda: _library().signed(sent.said, sent.challenge, site.host, site.origin, key.public_key, handle)
    )
    return signed[1] if signed is not None and signed[0] else None


async def _verified(work: Callable[[], T]) -> T | None:
    """Have the library look at what a stranger sent, beside the loop; None where it is not good."""
    try:
        return await asyncio.to_thread(work)
    except Exception as error:  # noqa: BLE001  # whatever the library stumbles over, it is not good
        _log.debug("what a browser sent for a passkey is not good", reason=type(error).__name__)
        return None


def _handle(person_id: int) -> bytes:
    """By what an authenticator knows the person: no name, since it may show or sync that."""
    return f"email-router:{person_id}".encode()


def _library() -> ModuleType:
    """Load what knows WebAuthn; in a thread, as it takes a while the first time."""
    from router.operations import authenticators  # noqa: PLC0415

    return authenticators


async def _note_refusal(database: Database, name: str, client: Client, reason: str) -> None:
    async with database.connection() as connection:
        await audit_log.note(
            connection, name, "sign-in-refused", name, address=client.address,
            details={"by": "passkey", "reason": reason},
        )  # fmt: skip
