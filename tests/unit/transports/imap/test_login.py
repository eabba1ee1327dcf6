"""Logins that are refused, or are possible in one way only."""

import pytest

from tests.support.answering_imap import opened
from transports.errors import Permanent, Temporary, TransportError, Unauthorized, Unreachable


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", 'pass"word')


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("NO [AUTHENTICATIONFAILED] wrong", Unauthorized, "wrong"),
        ("NO just no", Unauthorized, "just no"),
        ('NO [AUTHENTICATIONFAILED] not pass"word', Unauthorized, "not …"),
        ("NO [UNAVAILABLE] later", Temporary, "later"),
        ("NO [INUSE] busy", Temporary, "busy"),
        ("NO [LIMIT] enough", Temporary, "enough"),
        ("NO [ALERT] Too many simultaneous connections", Temporary, "Too many"),
        ("BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", Temporary, "throttled"),
    ],
)
async def test_refused_login(answer: str, kind: type[TransportError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        async with opened({"LOGIN": [answer]}):
            pass
    assert type(caught.value) is kind
    assert 'pass"word' not in str(caught.value)
    if isinstance(caught.value, Temporary) and "Backoff" in answer:
        assert caught.value.retry_after == 92.415


async def test_login_is_quoted_and_capabilities_are_read_anew() -> None:
    async with opened({"LOGIN": ["OK [CAPABILITY IMAP4rev1 MOVE] done"]}, "IDLE") as (account, server):
        assert server.heard[1] == 'LOGIN "a@in.test" "pass\\"word"'
        assert account._session.connection.known.capabilities == {"IMAP4REV1", "MOVE"}


@pytest.mark.parametrize("initial", ["", "SASL-IR"])
async def test_plain_is_preferred(initial: str) -> None:
    plain = {"AUTHENTICATE": ["OK done"]} if initial else {"AUTHENTICATE": ["+ ", "OK done"]}
    async with opened(plain, f"AUTH=PLAIN {initial}") as (_, server):
        token = "AGFAaW4udGVzdABwYXNzIndvcmQ="
        said = [f"AUTHENTICATE PLAIN {token}"] if initial else ["AUTHENTICATE PLAIN", token]
        assert server.heard[1 : len(said) + 1] == said
        assert not any(line.startswith("LOGIN") for line in server.heard)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"security": "starttls"}, Permanent, "does not offer STARTTLS"),
        ({"security": "starttls", "greeting": "* PREAUTH come in"}, Unreachable, "no place for STARTTLS"),
        (
            {"security": "starttls", "capabilities": "STARTTLS", "answers": {"STARTTLS": ["NO not now"]}},
            Permanent,
            "refuses STARTTLS: not now",
        ),
        ({"capabilities": "LOGINDISABLED"}, Permanent, "LOGINDISABLED|in clear"),
        ({"greeting": "* BYE full house"}, Unreachable, "turns us away: full house"),
        ({"greeting": "* BYE [UNAVAILABLE] Too many connections"}, Unreachable, "Too many connections"),
        ({"greeting": "220 mail.example.com ESMTP"}, Unreachable, "220 mail"),
        ({"answers": {"SELECT": ["* 1 EXISTS", "OK done"]}}, Permanent, "no UIDVALIDITY"),
        ({"answers": {"SELECT": ["NO [NOPERM] not yours"]}}, Permanent, "not yours"),
        ({"answers": {"SELECT": ["NO [SERVERBUG] oops"]}}, Temporary, "oops"),
    ],
)
async def test_refused_opening(changes: dict[str, str], kind: type[TransportError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        async with opened(**changes) as (account, _):  # type: ignore[arg-type]  # the cases are a table
            await account.folder("INBOX").list(None, 1)
    assert type(caught.value) is kind
