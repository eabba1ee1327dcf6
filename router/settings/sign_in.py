"""Who says who a person at the console is: a proxy before it, a provider (OpenID Connect), or a password."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings

from router.model.viewer import StaffRole
from router.settings.address import is_here


class SignInSettings(BaseSettings):
    """Those of the router's settings that tell how people sign in."""

    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of proxies before the console, separated by commas, such as "
        "`127.0.0.1, 10.0.0.0/8`. What they say of a request holds: `X-Forwarded-For`, `-Proto`, `-Host` and "
        "`-Prefix`.",
        json_schema_extra={"shown": "none"},
    )
    remote_user: str | None = Field(
        default=None,
        description="Header in which these proxies name the person who is signed in there, such as `Remote-User`; the "
        "console asks that person for no password. They have to take it out of what comes from elsewhere.",
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="People sign in to the console by this provider (OpenID Connect): its issuer, just as its "
        "discovery document has it, such as `https://login.example.com/realms/office`.",
    )
    oidc_client_id: str | None = Field(
        default=None, description="Id under which the console is registered with that provider."
    )
    oidc_client_secret: Path | None = Field(
        default=None, description="File with the secret that goes with it; a public client has none."
    )
    oidc_name: str | None = Field(
        default=None,
        max_length=60,
        description="What the button calls the provider: `Sign in with …`.",
        json_schema_extra={"shown": "the issuer's host"},
    )
    oidc_scope: str = Field(
        default="openid email profile", description="What the provider is asked for, words separated by spaces."
    )
    oidc_claim: str = Field(
        default="email",
        pattern=r"^[!-~]{1,100}$",
        description="Claim of the ID token by which a person's account is found at the first sign-in; `email` has to "
        "be verified (`email_verified`). From then on the provider's own id of the person (`sub`) counts alone.",
    )
    oidc_roles: str = Field(
        default="",
        description="Groups whose members need no account beforehand, each with its role for all mail, such as "
        "`crm-admins=administer, crm-support=decide`; the highest counts, at each sign-in anew.",
        json_schema_extra={"shown": "none"},
    )
    oidc_groups_claim: str = Field(
        default="groups", pattern=r"^[!-~]{1,100}$", description="Claim of the ID token that has these groups."
    )
    oidc_ca_file: Path | None = Field(
        default=None,
        description="Certificate authorities to trust for the provider (PEM).",
        json_schema_extra={"shown": "the system's"},
    )
    console_passwords: bool = Field(
        default=True,
        description="`false`: nobody signs in to the console by a password. It takes a provider or a proxy that signs "
        "people in; one-time links go on to let people in.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for one in _separated(value):
            try:
                ip_network(one, strict=False)
            except ValueError:
                raise ValueError(f"{one!r} is no address or network: write 127.0.0.1, 10.0.0.0/8 or fd00::/8") from None
        return value

    @field_validator("remote_user")
    @classmethod
    def _is_header(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9-]+", value):
            raise ValueError(f"{value!r} is no name of a header: write Remote-User")
        if value is not None and not info.data.get("trusted_proxies"):
            raise ValueError("nobody could say who is signed in: EMAIL_ROUTER_TRUSTED_PROXIES names nobody")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _is_issuer(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
            raise ValueError(f"{value!r} is no issuer: write https://login.example.com/realms/office")
        if value.startswith("http:") and not is_here(value):
            raise ValueError("secrets would go there in clear text: only https, but on this machine")
        return value

    @field_validator("oidc_client_secret")
    @classmethod
    def _is_file(cls, value: Path | None) -> Path | None:
        # What was written is not repeated: it may be the secret.
        if value is not None and not value.is_absolute():
            raise ValueError("it is the path of a file that holds the secret, from / on, never the secret itself")
        return value

    @field_validator("oidc_scope")
    @classmethod
    def _asks_for_openid(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("it has to have openid among its words, or the provider does not say who signs in")
        return value

    @field_validator("oidc_roles")
    @classmethod
    def _are_roles(cls, value: str) -> str:
        for one in _separated(value):
            group, equals, role = one.rpartition("=")
            if not equals or not group.strip() or role.strip() not in set(StaffRole):
                raise ValueError(
                    f"{one!r} is no group with a role: write crm-admins=administer, crm-support=decide; the roles are "
                    f"{', '.join(StaffRole)}"
                )
        return value

    @model_validator(mode="after")
    def _can_sign_in(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_client_id is None):
            missing, given = ("CLIENT_ID", "ISSUER") if self.oidc_client_id is None else ("ISSUER", "CLIENT_ID")
            raise ValueError(f"EMAIL_ROUTER_OIDC_{missing} is missing, which goes with EMAIL_ROUTER_OIDC_{given}")
        others = ("oidc_client_secret", "oidc_name", "oidc_roles", "oidc_ca_file")
        idle = next((name for name in others if getattr(self, name)), None)
        if self.oidc_issuer is None and idle is not None:
            raise ValueError(
                f"EMAIL_ROUTER_OIDC_ISSUER is missing, without which EMAIL_ROUTER_{idle.upper()} means nothing"
            )
        if not self.console_passwords and self.oidc_issuer is None and self.remote_user is None:
            raise ValueError(
                "EMAIL_ROUTER_CONSOLE_PASSWORDS: without passwords nobody could sign in: set EMAIL_ROUTER_OIDC_ISSUER, "
                "or EMAIL_ROUTER_REMOTE_USER"
            )
        return self

    @property
    def oidc_role_of(self) -> Mapping[str, StaffRole]:
        """The role of each group that needs no account beforehand."""
        pairs = [one.rpartition("=") for one in _separated(self.oidc_roles)]
        return {group.strip(): StaffRole(role.strip()) for group, _, role in pairs}

    @property
    def oidc_title(self) -> str:
        """What people call the provider."""
        return self.oidc_name or urlsplit(self.oidc_issuer or "").hostname or ""

    @property
    def proxy_networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """The networks of proxies that are trusted."""
        return [ip_network(one, strict=False) for one in _separated(self.trusted_proxies)]


def _separated(value: str) -> Sequence[str]:
    return [one for part in value.split(",") if (one := part.strip())]
