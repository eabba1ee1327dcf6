"""What servers say to a token that they do not take, as Exchange Online and Gmail do."""

import base64

import pytest

from tests.support.answering_imap import opened
from tests.support.kept_tokens import OAUTH2, KeptTokens
from transports._net.auth import Auth
from transports._net.probe import refused_advice
from transports.errors import Permanent, Temporary, TransportError, Unauthorized, Unreachable

AUTH = {"user": "{mailbox}", "oauth2": OAUTH2}
BOTH = "AUTH=PLAIN AUTH=XOAUTH2 SASL-IR"
CHALLENGE = "+ " + base64.b64encode(b'{"status":"403","schemes":"Bearer","scope":"https://mail"}').decode()


async def test_a_token_goes_with_the_command_and_an_error_is_acknowledged() -> None:
    tokens = KeptTokens("abc", renews=False)
    answers = {"AUTHENTICATE XOAUTH2": [CHALLENGE, "NO AUTHENTICATE failed, abc."]}
    with pytest.raises(Unauthorized) as caught:
        async with opened(answers, BOTH, tokens=tokens, auth=AUTH):
            pass
    assert "refuses the login of a@in.test: AUTHENTICATE failed, …. (status 403, scope https://mail)" in str(
        caught.value
    )
    assert tokens.refusals == ["abc"]


async def test_without_an_initial_response_the_token_waits_to_be_asked_for() -> None:
    answers = {"AUTHENTICATE XOAUTH2": ["+ ", "OK done"]}
    async with opened(answers, "AUTH=XOAUTH2", tokens=KeptTokens("abc"), auth=AUTH) as (_, server):
        said = base64.b64encode(b"user=a@in.test\1auth=Bearer abc\1\1").decode()
        assert server.heard[1:3] == ["AUTHENTICATE XOAUTH2", said]


@pytest.mark.parametrize(
    ("answer", "kind", "asked"),
    [
        # Exchange Online, where the application may not open the mailbox; it need not be the token, so one more is had.
        ("BAD User is authenticated but not connected.", Unauthorized, 2),
        ("NO [UNAVAILABLE] Server is busy.", Temporary, 1),
        ("BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", Temporary, 1),
        ("NO [ALERT] Too many simultaneous connections. (Failure)", Temporary, 1),
    ],
)
async def test_only_what_may_mean_the_token_makes_another(answer: str, kind: type[TransportError], asked: int) -> None:
    tokens = KeptTokens("abc", "def")
    with pytest.raises(kind) as caught:
        async with opened({"AUTHENTICATE XOAUTH2": [answer]}, BOTH, tokens=tokens, auth=AUTH):
            pass
    assert type(caught.value) is kind
    assert len(tokens.asked) == asked


async def test_a_server_that_takes_no_tokens_is_told_of() -> None:
    with pytest.raises(Permanent, match="takes no access tokens"):
        async with opened({}, "AUTH=PLAIN", tokens=KeptTokens("abc"), auth=AUTH):
            pass


async def test_nothing_is_connected_before_there_is_a_token() -> None:
    with pytest.raises(Unauthorized, match="nobody has logged in"):
        async with opened({}, BOTH, tokens=KeptTokens(Unauthorized("nobody has logged in yet")), auth=AUTH):
            pass


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("User is authenticated but not connected.", "Add-MailboxPermission"),
        ("535 5.7.139 Authentication unsuccessful, user is locked by your organization's policy", "switched on for it"),
        ("535 5.7.139 SmtpClientAuthentication is disabled for the Tenant", "-SmtpClientAuthenticationDisabled $false"),
        ("failed (status 403)", "by a policy"),
        ("AUTHENTICATE failed.", "is it for this server (scope)"),
    ],
)
def test_each_refusal_has_its_own_advice(words: str, advice: str) -> None:
    assert advice in refused_advice(Auth.model_validate(AUTH), "a@in.test", words)


async def test_a_server_that_never_ends_a_login_is_left() -> None:
    answers = {"AUTHENTICATE XOAUTH2": ["+ "] * 1000 + ["NO at last"]}
    with pytest.raises(Unreachable, match="goes on with a login that we have ended"):
        async with opened(answers, BOTH, tokens=KeptTokens("abc"), auth=AUTH):
            pass


def test_an_application_that_exchange_does_not_know_is_told_how_it_is_made_known() -> None:
    oauth2 = {"provider": "microsoft", "tenant": "t", "client_id": "c", "client_secret": {"env": "S"}}
    auth = Auth.model_validate({"user": "{mailbox}", "oauth2": oauth2})
    assert "object id of the enterprise application" in refused_advice(auth, "a@in.test", "AUTHENTICATE failed.")
    del oauth2["client_secret"]  # a person's login needs no New-ServicePrincipal
    auth = Auth.model_validate({"user": "{mailbox}", "oauth2": oauth2})
    assert "is it for this server" in refused_advice(auth, "a@in.test", "AUTHENTICATE failed.")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("535 5.7.139 Authentication unsuccessful, basic authentication is disabled.", "takes no passwords"),
        ("550 5.7.30 Basic authentication is not supported for Client Submission.", "takes no passwords"),
        ("535 5.7.139 SmtpClientAuthentication is disabled for the Mailbox", "authenticated SMTP is switched off"),
        ("535 5.7.3 Authentication unsuccessful", "is it right, and the user name?"),
    ],
)
def test_a_password_is_not_blamed_where_the_server_takes_none(words: str, advice: str) -> None:
    auth = Auth.model_validate({"user": "{mailbox}", "password": {"env": "S"}})
    assert advice in refused_advice(auth, "a@in.test", words)


async def test_a_server_that_repeats_what_it_was_told_tells_nobody_else() -> None:
    said = base64.b64encode(b"user=a@in.test\1auth=Bearer abcdefgh\1\1").decode()
    challenge = "+ " + base64.b64encode(b"you said abcdefgh").decode()
    answers = {"AUTHENTICATE XOAUTH2": [challenge, f"BAD unknown: {said}"]}
    with pytest.raises(Unauthorized) as caught:
        async with opened(answers, BOTH, tokens=KeptTokens("abcdefgh", renews=False), auth=AUTH):
            pass
    assert str(caught.value).endswith("unknown: … (you said …)")
