"""Probing maildrops on servers that neither Dovecot nor Cyrus would be."""

from collections.abc import Sequence

import pytest

from tests.support.scripted_pop3 import PASSWORD, SECRET, Pop3Server, mail
from transports.base import After, Finding
from transports.pop3.probe import probe_mailbox

GOOD = ("UIDL", "TOP", "USER", "PIPELINING")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, PASSWORD)


async def probe(server: Pop3Server, after: str = "keep", mailbox: str | None = "a@in.test") -> Sequence[Finding]:
    async with server:
        found = [one async for one in probe_mailbox(server.settings(), mailbox, After.parse(after))]
    assert not any(line.startswith(("RETR", "TOP", "DELE")) for line in server.heard)
    assert not any(PASSWORD in one.words + one.advice for one in found)
    return found


async def probed(server: Pop3Server, after: str = "keep") -> dict[str, Finding]:
    """The last finding of each step."""
    return {one.step: one for one in await probe(server, after)}


async def test_all_is_well() -> None:
    server = Pop3Server([(b"1", mail("one")), (b"2", mail("two"))])
    found = await probe(server, "delete:14d")
    assert [one.step for one in found] == ["name", "connection", "TLS", "login", "capabilities", "folders", "after"]
    assert {one.state for one in found} == {"ok"}
    told = {one.step: one.words for one in found}
    assert told["login"] == "as a@in.test"
    assert told["capabilities"] == "UIDL, TOP, PIPELINING"
    assert told["folders"].startswith("INBOX: 2 messages, ")
    assert told["after"] == "delete:14d can be done"
    assert server.heard[-1] == "QUIT"


async def test_without_a_mailbox_nobody_logs_in() -> None:
    server = Pop3Server()
    assert [one.step for one in await probe(server, mailbox=None)] == ["name", "connection", "TLS"]
    assert server.heard == ["CAPA", "QUIT"]


@pytest.mark.parametrize(
    ("capabilities", "words", "advice"),
    [
        (["USER"], "without TOP mail is read by RETR", ""),
        ([], "the server does not say; without TOP", ""),
        ([*GOOD, "LOGIN-DELAY 900"], "it wants 900 seconds between logins", "poll = 900"),
        ([*GOOD, "EXPIRE 0"], "the server itself deletes mail that was read, at once", "another copy"),
        ([*GOOD, "EXPIRE 30 USER"], "after 30 days", "another copy"),
    ],
)
async def test_what_a_server_may_do_to_mail_is_a_warning(capabilities: list[str], words: str, advice: str) -> None:
    found = (await probed(Pop3Server(capabilities=capabilities)))["capabilities"]
    assert found.state == "warning"
    assert words in found.words
    assert advice in found.advice


@pytest.mark.parametrize("capabilities", [[*GOOD, "EXPIRE NEVER"], [*GOOD, "LOGIN-DELAY 10"]])
async def test_what_hurts_nobody_is_none(capabilities: list[str]) -> None:
    assert (await probed(Pop3Server(capabilities=capabilities)))["capabilities"].state == "ok"


async def test_without_uidl() -> None:
    answers = {"UIDL": b"-ERR what?\r\n"}
    found = (await probed(Pop3Server(answers=answers)))["folders"]
    assert (found.state, 'only after = "delete"' in found.words) == ("failed", True)
    assert (await probed(Pop3Server(answers=answers), "delete"))["folders"].state == "ok"


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (b"-ERR [AUTH] no\r\n", f"the password is from the environment variable {SECRET}"),
        (b"-ERR [IN-USE] locked\r\n", "this goes away by itself"),
        (b"-ERR [IN-USE] Too many connections\r\n", "a router that runs may hold the connections"),
        (b"-ERR [SYS/PERM] no such maildrop\r\n", ""),
        (None, ""),
    ],
)
async def test_logins_that_are_refused(answer: bytes | None, advice: str) -> None:
    found = (await probed(Pop3Server(answers={"PASS": answer})))["login"]
    assert found.state == "failed"
    assert found.advice.startswith(advice)
