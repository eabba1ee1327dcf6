"""What POP3 servers do that neither Dovecot nor Cyrus does."""

import asyncio
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.conformance.reading import fetched
from tests.support.scripted_pop3 import PASSWORD, SECRET, Pop3Server, all_of, mail
from transports import _poison
from transports.base import MOST_WORDS, After, Listed, Settlement
from transports.errors import Permanent, Temporary, TransportError, Unauthorized, Unreachable
from transports.pop3 import wire


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, PASSWORD)


def deletion(copies: Sequence[Listed]) -> Sequence[Settlement]:
    return [Settlement(copy.place, After("delete")) for copy in copies]


async def refusal(server: Pop3Server, security: str = "none") -> TransportError:
    """What entering raises."""
    async with server:
        with pytest.raises(TransportError) as caught:
            async with server.open(security=security):
                pass
    return caught.value


# UIDL


@pytest.mark.parametrize("after", ["keep", "delete:14d"])
async def test_without_uidl_mail_cannot_be_left(after: str) -> None:
    async with Pop3Server([(b"", mail("a"))], answers={"UIDL": b"-ERR what?\r\n"}) as server, server.open(after) as box:
        with pytest.raises(Permanent, match=r'it does not know UIDL, .* only after = "delete" can be done: what\?'):
            await box.folder("INBOX").list(None, 10)
        # It would not be better a moment later.
        clock = asyncio.get_running_loop().time
        begun = clock()
        await box.wait(0.05)
        assert clock() - begun >= 0.049  # of a clock of whole milliseconds


@pytest.mark.parametrize("capabilities", [("USER", "TOP"), ()])
async def test_without_uidl_mail_is_deleted_all_the_same(capabilities: Sequence[str]) -> None:
    drop = [(b"", mail("one")), (b"", mail("two")), (b"", mail("two"))]
    async with Pop3Server(drop, capabilities, {"UIDL": b"-ERR what?\r\n"}) as server, server.open("delete") as account:
        box = account.folder("INBOX")
        listing = await box.list(None, 10)
        assert len(listing.copies) == 2  # the third is the second once more
        assert [copy.content for copy in await fetched(box, [copy.place for copy in listing.copies])] == [
            mail("one"),
            mail("two"),
        ]
        server.drop.append((b"", mail("three")))
        new = (await box.list(listing.cursor, 10)).copies
        assert [copy.content for copy in await fetched(box, [copy.place for copy in new])] == [mail("three")]
        await box.settle(deletion(listing.copies[1:]))
        assert [message for _, message in server.drop] == [mail("one"), mail("three")]


async def test_ids_that_several_messages_have() -> None:
    drop = [(b"x", mail("one")), (b"x", mail("two")), (b"y", mail("three")), (b"x", mail("one"))]
    async with Pop3Server(drop) as server, server.open() as account:
        box = account.folder("INBOX")
        copies = await all_of(box)
        wholes = await fetched(box, [copy.place for copy in copies])
        assert [copy.content for copy in wholes] == [mail("one"), mail("two"), mail("three")]
        await box.settle(deletion(copies[:1]))
        assert server.drop == [drop[1], drop[2]]
        # Alone now, it has another id: it is shown once more, rather than never.
        assert len((await box.list(None, 10)).copies) == 2


async def test_what_cannot_be_told_from_others_is_not_deleted_for_them() -> None:
    drop = [
        (b"x", mail("one")),
        (b"x", mail("two")),
        (b"x", mail("three")),
        (b"x", b"\r\nsame" * 9),
        (b"x", b"\r\nsame"),
    ]
    async with Pop3Server(list(drop), answers={"TOP 2": b"-ERR no\r\n", "TOP 3": b"-ERR no\r\n"}) as server:
        async with server.open("delete") as account:
            box = account.folder("INBOX")
            copies = await all_of(box)
            assert len(copies) == 3
            await box.settle(deletion(copies[1:2]))
        assert server.drop == [*drop[:3], drop[4]]


async def test_odd_ids() -> None:
    uidls = [b"a b", b"\xfc\xff", b"nul\0", b"x" * 5000, b"x" * 5001, b"", b"1\t2", b"'; DROP", b"1" * 70]
    async with Pop3Server([(uidl, mail(f"{number}")) for number, uidl in enumerate(uidls)]) as server:
        async with server.open() as account:
            copies = await all_of(account.folder("INBOX"))
        ids = [copy.place.id for copy in copies]
        assert len(set(ids)) == len(uidls)
        assert all(id_.isprintable() or "\t" in id_ for id_ in ids)
        assert max(map(len, ids)) <= 200
        async with server.open() as account:
            assert [copy.place.id for copy in await all_of(account.folder("INBOX"))] == ids


