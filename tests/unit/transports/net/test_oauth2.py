"""What a profile may say of access tokens, and what the providers fill in."""

from typing import Any

import pytest
from pydantic import ValidationError

from transports._net.oauth2 import OAuth2

SECRET = {"env": "SECRET"}
MICROSOFT = {"provider": "microsoft", "tenant": "contoso.example", "client_id": "a", "client_secret": SECRET}
BY_HAND = {"token_url": "https://login.example/token", "client_id": "a", "client_secret": SECRET, "scope": "mail"}


@pytest.mark.parametrize(
    ("keys", "grant", "token_url", "scope"),
    [
        (
            MICROSOFT,
            "client_credentials",
            "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token",
            "https://outlook.office365.com/.default",
        ),
        (
            {"provider": "google", "service_account": SECRET},
            "jwt_bearer",
            "https://oauth2.googleapis.com/token",
            "https://mail.google.com/",
        ),
        (
            {"provider": "google", "client_id": "a", "client_secret": SECRET},
            "authorization_code",
            "https://oauth2.googleapis.com/token",
            "https://mail.google.com/",
        ),
        (BY_HAND, "client_credentials", "https://login.example/token", "mail"),
        (BY_HAND | {"refresh_token": SECRET}, "refresh_token", "https://login.example/token", "mail"),
        ({"issuer": "https://login.example", "client_id": "a", "scope": "mail"}, "authorization_code", None, "mail"),
    ],
)
def test_what_is_not_said_is_the_providers(keys: dict[str, Any], grant: str, token_url: str | None, scope: str) -> None:
    oauth2 = OAuth2.model_validate(keys)
    assert (oauth2.effective_grant, oauth2.url("token_url"), oauth2.effective_scope) == (grant, token_url, scope)


def test_a_person_who_logs_in_at_microsoft_is_asked_for_mail_and_a_refresh_token() -> None:
    oauth2 = OAuth2.model_validate({"provider": "microsoft", "tenant": "t", "client_id": "a"})
    assert oauth2.effective_scope.split() == [
        "https://outlook.office.com/IMAP.AccessAsUser.All",
        "https://outlook.office.com/POP.AccessAsUser.All",
        "https://outlook.office.com/SMTP.Send",
        "offline_access",
    ]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"client_id": "a"}, "one of provider, issuer and token_url"),
        (MICROSOFT | {"issuer": "https://a.example"}, "one of provider, issuer and token_url"),
        ({"provider": "microsoft", "client_id": "a"}, "tenant is missing"),
        (BY_HAND | {"tenant": "t"}, "tenant is for provider"),
        (MICROSOFT | {"client_certificate": {"file": "/a.pem"}}, "not both"),
        (BY_HAND | {"scope": None}, "scope is missing"),
        ({"provider": "google", "grant": "jwt_bearer"}, "service_account is missing"),
        ({"provider": "google", "service_account": SECRET, "client_secret": SECRET}, "needs neither"),
        (MICROSOFT | {"service_account": SECRET, "grant": "client_credentials"}, "service_account is for grant"),
        ({"provider": "google"}, "client_id is missing"),
        (BY_HAND | {"client_secret": None, "grant": "client_credentials"}, "client_credentials needs"),
        (BY_HAND | {"grant": "refresh_token"}, "go together"),
        (BY_HAND | {"token_url": "http://login.example/token"}, "in clear text"),
        (BY_HAND | {"token_url": "login.example"}, "must be an address"),
        (BY_HAND | {"token_url": "https://ann:hush@login.example/"}, "must be an address"),
        (BY_HAND | {"token_url": "https://login.example:x/"}, "must be an address"),
        (BY_HAND | {"token_url": "http://127.login.example/token"}, "in clear text"),
        (BY_HAND | {"client_secret": {"file": "/run/secrets/{mailbox}"}}, "for all mailboxes"),
        (BY_HAND | {"refresh_token": {"file": "/run/{local}/token"}}, "for all mailboxes"),
        (BY_HAND | {"client_secret": "hush"}, "a secret is never written here"),
        (BY_HAND | {"client_sekret": SECRET}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        OAuth2.model_validate(keys)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:80"])
def test_clear_text_stays_on_this_machine(host: str) -> None:
    assert OAuth2.model_validate(BY_HAND | {"token_url": f"http://{host}/token"}).where.startswith("http://")
