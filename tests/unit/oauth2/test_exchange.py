"""What is asked of a token server, and what its answers mean."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from router.http import Answer
from router.oauth2.discovery import Endpoints
from router.oauth2.exchange import Granted, Refused, Request, read_answer, request_of
from transports import OAuth2

ENDPOINTS = Endpoints("https://login.example.com/token")
SECRET = {"file": "/nowhere/secret"}


def profile(**keys: Any) -> OAuth2:
    given = {"client_id": "the client", "client_secret": SECRET, "scope": "mail read", **keys}
    if not {"provider", "issuer"} & given.keys():
        given["token_url"] = ENDPOINTS.token_url
    return OAuth2.model_validate(given)


def microsoft(**keys: Any) -> OAuth2:
    return OAuth2.model_validate(
        {"provider": "microsoft", "tenant": "contoso.example", "client_id": "c", "client_secret": SECRET, **keys}
    )


def google() -> OAuth2:
    return OAuth2.model_validate({"provider": "google", "service_account": {"file": "/nowhere/key.json"}})


def form_of(request: Request) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(request.form, strict_parsing=True).items()}


def answer(
    told: Any, status: int = 200, retry_after: float | None = None, content_type: str = "application/json"
) -> Answer:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return Answer(status, body, content_type, retry_after, None, "192.0.2.1:443")


def read(
    told: Any,
    status: int = 200,
    oauth2: OAuth2 | None = None,
    retry_after: float | None = None,
    content_type: str = "application/json",
) -> Granted:
    oauth2 = oauth2 or profile()
    request = request_of(oauth2, ENDPOINTS, secret="the-long-secret", refresh_token="the+refresh/token")
    return read_answer(answer(told, status, retry_after, content_type), request, oauth2, oauth2.effective_grant)


def refused(error: str, description: str = "", oauth2: OAuth2 | None = None, status: int = 400) -> Refused:
    with pytest.raises(Refused) as raised:
        read({"error": error, "error_description": description}, status, oauth2)
    return raised.value


def test_a_secret_goes_into_the_header() -> None:
    request = request_of(profile(), ENDPOINTS, secret="s:cret+ä")
    assert form_of(request) == {"grant_type": "client_credentials", "scope": "mail read"}
    sent = request.headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent) == b"the+client:s%3Acret%2B%C3%A4"  # RFC 6749 §2.3.1


def test_a_secret_goes_into_the_form_where_the_server_takes_it_so() -> None:
    request = request_of(microsoft(), Endpoints("https://x/token", posts_secret=True), secret="s&cret")
    assert not request.headers
    assert form_of(request) == {
        "grant_type": "client_credentials",
        "client_id": "c",
        "client_secret": "s&cret",
        "scope": "https://outlook.office365.com/.default",
    }


def test_a_certificate_shows_who_we_are() -> None:
    form = form_of(request_of(microsoft(), ENDPOINTS, client_assertion="a.b.c"))
    assert form["client_assertion"] == "a.b.c"
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert form["client_id"] == "c"


def test_a_public_client_names_itself_in_the_form() -> None:
    form = form_of(request_of(profile(client_secret=None), ENDPOINTS, refresh_token="r"))
    assert form == {"grant_type": "refresh_token", "client_id": "the client", "refresh_token": "r"}


def test_a_service_account_shows_its_assertion_alone() -> None:
    form = form_of(request_of(google(), ENDPOINTS, assertion="a.b.c"))
    assert form == {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}


def test_a_code_is_exchanged_with_its_verifier() -> None:
    form = form_of(request_of(profile(), ENDPOINTS, code="c", redirect_uri="http://localhost:1/", code_verifier="v"))
    assert form == {
        "grant_type": "authorization_code",
        "client_id": "the client",
        "code": "c",
        "redirect_uri": "http://localhost:1/",
        "code_verifier": "v",
    }


def test_no_secret_is_in_a_repr() -> None:
    request = request_of(profile(), ENDPOINTS, secret="the-long-secret", refresh_token="the-refresh-token")
    granted = read({"access_token": "the-access-token", "refresh_token": "another-refresh-token", "expires_in": 10})
    assert "the-" not in repr(request)
    assert "-token" not in repr(granted)
    assert "the-access-token" not in repr(answer({"access_token": "the-access-token"}))


@pytest.mark.parametrize(
    ("told", "lasts"),
    [
        *((60, 60), ("60", 60), (60.5, 60), (None, 3600), (0, 3600), (-5, 3600), (10**30, 86400), (True, 3600)),
        *((10**400, 86400), (float("inf"), 86400), (float("nan"), 3600), ("60.5", 3600), ([5], 3600), ({}, 3600)),
    ],
)
def test_how_long_a_token_lasts(told: Any, lasts: float) -> None:
    assert read({"access_token": "a", "expires_in": told}).lasts == lasts


@pytest.mark.parametrize("nonsense", [{"expires_at": "soon"}, {"scope": 5}, {"expires_in": [5]}, {"token_type": 7}])
def test_nonsense_beside_a_refresh_token_does_not_lose_it(nonsense: dict[str, Any]) -> None:
    assert read({"access_token": "a", "refresh_token": "r", **nonsense}).refresh_token == "r"


def test_what_is_granted() -> None:
    told = {"access_token": "a", "refresh_token": "r", "scope": "mail other", "refresh_token_expires_in": 7776000}
    granted = read(told)
    assert (granted.refresh_token, granted.scope, granted.refresh_lasts) == ("r", "mail other", 7776000)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_temporary(status: int) -> None:
    with pytest.raises(Refused) as raised:
        read(b"<html>Bad gateway</html>", status, retry_after=7)
    assert raised.value.cause.kind == "temporary"
    assert raised.value.retry_after == 7


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error", "slow_down"])
def test_an_error_that_passes_is_temporary(error: str) -> None:
    assert refused(error).cause.kind == "temporary"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_page_in_place_of_an_answer_is_for_an_admin(status: int) -> None:
    with pytest.raises(Refused, match=f"answered HTTP {status} and no JSON, but text/html: Not <here>") as raised:
        read(b"<h1>Not &lt;here&gt;</h1>", status, content_type="text/html")
    assert raised.value.cause.kind == "permanent"


@pytest.mark.parametrize(
    ("code", "words", "cure"),
    [
        ("AADSTS7000215: Invalid client secret provided.", "secret is wrong", "its value, not its id"),
        (
            "AADSTS7000222: The provided client secret keys are expired.",
            "secret has expired",
            "make a new client secret",
        ),
        ("AADSTS90002: Tenant 'x' not found.", "tenant is not known", "tenant"),
        ("AADSTS700016: Application with identifier 'x' was not found", "not known in this tenant", "client_id"),
        ("AADSTS65001: The user or administrator has not consented", "consented", "admin consent"),
        ("AADSTS53003: Access has been blocked by Conditional Access", "conditional access", "policies"),
        ("AADSTS700082: The refresh token has expired due to inactivity.", "login has expired", "oauth login"),
        ("AADSTS700027: Client assertion contains an invalid signature.", "certificate", "upload the certificate"),
    ],
)
def test_what_microsoft_says(code: str, words: str, cure: str) -> None:
    found = refused("invalid_client", code, microsoft())
    assert words in found.cause.words
    assert cure in found.cause.cure
    assert code.partition(":")[0] in str(found)


def test_a_longer_code_is_another() -> None:
    assert "tenant" not in refused("invalid_client", "AADSTS900021: something", microsoft()).cause.words


@pytest.mark.parametrize(
    ("error", "description", "words", "cure"),
    [
        (
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens using this method",
            "domain-wide delegation lacks",
            "Domain-wide delegation",
        ),
        ("invalid_grant", "Invalid JWT: Token must be a short-lived token", "not good at this time", "clock"),
        ("invalid_grant", "Invalid JWT Signature.", "key of the service account", "make a new key"),
        ("invalid_grant", "Invalid grant: account not found", "service account was deleted", "make another"),
        ("invalid_grant", "Account has been deleted", "account was deleted", "another user"),
        ("invalid_grant", "Invalid email or User ID", "no user of the domain", "primary address"),
        ("invalid_grant", "something new", "does not take the assertion", "clock"),
    ],
)
def test_what_google_says(error: str, description: str, words: str, cure: str) -> None:
    found = refused(error, description, google())
    assert words in found.cause.words
    assert cure in found.cause.cure


@pytest.mark.parametrize("error", ["invalid_client", "invalid_grant", "unauthorized_client", "access_denied", "odd"])
def test_what_a_person_grants_is_refused(error: str) -> None:
    assert refused(error).cause.kind == "refused"


@pytest.mark.parametrize("error", ["invalid_scope", "unsupported_grant_type", "invalid_request"])
def test_what_the_profile_says_wrong_is_permanent(error: str) -> None:
    assert refused(error).cause.kind == "permanent"


def test_what_a_server_quotes_of_ours_is_left_out() -> None:
    said = refused(
        "invalid_client", "the-long-secret, the+refresh/token and the%2Brefresh%2Ftoken are bad\0\x1b[31m"
    ).said
    assert said == "invalid_client: …, … and … are bad [31m"


def test_a_long_tale_is_cut() -> None:
    assert len(refused("invalid_client", "x" * 100_000).said) <= 300


def test_an_error_that_is_no_text_is_told() -> None:
    assert refused({"a": 1}).cause.kind == "refused"  # type: ignore[arg-type]