async def test_what_vanishes_and_changes_its_order_is_not_new() -> None:
    drop = [(b"%d" % number, mail(f"{number}")) for number in range(6)]
    async with Pop3Server(list(drop)) as server, server.open() as account:
        box = account.folder("INBOX")
        cursor = (await box.list(None, 0)).cursor
        server.drop = [drop[4], drop[1], (b"new", mail("new")), drop[2]]
        listing = await box.list(cursor, 10)
        assert [copy.place.id for copy in listing.copies] == ["new"]
        assert len(listing.cursor) < len(cursor)
        server.drop = drop[:2]
        await account.wait(0)
        assert list(await account.changed()) == ["INBOX"]  # what had vanished is there again
        assert [copy.place.id for copy in (await box.list(listing.cursor, 10)).copies] == ["0"]


async def test_t64_ids_made_anew_come_with_the_dates_of_their_mail() -> None:
    old = [mail(f"{number}", "Mon, 1 Jun 2026 08:00:00 +0200") for number in range(5)]
    async with Pop3Server([(b"a%d" % number, one) for number, one in enumerate(old)]) as server:
        async with server.open() as account:
            cursor = (await account.folder("INBOX").list(None, 0)).cursor
        server.drop = [(b"b%d" % number, one) for number, one in enumerate(old)]
        async with server.open() as account:
            copies = (await account.folder("INBOX").list(cursor, 10)).copies
    assert [copy.received_at for copy in copies] == [datetime(2026, 6, 1, 6, tzinfo=UTC)] * 5


# The server's time


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"Received: by b; Fri, 20 Nov 2026 10:00:00 +0100 (CET)", datetime(2026, 11, 20, 9, tzinfo=UTC)),
        (b"X: y\r\nreceived: by b\r\n\tfor a;\r\n\tFri, 20 Nov 2026 10:00:00 -0000",
         datetime(2026, 11, 20, 10, tzinfo=UTC)),
        (b"Received: a; Fri, 20 Nov 2026 10:00:00 +0000\r\nReceived: b; Mon, 1 Jan 2001 10:00:00 +0000",
         datetime(2026, 11, 20, 10, tzinfo=UTC)),
        (b"Date: Thu, 1 Jan 1970 00:00:00 +0000", None),
        (b"Received: by b; Fri, 20 Nov 2099 10:00:00 +0000", None),
        (b"Received: by b; yesterday", None),
        (b"Received: by b; Fri, 20 Nov 0000 99:00:00 +9999", None),
        (b"Received: \xff\xfe", None),
        (b"Subject: x\r\n\r\nReceived: by b; Fri, 20 Nov 2026 10:00:00 +0000", None),
        (b"", None),
    ],
)  # fmt: skip
async def test_t98_the_time_is_the_servers_else_ours(head: bytes, told: datetime | None) -> None:
    before = datetime.now(UTC)
    async with Pop3Server([(b"1", head + b"\r\n\r\ntext\r\n")]) as server, server.open() as account:
        box = account.folder("INBOX")
        (listed,) = await all_of(box)
        assert listed.received_at == told or (told is None and before <= listed.received_at <= datetime.now(UTC))
        (copy,) = await fetched(box, [listed.place])
        assert copy.received_at == listed.received_at


# Login


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("[IN-USE] Do you have another POP session running?", Temporary),
        ("maildrop already locked", Temporary),
        ("Unable to lock maildrop", Temporary),
        ("Another session is busy with it", Temporary),
        ("[SYS/TEMP] no disk", Temporary),
        ("[SYS/PERM] no mailbox", Permanent),
        ("[AUTH] no", Unauthorized),
        ("[AUTH] account locked", Unauthorized),
        ("[UNAVAILABLE] try again later", Temporary),
        ("[sys/temp] no disk", Temporary),
        ("sorry, a blocked user", Unauthorized),
        ("", Unauthorized),
    ],
)
async def test_refused_logins(answer: str, kind: type[TransportError]) -> None:
    error = await refusal(Pop3Server(answers={"PASS": f"-ERR {answer}\r\n".encode()}))
    assert type(error) is kind
    assert str(error).endswith(f": {answer}")
    assert "refuses the login of a@in.test" in str(error)


