"""Which server is next, which connection serves again, and how many there are."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.scripted_smtp import CLOSE, SILENCE, ScriptedSmtp
from transports.base import Envelope, Outcome
from transports.errors import Permanent, Temporary, TransportError, Unauthorized, Unreachable
from transports.smtp.endpoints import Endpoint, Endpoints
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

MESSAGE = Envelope("crm@ours.test", ("ann@t",), b"Subject: hello\r\n\r\nhello\r\n")


class Begin:
    """Counts how often a message was begun."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


def settings_of(*servers: ScriptedSmtp, **more: Any) -> SmtpRelaySettings:
    hosts = [f"127.0.0.1:{server.port}" for server in servers]
    return SmtpRelaySettings.model_validate({"hosts": hosts, "security": "none", **more})


@asynccontextmanager
async def relay_to(*servers: ScriptedSmtp, **more: Any) -> AsyncIterator[SmtpRelay]:
    async with SmtpRelay(settings_of(*servers, **more)) as relay:
        yield relay


def states(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [(one.state, one.code) for one in outcomes]


# Several servers


async def test_the_first_that_works_is_used_and_told() -> None:
    async with ScriptedSmtp() as first, ScriptedSmtp() as second, relay_to(first, second) as relay:
        (outcome,) = await relay.send(MESSAGE, Begin())
    assert (outcome.state, outcome.relay) == ("accepted", f"127.0.0.1:{first.port}")
    assert second.commands == []


@pytest.mark.parametrize("fault", [CLOSE, SILENCE, "421 4.3.2 Busy", "554 5.3.2 Closed", "garbage"])
async def test_one_that_fails_is_passed_over_for_a_while(fault: str) -> None:
    async with ScriptedSmtp({"greeting": fault}) as first, ScriptedSmtp() as second:
        async with relay_to(first, second, timeout=0.5, connections=3) as relay:
            begin = Begin()
            assert states(await relay.send(MESSAGE, begin)) == [("accepted", "2.0.0")]
            assert begin.count == 1
            results = await asyncio.gather(*(relay.send(MESSAGE, begin) for _ in range(5)))
            assert {states(result)[0] for result in results} == {("accepted", "2.0.0")}
        # A silent one is asked once more, whether it speaks TLS.
        assert len(first.commands) == (2 if fault == SILENCE else 1)


async def test_one_where_nobody_listens_is_passed_over() -> None:
    async with ScriptedSmtp() as gone:
        pass
    async with ScriptedSmtp() as second, relay_to(gone, second) as relay:
        assert states(await relay.send(MESSAGE, Begin())) == [("accepted", "2.0.0")]


async def test_a_name_that_nobody_knows_is_passed_over() -> None:
    async with ScriptedSmtp() as second:
        settings = SmtpRelaySettings.model_validate(
            {"hosts": ["no.such.host.invalid:25", f"127.0.0.1:{second.port}"], "security": "none", "allow_clear": True}
        )
        async with SmtpRelay(settings) as relay:
            assert states(await relay.send(MESSAGE, Begin())) == [("accepted", "2.0.0")]


@pytest.mark.parametrize("fault", [CLOSE, "421 4.3.2 Closing", "451 4.3.0 Disk trouble", "452 4.3.1 Full"])
async def test_one_that_gives_up_before_it_says_anything_of_the_message(fault: str) -> None:
    begin = Begin()
    async with ScriptedSmtp({"MAIL": fault}) as first, ScriptedSmtp() as second, relay_to(first, second) as relay:
        assert states(await relay.send(MESSAGE, begin)) == [("accepted", "2.0.0")]
        assert states(await relay.send(MESSAGE, begin)) == [("accepted", "2.0.0")]
    assert begin.count == 2
    assert len(first.commands) == 1


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"MAIL": "550 5.7.1 No"}, ("refused", "5.7.1")),
        ({"MAIL": "450 4.7.1 Greylisted"}, ("deferred", "4.7.1")),
        ({"MAIL": "552 5.3.4 Too large"}, ("refused", "5.3.4")),
        ({"RCPT": "450 4.7.1 Greylisted"}, ("deferred", "4.7.1")),
        ({"RCPT": "421 4.3.2 Closing"}, ("deferred", "4.3.2")),
        ({"DATA": "451 4.3.0 Later"}, ("deferred", "4.3.0")),
        ({".": "451 4.3.0 Later"}, ("deferred", "4.3.0")),
        ({".": CLOSE}, ("unknown", "4.4.2")),
    ],
)
async def test_where_a_server_spoke_of_the_message_no_other_is_asked(
    script: dict[str, str], expected: tuple[str, str]
) -> None:
    async with ScriptedSmtp(script) as first, ScriptedSmtp() as second, relay_to(first, second) as relay:
        assert states(await relay.send(MESSAGE, Begin())) == [expected]
    assert second.commands == []


async def test_where_all_give_up_the_message_is_deferred() -> None:
    first, second = ScriptedSmtp({"MAIL": CLOSE}), ScriptedSmtp({"MAIL": "421 4.3.2 Closing"})
    async with first, second, relay_to(first, second) as relay:
        assert states(await relay.send(MESSAGE, Begin())) == [("deferred", "4.3.2")]


@pytest.mark.parametrize(
    ("greetings", "kind"),
    [
        ((CLOSE, CLOSE), Unreachable),
        (("554 5.3.2 No", CLOSE), Temporary),
        (("421 4.3.2 Later", "554 5.3.2 No"), Temporary),
        (("554 5.3.2 No", "554 5.3.2 Never"), Permanent),
    ],
)
async def test_where_nobody_lets_us_in_all_say_why(greetings: Sequence[str], kind: type[TransportError]) -> None:
    first, second = (ScriptedSmtp({"greeting": greeting}) for greeting in greetings)
    begin = Begin()
    async with first, second, relay_to(first, second) as relay:
        for _ in range(2):  # what is passed over is tried all the same, if there is nothing else
            with pytest.raises(TransportError) as caught:
                await relay.send(MESSAGE, begin)
            assert type(caught.value) is kind
            assert str(caught.value).count(";") == 1
    assert begin.count == 0
    assert len(first.commands) == len(second.commands) == 2


