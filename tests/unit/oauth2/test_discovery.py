"""An issuer's endpoints."""

import json
from typing import Any

import pytest

from router.http import Answer, Http
from router.oauth2.discovery import Endpoints, documents_of, endpoints_of, read_document
from tests.support.token_server import TokenServer
from transports import OAuth2
from transports.errors import Permanent

ISSUER = "https://login.example.com/realms/a"


def document(**keys: Any) -> Answer:
    told = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token", **keys}
    return Answer(200, json.dumps(told).encode(), "application/json", None, None, "")


def test_where_a_document_lies() -> None:
    assert documents_of("https://x.org/a/") == (
        "https://x.org/a/.well-known/openid-configuration",
        "https://x.org/.well-known/oauth-authorization-server/a",
    )


def test_what_a_document_says() -> None:
    told = document(
        authorization_endpoint="https://x.org/authorize",
        device_authorization_endpoint="https://x.org/device",
        token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
    )
    assert read_document(ISSUER, told) == Endpoints(
        f"{ISSUER}/token", "https://x.org/authorize", "https://x.org/device", posts_secret=True
    )
    assert read_document(ISSUER, document()) == Endpoints(f"{ISSUER}/token")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"issuer": "https://evil.example"}, "of another issuer"),
        ({"issuer": None}, "of another issuer"),
        ({"issuer": f"{ISSUER}/"}, "write it just so"),
        ({"token_endpoint": None}, "no token_endpoint"),
        ({"token_endpoint": "http://login.example.com/token"}, "not https"),
        ({"token_endpoint": "http://localhost:6379/"}, "not https"),
        ({"token_endpoint": ["a"]}, "not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "not https"),
    ],
)
def test_what_is_not_believed(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(Permanent, match=words):
        read_document(ISSUER, document(**keys))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"[" * 60_000])
def test_what_is_no_document(body: bytes) -> None:
    with pytest.raises(Permanent, match="not JSON"):
        read_document(ISSUER, Answer(200, body, "text/html", None, None, ""))


async def test_an_issuer_is_asked(server: TokenServer) -> None:
    issuer = server.url.removesuffix("/token")
    profile = OAuth2(issuer=issuer, client_id="c", scope="s")
    with pytest.raises(Permanent, match=r"has no discovery document: .* answers 404, .* answers 404"):
        await endpoints_of(profile, Http())
    server.document = {"issuer": issuer, "token_endpoint": server.url}
    assert await endpoints_of(profile, Http()) == Endpoints(server.url)
    by_hand = OAuth2(issuer=issuer, client_id="c", scope="s", device_url="https://x.org/device")
    assert (await endpoints_of(by_hand, Http())).device_url == "https://x.org/device"


async def test_a_provider_is_known() -> None:
    profile = OAuth2.model_validate(
        {"provider": "microsoft", "tenant": "t.example", "client_id": "c", "client_secret": {"env": "X"}}
    )
    found = await endpoints_of(profile, Http())
    assert found.token_url == "https://login.microsoftonline.com/t.example/oauth2/v2.0/token"
    assert found.posts_secret