async def test_too_many_logins() -> None:
    answers = {"PASS": b"-ERR [LOGIN-DELAY] not so often\r\n"}
    error = await refusal(Pop3Server(capabilities=["USER", "LOGIN-DELAY 900 USER"], answers=answers))
    assert isinstance(error, Temporary)
    assert error.retry_after == 900


async def test_a_greeting_that_refuses() -> None:
    error = await refusal(Pop3Server(greeting=b"-ERR [SYS/TEMP] too many of you\r\n"))
    assert isinstance(error, Temporary)
    assert not isinstance(error, Unreachable)
    assert "too many of you" in str(error)


async def test_a_server_of_something_else() -> None:
    error = await refusal(Pop3Server(greeting=b"220 smtp.test ESMTP\r\n"))
    assert "220 smtp.test ESMTP" in str(error)


async def test_a_server_that_repeats_the_password() -> None:
    error = await refusal(Pop3Server(answers={"PASS": f"-ERR {PASSWORD} is wrong\r\n".encode()}))
    assert str(error).endswith(": … is wrong")


async def test_plain_is_preferred() -> None:
    async with Pop3Server(capabilities=["USER", "SASL LOGIN PLAIN"]) as server, server.open():
        assert server.heard[1:3] == ["AUTH PLAIN", "AGFAaW4udGVzdABodXNoIGh1c2g="]


async def test_no_password_where_none_is_wanted_in_clear() -> None:
    server = Pop3Server(capabilities=["STLS"])
    error = await refusal(server)
    assert 'security = "starttls" or "tls" is needed' in str(error)
    assert server.heard == ["CAPA"]


@pytest.mark.parametrize("bad", ["a\r\nDELE 1", "a\0b"])
async def test_a_password_that_is_more_than_one_line(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, bad.replace("\0", "\n"))
    server = Pop3Server()
    assert isinstance(await refusal(server), Permanent)
    assert server.heard == ["CAPA"]


async def test_starttls_that_is_not_offered_or_refused_is_an_error() -> None:
    server = Pop3Server()
    assert "does not offer STARTTLS" in str(await refusal(server, security="starttls"))
    assert server.heard == ["CAPA"]

    server = Pop3Server(capabilities=["STLS", "USER"], answers={"STLS": b"-ERR not today\r\n"})
    assert "not today" in str(await refusal(server, security="starttls"))
    assert not [line for line in server.heard if line.startswith(("USER", "PASS", "AUTH"))]


async def test_headers_in_utf8_are_asked_for() -> None:
    async with Pop3Server(capabilities=["USER", "UTF8"]) as server, server.open():
        assert server.heard[:3] == ["CAPA", "UTF8", "USER a@in.test"]


# Contents


async def test_without_top_everything_is_had_by_retr() -> None:
    drop = [(b"1", mail("one")), (b"2", mail("two"))]
    async with Pop3Server(drop, ["USER"]) as server, server.open() as account:
        box = account.folder("INBOX")
        copies = await all_of(box)
        places = [copy.place for copy in copies]
        assert [copy.content for copy in await fetched(box, places)] == [mail("one"), mail("two")]
        heads = await fetched(box, places, "headers")
        assert [copy.content for copy in heads] == [
            one.removesuffix(b".text\r\n") for one in (mail("one"), mail("two"))
        ]
        assert {copy.received_at for copy in copies} == {datetime(2026, 11, 20, 9, tzinfo=UTC)}


@pytest.mark.parametrize("answer", [b"+OK\r\nSubject: cut short\r\n.\r\n", b"-ERR how many?\r\n"])
async def test_what_top_does_not_give_whole_is_had_by_retr(answer: bytes) -> None:
    drop = [(b"1", mail("one")), (b"2", mail("two"))]
    async with Pop3Server(drop, answers={"TOP 2 99999999": answer}) as server, server.open() as account:
        box = account.folder("INBOX")
        wholes = await fetched(box, [copy.place for copy in await all_of(box)])
        assert [copy.content for copy in wholes] == [mail("one"), mail("two")]
        assert [line for line in server.heard if line.startswith("RETR")] == ["RETR 2"]


