"""Signing in: by password or by the name that a trusted proxy gives; sessions, and what bars those who guess.

Other ways in (`provider`, `passkeys`) begin their sessions here, too.

Wrong passwords are counted by account and by network address, and in a browser where the person has signed in before by
that browser alone. So who guesses bars others who come from nowhere known, for a quarter of an hour at the longest, and
never a person at the usual desk; and a one-time link always helps.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Final

from router.errors import RouterError
from router.model.viewer import Viewer
from router.operations import passwords
from router.operations.backing import Refused
from router.operations.people import digest
from router.repository.database import Connection, Database
from router.repository.people import audit_log, people, sessions
from router.repository.people.sessions import Lasting, Session, Way

__all__ = [
    "DEVICE_DAYS", "Barred", "Client", "Session", "SignedIn", "WrongPassword", "begin", "begin_by_proxy",
    "begin_in", "change_password", "count_attempt", "csrf_token", "end_session", "forgive", "list_sessions",
    "recognize", "sign_in", "sign_out",
]  # fmt: skip

LASTING: Final = Lasting()
"""For how long a session lasts."""

DEVICE_DAYS: Final = 180
"""For how many days a browser is known in which a person has signed in."""

_OF_ACCOUNT, _OF_ADDRESS, _OF_DEVICE = 10, 30, 10  # wrong passwords at once, before each bars for a time
_OF_WAY: Final = 60  # attempts at once by a way on which nothing is guessed, from one network
_LONGEST: Final = timedelta(minutes=15)


class WrongPassword(Refused):
    """There is no such account, or its password is another: it is not told which."""


class Barred(RouterError):
    """There were too many wrong passwords, or other attempts; `seconds` until the next."""

    def __init__(self, wait: timedelta, of: str = "wrong passwords") -> None:
        self.seconds = max(1, round(wait.total_seconds()))
        told = f"{self.seconds} seconds" if self.seconds < 90 else f"{round(self.seconds / 60)} minutes"
        super().__init__(
            f"Too many {of}. Try again in {told}, in a browser that you have used here before, or ask an "
            "administrator for a link."
        )


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: the network address, what the browser calls itself in a few words, and the secret of its cookie."""

    address: str | None
    browser: str
    device: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session: its id, for whom, by what it began, and whether just now, so that it is the person for certain."""

    session_id: int
    viewer: Viewer
    way: Way
    is_fresh: bool

    @property
    def by_proxy(self) -> bool:
        """Whether it lasts for as long as a proxy names the same person."""
        return self.way == "proxy"


async def sign_in(database: Database, name: str, password: str, client: Client) -> tuple[str, str]:
    """Begin a session by password; returns its secret, and that of the browser.

    Raises WrongPassword, Barred, and passwords.Busy.
    """
    name = name.strip().lower()[:64]
    known = client.device is not None and await sessions.is_device_of(database, digest(client.device), name)
    device = (client.device if known else None) or secrets.token_urlsafe(32)
    account, address = _key("account", name), _key("address", _network(client.address))
    keys = {_key("device", device): _OF_DEVICE} if known else {account: _OF_ACCOUNT, address: _OF_ADDRESS}
    barred = await sessions.take_attempts(database, keys, _LONGEST)
    if barred is not None:
        raise Barred(barred)
    secret = await people.find_secret(database, name)
    usable = None if secret is None or secret.is_disabled else secret.password
    # A name that is none takes as long, and is told in the same words.
    if not await passwords.is_right(password, usable) or secret is None:
        async with database.connection() as connection:
            await audit_log.note(
                connection, name if secret else "", "sign-in-refused", name if secret else "", address=client.address
            )
        raise WrongPassword("This name and this password do not go together.")
    assert usable is not None
    kept = usable
    if passwords.is_outdated(usable):
        kept = await passwords.hashed(password)
        await people.rehash(database, secret.person_id, usable, kept)
    async with database.transaction() as connection:
        if not await people.holds(connection, secret.person_id, (usable, kept)):
            raise WrongPassword("This name and this password do not go together.")
        await sessions.give_back(connection, [*keys], [one for one in keys if one != address])
        await sessions.know_device(connection, digest(device), secret.person_id)
        session = await _begun(connection, secret.person_id, name, client, "password")
    return session, device


async def begin(database: Database, person_id: int, name: str, client: Client) -> tuple[str, str]:
    """Begin a session of who has just used a link; returns its secret, and that of the browser."""
    async with database.transaction() as connection:
        # What was counted against the account is answered by the new password.
        await sessions.give_back(connection, [], [_key("account", name)])
        return await begin_in(connection, person_id, name, client, "link")


async def begin_in(connection: Connection, person_id: int, name: str, client: Client, way: Way) -> tuple[str, str]:
    """Begin a session of who has come in by this way; returns its secret, and that of the browser."""
    device = client.device or secrets.token_urlsafe(32)
    await sessions.know_device(connection, digest(device), person_id)
    return await _begun(connection, person_id, name, client, way), device


async def count_attempt(database: Database, way: Way, client: Client) -> None:
    """Count an attempt by this way from the client's network, which `forgive` takes back. Raises Barred."""
    barred = await sessions.take_attempts(database, {_key(way, _network(client.address)): _OF_WAY}, _LONGEST)
    if barred is not None:
        raise Barred(barred, "attempts to sign in")


