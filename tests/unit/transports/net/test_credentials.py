"""Whose tokens are asked for."""

import pytest

from transports._net.auth import Auth
from transports._net.credentials import whose

BY_SERVICE = {"provider": "google", "service_account": {"file": "/run/secrets/key.json"}}
BY_APPLICATION = {"provider": "microsoft", "tenant": "t", "client_id": "a", "client_secret": {"env": "X"}}


@pytest.mark.parametrize(
    ("user", "oauth2", "mailbox", "asked"),
    [
        ("{mailbox}", BY_SERVICE, "ann@in.test", "ann@in.test"),
        ("crm@in.test", BY_SERVICE, "", "crm@in.test"),
        ("crm@in.test", BY_SERVICE, "ann@in.test", "crm@in.test"),
        ("{mailbox}", BY_APPLICATION, "ann@in.test", "ann@in.test"),
        ("crm@in.test", BY_APPLICATION, "", ""),
    ],
)
def test_a_service_account_acts_for_the_user_of_the_login(
    user: str, oauth2: dict[str, object], mailbox: str, asked: str
) -> None:
    assert whose(Auth.model_validate({"user": user, "oauth2": oauth2}), mailbox) == asked
