"""The relay of our own against servers that others wrote: Postfix and Exim."""

import asyncio
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509

from tests.servers.exim import MOST_BYTES, MOST_RECIPIENTS, Exim
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls, make_tls
from transports._net import tls as client_tls
from transports.base import Envelope, Outcome
from transports.errors import Permanent, TransportError, Unreachable
from transports.smtp.relay import SmtpRelay
from transports.smtp.settings import SmtpRelaySettings

HEAD = b"From: a@example.com\r\nDate: Sat, 21 Nov 2026 01:02:03 +0000\r\nMessage-ID: <1@example.com>\r\n"
CONTENT = HEAD + b"Subject: hello\r\n\r\nhello\r\n"

Name = Callable[[str], str]


@dataclass(frozen=True)
class Way:
    """A server, and how to reach it."""

    server: Postfix | Exim
    settings: dict[str, Any]

    def relay(self, **more: Any) -> SmtpRelay:
        return SmtpRelay(SmtpRelaySettings.model_validate({"host": "localhost", **self.settings, **more}))

    async def send(self, *messages: Envelope, **more: Any) -> list[list[Outcome]]:
        async with self.relay(**more) as relay:
            return [list(await relay.send(message, begin)) for message in messages]

    async def kept(self, count: int, address: str) -> list[Any]:
        return await asyncio.to_thread(self.server.wait_for, count, address)


async def begin() -> None:
    """No database here."""


@pytest.fixture(params=["postfix", "exim"])
def way(request: pytest.FixtureRequest, ca_file: Path) -> Way:
    server: Postfix | Exim = request.getfixturevalue(request.param)
    return Way(server, {"port": server.smtp, "security": "starttls", "ca_file": ca_file})


@pytest.fixture
def name(new_mailbox: Name) -> Name:
    """An address of a domain that both servers keep."""
    return lambda local: new_mailbox(local).replace("@in.test", "@example.com")


def states(outcomes: list[Outcome]) -> list[str]:
    return [one.state for one in outcomes]


async def test_what_both_offer_is_used(way: Way, name: Name) -> None:
    async with way.relay() as relay:
        (outcome,) = await relay.send(Envelope(name("crm"), (ann := name("ann"),), CONTENT), begin)
        assert relay.warm == 1
        session = relay._kept[0].session
        offered = session.extensions
        assert offered.pipelining
        assert offered.dsn
        assert offered.eight_bit
        assert offered.utf8
        assert offered.most_bytes is not None
    assert outcome.state == "accepted"
    assert outcome.relay == f"localhost:{way.server.smtp}"
    (kept,) = await way.kept(1, ann)
    assert kept.message.endswith(b"\r\n\r\nhello\r\n")


async def test_each_recipient_has_its_outcome_over_one_connection(way: Way, name: Name) -> None:
    ann, ben, crm = name("ann"), name("ben"), name("crm")
    async with way.relay() as relay:
        mixed = await relay.send(Envelope(crm, (ann, name("refused"), name("deferred"), ben), CONTENT), begin)
        hopeless = await relay.send(Envelope(crm, (name("refused"), name("refused")), CONTENT), begin)
        again = await relay.send(Envelope(crm, (ann,), CONTENT), begin)
        assert relay.warm == 1
    assert states(list(mixed)) == ["accepted", "refused", "deferred", "accepted"]
    assert [one.code for one in mixed][1:3] == ["5.1.1", "4.2.1"]
    assert states(list(hopeless)) == ["refused", "refused"]
    assert states(list(again)) == ["accepted"]
    assert len(await way.kept(2, ann)) == 2
    assert len(await way.kept(1, ben)) == 1


