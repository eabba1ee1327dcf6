"""Signing people in by a provider of the organization's own (OpenID Connect Core 1.0): who it says that somebody is.

provider     asks it: where one signs in, what came back, its keys
attempt      one person's way there and back, known by a secret of the browser's
id_token     what the provider says about a person, verified; does no I/O
"""

from router.oidc.attempt import LASTS, Attempt
from router.oidc.id_token import NotBelieved
from router.oidc.provider import Provider, ProviderAway, ProviderRefused, provider_of

__all__ = ["LASTS", "Attempt", "NotBelieved", "Provider", "ProviderAway", "ProviderRefused", "provider_of"]
