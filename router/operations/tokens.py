"""The tokens of all profiles: which work, why others do not, and what ends when."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from router.model.identity import Identity
from router.oauth2.identity import identity_of
from router.profile import Profiles
from router.profile.tokens import oauth2_of
from router.repository.database import Database
from router.repository.tokens import ListedToken, list_tokens
from transports import OAuth2, valid_until


@dataclass(frozen=True, slots=True)
class TokenState:
    """The tokens of one identity that a profile uses; `subject` is a mailbox, or empty for all of the profile's.

    `expires_at` is the access token's end, `grant_ends_at` the login's; `secret_ends_on` and `certificate_ends_at` are
    those of what the application shows. Each is None where it is not known. `fault`: why there is no new token.
    """

    profile: str
    issuer: str
    grant: str
    subject: str
    expires_at: datetime | None = None
    grant_ends_at: datetime | None = None
    secret_ends_on: date | None = None
    certificate_ends_at: datetime | None = None
    fault: str | None = None
    fault_since: datetime | None = None
    next_try_at: datetime | None = None

    @property
    def ends_at(self) -> datetime | None:
        """When a person has to do something at the latest; None: not known."""
        return min(self._ends.values(), default=None)

    @property
    def ends_first(self) -> str:
        """Name what ends at `ends_at`: "login", "client secret" or "client certificate"; only where that is known."""
        return min(self._ends, key=self._ends.__getitem__)

    @property
    def _ends(self) -> Mapping[str, datetime]:
        day = self.secret_ends_on
        ends = {
            "login": self.grant_ends_at,
            "client secret": None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC),
            "client certificate": self.certificate_ends_at,
        }
        return {name: end for name, end in ends.items() if end is not None}


async def token_states(database: Database, profiles: Profiles) -> Sequence[TokenState]:
    """List them by profile and subject; a profile for which nobody has asked yet has one without tokens."""
    listed = await list_tokens(database)
    states: list[TokenState] = []
    for profile in profiles.by_key.values():
        for oauth2 in oauth2_of(profile):
            ends = await asyncio.to_thread(_certificate_end, oauth2)
            whole = identity_of(oauth2, "")
            own = [one for one in listed if _is_of(one.identity, whole)]
            for one in own or [ListedToken(whole, None, None, None, None, None, None, None)]:
                states.append(  # noqa: PERF401  # three loops in one are no clearer
                    TokenState(
                        profile.title,
                        oauth2.where,
                        oauth2.effective_grant,
                        one.identity.subject,
                        one.expires_at,
                        one.refresh_expires_at,
                        oauth2.client_secret_expires,
                        ends,
                        one.fault,
                        one.fault_since,
                        one.next_try_at,
                    )
                )
    return states


def _is_of(identity: Identity, whole: Identity) -> bool:
    return replace(identity, subject="") == whole


def _certificate_end(oauth2: OAuth2) -> datetime | None:
    certificate = oauth2.client_certificate
    return None if certificate is None else valid_until(certificate.file)
