"""The IMAP transport against a real Dovecot."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import uvloop

from tests.servers.dovecot import HOST, MASTER_PASSWORD, MASTER_USER, PASSWORD, Dovecot
from tests.servers.ports import free_port
from tests.servers.tls import Tls
from transports.base import After, Cursor, Listing, Place, Received, Settlement
from transports.errors import CursorLost, Missing, Permanent, Unauthorized, Unreachable
from transports.imap.account import ImapAccount
from transports.imap.mailbox import ImapMailbox
from transports.imap.settings import ImapSettings

Open = Callable[..., AbstractAsyncContextManager[ImapMailbox]]

_accounts: WeakKeyDictionary[ImapMailbox, ImapAccount] = WeakKeyDictionary()


def message(subject: str, size: int = 0) -> bytes:
    return f"From: a@out.test\r\nSubject: {subject}\r\n\r\n{'x' * 70}\r\n".encode() + b"y" * size + b"\r\n"


@pytest.fixture
def settings(dovecot: Dovecot, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ImapSettings]:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", PASSWORD)
    monkeypatch.setenv("IMAP_TEST_MASTER", MASTER_PASSWORD)

    def make(**changes: Any) -> ImapSettings:
        auth = {"user": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}}
        return ImapSettings.model_validate(
            {"host": HOST, "port": dovecot.imaps, "ca_file": ca_file, "timeout": 20, "auth": auth} | changes
        )

    return make


@pytest.fixture
def opened(settings: Callable[..., ImapSettings], mailbox: str) -> Open:
    @asynccontextmanager
    async def make(folder: str = "INBOX", **changes: Any) -> AsyncIterator[ImapMailbox]:
        async with ImapAccount(settings(**changes), mailbox, After("keep")) as account:
            box = account.folder(folder)
            _accounts[box] = account
            yield box

    return make


def wait(box: ImapMailbox, timeout: float) -> Coroutine[Any, Any, None]:
    return _accounts[box].wait(timeout)


@pytest.fixture
def own_dovecot(tls: Tls) -> Iterator[Dovecot]:
    """One to be killed."""
    server = Dovecot(tls)
    yield server
    server.close()


async def fetched(box: ImapMailbox, listing: Listing) -> list[Received]:
    return [copy async for copy in box.fetch([listed.place for listed in listing.copies], "whole")]


def subject(copy: Received) -> str:
    return copy.content.decode().partition("Subject: ")[2].partition("\r\n")[0]


# Connecting


@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
async def test_connects(dovecot: Dovecot, mailbox: str, opened: Open, security: str) -> None:
    dovecot.deliver(mailbox, message("one"))

    port = dovecot.imaps if security == "tls" else dovecot.imap
    async with opened(security=security, port=port) as box:
        assert len((await box.list(None, 10)).copies) == 1


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_works_on_uvloop(dovecot: Dovecot, mailbox: str, opened: Open, security: str) -> None:
    async def read() -> list[Received]:
        async with opened(security=security, port=dovecot.imaps if security == "tls" else dovecot.imap) as box:
            await wait(box, 0.01)
            return await fetched(box, await box.list(None, 10))

    dovecot.deliver(mailbox, message("one"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [subject(copy) for copy in runner.run(read())] == ["one"]


async def test_master_user(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.deliver(mailbox, message("one"))

    auth = {"user": "{mailbox}*" + MASTER_USER, "password": {"env": "IMAP_TEST_MASTER"}}
    async with opened(auth=auth) as box:
        assert len((await box.list(None, 10)).copies) == 1


async def test_wrong_password(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", "not-the-password")

    with pytest.raises(Unauthorized, match=r"refuses the login of .*@in\.test: \[AUTHENTICATIONFAILED\]") as caught:
        async with opened():
            pass
    assert "not-the-password" not in str(caught.value)


async def test_unknown_authority(dovecot: Dovecot, opened: Open) -> None:
    for security, port in (("tls", dovecot.imaps), ("starttls", dovecot.imap)):
        with pytest.raises(Unreachable, match=f"{HOST}:{port}: its certificate cannot be trusted: .*certificate"):
            async with opened(security=security, port=port, ca_file=None):
                pass


async def test_nobody_there(opened: Open) -> None:
    port = free_port()
    with pytest.raises(Unreachable, match=f"cannot connect to {HOST}:{port}: Connection refused"):
        async with opened(port=port):
            pass


async def test_clear_port_with_tls(dovecot: Dovecot, opened: Open) -> None:
    with pytest.raises(Unreachable, match="does not speak TLS at this port"):
        async with opened(port=dovecot.imap):
            pass


async def test_no_such_folder(opened: Open) -> None:
    async with opened("Nowhere") as box:
        with pytest.raises(Missing, match=r'there is no folder "Nowhere" in .*: make it, or .*exist: Nowhere\)$'):
            await box.list(None, 9)


async def test_line_breaks_in_a_folder_are_no_commands(opened: Open) -> None:
    async with opened("a\r\nb") as box:
        with pytest.raises(Permanent, match="no name of a folder"):
            await box.list(None, 9)


# Listing


async def test_list_in_portions_oldest_first(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for number in range(5):
        dovecot.append(mailbox, message(f"number {number}"))

    async with opened() as box:
        first = await box.list(None, 2)
        # There is more to list, so nobody waits.
        await asyncio.wait_for(wait(box, 600), 30)
        second = await box.list(first.cursor, 2)
        third = await box.list(second.cursor, 2)
        fourth = await box.list(third.cursor, 2)
        listings = [first, second, third, fourth]
        assert [[listed.place.id for listed in listing.copies] for listing in listings] == [
            ["1", "2"],
            ["3", "4"],
            ["5"],
            [],
        ]
        assert [listing.more for listing in listings] == [True, True, False, False]
        assert fourth.cursor == third.cursor
        assert third.cursor.startswith(f"{first.copies[0].place.validity}:5:")
        assert first.copies[0].size == len(message("number 0"))
        assert (await box.list(None, 9)).copies[:2] == first.copies

    async with opened() as box:
        assert await box.list(first.cursor, 9) == Listing(second.copies + third.copies, third.cursor)


async def test_list_sees_what_comes_and_passes_what_goes(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for number in range(4):
        dovecot.append(mailbox, message(f"number {number}"))

    async with opened() as box:
        listing = await box.list(None, 1)
        with dovecot.connect(mailbox) as imap:
            imap.select()
            imap.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
            imap.expunge()
        dovecot.append(mailbox, message("new"))
        listing = await box.list(listing.cursor, 9)
        assert [listed.place.id for listed in listing.copies] == ["3", "4", "5"]
        assert (await box.list(listing.cursor, 9)).copies == ()


async def test_present_is_that_of_now(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    async with opened() as box:
        assert ":0:" in (await box.list(None, 0)).cursor
        dovecot.append(mailbox, message("old"))
        present = await box.list(None, 0)
        assert present.copies == ()
        dovecot.append(mailbox, message("new"))
        assert [listed.place.id for listed in (await box.list(present.cursor, 9)).copies] == ["2"]


async def test_folder_made_anew_loses_the_cursor(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, message("old"), "Box")
    async with opened("Box") as box:
        old = await box.list(None, 9)
    with dovecot.connect(mailbox) as imap:
        imap.delete("Box")
    dovecot.append(mailbox, message("new"), "Box")

    async with opened("Box") as box:
        with pytest.raises(CursorLost):
            await box.list(old.cursor, 9)
        assert [copy async for copy in box.fetch([old.copies[0].place], "whole")] == []
        await box.settle([Settlement(old.copies[0].place, After("delete"))])
        assert len((await box.list(None, 9)).copies) == 1
    assert dovecot.count(mailbox, "Box") == 1


async def test_folder_deleted_while_it_is_open(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, message("old"), "Box")
    async with opened("Box") as box:
        listing = await box.list(None, 9)
        with dovecot.connect(mailbox) as imap:
            imap.delete("Box")
        with pytest.raises(Unreachable):
            await box.list(listing.cursor, 9)
    async with opened("Box") as box:
        with pytest.raises(Missing, match='there is no folder "Box" in'):
            await box.list(None, 9)


async def test_cursor_of_another_kind_is_lost(opened: Open) -> None:
    async with opened() as box:
        with pytest.raises(CursorLost):
            await box.list(Cursor("anything"), 9)


async def test_folder_names_with_umlauts_and_quotes(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    with dovecot.connect(mailbox) as imap:
        imap.create('"B&APw-ro \\"A&-B\\" \\\\ &ZeVnLIqe-"')
    dovecot.deliver(mailbox, message("to be moved"))
    folder = 'Büro "A&B" \\ 日本語'

    async with opened() as inbox:
        listing = await inbox.list(None, 1)
        await inbox.settle([Settlement(listing.copies[0].place, After("move", folder))])
    async with opened(folder) as box:
        assert [subject(copy) for copy in await fetched(box, await box.list(None, 1))] == ["to be moved"]


# Fetching


async def test_fetch_gives_the_bytes_in_the_order_asked_and_marks_nothing(
    dovecot: Dovecot, mailbox: str, opened: Open
) -> None:
    odd = b'Subject: a * b (:-) {5}\r\nX: " \x00\xff {3}\r\n\r\n* 1 FETCH (UID 1 BODY[] {5}\r\n)\r\nA1 OK {9}\r\n'
    whole = [odd.replace(b"\x00", b""), *(message(f"number {number}") for number in range(120))]
    with dovecot.connect(mailbox) as imap:
        for content in whole:
            imap.append("INBOX", None, None, content)

    async with opened() as box:
        listing = await box.list(None, 500)
        places = [listed.place for listed in reversed(listing.copies)]
        copies = [copy async for copy in box.fetch(places, "whole")]
        assert [copy.place for copy in copies] == places
        assert [copy.content for copy in copies] == whole[::-1]
        assert copies[0].received_at == listing.copies[-1].received_at
        heads = [copy async for copy in box.fetch(places[-1:], "headers")]
        assert heads[0].content == odd.replace(b"\x00", b"").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert set().union(*dovecot.flags(mailbox).values()) == set()


async def test_fetch_of_large_messages_without_a_listing(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for number in range(3):
        dovecot.append(mailbox, message(f"number {number}", 3 << 20))

    async with opened() as box:
        validity = (await box.list(None, 0)).cursor.partition(":")[0]
        places = [Place(validity, uid) for uid in ("3", "1", "2")]
        copies = [copy async for copy in box.fetch(places, "whole")]
        assert [subject(copy) for copy in copies] == ["number 2", "number 0", "number 1"]
        assert {len(copy.content) for copy in copies} == {len(message("number 0", 3 << 20))}


async def test_fetch_leaves_out_what_is_gone(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for number in range(3):
        dovecot.append(mailbox, message(f"number {number}"))

    async with opened() as box:
        listing = await box.list(None, 9)
        with dovecot.connect(mailbox) as imap:
            imap.select()
            imap.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
            imap.expunge()
        assert [subject(copy) for copy in await fetched(box, listing)] == ["number 0", "number 2"]


async def test_torn_file_spoils_no_other_message(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for number in range(3):
        dovecot.append(mailbox, message(f"number {number}"))
    files = (dovecot._folder / "mail" / mailbox / "Maildir").glob("*/*,S=*")
    os.truncate(next(file for file in files if b"number 1" in file.read_bytes()), 20)

    # Dovecot drops the connection in the middle of such a message.
    async with opened() as box:
        copies = await fetched(box, await box.list(None, 9))
        assert [(copy.place.id, bool(copy.fault)) for copy in copies] == [("1", False), ("2", True), ("3", False)]


# Waiting


async def test_mail_wakes_a_waiting_mailbox(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    async with opened(poll=600) as box:
        cursor = (await box.list(None, 9)).cursor
        waiting = asyncio.create_task(wait(box, 600))
        await asyncio.to_thread(dovecot.deliver, mailbox, message("one"))
        await asyncio.wait_for(waiting, 30)
        assert len((await box.list(cursor, 9)).copies) == 1


async def test_news_before_waiting_are_not_missed(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.deliver(mailbox, message("one"))
    async with opened(poll=600) as box:
        listing = await box.list(None, 9)
        dovecot.deliver(mailbox, message("two"))
        await box.settle([Settlement(listing.copies[0].place, After("seen"))])
        await asyncio.wait_for(wait(box, 600), 30)
        assert len((await box.list(listing.cursor, 9)).copies) == 1


async def test_waiting_ends_after_its_time(opened: Open) -> None:
    async with opened(poll=600) as box:
        await box.list(None, 9)
        await asyncio.wait_for(wait(box, 0.05), 30)
        assert (await box.list(None, 9)).copies == ()


async def test_another_command_ends_the_idling(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.deliver(mailbox, message("one"))
    async with opened(poll=600) as box:
        listing = await box.list(None, 9)
        waiting = asyncio.create_task(wait(box, 600))
        await asyncio.sleep(0)
        assert len(await asyncio.wait_for(fetched(box, listing), 30)) == 1
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_killed_server_ends_the_waiting(own_dovecot: Dovecot, opened: Open) -> None:
    async with opened(poll=600, port=own_dovecot.imaps) as box:
        place = Place((await box.list(None, 9)).cursor.partition(":")[0], "1")
        waiting = asyncio.create_task(wait(box, 600))
        await asyncio.sleep(0)
        own_dovecot.kill()
        with pytest.raises(Unreachable, match=f"{HOST}:{own_dovecot.imaps}"):
            await asyncio.wait_for(waiting, 30)
        with pytest.raises(Unreachable):
            await box.list(None, 9)
        with pytest.raises(Unreachable):
            [copy async for copy in box.fetch([place], "whole")]


async def test_cancelled_waiting_closes_the_connection(opened: Open) -> None:
    async with opened(poll=600) as box:
        await box.list(None, 9)
        waiting = asyncio.create_task(wait(box, 600))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        with pytest.raises(Unreachable, match="canceled"):
            await box.list(None, 9)


# Settling


async def test_settle(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    for action in range(5):
        dovecot.append(mailbox, message(f"number {action}"))

    async with opened() as box:
        listing = await box.list(None, 9)
        actions = ["keep", "seen", "keyword:Tracked", "move:Done/2026", "delete"]
        done = [
            Settlement(listed.place, After.parse(action))
            for listed, action in zip(listing.copies, actions, strict=True)
        ]
        await box.settle(done)
        assert dovecot.flags(mailbox) == {1: set(), 2: {"\\Seen"}, 3: {"Tracked"}}
        assert [b"number 3" in content for content in dovecot.messages(mailbox, "Done/2026").values()] == [True]

        await box.settle(done)
        assert dovecot.count(mailbox, "Done/2026") == 1
        assert dovecot.count(mailbox) == 3


async def test_delete_spares_what_others_have_marked(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, message("ours"))
    dovecot.append(mailbox, message("theirs"), flags=["\\Deleted"])

    async with opened() as box:
        listing = await box.list(None, 1)
        await box.settle([Settlement(listing.copies[0].place, After("delete"))])
    assert dovecot.flags(mailbox) == {2: {"\\Deleted"}}


async def test_move_by_copy_where_move_is_not_offered(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, message("one"))

    async with opened() as box:
        listing = await box.list(None, 1)
        box._session.connection.known.capabilities.discard("MOVE")
        await box.settle([Settlement(listing.copies[0].place, After("move", "Elsewhere"))])
    assert dovecot.count(mailbox) == 0
    assert dovecot.count(mailbox, "Elsewhere") == 1


async def test_delete_only_marks_where_uidplus_is_not_offered(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, message("one"))

    async with opened() as box:
        listing = await box.list(None, 1)
        box._session.connection.known.capabilities.discard("UIDPLUS")
        await box.settle([Settlement(listing.copies[0].place, After("delete"))])
    assert dovecot.flags(mailbox) == {1: {"\\Deleted"}}


async def test_keyword_that_imap_cannot_say(dovecot: Dovecot, mailbox: str, opened: Open) -> None:
    dovecot.append(mailbox, message("one"))

    async with opened() as box:
        listing = await box.list(None, 1)
        with pytest.raises(Permanent, match="no keyword"):
            await box.settle([Settlement(listing.copies[0].place, After("keyword", "a b)"))])
