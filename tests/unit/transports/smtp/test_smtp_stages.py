"""Whatever a server answers, at whatever stage: what becomes of each recipient, and of the connection."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, RESET, SILENCE, ScriptedSmtp, late, talking
from transports.base import Envelope, Outcome
from transports.errors import Permanent, Temporary, TransportError, Unauthorized, Unreachable
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"
SHORT = {"timeout": 0.3, "final_timeout": 0.3}

ANSWERS = {
    "2xx": "250 2.0.0 Ok",
    "3xx": "354 Go on",
    "4xx": "450 4.2.1 Busy",
    "5xx": "550 5.7.1 No",
    "421": "421 4.3.2 Closing",
    "several": "250-2.0.0 Ok\r\n250-2.0.0 and\r\n250 2.0.0 on",
    "no words": "250",
    "garbage": "garbage",
    "torn": "250-2.0.0 Ok\r\n550 5.7.1 No",
    "999": "999 What",
    "long": "250 " + "x" * 9000,
    "endless": "250 " + "x" * 40000 + "\r\n".join(["250-x"] * 9000),
    "close": CLOSE,
    "reset": RESET,
    "silence": SILENCE,
    "too late": late("250 2.0.0 Ok", 1),
}

# Of two recipients: a accepted, d deferred, r refused, u unknown. At RCPT, the answer is to the second.
OUTCOMES = """
            MAIL  RCPT  DATA  .
2xx         aa    aa    dd    aa
3xx         dd    dd    aa    uu
4xx         dd    ad    dd    dd
5xx         rr    ar    rr    rr
421         dd    dd    dd    dd
several     aa    aa    dd    aa
no words    aa    aa    dd    aa
garbage     dd    dd    dd    uu
torn        dd    dd    dd    uu
999         dd    dd    dd    uu
long        dd    dd    dd    uu
endless     dd    dd    dd    uu
close       dd    dd    dd    uu
reset       dd    dd    dd    uu
silence     dd    dd    dd    uu
too late    dd    dd    dd    uu
"""

# Before a message: T Temporary, U Unreachable, P Permanent, A Unauthorized, or it goes on and all is accepted (aa).
ERRORS = """
            greeting  EHLO  STARTTLS  AUTH
2xx         T         aa    T         T
3xx         T         T     T         T
4xx         T         T     T         T
5xx         P         aa    P         A
421         T         T     T         T
several     T         aa    T         T
no words    T         aa    T         T
garbage     T         T     T         T
torn        P         aa    P         A
999         T         aa    T         T
long        T         T     T         T
close       U         U     U         U
reset       U         U     U         U
silence     U         U     U         U
too late    U         U     U         U
"""

KINDS = {"T": Temporary, "U": Unreachable, "P": Permanent, "A": Unauthorized}


def read(table: str) -> list[tuple[str, str, str]]:
    """The rows of a table: stage, answer, what is expected."""
    head, *rows = table.strip("\n").splitlines()
    stages = head.split()
    return [
        (stage, row[:12].strip(), expected)
        for row in rows
        for stage, expected in zip(stages, row[12:].split(), strict=True)
    ]


def settings_for(server: ScriptedSmtp, **more: Any) -> SmtpRelaySettings:
    return SmtpRelaySettings.model_validate(
        {"host": "127.0.0.1", "port": server.port, "security": "none", **SHORT, **more}
    )


async def begin() -> None:
    """No database here."""


async def send(relay: SmtpRelay, *recipients: str) -> str:
    outcomes = await relay.send(Envelope("crm@ours.test", recipients or ("ann@t", "bob@t"), CONTENT), begin)
    return letters(outcomes)


def letters(outcomes: Any) -> str:
    return "".join(one.state[0] for one in outcomes)


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize(("stage", "answer", "expected"), read(OUTCOMES))
async def test_an_answer_to_a_message(stage: str, answer: str, expected: str, *, pipelining: bool) -> None:
    key = "RCPT TO:<bob@" if stage == "RCPT" else stage
    usual = {"MAIL": "250 Ok", "RCPT": "250 Ok", "DATA": "354 Go on", ".": "250 Ok"}[stage]
    offers = ("PIPELINING",) if pipelining else ()
    async with ScriptedSmtp({key: [ANSWERS[answer], usual]}, offers) as server:
        async with SmtpRelay(settings_for(server)) as relay:
            first: list[Outcome] = list(await relay.send(Envelope("crm@ours.test", ("ann@t", "bob@t"), CONTENT), begin))
            assert letters(first) == expected
            # Whatever was left half said, the next message is not mixed up with it.
            assert await send(relay) == "aa"
        accepted = sum("a" in one for one in (expected, "aa"))
        assert len(server.messages) >= accepted
        assert set(server.messages) <= {CONTENT, b""}
    if "u" in expected:
        assert {one.code for one in first} <= {"4.4.2", "354"}


@pytest.mark.parametrize(("stage", "answer", "expected"), read(ERRORS))
async def test_an_answer_before_any_message(stage: str, answer: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    auth = {"user": "crm", "password": {"file": tmp_path / "secret"}}
    needs: Mapping[str, dict[str, Any]] = {"AUTH": {"auth": auth}, "STARTTLS": {"security": "starttls"}}
    more, offers = needs.get(stage, {}), {"AUTH": ("AUTH PLAIN",), "STARTTLS": ("STARTTLS",)}.get(stage, ())
    async with ScriptedSmtp({stage: ANSWERS[answer]}, offers) as server:
        async with SmtpRelay(settings_for(server, **more)) as relay:
            if expected in KINDS:
                with pytest.raises(TransportError) as caught:
                    await send(relay)
                assert type(caught.value) is KINDS[expected], caught.value
                assert str(caught.value)
            else:
                assert await send(relay) == expected
        if expected in KINDS:
            assert not any(line.startswith("MAIL") for commands in server.commands for line in commands)


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("answer", sorted(ANSWERS))
async def test_an_answer_to_rset(answer: str, *, pipelining: bool) -> None:
    """A connection that cannot be made clean is replaced, at the cost of no outcome."""
    offers = ("PIPELINING",) if pipelining else ()
    script = {"RSET": ANSWERS[answer], "RCPT TO:<gone@": "550 5.1.1 Gone"}
    async with ScriptedSmtp(script, offers) as server, SmtpRelay(settings_for(server)) as relay:
        assert await send(relay, "gone@t") == "r"
        assert await send(relay) == "aa"
        assert len(server.commands) == (1 if answer in ("2xx", "several", "no words") else 2)


@pytest.mark.parametrize("pipelining", [False, True])
async def test_answers_that_come_late_but_in_time(*, pipelining: bool) -> None:
    offers = ("PIPELINING",) if pipelining else ()
    script = {"MAIL": late("250 Ok", 0.1), "RCPT": late("250 Ok", 0.1), ".": late("250 Ok", 0.1)}
    async with ScriptedSmtp(script, offers) as server, SmtpRelay(settings_for(server)) as relay:
        assert await send(relay) == "aa"


async def test_an_answer_that_comes_byte_by_byte_has_no_more_time_than_others() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 Hello\r\n")
        await reader.readline()
        writer.write(b"250 Hello\r\n")
        await reader.readline()
        while True:
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with talking(drip) as port:
        settings = SmtpRelaySettings.model_validate({"host": "127.0.0.1", "port": port, "security": "none", **SHORT})
        async with SmtpRelay(settings) as relay, asyncio.timeout(10):
            assert await send(relay) == "dd"
