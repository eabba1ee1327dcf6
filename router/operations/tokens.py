"""The tokens of all profiles: which work, why others do not, and what ends when."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from router.model.identity import Identity
from router.oauth2.identity import identity_of
from router.profile import Profile
from router.profile.tokens import oauth2_of
from router.repository.database import Database
from router.repository.oauth2.kept_tokens import KeptToken, Summary, list_noteworthy, list_tokens
from router.repository.owners.owners import list_owners
from transports import OAuth2, valid_until

ENDS_SOON: Final = timedelta(days=30)
"""What ends earlier than so long from now is told of."""

_MOST: Final = 1000  # faults, and logins that end, that are told of at once

What = Literal["login", "client secret", "client certificate"]
"""What may end, so that a person has to do something."""


@dataclass(frozen=True, slots=True)
class TokenState:
    """The tokens of one identity that a profile uses; `subject` is a mailbox, or empty for all of the profile's.

    `granted_at` is when the last token was given, `expires_at` when it ends, `ends` when something else does; each only
    where it is known. `fault`: why there is no new token. `of_nobody`: the mailbox is no
    owner's any more.
    """

    profile: str
    issuer: str
    grant: str
    subject: str
    ends: Mapping[What, datetime]
    granted_at: datetime | None = None
    expires_at: datetime | None = None
    fault: str | None = None
    fault_since: datetime | None = None
    next_try_at: datetime | None = None
    of_nobody: bool = False

    @property
    def waits_for_login(self) -> bool:
        """Whether nobody has logged in yet."""
        return self.grant == "authorization_code" and self.granted_at is None


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends, or has ended; `mailbox` is empty where it is of all of the profile's, `cure` what to do."""

    profile: str
    mailbox: str
    what: What
    at: datetime
    cure: str

    @property
    def whose(self) -> str:
        """Name what it is of."""
        return whose(self.profile, self.mailbox)


@dataclass(frozen=True, slots=True)
class Noteworthy:
    """What has a fault, and what ends soon or has ended."""

    faults: Sequence[TokenState]
    endings: Sequence[Ending]


def whose(profile: str, mailbox: str) -> str:
    """Name whose login it is: "[incoming.staff]" or "[incoming.staff] for ann@example.com"."""
    return f"{profile} for {mailbox}" if mailbox else profile


async def token_states(database: Database, profiles: Collection[Profile]) -> Sequence[TokenState]:
    """List them by profile and subject; a profile for which nobody has asked yet has one without tokens."""
    if not any(True for _ in _uses(profiles)):
        return []
    return await asyncio.to_thread(_states, profiles, await list_tokens(database))


async def noteworthy(database: Database, profiles: Collection[Profile], now: datetime) -> Noteworthy:
    """Tell what a person has to do something about; it costs little, however many mailboxes there are."""
    if not any(True for _ in _uses(profiles)):
        return Noteworthy((), ())
    states = await asyncio.to_thread(_states, profiles, await list_noteworthy(database, ENDS_SOON, _MOST))
    return Noteworthy([one for one in states if one.fault is not None], endings(states, now))


async def listed_logins(database: Database, profiles: Collection[Profile]) -> Sequence[TokenState]:
    """List them as `token_states` does, and tell which are of nobody any more."""
    states = await token_states(database, profiles)
    if not states:
        return []
    owners = {one.mailbox for one in await list_owners(database)}
    return [replace(one, of_nobody=bool(one.subject) and one.subject not in owners) for one in states]


def endings(states: Iterable[TokenState], now: datetime) -> Sequence[Ending]:
    """List what ends soon or has ended, each once; the first to end comes first."""
    found = {
        Ending(one.profile, mailbox, what, at, _cure(one, what, mailbox))
        for one in states
        for what, at in one.ends.items()
        if at - now < ENDS_SOON
        # What the application shows is the same for all of its mailboxes.
        for mailbox in [one.subject if what == "login" else ""]
    }
    return sorted(found, key=lambda one: (one.at, one.profile, one.mailbox, one.what))


def first_ends(profiles: Collection[Profile], summaries: Sequence[Summary]) -> Mapping[tuple[str, What], datetime]:
    """Tell when what ends first of each profile (its name) ends, by what it is; blocking."""
    ends: dict[tuple[str, What], datetime] = {}
    for profile, oauth2 in _uses(profiles):
        known = dict(_application_ends(oauth2))
        login = next((one.login_ends_at for one in summaries if one.whole == identity_of(oauth2, "")), None)
        if login is not None:
            known["login"] = login
        for what, at in known.items():
            ends[profile.name, what] = min(at, ends.get((profile.name, what), at))
    return ends


def faults_by_profile(profiles: Collection[Profile], summaries: Sequence[Summary]) -> Mapping[str, int]:
    """Count, by the name of each profile that uses tokens, the identities for which there is no new one."""
    at_fault = {one.whole: one.at_fault for one in summaries}
    counted: dict[str, int] = {}
    for profile, oauth2 in _uses(profiles):
        # A profile that reads and one that sends may have one name, and one login.
        counted[profile.name] = max(counted.get(profile.name, 0), at_fault.get(identity_of(oauth2, ""), 0))
    return counted


def _uses(profiles: Collection[Profile]) -> Iterable[tuple[Profile, OAuth2]]:
    return ((profile, oauth2) for profile in profiles for oauth2 in oauth2_of(profile))


def _states(profiles: Collection[Profile], kept: Sequence[KeptToken]) -> list[TokenState]:
    by_whole: dict[Identity, list[KeptToken]] = {}
    for one in kept:
        by_whole.setdefault(replace(one.identity, subject=""), []).append(one)
    states = []
    for profile, oauth2 in _uses(profiles):
        whole, ends = identity_of(oauth2, ""), _application_ends(oauth2)
        for one in by_whole.get(whole) or [KeptToken(whole)]:
            login: Mapping[What, datetime] = {"login": one.refresh_expires_at} if one.refresh_expires_at else {}
            states.append(_state(profile, oauth2, one, {**login, **ends}))
    return states


def _state(profile: Profile, oauth2: OAuth2, kept: KeptToken, ends: Mapping[What, datetime]) -> TokenState:
    return TokenState(
        profile.title,
        oauth2.where,
        oauth2.effective_grant,
        kept.identity.subject,
        ends,
        kept.granted_at,
        kept.expires_at,
        kept.fault,
        kept.fault_since,
        kept.next_try_at,
    )


def _application_ends(oauth2: OAuth2) -> Mapping[What, datetime]:
    """Tell when what the application shows ends; reads the certificate."""
    day, certificate = oauth2.client_secret_expires, oauth2.client_certificate
    ends: dict[What, datetime | None] = {
        "client secret": None if day is None else _midnight(day),
        "client certificate": None if certificate is None else valid_until(certificate.file),
    }
    return {what: at for what, at in ends.items() if at is not None}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _cure(state: TokenState, what: What, mailbox: str) -> str:
    if what == "client secret":
        return "make a new one, put it where client_secret says, and its last day into client_secret_expires"
    if what == "client certificate":
        return "renew it where client_certificate says, and register it with the application"
    if state.grant == "refresh_token":
        return "put a new refresh token where refresh_token says"
    return login_command(state.profile, mailbox)


def login_command(profile: str, mailbox: str) -> str:
    """Say by which command a person logs in for a profile (its title)."""
    owner = f" --owner {mailbox}" if mailbox else ""
    return f"email-router oauth login {profile.strip('[]')}{owner}"
