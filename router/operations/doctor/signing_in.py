"""Whether people can sign in to the console by the provider that the environment names."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from router.oidc import Provider, ProviderAway, ProviderRefused, provider_of
from router.operations.doctor.patient import Patient
from router.operations.provider import RETURN
from router.settings import Settings
from transports.base import Finding


async def provider(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the provider is there, is the one that is meant, and knows us."""
    settings = patient.settings
    provider = provider_of(settings)
    if provider is None:
        return
    for finding in _said_by_the_environment(settings):
        yield finding
    back = settings.console_link + RETURN
    try:
        endpoints, keys = await provider.examine()
    except ProviderAway as error:
        cure = "see that this machine reaches the provider; who has a password signs in meanwhile"
        yield Finding("", "failed", f"the provider does not answer: {error}", cure)
        return
    except ProviderRefused as error:
        cure = "compare EMAIL_ROUTER_OIDC_ISSUER with what the provider calls its issuer"
        yield Finding("", "failed", str(error), cure)
        return
    if endpoints.authorization_url is None:
        yield Finding("", "failed", f"{provider.issuer} names no page to sign in at", "is it the provider for people?")
        return
    fault = await _of_our_secret(provider, settings, back)
    if fault is not None:
        yield fault
        return
    words = (
        f"{provider.issuer} signs people in, with {keys} key{'' if keys == 1 else 's'}; it sends them back to {back}"
    )
    yield Finding("", "ok", words)


def _said_by_the_environment(settings: Settings) -> list[Finding]:
    found = []
    if settings.console_url is None:
        words = f"browsers come back from the provider to {settings.console_link}, which is on their own machine"
        cure = "set EMAIL_ROUTER_CONSOLE_URL to where people reach the console, and register it at the provider"
        found.append(Finding("", "warning", words, cure))
    host = urlsplit(settings.oidc_issuer or "").hostname or ""
    if settings.oidc_claim == "email" and host == "login.microsoftonline.com":
        words = "Microsoft does not say that an address is verified, so nobody is found by it"
        found.append(Finding("", "failed", words, "set EMAIL_ROUTER_OIDC_CLAIM=preferred_username"))
    return found


async def _of_our_secret(provider: Provider, settings: Settings, back: str) -> Finding | None:
    """Say what is wrong with how we show who we are; None where nothing is."""
    try:
        fault = await provider.knows_us(back)
    except ProviderAway as error:
        return Finding("", "warning", f"the provider does not answer whether it knows us: {error}", "try again later")
    except ProviderRefused as error:
        cure = "put the client secret there, readable for the user that runs the router"
        return Finding("", "failed", str(error), cure)
    if fault is None:
        return None
    which = "the secret in the file of EMAIL_ROUTER_OIDC_CLIENT_SECRET"
    if settings.oidc_client_secret is None:
        which = "whether it has a secret, which EMAIL_ROUTER_OIDC_CLIENT_SECRET names"
    cure = f"compare EMAIL_ROUTER_OIDC_CLIENT_ID, and {which}, with the registration at the provider"
    return Finding("", "failed", fault, cure)
