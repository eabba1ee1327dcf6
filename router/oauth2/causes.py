"""What a token server's refusal means, and what to do about it.

Microsoft's codes are from learn.microsoft.com, "Microsoft Entra authentication and authorization error codes"; Google's
words from developers.google.com, "Using OAuth 2.0 for Server to Server Applications". None was met here: they are from
documentation, and some of Microsoft's from reports of others. Codes may change, so they only choose words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from router.model.token_fault import FaultKind

_AADSTS: Final = re.compile(r"AADSTS(\d{4,8})(?!\d)")


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, what to do about it, and who has to: nobody (temporary), whoever grants, or whoever configures."""

    words: str
    cure: str
    kind: FaultKind = "refused"


_LOG_IN: Final = '"email-router oauth login PROFILE" logs in again'
_NEW_SECRET: Final = "make a new client secret, and put it where client_secret says"  # noqa: S105  # words
_NOT_THIS: Final = "compare the profile with what the provider's console shows"

_OUT_OF_ORDER: Final = Cause("the token server is out of order", "nothing: it is tried again", "temporary")
TOO_OFTEN: Final = Cause("the token server is asked too often", "nothing: it is tried again later", "temporary")

_OF_MICROSOFT: Final[Mapping[str, Cause]] = {
    "7000215": Cause("the client secret is wrong", f"{_NEW_SECRET}: its value, not its id"),
    "7000222": Cause("the client secret has expired", _NEW_SECRET),
    "7000216": Cause(
        "the application has to show a secret or a certificate", "set client_secret or client_certificate"
    ),
    "7000218": Cause(
        "the application has to show a secret or a certificate", "set client_secret or client_certificate"
    ),
    "700027": Cause(
        "the certificate is not that of the application, or has expired",
        "upload the certificate of client_certificate to the application, or renew it",
    ),
    "700016": Cause("the application is not known in this tenant", "compare client_id and tenant with the application"),
    "90002": Cause("the tenant is not known", "compare tenant with the directory's id"),
    "900023": Cause("the tenant's name is not valid", "compare tenant with the directory's id"),
    "65001": Cause("nobody has consented to what the application asks", "grant admin consent for its permissions"),
    "70011": Cause("the scope is not valid", "leave scope out, or compare it with the application's", "permanent"),
    "1002012": Cause(
        "the scope is not valid for client_credentials", "leave scope out; it ends in /.default", "permanent"
    ),
    "500011": Cause("what the scope names is not known in this tenant", "leave scope out", "permanent"),
    "650057": Cause("the application has no permission for what the scope names", "add the API's permissions to it"),
    "501051": Cause("the application has no role for this user or service", "assign the application to it"),
    "50105": Cause("the user is not assigned to the application", "assign the user or their group to it"),
    "53003": Cause("conditional access bars it", "have the tenant's policies let the application in from here"),
    "530003": Cause(
        "conditional access asks for a managed device", "have the tenant's policies except the application"
    ),
    "50005": Cause("conditional access bars this platform", "have the tenant's policies except the application"),
    "53000": Cause(
        "conditional access asks for a compliant device", "have the tenant's policies except the application"
    ),
    "50076": Cause("a second factor is asked for", _LOG_IN),
    "50079": Cause("the user has to set up a second factor", _LOG_IN),
    "50158": Cause("a further check of the user is asked for", _LOG_IN),
    "50173": Cause("the login was revoked", _LOG_IN),
    "70000": Cause("the grant was revoked or has expired", _LOG_IN),
    "70008": Cause("the login has expired, since it was not used for long", _LOG_IN),
    "700082": Cause("the login has expired, since it was not used for long", _LOG_IN),
    "700084": Cause("the login has expired: an application of this kind gets one day", _LOG_IN),
    "700081": Cause("the login has expired at its longest age", _LOG_IN),
    "50034": Cause("the user's account is not there", _NOT_THIS),
    "50057": Cause("the user's account is disabled", "have it enabled, or log in as another"),
    "50055": Cause("the user's password has expired", _LOG_IN),
    "7000112": Cause("the application is disabled", "have it enabled in the tenant"),
    "700003": Cause("the device of the login is gone", _LOG_IN),
    "700024": Cause("the assertion is not good at this time", "set this machine's clock (NTP)"),
    "50132": Cause("the login ended with a changed password", _LOG_IN),
    "50133": Cause("the login ended with a changed password", _LOG_IN),
    "70043": Cause("the login has expired: the tenant's policies ask for it more often", _LOG_IN),
    "70001": Cause("the application is disabled", "have it enabled in the tenant"),
    "70002": Cause("the client secret is wrong", f"{_NEW_SECRET}: its value, not its id"),
    "700011": Cause("the application is not known in this tenant", "compare client_id and tenant with the application"),
    "700025": Cause(
        "the application is a public one, which shows no secret",
        "leave client_secret and client_certificate out, or make it a confidential one",
    ),
    "65004": Cause("the user declined what the application asks", "log in again, and accept it"),
    "90094": Cause(
        "an admin has not consented to what the application asks", "grant admin consent for its permissions"
    ),
    "90095": Cause(
        "an admin has not consented to what the application asks", "grant admin consent for its permissions"
    ),
    "650056": Cause(
        "the application lacks permissions, or consent to them", "add its permissions, and consent to them"
    ),
    "530032": Cause("a security policy of the tenant bars it", "have the tenant's policies let the application in"),
    "530035": Cause("the tenant's security defaults bar it", "have the tenant's policies let the application in"),
    "50131": Cause("conditional access bars it", "have the tenant's policies let the application in from here"),
    "50033": _OUT_OF_ORDER,
    "90006": _OUT_OF_ORDER,
    "90012": _OUT_OF_ORDER,
    "90024": _OUT_OF_ORDER,
    "90090": _OUT_OF_ORDER,
    "90033": _OUT_OF_ORDER,
    "50196": TOO_OFTEN,
    "90055": TOO_OFTEN,
}

