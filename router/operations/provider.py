"""Signing in by the provider of the organization (OpenID Connect): whose account is meant by whom the provider names.

An account is found by a claim once, at the first sign-in; from then on by the provider's own id of the person (`sub`),
which it never gives to another. So whoever is given somebody's name or address at the provider gets no account here.
"""

from collections.abc import Mapping
from typing import Any, Final

import structlog

from router.errors import RouterError
from router.model.viewer import Grant, StaffRole
from router.oidc import LASTS, Attempt, Provider, ProviderAway, ProviderRefused, provider_of
from router.operations import sign_in
from router.operations.people import name_of
from router.operations.sign_in import Client
from router.repository.database import Connection, Database
from router.repository.people import audit_log, identities
from router.repository.people import people as accounts
from router.settings import Settings

__all__ = ["LASTS", "RETURN", "Attempt", "NotSignedIn", "Provider", "begin", "end_url", "finish", "provider_of"]

RETURN: Final = "/sign-in/provider/return"
"""The path of the console to which the provider sends browsers back."""

_log = structlog.get_logger(__name__)


class NotSignedIn(RouterError):
    """The person is not signed in; the words are for the person. `later`: it may work in a while."""

    def __init__(self, words: str, *, later: bool = False) -> None:
        self.later = later
        super().__init__(words)


async def begin(provider: Provider, settings: Settings, attempt: Attempt) -> str:
    """Say where the browser goes to sign in. Raises NotSignedIn."""
    try:
        return await provider.begin(attempt, settings.console_link + RETURN)
    except (ProviderAway, ProviderRefused) as error:
        raise _told(provider, error) from None


async def end_url(provider: Provider, settings: Settings) -> str | None:
    """Say where the session at the provider is ended; None where that is not known."""
    try:
        return await provider.end_url(settings.console_link + "/sign-in")
    except (ProviderAway, ProviderRefused):
        return None


async def finish(
    database: Database,
    provider: Provider,
    settings: Settings,
    attempt: Attempt,
    said: Mapping[str, str],
    client: Client,
) -> tuple[str, str]:
    """Begin a session of the person whom the provider names; returns its secret, and that of the browser.

    Raises NotSignedIn, and sign_in.Barred for a network that tries too often: each attempt asks the provider.
    """
    await sign_in.count_attempt(database, "provider", client)
    try:
        claims = await provider.finish(attempt, settings.console_link + RETURN, said)
    except ProviderAway as error:
        async with database.transaction() as connection:
            await sign_in.forgive(connection, "provider", client)
        raise _told(provider, error) from None
    except ProviderRefused as error:
        await _note_refusal(database, "", client, str(error))
        raise _told(provider, error) from None
    try:
        async with database.transaction() as connection:
            await sign_in.forgive(connection, "provider", client)
            person_id, name = await _account_of(connection, provider, settings, claims, client)
            return await sign_in.begin_in(connection, person_id, name, client, "provider")
    except NotSignedIn as error:
        await _note_refusal(database, str(claims.get(settings.oidc_claim, "")), client, str(error))
        raise


async def _account_of(
    connection: Connection, provider: Provider, settings: Settings, claims: Mapping[str, Any], client: Client
) -> tuple[int, str]:
    """Find the account of whom the provider names, or make it where a group gives one. Raises NotSignedIn."""
    subject: str = claims["sub"]
    role = _role_of(settings, claims)
    person_id = await identities.find(connection, provider.issuer, subject)
    if person_id is None:
        person_id = await _bound(connection, provider, settings, claims, role, client)
    account = await accounts.hold(connection, person_id)
    if account.is_disabled:
        raise NotSignedIn(f"The account {account.name} is disabled: an administrator can enable it.")
    if account.follows_groups:
        if role is None:
            raise NotSignedIn(f"None of your groups at {provider.title} may use this console any more.")
        if (Grant(role),) != account.grants:
            await _grant(connection, person_id, account.name, role, "person-granted", client)
    return person_id, account.name


