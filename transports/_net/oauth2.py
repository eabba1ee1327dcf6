"""The keys of `auth.oauth2`: who gives tokens, for what, and by which grant (RFC 6749). Data, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from transports._net.secret import Secret, is_of_mailbox
from transports._settings import Settings, is_loopback

Grant = Literal["client_credentials", "authorization_code", "refresh_token", "jwt_bearer"]
"""How an access token is had: as the application itself; by a person who logs in once (`email-router oauth login`, in
a browser or on another device); by a refresh token that somebody else got; as a service account in a user's name."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a provider: its endpoints, with `{tenant}` where it has several, and the scopes for mail.

    `scope` is what an application asks for itself, `user_scope` what it asks of a user.
    """

    token_url: str
    authorization_url: str
    device_url: str | None
    scope: str
    user_scope: str


_MICROSOFT: Final = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0"
_OUTLOOK: Final = "https://outlook.office.com"

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        # From "Authenticate an IMAP, POP or SMTP connection using OAuth" at learn.microsoft.com.
        "microsoft": Provider(
            token_url=f"{_MICROSOFT}/token",
            authorization_url=f"{_MICROSOFT}/authorize",
            device_url=f"{_MICROSOFT}/devicecode",
            scope="https://outlook.office365.com/.default",
            user_scope=f"{_OUTLOOK}/IMAP.AccessAsUser.All {_OUTLOOK}/POP.AccessAsUser.All {_OUTLOOK}/SMTP.Send "
            "offline_access",
        ),
        # From "OAuth 2.0 Mechanism" of Gmail, at developers.google.com.
        "google": Provider(
            token_url="https://oauth2.googleapis.com/token",  # noqa: S106  # an address
            authorization_url="https://accounts.google.com/o/oauth2/v2/auth",
            device_url=None,  # such a login is given no mail
            scope="https://mail.google.com/",
            user_scope="https://mail.google.com/",
        ),
    }
)


class ClientCertificate(Settings):
    """A certificate by which the token server knows the application (RFC 7523, private_key_jwt), by reference."""

    file: Path = Field(description="file (PEM) with the certificate that is registered with the application")
    key: Path | None = Field(None, description="file (PEM) with its private key, without a passphrase; else in `file`")


class OAuth2(Settings):
    """Where access tokens are from. `provider` fills in what the provider's own documents say."""

    provider: Literal["microsoft", "google"] | None = Field(
        None, description="microsoft or google: fills in `token_url` and the like, and `scope`"
    )
    tenant: str | None = Field(None, min_length=1, description="the tenant's id or domain (microsoft)")
    issuer: str | None = Field(None, description="or, of another provider, where its discovery document lies")
    token_url: str | None = Field(None, description="or the token server itself")
    authorization_url: str | None = Field(None, description="where a person logs in, for authorization_code")
    device_url: str | None = Field(None, description="where a login on another device begins (RFC 8628)")
    grant: Grant | None = Field(
        None,
        description="client_credentials, authorization_code (`email-router oauth login`), refresh_token or jwt_bearer; "
        "by default what the other keys are for",
    )
    client_id: str | None = Field(None, min_length=1, description="the application's id")
    client_secret: Secret | None = Field(None, description="reference to the application's secret")
    client_secret_expires: date | None = Field(
        None, description="day on which the secret ends, such as 2027-01-31: no server tells it, so that we can warn"
    )
    client_certificate: ClientCertificate | None = Field(
        None, description="or the application's certificate, `{ file, key }`"
    )
    service_account: Secret | None = Field(
        None, description="reference to the JSON key of a service account that may act for users (google)"
    )
    refresh_token: Secret | None = Field(
        None, description="reference to a refresh token to begin with; those that replace it are kept in the database"
    )
    scope: str | None = Field(None, min_length=1, description="what is asked for; by default the provider's for mail")
    ca_file: Path | None = Field(None, description="certificate authorities to trust for the token server (PEM)")
    timeout: float = Field(20, gt=0, le=60, description="seconds to wait for the token server")

    @field_validator("issuer", "token_url", "authorization_url", "device_url")
    @classmethod
    def _is_secure(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, host = _server_of(url)
        if not host or scheme not in ("https", "http"):
            raise ValueError('must be an address such as "https://login.example.com/token"')
        if scheme == "http" and not is_loopback(host):
            raise ValueError("secrets would go there in clear text: only https, but on this machine")
        return url

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.provider is not None) + (self.issuer is not None) + (self.token_url is not None) != 1:
            raise ValueError("say who gives tokens by one of provider, issuer and token_url")
        if self.provider == "microsoft" and self.tenant is None:
            raise ValueError("tenant is missing: the tenant's id, or one of its domains")
        if self.tenant is not None and self.provider != "microsoft":
            raise ValueError('tenant is for provider = "microsoft"')
        if self.client_secret is not None and self.client_certificate is not None:
            raise ValueError("give client_secret or client_certificate, not both")
        if self.client_secret_expires is not None and self.client_secret is None:
            raise ValueError("client_secret_expires is of a client_secret")
        if self.scope is None and self.provider is None:
            raise ValueError("scope is missing: what the provider calls the right to read or send mail")
        for secret in (self.client_secret, self.service_account, self.refresh_token):
            if secret is not None and is_of_mailbox(str(secret.file)):
                raise ValueError("a file of oauth2 is for all mailboxes: it takes no {mailbox}")
        self._fits_its_grant()
        return self

    def _fits_its_grant(self) -> None:
        if self.effective_grant == "jwt_bearer":
            if self.service_account is None:
                raise ValueError("service_account is missing: a reference to its JSON key")
            if self.client_secret is not None or self.client_certificate is not None:
                raise ValueError("a service account needs neither client_secret nor client_certificate")
            return
        if self.service_account is not None:
            raise ValueError('service_account is for grant = "jwt_bearer"')
        if self.client_id is None:
            raise ValueError("client_id is missing: the application's id")
        if self.effective_grant == "client_credentials" and not (self.client_secret or self.client_certificate):
            raise ValueError("client_credentials needs client_secret or client_certificate")
        if (self.refresh_token is not None) != (self.effective_grant == "refresh_token"):
            raise ValueError('refresh_token and grant = "refresh_token" go together')

    @property
    def effective_grant(self) -> Grant:
        """The grant, by default what the other keys are for.

        A secret alone is the application's own right with Microsoft; Google gives applications none, but people.
        """
        if self.grant is not None:
            return self.grant
        if self.service_account is not None:
            return "jwt_bearer"
        if self.refresh_token is not None:
            return "refresh_token"
        has_secret = self.client_secret is not None or self.client_certificate is not None
        return "client_credentials" if has_secret and self.provider != "google" else "authorization_code"

    @property
    def effective_scope(self) -> str:
        """What is asked for, words separated by spaces."""
        if self.scope is not None:
            return self.scope
        known = PROVIDERS[self.provider or ""]
        return known.user_scope if self.is_by_login else known.scope

    @property
    def is_by_login(self) -> bool:
        """Whether a person's login began the grant, so that a refresh token renews it."""
        return self.effective_grant in ("authorization_code", "refresh_token")

    @property
    def is_of_mailbox(self) -> bool:
        """Whether each mailbox has tokens of its own in any case; else they may be for all mailboxes."""
        return self.effective_grant == "jwt_bearer"

    def url(self, which: Literal["token_url", "authorization_url", "device_url"]) -> str | None:
        """The endpoint that the profile or the provider names; None where only a discovery document may know it."""
        written: str | None = getattr(self, which)
        if written is None and self.provider is not None:
            found: str | None = getattr(PROVIDERS[self.provider], which)
            return found and found.replace("{tenant}", self.tenant or "")
        return written

    @property
    def where(self) -> str:
        """Say whose tokens they are: "microsoft (contoso.example)", "https://login.example.com"."""
        if self.provider is not None:
            return f"{self.provider} ({self.tenant})" if self.tenant else self.provider
        return self.issuer or self.token_url or ""


def _server_of(url: str) -> tuple[str, str]:
    """Return scheme and host; no host where there is none, or something that does not belong into an endpoint."""
    try:
        parts = urlsplit(url)
        usual = parts.port != 0 and parts.username is None and not parts.fragment
    except ValueError:
        return "", ""
    return parts.scheme, (parts.hostname or "") if usual else ""
