"""Logins at a relay: by token, and one for each mailbox."""

import asyncio
import base64
from typing import Any

import pytest

from tests.support.kept_tokens import OAUTH2, KeptTokens
from tests.support.scripted_smtp import ScriptedSmtp
from transports._net.credentials import NoToken
from transports._net.sasl import oauthbearer
from transports.base import Envelope, Sender
from transports.errors import Permanent, Temporary, Unauthorized
from transports.smtp.probe import probe_relay
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

ANN, BOB = "ann@in.test", "bob@in.test"
BEARER = ["AUTH XOAUTH2"]


async def begin() -> None:
    """There is nothing to note."""


def settings(server: ScriptedSmtp, **keys: Any) -> SmtpRelaySettings:
    auth = {"user": "{mailbox}", "oauth2": OAUTH2}
    return SmtpRelaySettings.model_validate(
        {"host": "127.0.0.1", "port": server.port, "security": "none", "timeout": 20, "auth": auth, **keys}
    )


def mail(mailbox: str) -> Envelope:
    return Envelope(mailbox, ("carl@kunde.test",), b"Subject: a\r\n\r\n", mailbox=mailbox)


def bearer(mailbox: str, token: str) -> str:
    said = f"user={mailbox}\1auth=Bearer {token}\1\1"
    return "AUTH XOAUTH2 " + base64.b64encode(said.encode()).decode()


def logins_in(server: ScriptedSmtp) -> list[str]:
    return [line for heard in server.commands for line in heard if line.startswith("AUTH")]


async def states(relay: SmtpRelay, *mailboxes: str) -> list[str]:
    return [one.state for mailbox in mailboxes for one in await relay.send(mail(mailbox), begin)]


async def test_each_mailbox_has_a_login_of_its_own_and_its_connection_is_used_again() -> None:
    tokens = KeptTokens("abc")
    async with ScriptedSmtp({"AUTH": "235 2.7.0 Ok"}, BEARER) as server, SmtpRelay(settings(server), tokens) as relay:
        assert await states(relay, ANN, BOB, ANN, BOB) == ["accepted"] * 4
        assert relay.warm == 0  # an email has to find a connection of its mailbox
        assert logins_in(server) == [bearer(ANN, "abc"), bearer(BOB, "abc")]
    assert tokens.asked == [ANN, BOB]


async def test_the_connections_of_all_mailboxes_together_are_no_more_than_there_may_be() -> None:
    async with (
        ScriptedSmtp({"AUTH": "235 2.7.0 Ok"}, BEARER) as server,
        SmtpRelay(settings(server, connections=2), KeptTokens("abc")) as relay,
    ):
        for number in range(5):
            await relay.send(mail(f"{number}@in.test"), begin)
            assert len(relay._kept) <= 2


async def test_a_mailbox_that_may_not_log_in_delays_its_own_mail_only() -> None:
    script = {"AUTH": "235 2.7.0 Ok", bearer(ANN, "abc"): "535 5.7.3 Authentication unsuccessful"}
    tokens = KeptTokens("abc", renews=False)
    clock = [1000.0]
    async with ScriptedSmtp(script, BEARER) as server, SmtpRelay(settings(server), tokens) as relay:
        relay._logins._clock = lambda: clock[0]
        for _ in range(3):
            assert await states(relay, ANN, BOB) == ["deferred", "accepted"]
        assert logins_in(server) == [bearer(ANN, "abc"), bearer(BOB, "abc")]  # and not one for each email
        clock[0] += 31
        (outcome,) = await relay.send(mail(ANN), begin)
        assert outcome.text == "no login for ann@in.test: 535 5.7.3 Authentication unsuccessful"
        assert outcome.code == "4.7.8"
        assert len(logins_in(server)) == 3
        server.replies(bearer(ANN, "abc"), "235 2.7.0 Ok")
        clock[0] += 61
        assert await states(relay, ANN, ANN) == ["accepted", "accepted"]
    assert set(tokens.refusals) == {"abc"}


async def test_a_mailbox_that_has_no_token_delays_its_own_mail_only() -> None:
    tokens = KeptTokens(Unauthorized("nobody has logged in for ann@in.test"), "abc")
    async with ScriptedSmtp({"AUTH": "235 2.7.0 Ok"}, BEARER) as server, SmtpRelay(settings(server), tokens) as relay:
        assert await states(relay, ANN, BOB) == ["deferred", "accepted"]


async def test_a_mailbox_whose_own_token_cannot_be_had_now_delays_its_own_mail_only() -> None:
    tokens = KeptTokens(NoToken("asked too often for ann@in.test", 3600), "abc")
    clock = [1000.0]
    async with ScriptedSmtp({"AUTH": "235 2.7.0 Ok"}, BEARER) as server, SmtpRelay(settings(server), tokens) as relay:
        relay._logins._clock = lambda: clock[0]
        assert await states(relay, ANN, BOB, ANN) == ["deferred", "accepted", "deferred"]
        clock[0] += 31
        assert await states(relay, ANN) == ["accepted"]


async def test_a_token_server_that_is_away_is_no_fault_of_a_mailbox() -> None:
    tokens = KeptTokens(Temporary("the token server does not answer", 7))
    async with ScriptedSmtp({}, BEARER) as server, SmtpRelay(settings(server), tokens) as relay:
        with pytest.raises(Temporary, match="the token server does not answer"):
            await states(relay, ANN)


