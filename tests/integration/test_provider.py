"""Signing in by a provider (OpenID Connect), a real one on loopback: who gets which account, and who gets none."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from structlog.testing import capture_logs

from router.model.viewer import Grant, StaffRole
from router.oidc import provider as asking
from router.operations import audit_log, people, sign_in
from router.operations.backing import Backing
from router.operations.doctor import signing_in
from router.operations.doctor.patient import Patient
from router.profile import Profiles
from router.repository.database import Database
from router.settings import Settings
from router.web.console.guard import SESSION_COOKIE
from router.web.console.provider import ATTEMPT_COOKIE
from router.web.forwarded import Proxies
from tests.servers.authorization import AuthorizationServer, Claims
from tests.servers.ports import free_port
from tests.support.pages import ServedConsole, serving
from tests.support.signing_in import USER, Visitor, running_provider, settings_of


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[AuthorizationServer]:
    with running_provider(tmp_path) as server:
        yield server


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database, connections=4) as shared:
        yield shared


@asynccontextmanager
async def consoled(
    provider: AuthorizationServer, opened: Database, folder: Path, **more: Any
) -> AsyncIterator[ServedConsole]:
    """A console that signs people in there."""
    port = free_port()
    backing = Backing(lambda: Profiles((), ()), settings_of(provider, folder, port, **more))
    async with serving(opened, backing=backing, port=port) as served:
        yield served


@pytest.fixture
async def console(provider: AuthorizationServer, opened: Database, tmp_path: Path) -> AsyncIterator[ServedConsole]:
    async with consoled(provider, opened, tmp_path) as served:
        yield served


async def log_of(console: ServedConsole) -> list[tuple[str, str]]:
    return [(one.action, one.subject) for one in await audit_log.list_before(console.database)][::-1]


# --- The whole way ----------------------------------------------------------------------------------------------------


async def test_a_person_with_an_account_signs_in_and_comes_to_where_one_wanted(console: ServedConsole) -> None:
    await console.add(USER, "decide")
    visitor = Visitor(console)
    there = await visitor.go("/account?x=1")
    assert "code_challenge_method=S256" in there
    assert f"redirect_uri=http%3A%2F%2Flocalhost%3A{console.port}%2Fsign-in%2Fprovider%2Freturn" in there
    status, _, headers = await visitor.get(await visitor.log_in(there))
    assert (status, headers["Location"]) == (303, "/account?x=1")
    assert SESSION_COOKIE in visitor.cookies
    assert ATTEMPT_COOKIE not in visitor.cookies
    status, text, _ = await visitor.get("/account")
    assert status == 200
    assert "by Office" in text
    assert await log_of(console) == [("person-added", USER), ("identity-bound", USER), ("signed-in", USER)]


@pytest.mark.parametrize(
    "to", ["//elsewhere.example/", "https://elsewhere.example/", "/%5Celsewhere.example", "x" * 5000]
)
async def test_nobody_is_sent_elsewhere_afterwards(console: ServedConsole, to: str) -> None:
    await console.add(USER)
    status, _, headers = await Visitor(console).sign_in(to=to)
    assert (status, headers["Location"]) == (303, "/")


async def test_one_begins_at_the_address_to_which_one_comes_back(console: ServedConsole) -> None:
    status, _, headers = await Visitor(console).get("/sign-in/provider?to=/account", Host="127.0.0.1")
    assert (status, headers["Location"]) == (303, f"{console.origin}/sign-in/provider?to=%2Faccount&here=")
    # Where a proxy changes the name, it is not sent around in circles.
    _, _, headers = await Visitor(console).get("/sign-in/provider?here=", Host="127.0.0.1")
    assert headers["Location"].startswith("http://localhost:")
    assert "/authorize?" in headers["Location"]


async def test_under_a_prefix_one_comes_back_there(
    provider: AuthorizationServer, opened: Database, tmp_path: Path
) -> None:
    port = free_port()
    settings = settings_of(provider, tmp_path, port, console_url=f"http://localhost:{port}/mail")
    proxies = Proxies([ip_network("127.0.0.0/8")])
    async with serving(opened, proxies, backing=Backing(lambda: Profiles((), ()), settings), port=port) as served:
        await served.add(USER)
        visitor, prefix = Visitor(served), {"X-Forwarded-Prefix": "/mail"}
        _, _, headers = await visitor.get("/mail/sign-in/provider?to=/account", **prefix)
        back = await visitor.log_in(headers["Location"])
        assert back.startswith("/mail/sign-in/provider/return?")
        status, _, headers = await visitor.get(back, **prefix)
        assert (status, headers["Location"]) == (303, "/mail/account")


async def test_who_signs_out_is_told_where_else_to(console: ServedConsole, provider: AuthorizationServer) -> None:
    await console.add(USER)
    visitor = Visitor(console)
    await visitor.sign_in()
    _, text, _ = await visitor.get("/account")
    status, _, headers = await visitor.post("/sign-out", text)
    assert (status, headers["Location"]) == (303, "/signed-out")
    _, text, _ = await visitor.get("/signed-out")
    assert f"{provider.issuer}/logout?client_id=crm-router&amp;post_logout_redirect_uri=" in text
    assert (await visitor.get("/account"))[0] == 303


# --- Whose account ----------------------------------------------------------------------------------------------------


async def test_an_account_stays_with_whom_it_was_bound_to_whatever_names_are_given_away_later(
    console: ServedConsole, provider: AuthorizationServer
) -> None:
    await console.add(USER)
    await console.add("ben@in.test")
    assert (await Visitor(console).sign_in())[0] == 303
    # Ann is renamed, and somebody else gets her old name.
    provider.identity.people[USER] = {"email": "ann.married@in.test"}
    provider.identity.people["new@in.test"] = {"email": USER}
    assert (await Visitor(console).sign_in())[0] == 303
    other = Visitor(console)
    status, text, _ = await other.sign_in("new@in.test")
    assert status == 403
    assert "belongs to somebody else at Office" in text
    assert SESSION_COOKIE not in other.cookies
    # Nor does one who has an account get another's, by being given that name.
    assert (await Visitor(console).sign_in("ben@in.test"))[0] == 303
    provider.identity.people["ben@in.test"] = {"email": USER}
    ben = Visitor(console)
    assert (await ben.sign_in("ben@in.test"))[0] == 303
    assert "ben@in.test" in (await ben.get("/account"))[1]
    # Only an administrator says that the name is another person's now.
    await people.reset(console.database, USER)
    assert (await Visitor(console).sign_in("new@in.test"))[0] == 303
    assert (await Visitor(console).sign_in())[0] == 403


@pytest.mark.parametrize("verified", [False, None, "false", 1, "yes"])
async def test_an_address_that_is_not_verified_is_nobodys(
    console: ServedConsole, provider: AuthorizationServer, verified: object
) -> None:
    await console.add(USER)
    provider.identity.people["mallory@in.test"] = {"email": USER, "email_verified": verified}
    status, text, _ = await Visitor(console).sign_in("mallory@in.test")
    assert status == 403
    assert "does not say that the address is verified" in text


async def test_another_claim_can_name_people(provider: AuthorizationServer, opened: Database, tmp_path: Path) -> None:
    async with consoled(provider, opened, tmp_path, oidc_claim="preferred_username") as console:
        await console.add("annie")
        provider.identity.people[USER] = {"preferred_username": "Annie", "email_verified": False}
        assert (await Visitor(console).sign_in())[0] == 303
        for name in (None, "", 7, ["annie"], "ann ie", "a" * 65, "annıe"):
            provider.identity.people["x@in.test"] = {"preferred_username": name}
            status, text, _ = await Visitor(console).sign_in("x@in.test")
            assert status == 403
            assert "preferred_username" in text


async def test_who_has_no_account_is_told_so(console: ServedConsole) -> None:
    visitor = Visitor(console)
    status, text, _ = await visitor.sign_in()
    assert status == 403
    assert f"knows you as {USER}, who has no account here" in text
    assert SESSION_COOKIE not in visitor.cookies
    assert await log_of(console) == [("sign-in-refused", USER)]
    assert not await people.list_all(console.database)


async def test_who_is_disabled_stays_outside(console: ServedConsole) -> None:
    await console.add("root")
    await console.add(USER, "view")
    visitor = Visitor(console)
    await visitor.sign_in()
    await people.disable(console.database, USER)
    assert (await visitor.get("/account"))[0] == 303  # to sign in
    status, text, _ = await visitor.sign_in()
    assert status == 403
    assert "is disabled" in text
    # Nor is anybody bound to a disabled account.
    await console.add("ben@in.test", "view")
    await people.disable(console.database, "ben@in.test")
    assert (await Visitor(console).sign_in("ben@in.test"))[0] == 403
    assert [one.person.has_identity for one in await people.list_all(console.database)] == [True, False, False]


async def test_groups_give_accounts_and_roles_at_each_sign_in(
    provider: AuthorizationServer, opened: Database, tmp_path: Path
) -> None:
    roles = "crm-admins = administer, crm-support=decide, everybody=view"

    async def granted(name: str) -> tuple[Grant, ...]:
        return next(one.person.grants for one in await people.list_all(opened) if one.person.name == name)

    async with consoled(provider, opened, tmp_path, oidc_roles=roles) as console:
        await console.add("root")
        groups = provider.identity.people.setdefault(USER, {})
        groups["groups"] = ["others", "crm-support", "everybody"]
        assert (await Visitor(console).sign_in())[0] == 303
        assert await granted(USER) == (Grant(StaffRole.DECIDE),)
        groups["groups"] = "crm-admins"
        assert (await Visitor(console).sign_in())[0] == 303
        assert await granted(USER) == (Grant(StaffRole.ADMINISTER),)
        groups["groups"] = ["crm-admins-of-another", None, {"crm-admins": 1}]
        status, text, _ = await Visitor(console).sign_in()
        assert status == 403
        assert "None of your groups" in text
        # What an administrator grants holds, whatever the groups are.
        await people.grant(opened, USER, [Grant(StaffRole.VIEW)])
        groups["groups"] = ["crm-admins"]
        assert (await Visitor(console).sign_in())[0] == 303
        assert await granted(USER) == (Grant(StaffRole.VIEW),)
        # So it does of accounts that were there before.
        await console.add("ben@in.test", "view")
        provider.identity.people["ben@in.test"] = {"groups": ["crm-admins"]}
        assert (await Visitor(console).sign_in("ben@in.test"))[0] == 303
        assert await granted("ben@in.test") == (Grant(StaffRole.VIEW),)
        # Two browsers of one person at once make one account.
        provider.identity.people["cleo@in.test"] = {"groups": ["everybody"]}
        visitors = [Visitor(console) for _ in range(3)]
        backs = [await one.log_in(await one.go(), "cleo@in.test") for one in visitors]
        answers = await asyncio.gather(*(one.get(back) for one, back in zip(visitors, backs, strict=True)))
        assert {status for status, _, _ in answers} <= {303, 503}
        assert [one.person.name for one in await people.list_all(opened)].count("cleo@in.test") == 1


# --- Attacks ----------------------------------------------------------------------------------------------------------


async def test_what_began_in_another_browser_ends_there(console: ServedConsole, provider: AuthorizationServer) -> None:
    await console.add("mallory@in.test")
    mallory, victim = Visitor(console), Visitor(console)
    back = await mallory.log_in(await mallory.go(), "mallory@in.test")
    # The victim's browser is sent there, without having begun, and having begun.
    for begun in (False, True):
        if begun:
            await victim.go()
        status, text, _ = await victim.get(back)
        assert status == 403
        assert "did not begin in this browser" in text
        assert SESSION_COOKIE not in victim.cookies
    # The provider was not even asked.
    assert provider.count() == 0
    assert (await mallory.get(back))[0] == 303


async def test_what_came_back_once_does_not_come_again(console: ServedConsole) -> None:
    await console.add(USER)
    visitor = Visitor(console)
    back = await visitor.log_in(await visitor.go())
    kept = visitor.cookies[ATTEMPT_COOKIE]
    assert (await visitor.get(back))[0] == 303
    # Who is signed in goes on; who is not begins again, even with the cookie that was there.
    assert (await visitor.get(back))[0] == 303
    visitor.cookies.pop(SESSION_COOKIE)
    assert (await visitor.get(back))[0] == 403
    visitor.cookies[ATTEMPT_COOKIE] = kept
    status, text, _ = await visitor.get(back)
    assert status == 403
    assert SESSION_COOKIE not in visitor.cookies
    assert "do not understand each other" in text


async def test_what_comes_of_another_provider_is_not_taken(
    console: ServedConsole, provider: AuthorizationServer
) -> None:
    await console.add(USER)
    changes: tuple[Callable[[str], str], ...] = (
        lambda back: back.replace("iss=http", "iss=https"),
        lambda back: back.partition("&iss=")[0],
        lambda back: back + "&iss=https%3A%2F%2Felsewhere.example",
        lambda back: back + "&code=another",
    )
    for change in changes:
        visitor = Visitor(console)
        back = change(await visitor.log_in(await visitor.go()))
        with capture_logs():
            assert (await visitor.get(back))[0] == 403
        assert SESSION_COOKIE not in visitor.cookies
    assert provider.count() == 0


async def test_a_person_who_refuses_is_told_so_in_words_that_are_nobody_elses(console: ServedConsole) -> None:
    visitor = Visitor(console)
    back = await visitor.log_in(await visitor.go())
    state = back.partition("state=")[2].partition("&")[0]
    iss = back.partition("&iss=")[2]
    with capture_logs() as logs:
        status, text, _ = await visitor.get(
            f"/sign-in/provider/return?error=access_denied&error_description=Call+555%0aNOW&state={state}&iss={iss}"
        )
    assert status == 403
    assert "Office did not sign you in." in text
    assert "555" not in text
    assert [one["reason"] for one in logs] == ["access_denied: Call 555 NOW"]


def _changed(**values: Any) -> Callable[[Claims], Claims]:
    return lambda claims: {name: value for name, value in {**claims, **values}.items() if value is not None}


@pytest.mark.parametrize(
    "change",
    [
        _changed(iss="https://elsewhere.example"),
        _changed(aud="another"),
        _changed(aud=["crm-router", "another"]),
        _changed(azp="another"),
        _changed(exp=1_000_000_000),
        _changed(iat=1_000_000_000),
        _changed(nonce="another"),
        _changed(nonce=None),
        _changed(sub=None),
        _changed(sub=""),
    ],
    ids=["iss", "aud", "azp missing", "azp", "exp", "iat", "nonce", "no nonce", "no sub", "empty sub"],
)
async def test_an_id_token_that_is_not_for_this_is_not_believed(
    console: ServedConsole, provider: AuthorizationServer, change: Callable[[Claims], Claims]
) -> None:
    await console.add(USER)
    provider.identity.change = change
    visitor = Visitor(console)
    with capture_logs() as logs:
        status, text, _ = await visitor.sign_in()
    assert status == 403
    assert "the router&#39;s log says why" in text
    assert "the ID token" in logs[0]["reason"]
    assert SESSION_COOKIE not in visitor.cookies
    assert [action for action, _ in await log_of(console)] == ["person-added", "sign-in-refused"]
    provider.identity.mend()
    assert (await visitor.sign_in())[0] == 303


def _by_secret(header: dict[str, Any], claims: Claims, secret: bytes) -> str:
    """Sign by a secret, also one that no library takes for one: the public key, which everybody has."""
    signed = _unsigned({**header, "alg": "HS256"}, claims)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=")
    return f"{signed}.{signature.decode()}"


def _unsigned(header: dict[str, Any], claims: Claims) -> str:
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
    )


async def test_only_the_providers_own_keys_sign(console: ServedConsole, provider: AuthorizationServer) -> None:
    await console.add(USER)
    identity = provider.identity
    stranger = RSAKey.generate_key(2048, {"kid": "first"})
    secret = provider.application.secret.encode()
    key = identity.keys[0]
    assert isinstance(key, RSAKey)
    public = key.as_pem(private=False)
    for sign in (
        lambda header, claims: identity.forged(header, claims, stranger),
        lambda header, claims: identity.forged({**header, "jwk": stranger.as_dict(private=False)}, claims, stranger),
        lambda header, claims: _by_secret(header, claims, secret),
        lambda header, claims: _by_secret(header, claims, public),
        lambda header, claims: _unsigned({**header, "alg": "none"}, claims) + ".",
        lambda header, claims: identity.signed(header, claims).rpartition(".")[0] + ".",
        lambda *_: "x",
    ):
        identity.sign = sign
        visitor = Visitor(console)
        with capture_logs():
            assert (await visitor.sign_in())[0] == 403
        assert SESSION_COOKIE not in visitor.cookies
    # Each names a key that is not there, and the keys were asked for no more often for that.
    assert identity.asked <= 2


async def test_a_new_key_of_the_provider_is_learned(
    console: ServedConsole, provider: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await console.add(USER)
    assert (await Visitor(console).sign_in())[0] == 303
    assert (await Visitor(console).sign_in())[0] == 303
    assert provider.identity.asked == 1
    monkeypatch.setattr(asking, "_ANEW", 0.0)
    provider.identity.rotate("second", curve=True)
    assert (await Visitor(console).sign_in())[0] == 303
    assert provider.identity.asked == 2


async def test_who_tries_again_and_again_waits(
    console: ServedConsole, provider: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "_OF_WAY", 2)
    await console.add(USER)
    for _ in range(4):  # who comes in is not counted
        assert (await Visitor(console).sign_in())[0] == 303
    provider.identity.change = _changed(nonce="another")
    with capture_logs():
        statuses = [(await Visitor(console).sign_in())[0] for _ in range(4)]
    assert statuses[0] == 403
    assert statuses[-1] == 429


# --- A provider in trouble --------------------------------------------------------------------------------------------


async def test_without_the_provider_one_is_told_so_and_a_password_goes_on(
    console: ServedConsole, provider: AuthorizationServer
) -> None:
    provider.stop()
    with capture_logs() as logs:
        status, text, _ = await Visitor(console).get("/sign-in/provider?to=/account")
    assert status == 503
    assert "Office does not answer now" in text
    assert "Password" in text
    assert logs[0]["log_level"] == "warning"
    provider.start()
    await console.add(USER)
    visitor = Visitor(console)
    back = await visitor.log_in(await visitor.go())
    provider.stop()
    with capture_logs():
        status, text, _ = await visitor.get(back)
    assert status == 503
    provider.start()
    assert (await visitor.sign_in())[0] == 303


async def test_a_provider_that_hangs_holds_up_nobody_else(
    console: ServedConsole, provider: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await console.add(USER)
    session = await console.session(USER)
    visitor = Visitor(console)
    back = await visitor.log_in(await visitor.go())
    monkeypatch.setattr(asking, "_MOST_WAITING", 1)
    provider.hang()
    waiting = asyncio.create_task(visitor.get(back))
    await asyncio.to_thread(provider.wait_until_held)
    other = Visitor(console)
    other.cookies[SESSION_COOKIE] = session
    assert (await other.get("/account"))[0] == 200
    # More do not queue up behind it.
    with capture_logs():
        assert (await Visitor(console).get("/sign-in/provider"))[0] == 503
    with capture_logs():
        status, text, _ = await waiting
    assert status == 503
    assert "does not answer now" in text
    provider.mend()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, "x" * 200_000, "application/json"),
        (200, "[" * 60_000, "application/json"),
        (200, '{"access_token": "a", "token_type": "Bearer"}', "application/json"),
        (200, '{"access_token": "a", "token_type": "Bearer", "id_token": ["x"]}', "application/json"),
        (200, "<p>hello</p>", "text/html"),
        (500, "", "text/html"),
        (302, "", "text/html"),
        (400, '{"error": "invalid_client"}', "application/json"),
    ],
)
async def test_whatever_it_answers_nobody_comes_in_by_it(
    console: ServedConsole, provider: AuthorizationServer, status: int, body: str, kind: str
) -> None:
    await console.add(USER)
    visitor = Visitor(console)
    back = await visitor.log_in(await visitor.go())
    provider.break_with(status, body, kind)
    with capture_logs() as logs:
        answered, _, _ = await visitor.get(back)
    assert answered in (403, 503)
    assert SESSION_COOKIE not in visitor.cookies
    assert len(str(logs[0]["reason"])) < 600
    assert provider.application.secret not in str(logs)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://elsewhere.example"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "http://elsewhere.example/token"},
    ],
)
async def test_a_document_that_cannot_be_right_sends_nobody_anywhere(
    console: ServedConsole, provider: AuthorizationServer, document: dict[str, Any]
) -> None:
    provider.document = document
    with capture_logs() as logs:
        status, text, _ = await Visitor(console).get("/sign-in/provider")
    assert status == 503
    assert "log says why" in text
    assert logs[0]["reason"]


# --- Without passwords ------------------------------------------------------------------------------------------------


async def test_where_there_are_no_passwords_a_link_lets_in(
    provider: AuthorizationServer, opened: Database, tmp_path: Path
) -> None:
    async with consoled(provider, opened, tmp_path, console_passwords=False) as console:
        visitor = Visitor(console)
        _, text, _ = await visitor.get("/sign-in")
        assert "Password" not in text
        assert "Sign in with Office" in text
        status, _, _ = await visitor.post("/sign-in", "", name=USER, password="a right password")
        assert status == 403
        path = await console.add(USER)
        _, text, _ = await visitor.get(path)
        assert "Password" not in text
        assert (await visitor.post(path, ""))[0] == 303
        _, text, _ = await visitor.get("/account")
        assert "by a link" in text
        assert "Change your password" not in text
        status, _, _ = await visitor.post(
            "/account/password", text, old="", password="another password", again="another password"
        )
        assert status == 422
        assert [one.person.has_password for one in await people.list_all(opened)] == [False]


# --- What doctor says -------------------------------------------------------------------------------------------------


async def _found(settings: Settings) -> list[tuple[str, str, str]]:
    found = [one async for one in signing_in.provider(Patient(settings))]
    return [(one.state, one.words, one.advice) for one in found]


async def test_doctor_says_what_is_wrong_with_the_provider(provider: AuthorizationServer, tmp_path: Path) -> None:
    good = settings_of(provider, tmp_path, 8025)
    back = "http://localhost:8025/sign-in/provider/return"
    words = f"{provider.issuer} signs people in, with 1 key; it sends them back to {back}"
    assert await _found(good) == [("ok", words, "")]
    for change, expected in (
        ({"console_url": None}, "which is on their own machine"),
        ({"oidc_client_secret": tmp_path / "none"}, "none cannot be read"),
        ({"oidc_client_id": "another"}, "does not know the application"),
        ({"oidc_issuer": f"{provider.issuer}/"}, "is that of another issuer"),
        ({"oidc_issuer": f"http://localhost:{free_port()}"}, "does not answer"),
    ):
        found = await _found(good.model_copy(update=change))
        assert ("ok" in [state for state, _, _ in found]) is (expected == "which is on their own machine")
        state, said, cure = found[0]
        assert state in ("warning", "failed")
        assert expected in said
        assert cure
    provider.identity.keys = []
    assert "no key" in (await _found(good))[0][1]
    assert await _found(Settings()) == []