async def test_a_password_that_is_refused_is_not_tried_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TEST_PASSWORD", "secret")
    auth = {"user": "crm", "password": {"env": "RELAY_TEST_PASSWORD"}}
    first = ScriptedSmtp({"AUTH": "535 5.7.8 Wrong"}, offers=["AUTH PLAIN"])
    async with first, ScriptedSmtp() as second, relay_to(first, second, auth=auth) as relay:
        with pytest.raises(Unauthorized, match=r"535 5\.7\.8 Wrong"):
            await relay.send(MESSAGE, Begin())
    assert second.commands == []


async def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedSmtp() as server:

        async def two(*_: object, **__: object) -> list[Any]:
            nobody = ("127.0.0.2", server.port)
            return [(socket.AF_INET, 1, 6, "", nobody), (socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
        settings = SmtpRelaySettings.model_validate({"host": "localhost", "port": server.port, "security": "none"})
        async with SmtpRelay(settings) as relay:
            assert states(await relay.send(MESSAGE, Begin())) == [("accepted", "2.0.0")]


async def test_one_connection_at_a_time_finds_out_whether_a_server_is_back() -> None:
    now = 0.0
    settings = SmtpRelaySettings.model_validate({"hosts": ["127.0.0.1:1", "127.0.0.1:2"], "security": "none"})
    endpoints = Endpoints(settings, lambda: now)

    async def first() -> Endpoint:
        return await anext(endpoints.in_order([]))

    bad = await first()
    endpoints.fails(bad)
    assert (await first()).peer == "127.0.0.1:2"
    now = 61
    assert (await first()).peer == "127.0.0.1:1"
    assert (await first()).peer == "127.0.0.1:2", "meanwhile the others go on passing it over"
    endpoints.fails(bad)
    now = 61 + 119
    assert (await first()).peer == "127.0.0.1:2", "it is passed over for twice as long"
    now = 61 + 121
    assert (await first()).peer == "127.0.0.1:1"
    endpoints.works(bad)
    assert [(await first()).peer for _ in range(2)] == ["127.0.0.1:1"] * 2


# Settings


def endpoints(**keys: Any) -> list[str]:
    return [one.endpoint for one in SmtpRelaySettings.model_validate(keys).servers]


def test_each_server_may_have_its_port() -> None:
    assert endpoints(host="a.example") == ["a.example:465"]
    assert endpoints(host="a.example:26", port=25) == ["a.example:26"]
    assert endpoints(hosts=["a.example", "b.example:26", "::1", "[::1]:26"], security="starttls", port=587) == [
        *("a.example:587", "b.example:26", "[::1]:587", "[::1]:26"),
    ]
    both = SmtpRelaySettings.model_validate({"hosts": ["a.example", "b.example:26"]})
    assert both.where == "a.example:465, b.example:26 with tls"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "Field required"),
        ({"hosts": []}, "must not be empty"),
        ({"hosts": ["a.example", "a.example"]}, "must not name a server twice"),
        ({"hosts": ["a.example", "b example"]}, "must be a name or an address"),
        ({"hosts": ["a.example:0"]}, "0 is no port"),
        ({"host": "a.example:99999"}, "99999 is no port"),
        ({"host": "a.example", "hosts": ["b.example"]}, "give one of them"),
        ({"hosts": ["127.0.0.1", "b.example"], "security": "none"}, "to b.example in clear text"),
    ],
)
def test_servers_that_are_none(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SmtpRelaySettings.model_validate(keys)


# Connections


async def test_warm_connections_are_counted() -> None:
    async with ScriptedSmtp() as server, relay_to(server, connections=2) as relay:
        assert relay.warm == 0
        await asyncio.gather(*(relay.send(MESSAGE, Begin()) for _ in range(2)))
        assert relay.warm == 2
        began, done = asyncio.Event(), asyncio.Event()

        async def begin() -> None:
            began.set()
            await done.wait()

        task = asyncio.create_task(relay.send(MESSAGE, begin))
        await began.wait()
        assert relay.warm == 1
        done.set()
        await task
        assert relay.warm == 2
    assert relay.warm == 0


@pytest.mark.parametrize("words", ["421 4.4.2 Timeout", "250 2.0.0 Ok"])
async def test_a_connection_at_which_something_came_while_idle_is_not_used_again(words: str) -> None:
    async with ScriptedSmtp() as server, relay_to(server) as relay:
        await relay.send(MESSAGE, Begin())
        server.say(0, words)
        async with asyncio.timeout(10):
            while relay.warm:
                await asyncio.sleep(0)
        begin = Begin()
        assert states(await relay.send(MESSAGE, begin)) == [("accepted", "2.0.0")]
        assert begin.count == 1
        assert len(server.commands) == 2
        assert "RSET" not in server.commands[0]


async def test_a_connection_that_ends_while_the_message_is_begun_costs_nothing() -> None:
    async with ScriptedSmtp() as server, relay_to(server) as relay:
        await relay.send(MESSAGE, Begin())

        async def begin() -> None:
            server.end(0)
            await asyncio.wait_for(server.ended[0].wait(), 10)

        assert states(await relay.send(MESSAGE, begin)) == [("accepted", "2.0.0")]
        assert len(server.commands) == 2