async def test_a_token_that_is_refused_is_asked_for_anew_once() -> None:
    script = {bearer(ANN, "old"): "535 5.7.3 expired", bearer(ANN, "new"): "235 2.7.0 Ok"}
    tokens = KeptTokens("old", "new")
    async with ScriptedSmtp(script, BEARER) as server, SmtpRelay(settings(server), tokens) as relay:
        assert await states(relay, ANN) == ["accepted"]
    assert tokens.refusals == ["old"]
    async with ScriptedSmtp({"AUTH": "535 5.7.3 no"}, BEARER) as server:
        auth = {"user": "crm", "oauth2": OAUTH2}
        async with SmtpRelay(settings(server, auth=auth), KeptTokens("abc")) as relay:
            with pytest.raises(Unauthorized, match="535"):
                await states(relay, ANN)
        assert len(logins_in(server)) == 2


async def test_a_long_token_waits_to_be_asked_for() -> None:
    token = "x" * 2000
    said = bearer(ANN, token).split()[2]
    script = {"AUTH XOAUTH2": "334 ", said: "235 2.7.0 Ok"}
    async with ScriptedSmtp(script, BEARER) as server, SmtpRelay(settings(server), KeptTokens(token)) as relay:
        assert await states(relay, ANN) == ["accepted"]
        assert server.commands[0][1:3] == ["AUTH XOAUTH2", said]


async def test_why_a_token_is_refused_is_told_and_the_token_is_not() -> None:
    error = base64.b64encode(b'{"status":"403","schemes":"Bearer","scope":"https://mail"}').decode()
    script = {"AUTH": f"334 {error}", "AQ==": "535 5.7.8 refused, abc"}
    async with ScriptedSmtp(script, ["AUTH OAUTHBEARER"]) as server:
        tokens = KeptTokens("abc", renews=False)
        found = [one async for one in probe_relay(settings(server), [Sender(ANN, ANN)], tokens)]
    login = found[-1]
    assert (login.step, login.state) == ("login", "failed")
    assert login.words == ("the login of ann@in.test is refused: 535 5.7.8 refused, … (status 403, scope https://mail)")
    assert login.advice.startswith("the application or the user is kept from this mailbox by a policy")


async def test_the_probe_tries_some_mailboxes_and_says_how_many() -> None:
    senders = [Sender(f"{number}@in.test", f"{number}@in.test") for number in range(7)]
    async with ScriptedSmtp({"AUTH": "235 2.7.0 Ok"}, BEARER) as server:
        found = [one async for one in probe_relay(settings(server), senders, KeptTokens("abc"))]
        assert [one.words for one in found if one.step == "login"] == [f"as {number}@in.test" for number in range(5)]
        assert found[-1].words.startswith("5 of 7 mailboxes were tried")
        found = [one async for one in probe_relay(settings(server), [], KeptTokens("abc"))]
        assert (found[-1].step, found[-1].state) == ("login", "warning")


async def test_the_probe_ends_where_there_is_no_token() -> None:
    async with ScriptedSmtp({}, BEARER) as server:
        tokens = KeptTokens(Permanent("the secret has expired"))
        found = [one async for one in probe_relay(settings(server), [Sender(ANN, ANN)], tokens)]
    assert (found[-1].step, found[-1].state, found[-1].advice) == ("grant", "failed", "do something")
    assert logins_in(server) == []


def test_password_and_token_are_two_ways() -> None:
    for auth in ({"user": "a"}, {"user": "a", "password": {"env": "X"}, "oauth2": OAUTH2}):
        with pytest.raises(ValueError, match="give either password or oauth2"):
            SmtpRelaySettings.model_validate({"host": "h", "auth": auth})


@pytest.mark.parametrize(
    "challenge", ["you said abcdefgh", "x" * 195 + "abcdefgh", '{"status": "invalid_token", "scope": "abcdefgh"}']
)
async def test_a_server_that_repeats_what_it_was_told_tells_nobody_else(challenge: str) -> None:
    script = {"AUTH": f"334 {base64.b64encode(challenge.encode()).decode()}"}
    async with ScriptedSmtp(script, ["AUTH OAUTHBEARER"]) as server:
        said = base64.b64encode(oauthbearer(ANN, "abcdefgh", "127.0.0.1", server.port).respond(b"") or b"").decode()
        server.replies("AQ==", f"535 unknown command {said}, abcdefgh")
        async with SmtpRelay(settings(server), KeptTokens("abcdefgh", renews=False)) as relay:
            (outcome,) = await relay.send(mail(ANN), begin)
        assert server.commands[0][1] == f"AUTH OAUTHBEARER {said}"
    assert "535 unknown command …, …" in outcome.text
    assert "abcde" not in outcome.text


async def test_a_server_that_never_ends_a_login_is_left() -> None:
    tokens = KeptTokens("abc", renews=False)
    async with ScriptedSmtp({"AUTH": "334 ", "AQ==": "334 ", "*": "334 "}, ["AUTH OAUTHBEARER"]) as server:
        async with SmtpRelay(settings(server), tokens) as relay, asyncio.timeout(10):
            with pytest.raises(Temporary, match="goes on with a login that we have ended"):
                await states(relay, ANN)
        assert server.commands[0].count("*") == 1