async def test_what_is_too_large_is_refused_before_it_is_sent(way: Way, name: Name) -> None:
    limit = MOST_BYTES if isinstance(way.server, Exim) else 52_428_800
    (outcomes,) = await way.send(Envelope(name("crm"), (name("ann"),), HEAD + b"\r\n" + b"x" * 70 * (limit // 70 + 1)))
    assert states(outcomes) == ["refused"]
    assert outcomes[0].code == "5.3.4"
    assert f"the server accepts at most {limit}" in outcomes[0].text


async def test_bytes_arrive_as_they_are(way: Way, name: Name) -> None:
    ann = name("ann")
    content = HEAD + "Subject: dots\r\n\r\n.\r\n..\r\nGrüße\r\n.".encode()
    (outcomes,) = await way.send(Envelope(name("crm"), (ann,), content))
    assert states(outcomes) == ["accepted"]
    (kept,) = await way.kept(1, ann)
    assert kept.message.endswith("\r\n\r\n.\r\n..\r\nGrüße\r\n.\r\n".encode())


async def test_a_report_of_success_names_what_we_named(way: Way, name: Name) -> None:
    """NOTIFY, ENVID and ORCPT arrive: the report that the server then writes tells them."""
    crm, ann = name("crm"), name("ann+tag")
    (outcomes,) = await way.send(Envelope(crm, (ann,), CONTENT, envelope_id="id+1=2"), notify=["success", "failure"])
    assert states(outcomes) == ["accepted"]
    local = ann.partition("@")[0]

    async def report() -> bytes:
        for one in await way.kept(2, crm):  # the message, and the report
            if not one.sender:
                return bytes(one.message)
        raise AssertionError("no report")

    told = (await report()).lower()
    assert b"original-envelope-id: id" in told
    assert b"1" in told.partition(b"original-envelope-id: ")[2].partition(b"\r\n")[0]
    assert f"original-recipient: rfc822;{local}".replace("+", "+2b").encode() in told or (
        f"original-recipient: rfc822;{local}".encode() in told
    )
    assert b"subject: hello" in told
    assert b"\r\nhello\r\n" not in told.replace(b"subject: hello\r\n", b""), "RET=HDRS"


async def test_many_recipients(way: Way, name: Name) -> None:
    """Exim takes so many at once, and answers 452 to the rest."""
    people = tuple(name(f"n{number}") for number in range(2 * MOST_RECIPIENTS + 5))
    (outcomes,) = await way.send(Envelope(crm := name("crm"), people, CONTENT))
    assert states(outcomes) == ["accepted"] * len(people)
    transactions = 3 if isinstance(way.server, Exim) else 1
    kept = await way.kept(transactions, crm)
    while sum(len(one.recipients) for one in kept) < len(people):
        kept = await way.kept(len(kept) + 1, crm)
    assert sorted(one for message in kept for one in message.recipients) == sorted(people)


async def test_many_messages_at_once_arrive_once(way: Way, name: Name) -> None:
    people = [name("ann") for _ in range(60)]
    async with way.relay(connections=6) as relay:
        results = await asyncio.gather(
            *(relay.send(Envelope("crm@example.com", (one,), CONTENT), begin) for one in people)
        )
    assert {one.state for (one,) in results} == {"accepted"}
    for one in people:
        assert len(await way.kept(1, one)) == 1


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_works_on_uvloop(exim: Exim, tls: Tls, name: Name, security: str) -> None:
    """As the router runs it."""
    certificate = {"file": tls.certificate, "key": tls.key}
    port = exim.certified if security == "tls" else exim.smtp
    settings = {"port": port, "security": security, "ca_file": tls.ca_file, "certificate": certificate}
    large = HEAD + b"Subject: large\r\n\r\n" + (b"." * 70 + b"\r\n") * 20_000
    messages = [Envelope(name("crm"), (name("ann"),), content) for content in (CONTENT, large, CONTENT)]

    async def go() -> list[list[Outcome]]:
        return await Way(exim, settings).send(*messages)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(go())
    assert [states(outcomes) for outcomes in results] == [["accepted"]] * 3
    for message in messages:
        assert isinstance(message.content, bytes)
        (kept,) = exim.wait_for(1, message.recipients[0])
        assert kept.message.endswith(message.content.partition(b"\r\n\r\n")[2])


# A client certificate


def certified(exim: Exim, ca_file: Path, **certificate: Path) -> Way:
    shown = {"certificate": certificate} if certificate else {}
    return Way(exim, {"port": exim.certified, "security": "tls", "ca_file": ca_file, "timeout": 10, **shown})


async def test_a_relay_that_knows_us_by_our_certificate(exim: Exim, tls: Tls, name: Name) -> None:
    way = certified(exim, tls.ca_file, file=tls.certificate, key=tls.key)
    (outcomes,) = await way.send(Envelope(name("crm"), (name("ann"),), CONTENT))
    assert states(outcomes) == ["accepted"]


async def test_without_a_certificate_such_a_relay_says_so(exim: Exim, ca_file: Path, name: Name) -> None:
    with pytest.raises(Unreachable, match="client certificate"):
        await certified(exim, ca_file).send(Envelope(name("crm"), (name("ann"),), CONTENT))


async def test_a_certificate_of_nobody_that_the_relay_knows(
    exim: Exim, ca_file: Path, name: Name, tmp_path: Path
) -> None:
    other = make_tls(tmp_path)
    with pytest.raises(TransportError, match="client certificate"):
        await certified(exim, ca_file, file=other.certificate, key=other.key).send(
            Envelope(name("crm"), (name("ann"),), CONTENT)
        )


async def test_a_certificate_that_has_expired_is_told_before_it_is_shown(
    exim: Exim, tls: Tls, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.now(tz) + dt.timedelta(days=100)

    monkeypatch.setattr(client_tls, "datetime", Later)
    until = x509.load_pem_x509_certificate(tls.certificate.read_bytes()).not_valid_after_utc
    with pytest.raises(Permanent, match=f"expired on {until:%Y-%m-%d}: renew it"):
        await certified(exim, tls.ca_file, file=tls.certificate, key=tls.key).send(
            Envelope(name("crm"), (name("ann"),), CONTENT)
        )


async def test_a_key_of_another_certificate(exim: Exim, tls: Tls, name: Name, tmp_path: Path) -> None:
    other = make_tls(tmp_path)
    with pytest.raises(Permanent, match=r"cannot be used: KEY_VALUES_MISMATCH"):
        await certified(exim, tls.ca_file, file=tls.certificate, key=other.key).send(
            Envelope(name("crm"), (name("ann"),), CONTENT)
        )


async def test_a_certificate_that_was_renewed_is_shown(exim: Exim, tls: Tls, name: Name, tmp_path: Path) -> None:
    """The file is read anew at the next connection."""
    other = make_tls(tmp_path)
    way = certified(exim, tls.ca_file, file=other.certificate, key=other.key)
    message = Envelope(name("crm"), (name("ann"),), CONTENT)
    async with way.relay() as relay:
        with pytest.raises(TransportError):
            await relay.send(message, begin)
        other.certificate.write_bytes(tls.certificate.read_bytes())
        other.key.write_bytes(tls.key.read_bytes())
        assert states(list(await relay.send(message, begin))) == ["accepted"]
