"""The tests' own authorization server: each grant, and each way to misbehave."""

import base64
import hashlib
import json
import secrets
import smtplib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from router.oauth2.assertion import account_assertion, client_assertion
from tests.servers.authorization import PUBLIC, SCOPE, AuthorizationServer
from tests.servers.dovecot import HOST, Dovecot
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls
from transports import OAuth2

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
REDIRECT = "http://127.0.0.1:9/callback"


class Client:
    """Speaks plain HTTP, and knows nothing of OAuth2."""

    def __init__(self, server: AuthorizationServer, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def ask(self, url: str = "", headers: Any = None, **form: Any) -> tuple[int, Any]:
        async with self.http.post(url or self.server.token_url, data=form, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def token(self, **form: str) -> str:
        status, told = await self.ask(**form)
        assert status == 200, told
        assert (told["token_type"], told["expires_in"]) == ("Bearer", 3600)
        return str(told["access_token"])

    @property
    def secret(self) -> dict[str, str]:
        application = self.server.application
        return {"client_id": application.client_id, "client_secret": application.secret}

    async def code(self, user: str, verifier: str, client_id: str) -> str:
        """Log in as a person does, in a browser."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": REDIRECT,
            "scope": SCOPE,
            "state": "the state",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        url = self.server.authorization_url
        async with self.http.get(url, params=query) as page:
            assert "Log in" in await page.text()
        async with self.http.post(url, params=query, data={"user": user}, allow_redirects=False) as back:
            assert back.status == 302, await back.text()
            told = parse_qs(urlsplit(back.headers["Location"]).query)
        assert told["state"] == ["the state"]
        return told["code"][0]


@pytest.fixture
async def client(authorization: AuthorizationServer, tls: Tls) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(ssl=tls.client_context())
    async with aiohttp.ClientSession(connector=connector) as http:
        yield Client(authorization, http)


def opens(dovecot: Dovecot, token: str, mailbox: str) -> bool:
    """Tell whether a token logs in, by Postfix's and everybody's Dovecot."""
    said = base64.b64encode(f"user={mailbox}\1auth=Bearer {token}\1\1".encode())
    with socket.create_connection((HOST, dovecot.imap), timeout=20) as connection:
        lines = connection.makefile("rb")
        lines.readline()
        connection.sendall(b"a AUTHENTICATE XOAUTH2 " + said + b"\r\n")
        while not (answer := lines.readline()).startswith(b"a "):
            if answer.startswith(b"+ "):  # why it is refused
                connection.sendall(b"\r\n")
    return answer.startswith(b"a OK")


async def test_an_application_has_tokens_for_all_mailboxes(
    client: Client, dovecot: Dovecot, mailbox: str, tls: Tls
) -> None:
    server = client.server
    posted = await client.token(grant_type="client_credentials", scope=SCOPE, **client.secret)
    pair = base64.b64encode(":".join(client.secret.values()).encode()).decode()
    basic = {"Authorization": f"Basic {pair}"}
    status, told = await client.ask(headers=basic, grant_type="client_credentials", scope=SCOPE)
    assert status == 200, told
    profile = {"token_url": server.token_url, "client_id": "crm-router", "scope": SCOPE}
    certificate = {"file": tls.certificate, "key": tls.key}
    settings = OAuth2.model_validate({**profile, "client_certificate": certificate})
    signed = await client.token(
        grant_type="client_credentials",
        scope=SCOPE,
        client_id="crm-router",
        client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        client_assertion=client_assertion(settings, server.token_url),
    )
    assert server.given == [posted, told["access_token"], signed]
    assert all(opens(dovecot, token, mailbox) for token in server.given)
    assert not opens(dovecot, posted, "ann@elsewhere.test")
    assert server.count("client_credentials", "", "ok") == 3


async def test_a_service_account_has_a_token_for_one_mailbox(
    client: Client, dovecot: Dovecot, new_mailbox: Callable[[str], str]
) -> None:
    server, ann, bob = client.server, new_mailbox("ann"), new_mailbox("bob")
    settings = OAuth2.model_validate(
        {"token_url": server.token_url, "service_account": {"file": server.account.key_file}, "scope": SCOPE}
    )

    async def ask(mailbox: str, audience: str = server.token_url) -> tuple[int, Any]:
        return await client.ask(grant_type=JWT_BEARER, assertion=account_assertion(settings, mailbox, audience))

    status, told = await ask(ann)
    assert status == 200, told
    assert opens(dovecot, told["access_token"], ann)
    assert not opens(dovecot, told["access_token"], bob)
    assert (await ask(ann, "https://elsewhere.test"))[1]["error"] == "invalid_grant"
    assert (await ask("ann@elsewhere.test"))[1]["error_description"] == "Invalid email or User ID"
    settings = settings.model_copy(update={"scope": "everything"})
    assert (await ask(ann))[1]["error"] == "unauthorized_client"
    assert [(one.subject, one.said) for one in server.asked][:2] == [(ann, "ok"), ("", "invalid_grant")]


async def test_a_person_logs_in_and_a_refresh_token_is_good_once(
    client: Client, dovecot: Dovecot, mailbox: str
) -> None:
    verifier = secrets.token_urlsafe(40)
    code = await client.code(mailbox, verifier, PUBLIC)
    form = {"grant_type": "authorization_code", "client_id": PUBLIC, "code": code, "redirect_uri": REDIRECT}
    assert (await client.ask(**form, code_verifier="x" * 50))[1]["error"] == "invalid_grant"
    status, first = await client.ask(**form, code_verifier=verifier)
    assert status == 200, first
    assert opens(dovecot, first["access_token"], mailbox)
    assert (await client.ask(**form, code_verifier=verifier))[1]["error"] == "invalid_grant"

    form = {"grant_type": "refresh_token", "client_id": PUBLIC}
    status, second = await client.ask(**form, refresh_token=first["refresh_token"])
    assert status == 200, second
    assert second["refresh_token"] != first["refresh_token"]
    assert (await client.ask(**form, refresh_token=first["refresh_token"]))[1]["error"] == "invalid_grant"
    assert (await client.ask(**form, refresh_token=second["refresh_token"]))[1]["error"] == "invalid_grant"
    assert client.server.count("refresh_token", mailbox) == 1
    assert {code, verifier, first["refresh_token"], second["access_token"]} <= client.server.seen


async def test_refresh_tokens_that_do_not_rotate_and_are_revoked(client: Client, mailbox: str) -> None:
    client.server.rotate = False
    form = {"grant_type": "refresh_token", "refresh_token": client.server.first_refresh_token(mailbox)}
    for _ in range(2):
        assert (await client.ask(**form, **client.secret))[1]["refresh_token"] == form["refresh_token"]
    client.server.revoke(mailbox)
    assert (await client.ask(**form, **client.secret))[1]["error"] == "invalid_grant"
    form["refresh_token"] = client.server.first_refresh_token(mailbox)
    assert (await client.ask(f"{client.server.issuer}/revoke", token=form["refresh_token"], **client.secret))[0] == 200
    assert (await client.ask(**form, **client.secret))[1]["error"] == "invalid_grant"


async def test_a_login_on_another_device(client: Client, dovecot: Dovecot, mailbox: str) -> None:
    server = client.server
    status, told = await client.ask(server.device_url, client_id=PUBLIC, scope=SCOPE)
    assert status == 200, told
    form = {"grant_type": DEVICE_CODE, "client_id": PUBLIC, "device_code": told["device_code"]}
    assert (await client.ask(**form))[1]["error"] == "authorization_pending"
    assert (await client.ask(**form))[1]["error"] == "slow_down"
    async with client.http.post(told["verification_uri_complete"], data={"user": mailbox}) as page:
        assert page.status == 200
    server.interval = 0
    status, given = await client.ask(**form)
    assert status == 200, given
    assert given["refresh_token"]
    assert opens(dovecot, given["access_token"], mailbox)
    assert server.count(DEVICE_CODE) == 1

    _, told = await client.ask(server.device_url, client_id=PUBLIC, scope=SCOPE)
    server.approve(told["user_code"], "")
    assert (await client.ask(**{**form, "device_code": told["device_code"]}))[1]["error"] == "access_denied"


async def test_it_misbehaves_on_command(client: Client, mailbox: str) -> None:
    server = client.server
    form = {"grant_type": "client_credentials", "scope": SCOPE, **client.secret}
    assert (await client.ask(**{**form, "client_secret": "wrong"}))[1]["error"] == "invalid_client"
    assert (await client.ask(**{**form, "scope": "all"}))[1]["error"] == "invalid_scope"
    assert (await client.ask(**{**form, "grant_type": "password"}))[1]["error"] == "unsupported_grant_type"
    server.throttle(7)
    async with client.http.post(server.token_url, data=form) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    server.break_with(502, "<h1>Bad gateway</h1>")
    async with client.http.post(server.token_url, data=form) as answer:
        assert answer.status == 502
    server.mend()
    server.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.ask(**form)
    server.start()
    assert (await client.ask(**form))[0] == 200
    server.expire_secret()
    assert "AADSTS7000222" in (await client.ask(**form))[1]["error_description"]
    form = {"grant_type": "refresh_token", "refresh_token": server.first_refresh_token(mailbox), "client_id": PUBLIC}
    assert (await client.ask(**form))[1]["error"] == "invalid_grant"


async def test_the_discovery_document_names_itself(client: Client) -> None:
    async with client.http.get(f"{client.server.issuer}/.well-known/openid-configuration") as answer:
        told = await answer.json()
    assert (told["issuer"], told["token_endpoint"]) == (client.server.issuer, client.server.token_url)


def sasl(mechanism: str, token: str, mailbox: str) -> str:
    if mechanism == "XOAUTH2":
        return f"user={mailbox}\1auth=Bearer {token}\1\1"
    return f"n,a={mailbox},\1host=localhost\1port=587\1auth=Bearer {token}\1\1"


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_relay_takes_a_token_until_its_end(
    postfix: Postfix, dovecot: Dovecot, tls: Tls, mailbox: str, mechanism: str
) -> None:
    def log_in(token: str) -> tuple[int, bytes]:
        with smtplib.SMTP(HOST, postfix.submission) as smtp:
            smtp.starttls(context=tls.client_context())
            smtp.ehlo()
            assert mechanism in smtp.esmtp_features["auth"].split()
            first = base64.b64encode(sasl(mechanism, token, mailbox).encode()).decode()
            code, words = smtp.docmd("AUTH", f"{mechanism} {first}")
            if code == 334:  # why it is refused; the client says that it has understood
                status = {"XOAUTH2": "401", "OAUTHBEARER": "invalid_token"}[mechanism]
                assert json.loads(base64.b64decode(words))["status"] == status
                code, words = smtp.docmd(base64.b64encode(b"\1").decode())
            return code, words

    token = dovecot.token("*@in.test", 1)
    assert log_in(token)[0] == 235
    deadline = time.monotonic() + 20
    while (answer := log_in(token))[0] == 235:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer[0] == 535, answer