@pytest.mark.parametrize("answer", [b"-ERR cannot read it\r\n", None])
@pytest.mark.parametrize("pipelining", [True, False])
async def test_a_message_that_cannot_be_read_spoils_no_other(answer: bytes | None, pipelining: bool) -> None:
    drop = [(b"%d" % number, mail(f"{number}")) for number in range(4)]
    capabilities = ["USER", "TOP", *(["PIPELINING"] if pipelining else [])]
    bad: dict[str, bytes | None] = {"TOP 3 99999999": answer, "RETR 3": answer}
    async with Pop3Server(drop, capabilities, bad) as server, server.open() as account:
        box = account.folder("INBOX")
        copies = await fetched(box, [copy.place for copy in await all_of(box)])
        assert [copy.content for copy in copies] == [mail("0"), mail("1"), b"", mail("3")]
        assert [bool(copy.fault) for copy in copies] == [False, False, True, False]
        # The bare cause: what is made of it says that the message could not be fetched.
        assert re.fullmatch(
            "cannot read it" if answer else r"the connection to 127\.0\.0\.1:\d+ was lost: the server ended it",
            str(copies[2].fault),
        )


@pytest.mark.parametrize("answer", [b"+", b"-ERR [SYS/TEMP] not now\r\n"])
async def test_a_message_is_given_up_only_if_another_like_it_comes(answer: bytes) -> None:
    now = format_datetime(datetime.now(UTC))
    drop = [(b"%d" % number, mail("x" * size, now)) for number, size in enumerate([20_000, 30_000, 10])]
    large = dict.fromkeys(["TOP 1 99999999", "TOP 2 99999999", "RETR"], answer)
    everything = large | {"TOP 3 99999999": answer}
    async with Pop3Server(drop) as server, server.open(timeout=0.3) as account:
        box = account.folder("INBOX")
        places = [copy.place for copy in await all_of(box)]
        server.answers = large if answer == b"+" else everything
        with pytest.raises(Temporary, match="does the network lose large packets"):
            await fetched(box, places)
        server.answers = {"TOP 1 99999999": answer, "RETR": answer}
        copies = await fetched(box, places)
        assert [bool(copy.fault) for copy in copies] == [True, False, False]