_OF_GOOGLE: Final[Sequence[tuple[str, str, Cause]]] = (
    (
        "unauthorized_client",
        "",
        Cause(
            "domain-wide delegation lacks the service account's client id, or the scope",
            "add both in the Admin console, Security, API controls, Domain-wide delegation",
        ),
    ),
    (
        "invalid_grant",
        "invalid jwt signature",
        Cause("the key of the service account is not good any more", "make a new key where service_account says"),
    ),
    (
        "invalid_grant",
        "account not found",
        Cause("the service account was deleted", "make another, and its key where service_account says"),
    ),
    (
        "invalid_grant",
        "invalid jwt",
        Cause("the assertion is not good at this time", "set this machine's clock (NTP)"),
    ),
    (
        "invalid_grant",
        "invalid email or user",
        Cause("the mailbox is no user of the domain", "compare the owner's address with the user's primary address"),
    ),
    ("invalid_grant", "account has been deleted", Cause("the account was deleted", "log in as another user")),
    (
        "invalid_grant",
        "expired or revoked",
        Cause(
            "the login has expired or was revoked",
            f"{_LOG_IN}; an application that is only being tested loses each after 7 days",
        ),
    ),
    ("deleted_client", "", Cause("the application was deleted", "make another, and set its client_id")),
    ("disabled_client", "", Cause("the application is disabled", "have it enabled")),
    ("access_denied", "", Cause("access is denied", "let the application in in the Admin console, Security")),
    ("admin_policy_enforced", "", Cause("the admin has not let the application in", "trust it in the Admin console")),
)

_OF_THE_STANDARD: Final[Mapping[str, Cause]] = {
    "invalid_client": Cause(
        "the token server does not know the application, or its secret is wrong",
        "compare client_id and the secret with the application's",
    ),
    "invalid_grant": Cause("the grant has expired or was revoked", _LOG_IN),
    "unauthorized_client": Cause("the application may not use this grant", "allow the grant for it at the provider"),
    "access_denied": Cause("access is denied", "allow the application at the provider"),
    "consent_required": Cause("nobody has consented to what the application asks", "grant consent, or log in again"),
    "interaction_required": Cause("a person has to log in", _LOG_IN),
    "login_required": Cause("a person has to log in", _LOG_IN),
    "invalid_scope": Cause("the scope is not valid", "compare scope with what the provider allows", "permanent"),
    "invalid_target": Cause("what the scope names is not known", "compare scope with the provider's", "permanent"),
    "unsupported_grant_type": Cause(
        "the token server does not know this grant", "choose another grant, or another token server", "permanent"
    ),
    "invalid_request": Cause("the token server does not understand the request", _NOT_THIS, "permanent"),
    "temporarily_unavailable": _OUT_OF_ORDER,
    "server_error": _OUT_OF_ORDER,
    "slow_down": TOO_OFTEN,
}

_OF_A_KEY: Final = Cause(
    "the token server does not take the assertion",
    "compare the key with the one at the provider, and this machine's clock with the time",
)


def cause_of(error: str, description: str, provider: str | None, grant: str) -> Cause:
    """Tell what an `error` of RFC 6749 §5.2 with its description means, for a provider and a grant."""
    cause = _cause_of(error, description, provider, grant)
    if grant == "refresh_token" and cause.cure.startswith(_LOG_IN):
        return replace(cause, cure="put a new refresh token where refresh_token says")
    return cause


def _cause_of(error: str, description: str, provider: str | None, grant: str) -> Cause:
    if (code := _AADSTS.search(description)) and (found := _OF_MICROSOFT.get(code[1])):
        return found
    if provider == "google":
        words = description.lower()
        for known, part, cause in _OF_GOOGLE:
            if error == known and part in words and (known != "unauthorized_client" or grant == "jwt_bearer"):
                return cause
    if error == "invalid_grant" and grant == "jwt_bearer":
        return _OF_A_KEY
    return _OF_THE_STANDARD.get(error, Cause("the token server refuses", _NOT_THIS))
