"""What is said to a server because of what it offers."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.scripted_smtp import ScriptedSmtp
from transports.base import Envelope, Outcome
from transports.smtp.extensions import Extensions, xtext
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"


async def begin() -> None:
    """No database here."""


async def said(what: Envelope, offers: Sequence[str], **settings: Any) -> tuple[list[Outcome], list[str]]:
    async with ScriptedSmtp(offers=offers) as server:
        given = {"host": "127.0.0.1", "port": server.port, "security": "none", **settings}
        async with SmtpRelay(SmtpRelaySettings.model_validate(given)) as relay:
            outcomes = list(await relay.send(what, begin))
    return outcomes, server.commands[0]


# DSN (RFC 3461)


async def test_a_relay_that_can_report_is_told_of_what_and_by_which_name() -> None:
    what = Envelope("crm@ours.test", ("ann+x@t", "bob=y@t"), CONTENT, envelope_id="a 1+2=3é")
    _, commands = await said(what, ["DSN"])
    assert commands[1:4] == [
        "MAIL FROM:<crm@ours.test> RET=HDRS ENVID=a+201+2B2+3D3+C3+A9",
        "RCPT TO:<ann+x@t> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ann+2Bx@t",
        "RCPT TO:<bob=y@t> NOTIFY=FAILURE,DELAY ORCPT=rfc822;bob+3Dy@t",
    ]


async def test_nothing_of_reports_is_said_to_a_relay_that_cannot() -> None:
    _, commands = await said(Envelope("crm@ours.test", ("ann@t",), CONTENT, "1"), [])
    assert commands[1:3] == ["MAIL FROM:<crm@ours.test>", "RCPT TO:<ann@t>"]


async def test_of_a_report_nobody_is_told() -> None:
    _, commands = await said(Envelope("", ("ann@t",), CONTENT, "1"), ["DSN"])
    assert commands[1:3] == ["MAIL FROM:<>", "RCPT TO:<ann@t>"]


async def test_the_profile_says_what_we_are_told_of() -> None:
    _, commands = await said(Envelope("crm@ours.test", ("ann@t",), CONTENT), ["DSN"], notify=["never"])
    assert commands[1:3] == [
        "MAIL FROM:<crm@ours.test> RET=HDRS",
        "RCPT TO:<ann@t> NOTIFY=NEVER ORCPT=rfc822;ann@t",
    ]
    with pytest.raises(ValueError, match='"never" goes with nothing else'):
        SmtpRelaySettings.model_validate({"host": "h", "notify": ["never", "delay"]})


async def test_an_address_beyond_ascii_goes_as_it_is_where_it_may() -> None:
    _, commands = await said(Envelope("crm@ours.test", (r"jü\+=@t",), CONTENT), ["DSN", "SMTPUTF8", "8BITMIME"])
    assert commands[1] == "MAIL FROM:<crm@ours.test> SMTPUTF8 RET=HDRS"
    assert commands[2] == r"RCPT TO:<jü\+=@t> NOTIFY=FAILURE,DELAY ORCPT=utf-8;jü\x{5C}\x{2B}\x{3D}@t"


async def test_what_is_too_long_for_its_parameter_is_left_out() -> None:
    local = "+" * 200  # allowed as it is, 600 characters as the value of a parameter
    _, commands = await said(Envelope("crm@ours.test", (f"{local}@t",), CONTENT, "x" * 101), ["DSN"])
    assert commands[1:3] == ["MAIL FROM:<crm@ours.test> RET=HDRS", f"RCPT TO:<{local}@t> NOTIFY=FAILURE,DELAY"]


def test_xtext_is_printable_ascii_without_plus_and_equals() -> None:
    assert xtext("a+b=c d\r\n\x7fé~!") == "a+2Bb+3Dc+20d+0D+0A+7F+C3+A9~!"


# Limits


@pytest.mark.parametrize(
    ("size", "most"), [("", None), ("0", None), ("1000", 1000), ("abc", None), ("²", None), ("9" * 40, None)]
)
def test_a_limit_that_is_none(size: str, most: int | None) -> None:
    assert Extensions.of({"size": size}).most_bytes == most
    assert Extensions.of({"size": size}).has_size


async def test_limits_that_the_server_announces_are_kept() -> None:
    what = Envelope("crm@ours.test", tuple(f"{n}@t" for n in range(5)), CONTENT)
    outcomes, commands = await said(what, ["LIMITS MAILMAX=20 RCPTMAX=2"])
    assert {one.state for one in outcomes} == {"accepted"}
    assert [line.split(":")[0] for line in commands[1:]] == [
        *("MAIL FROM", "RCPT TO", "RCPT TO", "DATA") * 2,
        *("MAIL FROM", "RCPT TO", "DATA", "QUIT"),
    ]
    async with ScriptedSmtp(offers=["LIMITS MAILMAX=2"]) as server:
        settings = SmtpRelaySettings(host="127.0.0.1", port=server.port, security="none")
        async with SmtpRelay(settings) as relay:
            for _ in range(4):
                await relay.send(Envelope("crm@ours.test", ("ann@t",), CONTENT), begin)
    assert [commands.count("DATA") for commands in server.commands] == [2, 2]