@pytest.mark.parametrize(
    "answer", [b"-ERR\r\n", b"-ERR no\r\n", b"-ERR [SYS/PERM] no\r\n", b"-ERR [SYS/TEMP] no\r\n", None]
)
@pytest.mark.parametrize("count", [1, 3])
async def test_a_server_that_gives_up_no_message_makes_none_faulty(
    answer: bytes | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = [(b"%d" % number, mail(f"{number}", "Mon, 1 Jan 2024 10:00:00 +0000")) for number in range(count)]
    async with Pop3Server(drop) as server, server.open() as account:
        box = account.folder("INBOX")
        places = [copy.place for copy in await all_of(box)]
        server.answers = {"TOP": answer, "RETR": answer}
        with pytest.raises(Temporary, match=r"a message of a@in\.test does not come"):
            await fetched(box, places)
        server.answers = {}
        assert [copy.content for copy in await fetched(box, places)] == [message for _, message in drop]
        # Nobody waits for ever.
        server.answers = {"TOP": answer, "RETR": answer}
        monkeypatch.setattr(_poison, "PATIENCE", timedelta(seconds=-1))
        assert None not in [copy.fault for copy in await fetched(box, places)]


@pytest.mark.parametrize("words", [b"bad \0 block", b"\xff\xfe\xed\xa0\x80", b"x" * 2_000, b"x" * 10_000_000])
async def test_whatever_words_a_server_refuses_with_can_be_stored(words: bytes) -> None:
    answer = b"-ERR " + words + b"\r\n"
    drop = [(b"%d" % number, mail(f"{number}")) for number in range(2)]
    async with Pop3Server(drop, answers={"TOP 2 99999999": answer, "RETR 2": answer}) as server:
        async with server.open() as account:
            box = account.folder("INBOX")
            copies = await fetched(box, [copy.place for copy in await all_of(box)])
        assert copies[0].fault is None
        fault = str(copies[1].fault)
        assert 0 < len(fault) <= MOST_WORDS
        assert "\0" not in fault
        fault.encode()
        server.answers = {"PASS": answer}
        with pytest.raises(TransportError) as caught:
            async with server.open():
                pass
        assert len(str(caught.value)) <= MOST_WORDS
        assert "\0" not in str(caught.value)


async def test_a_message_that_cannot_be_read_now_is_read_when_the_server_is_back() -> None:
    async with Pop3Server([(b"1", mail("one"))]) as server, server.open() as account:
        box = account.folder("INBOX")
        places = [copy.place for copy in await all_of(box)]
        server.answers = {"TOP": None, "PASS": b"-ERR [IN-USE] wait\r\n"}
        with pytest.raises(Temporary):
            await fetched(box, places)
        server.answers = {}
        assert list(await account.changed()) == ["INBOX"]
        assert [copy.content for copy in await fetched(box, places)] == [mail("one")]


@pytest.mark.parametrize("command", ["UIDL", "LIST", "CAPA", "TOP"])
async def test_a_server_without_end(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_LIST_LIMIT", 10_000)
    monkeypatch.setattr(wire, "CONTENT_LIMIT", 10_000)
    for endless in (b"1 x\r\n" * 3000, b"x" * 30_000):
        async with Pop3Server([(b"1", mail("1"))], answers={command: b"+OK\r\n" + endless}) as server:
            with pytest.raises(Unreachable, match="too long"):
                async with server.open() as account:
                    await account.folder("INBOX").list(None, 10)


# Deleting


async def test_deleted_is_what_quit_confirms() -> None:
    drop = [(b"%d" % number, mail(f"{number}")) for number in range(3)]
    async with Pop3Server(list(drop)) as server, server.open("delete") as account:
        box = account.folder("INBOX")
        copies = await all_of(box)
        for answer, kind in (
            (b"-ERR some are left\r\n", Permanent),
            (b"-ERR [IN-USE] x\r\n", Temporary),
            (None, Unreachable),
        ):
            server.answers = {"QUIT": answer}
            with pytest.raises(kind):
                await box.settle(deletion(copies[:2]))
            assert server.drop == drop
        server.answers = {}
        await box.settle(deletion(copies[:2]))
        assert server.drop == drop[2:]


async def test_where_one_is_not_deleted_none_is() -> None:
    drop = [(b"%d" % number, mail(f"{number}")) for number in range(3)]
    async with Pop3Server(list(drop), answers={"DELE 2": b"-ERR no\r\n"}) as server:
        async with server.open("delete") as account:
            box = account.folder("INBOX")
            with pytest.raises(Permanent, match="does not delete: no"):
                await box.settle(deletion(await all_of(box)))
        assert server.drop == drop


async def test_what_pop3_cannot_do_is_said() -> None:
    async with Pop3Server([(b"1", mail("one"))]) as server, server.open() as account:
        box = account.folder("INBOX")
        (copy,) = await all_of(box)
        with pytest.raises(Permanent, match="move:Done, seen: only by keep or delete"):
            await box.settle([Settlement(copy.place, After.parse(after)) for after in ("seen", "move:Done", "delete")])
        assert server.drop


# Sessions


async def test_between_two_looks_there_is_no_session() -> None:
    async with Pop3Server([(b"1", mail("one"))]) as server, server.open() as account:
        box = account.folder("INBOX")
        await all_of(box)
        assert list(await account.changed()) == []
        waiting = asyncio.create_task(account.wait(600))
        async with asyncio.timeout(20):
            while server.heard[-1] != "QUIT":
                await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        said = len(server.heard)
        server.drop.append((b"2", mail("two")))
        assert list(await account.changed()) == ["INBOX"]
        # A look that finds something is the session in which it is read.
        assert len((await box.list(None, 10)).copies) == 2
        assert [line for line in server.heard[said:] if line.startswith(("PASS", "QUIT"))] == [f"PASS {PASSWORD}"]


@pytest.mark.parametrize("silent", ["PASS", "UIDL", "TOP"])
async def test_who_is_canceled_waits_for_no_server(silent: str) -> None:
    async with Pop3Server([(b"1", mail("one"))], answers={silent: b"+"}) as server:

        async def read() -> None:
            async with server.open(timeout=600) as account:
                await account.folder("INBOX").list(None, 10)

        reading = asyncio.create_task(read())
        async with asyncio.timeout(20):
            while not any(line.startswith(silent) for line in server.heard):
                await asyncio.sleep(0.01)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            assert reading.cancelled()
            while any("in_thread" in thread.name for thread in threading.enumerate()):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("silent", ["", "CAPA", "PASS", "UIDL", "TOP", "QUIT"])
async def test_a_server_that_says_nothing_more(silent: str) -> None:
    greeting = b"+OK\r\n" if silent else b"+"
    async with Pop3Server([(b"1", mail("one"))], answers={silent: b"+"}, greeting=greeting) as server:

        async def read() -> None:
            async with server.open("delete", timeout=0.2) as account:
                box = account.folder("INBOX")
                await box.settle(deletion(await all_of(box)))

        with pytest.raises(Unreachable, match="in time"):
            await read()
