"""Logins by a person, against a token server on loopback."""

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from aiohttp import web

from router.oauth2.exchange import Refused
from router.oauth2.login import BrowserLogin, begin, begin_on_device, finish, finish_on_device
from router.oauth2.requests import TokenServers
from tests.support.token_server import TokenServer, error, token_server
from transports import OAuth2, Secret
from transports.errors import Permanent, Unauthorized

_HERE = "http://127.0.0.1:4567/"


@pytest.fixture
async def server() -> Any:
    async with token_server() as running:
        running.rotates = True
        yield running


def _profile(server: TokenServer) -> OAuth2:
    return OAuth2(
        token_url=server.url,
        authorization_url="https://login.example.com/authorize",
        device_url=server.url.replace("/token", "/device"),
        grant="authorization_code",
        client_id="the-client",
        scope="mail",
        timeout=5,
    )


def _back(login: BrowserLogin, **told: str) -> str:
    return f"{_HERE}?{urlencode({'state': login.state, **told})}"


async def test_a_browsers_code_is_redeemed_with_the_verifier_of_its_challenge(server: TokenServer) -> None:
    servers, profile = TokenServers(), _profile(server)
    login = await begin(servers, profile, _HERE)
    asked = parse_qs(urlsplit(login.url).query)
    granted = await finish(servers, profile, login, _back(login, code="the-code"))
    assert granted.refresh_token == "refresh-token-1"
    [form] = server.forms
    assert (form["grant_type"], form["code"], form["redirect_uri"]) == ("authorization_code", "the-code", _HERE)
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert asked["code_challenge"] == [base64.urlsafe_b64encode(digest).rstrip(b"=").decode()]
    assert asked["code_challenge_method"] == ["S256"]
    assert login.verifier not in login.url
    assert login.verifier not in repr(login)


async def test_a_code_of_another_login_is_not_redeemed(server: TokenServer) -> None:
    login = await begin(TokenServers(), _profile(server), _HERE)
    for address in (f"{_HERE}?state=another&code=theirs", f"{_HERE}?code=theirs", "", "http://[", f"{_HERE}?state=é"):
        with pytest.raises(Permanent, match="state differs"):
            await finish(TokenServers(), _profile(server), login, address)
    assert not server.forms


async def test_a_person_who_refuses_is_told_of_on_one_line(server: TokenServer) -> None:
    login = await begin(TokenServers(), _profile(server), _HERE)
    address = _back(login, error="access_denied", error_description="not\nI\x1b[2J")
    with pytest.raises(Unauthorized) as caught:
        await finish(TokenServers(), _profile(server), login, address)
    assert str(caught.value).startswith("access is denied: access_denied: not I [2J; ")


async def test_a_login_without_a_refresh_token_is_none(server: TokenServer) -> None:
    server.rotates = False
    login = await begin(TokenServers(), _profile(server), _HERE)
    with pytest.raises(Permanent, match="no refresh token"):
        await finish(TokenServers(), _profile(server), login, _back(login, code="the-code"))


class _Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def test_a_device_is_waited_for_more_slowly_where_the_server_says_so(server: TokenServer) -> None:
    said = iter(["authorization_pending", "slow_down", "authorization_pending"])

    async def answer(form: Any) -> web.StreamResponse:
        name = next(said, None)
        return server.give() if name is None else await error(name)(form)

    server.answer = answer
    servers, time = TokenServers(), _Time()
    login = await begin_on_device(servers, _profile(server))
    assert (login.url, login.user_code) == ("https://login.example.com/device", "ABCD-EFGH")
    granted = await finish_on_device(servers, _profile(server), login, sleep=time.sleep, clock=time.clock)
    assert granted.refresh_token == "refresh-token-1"
    assert time.slept == [5, 5, 10, 10]
    assert server.forms[-1]["device_code"] == "the-device-code"


async def test_a_device_is_waited_for_until_its_code_ends(server: TokenServer) -> None:
    server.answer = error("authorization_pending")
    servers, time = TokenServers(), _Time()
    login = await begin_on_device(servers, _profile(server))
    with pytest.raises(Permanent, match="nobody logged in"):
        await finish_on_device(servers, _profile(server), login, sleep=time.sleep, clock=time.clock)
    assert time.now < 60


async def test_a_person_who_refuses_on_a_device_ends_the_login(server: TokenServer) -> None:
    server.answer = error("access_denied")
    servers, time = TokenServers(), _Time()
    login = await begin_on_device(servers, _profile(server))
    with pytest.raises(Refused, match="access is denied"):
        await finish_on_device(servers, _profile(server), login, sleep=time.sleep, clock=time.clock)
    assert time.slept == [5]


@pytest.mark.parametrize("told", [{}, {"expires_in": "soon"}, {"expires_in": 60, "user_code": "A"}])
async def test_nonsense_begins_no_login_on_a_device(server: TokenServer, told: dict[str, Any]) -> None:
    server.on_device = told
    with pytest.raises(Permanent, match="begins no login"):
        await begin_on_device(TokenServers(), _profile(server))


async def test_what_refuses_a_login_on_a_device_tells_no_secret(server: TokenServer, tmp_path: Path) -> None:
    secret = "the-secret-of-the-application"  # a test's own
    (tmp_path / "secret").write_text(secret)
    profile = _profile(server).model_copy(update={"client_secret": Secret(file=tmp_path / "secret")})
    server.on_device = {"error": "invalid_client", "error_description": f"{secret} is not it"}
    with pytest.raises(Unauthorized, match="invalid_client: … is not it") as caught:
        await begin_on_device(TokenServers(), profile)
    assert secret not in str(caught.value)


async def test_google_gives_no_mail_to_a_login_on_a_device() -> None:
    profile = OAuth2(provider="google", client_id="a")
    with pytest.raises(Permanent, match="log in without --device"):
        await begin_on_device(TokenServers(), profile)