async def forgive(connection: Connection, way: Way, client: Client) -> None:
    """Take an attempt back: the person came in, or it failed by nobody's fault."""
    await sessions.give_back(connection, [_key(way, _network(client.address))], [])


async def begin_by_proxy(database: Database, name: str, client: Client) -> str | None:
    """Begin a session of the person whom a trusted proxy names; None where there is no such account."""
    name = name.strip().lower()
    secret = await people.find_secret(database, name)
    if secret is None or secret.is_disabled:
        return None
    async with database.transaction() as connection:
        if not await people.holds(connection, secret.person_id, None):
            return None
        return await _begun(connection, secret.person_id, name, client, "proxy")


async def recognize(
    database: Database, session: str, proxy_name: str | None, *, is_used: bool = True
) -> SignedIn | None:
    """Find whose session this is; None where it is none, has ended, or the proxy names somebody else by now.

    `is_used`: the person uses it, so it lasts on; not so what an open page asks by itself.
    """
    found = await sessions.find(database, digest(session), LASTING, is_used=is_used)
    if found is None:
        return None
    session_id, way, is_fresh, viewer = found
    if way == "proxy" and (proxy_name or "").strip().lower() != viewer.name:
        return None
    return SignedIn(session_id, viewer, way, is_fresh)


async def sign_out(database: Database, who: SignedIn, client: Client) -> None:
    """End this session."""
    async with database.transaction() as connection:
        if await sessions.end(connection, who.viewer.id, who.session_id):
            await audit_log.note(connection, who.viewer.name, "signed-out", who.viewer.name, address=client.address)


async def list_sessions(database: Database, viewer: Viewer) -> Sequence[Session]:
    """List the sessions of a person, the one that was used last first."""
    return await sessions.list_of(database, viewer.id, LASTING)


async def end_session(database: Database, who: SignedIn, session_id: int, client: Client) -> bool:
    """End another session of the same person; False where it has ended."""
    async with database.transaction() as connection:
        ended = await sessions.end(connection, who.viewer.id, session_id)
        if ended:
            await audit_log.note(connection, who.viewer.name, "session-ended", who.viewer.name, address=client.address)
    return ended


async def change_password(database: Database, who: SignedIn, old: str, new: str, client: Client) -> None:
    """Change a person's own password; all other sessions end. Raises WrongPassword, Barred, Refused, Busy."""
    key = _key("change", str(who.viewer.id))
    passwords.check(new, who.viewer.name)
    barred = await sessions.take_attempts(database, {key: _OF_DEVICE}, _LONGEST)
    if barred is not None:
        raise Barred(barred)
    secret = await people.find_secret(database, who.viewer.name)
    if secret is None or not await passwords.is_right(old, secret.password):
        raise WrongPassword("The password that you have now is another.")
    kept = await passwords.hashed(new)
    async with database.transaction() as connection:
        if secret.password is None or not await people.holds(connection, who.viewer.id, (secret.password,)):
            raise WrongPassword("The password that you have now is another.")
        await people.change_password(connection, who.viewer.id, kept)
        await sessions.end_others(connection, who.viewer.id, who.session_id)
        await sessions.give_back(connection, [], [key])
        await audit_log.note(connection, who.viewer.name, "password-chosen", who.viewer.name, address=client.address)


def csrf_token(session: str) -> str:
    """What forms of a session carry; it tells nothing of the session's secret."""
    return hashlib.sha256(b"form:" + session.encode()).hexdigest()


async def _begun(connection: Connection, person_id: int, name: str, client: Client, way: Way) -> str:
    await sessions.forget(connection, LASTING)
    secret = secrets.token_urlsafe(32)
    await sessions.begin(connection, digest(secret), person_id, client.address, client.browser, way)
    await audit_log.note(connection, name, "signed-in", name, address=client.address, details={"by": way})
    return secret


def _key(kind: str, of: str) -> bytes:
    return hashlib.sha256(f"{kind}:{of}".encode("utf-8", "replace")).digest()


def _network(address: str | None) -> str:
    """Whom wrong passwords from this address are counted for: of IPv6 a subscriber has a /64."""
    if address is None:
        return ""
    parsed = ip_address(address)
    return address if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))
