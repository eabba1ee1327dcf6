"""Which profiles log in by access tokens, and where these are from."""

from collections.abc import Iterator

from pydantic import BaseModel

from router.profile.profiles import Profile, Profiles
from transports import OAuth2


def oauth2_of(profile: Profile) -> Iterator[OAuth2]:
    """Yield where a profile's tokens are from; nothing where it logs in by passwords."""
    yield from _found(profile.settings)


def uses_tokens(profiles: Profiles) -> bool:
    """Whether any profile logs in by access tokens."""
    return any(True for profile in profiles.by_key.values() for _ in oauth2_of(profile))


def _found(settings: BaseModel) -> Iterator[OAuth2]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, OAuth2):
            yield value
        elif isinstance(value, BaseModel):
            yield from _found(value)