async def _bound(
    connection: Connection,
    provider: Provider,
    settings: Settings,
    claims: Mapping[str, Any],
    role: StaffRole | None,
    client: Client,
) -> int:
    """Bind who comes for the first time to the account of that name, or to a new one."""
    name = _name_in(provider, settings, claims)
    person_id = await accounts.find_id(connection, name)
    if person_id is None:
        if role is None:
            raise NotSignedIn(
                f"{provider.title} knows you as {name}, who has no account here: an administrator can add one."
            )
        person_id = await accounts.add(connection, name, [])
        if person_id is None:  # at the same moment in another browser
            raise NotSignedIn("Your account was made just now: sign in once more.", later=True)
        await _grant(connection, person_id, name, role, "person-added", client)
    if not await identities.bind(connection, provider.issuer, claims["sub"], person_id):
        raise NotSignedIn(
            f"The account {name} belongs to somebody else at {provider.title}, who had this name before you. An "
            f"administrator who knows that it is yours can let you in: email-router staff reset {name}"
        )
    details = {"issuer": provider.issuer, "sub": claims["sub"]}
    await audit_log.note(connection, name, "identity-bound", name, address=client.address, details=details)
    return person_id


async def _grant(
    connection: Connection, person_id: int, name: str, role: StaffRole, action: str, client: Client
) -> None:
    """Grant the role of a group. The last administrator loses it with the group, too: a command makes another."""
    await accounts.grant(connection, person_id, [Grant(role)], follows_groups=True)
    details = {"grants": [{"role": role.value, "owner": None}], "by": "group"}
    await audit_log.note(connection, name, action, name, address=client.address, details=details)


def _name_in(provider: Provider, settings: Settings, claims: Mapping[str, Any]) -> str:
    claim = settings.oidc_claim
    value = claims.get(claim)
    if not isinstance(value, str) or not value:
        raise _unusable(provider, f'the ID token has no claim "{claim}" (EMAIL_ROUTER_OIDC_CLAIM)')
    # Anybody may write any address into an account at some providers.
    verified = claims.get("email_verified")
    if claim == "email" and verified is not True and verified != "true":  # a string, as some have it
        reason = "the ID token does not say that the address is verified (email_verified): set EMAIL_ROUTER_OIDC_CLAIM"
        raise _unusable(provider, reason)
    name = name_of(value)
    if name is None:
        raise _unusable(provider, f'the claim "{claim}" is no name of a person here: up to 64 of a-z, 0-9, . _ @ + -')
    return name


def _role_of(settings: Settings, claims: Mapping[str, Any]) -> StaffRole | None:
    """The highest role of the groups that the claims have; None where there is none."""
    told = claims.get(settings.oidc_groups_claim)
    groups = {one for one in (told if isinstance(told, list) else [told]) if isinstance(one, str)}
    roles = [role for group, role in settings.oidc_role_of.items() if group in groups]
    return max(roles, key=list(StaffRole).index, default=None)


def _unusable(provider: Provider, reason: str) -> NotSignedIn:
    _log.warning("a person could not be signed in by the provider", issuer=provider.issuer, reason=reason)
    return NotSignedIn(f"{provider.title} does not say who you are in the way that this console asks: {reason}.")


def _told(provider: Provider, error: ProviderAway | ProviderRefused) -> NotSignedIn:
    """Tell a person what the log tells administrators."""
    if isinstance(error, ProviderAway):
        _log.warning("the provider that signs people in does not answer", issuer=provider.issuer, reason=str(error))
        return NotSignedIn(f"{provider.title} does not answer now. Try again in a while.", later=True)
    _log.warning("the provider did not sign a person in", issuer=provider.issuer, reason=str(error))
    words = error.told or f"{provider.title} and this console do not understand each other; the router's log says why."
    return NotSignedIn(f"{words} Nothing was done.")


async def _note_refusal(database: Database, subject: str, client: Client, reason: str) -> None:
    async with database.connection() as connection:
        await audit_log.note(
            connection, "", "sign-in-refused", subject[:64], address=client.address,
            details={"by": "provider", "reason": reason[:300]},
        )  # fmt: skip
