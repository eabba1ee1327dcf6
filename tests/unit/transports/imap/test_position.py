"""Going on in a folder: what SELECT tells instead of SEARCH, and how a folder that went back is known."""

import pytest

from tests.support.answering_imap import opened, opened_inbox
from transports.base import After, Cursor, Place, Settlement
from transports.errors import CursorLost
from transports.imap.position import ASKED_UIDS, Opening, Position

OK = "OK done"
CURSOR = Cursor("7:3:20")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", "password")


def select(uidnext: int, modseq: int | str = 30, *told: str) -> list[str]:
    codes = {"UIDVALIDITY": 7, "UIDNEXT": uidnext, "HIGHESTMODSEQ": modseq}
    return ["* 3 EXISTS", *(f"* OK [{code} {value}] ok" for code, value in codes.items()), *told, OK]


def described(*uids: int) -> list[str]:
    return [*(f"* {uid} FETCH (UID {uid} RFC822.SIZE 1)" for uid in uids), OK]


ENABLE = {"ENABLE": ["* ENABLED CONDSTORE QRESYNC", OK]}
OFFERED = "ENABLE CONDSTORE QRESYNC"


async def said_to_list(
    answers: dict[str, list[str]], capabilities: str, cursor: Cursor = CURSOR
) -> tuple[list[str], list[str], Cursor]:
    """List after the cursor; what was said for it, which UIDs it brought, and the cursor then."""
    async with opened_inbox(answers, capabilities) as (box, server):
        begun = len(server.heard)
        listing = await box.list(cursor, 9)
        return server.heard[begun:], [listed.place.id for listed in listing.copies], listing.cursor


async def test_select_names_what_is_new_and_spares_a_round_trip() -> None:
    new = {"UID FETCH 4:5 (UID RFC822.SIZE": described(4, 5)}
    plain = {"SELECT": select(6), "UID SEARCH UID 4:*": ["* SEARCH 4 5", OK]} | new
    assert await said_to_list(plain, "") == (
        ['SELECT "INBOX"', "UID SEARCH UID 4:*", "UID FETCH 4:5 (UID RFC822.SIZE INTERNALDATE)"],
        ["4", "5"],
        "7:5:30",
    )
    told = ["* 3 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (22))", "* 4 FETCH (UID 5 FLAGS () MODSEQ (30))"]
    resync = {"SELECT": select(6, 30, *told)} | ENABLE | new
    assert await said_to_list(resync, OFFERED) == (
        ['SELECT "INBOX" (QRESYNC (7 1 4:503))', "UID FETCH 4:5 (UID RFC822.SIZE INTERNALDATE)"],
        ["4", "5"],
        "7:5:30",
    )


async def test_what_is_gone_again_is_no_gap() -> None:
    told = ["* VANISHED (EARLIER) 1:2,4,6:900", "* 3 FETCH (UID 5 FLAGS () MODSEQ (30))"]
    answers = {"SELECT": select(8, 30, *told), "UID FETCH 5 (UID": described(5)} | ENABLE
    said, uids, cursor = await said_to_list(answers, OFFERED)
    assert not any("SEARCH" in command for command in said)
    assert (uids, cursor) == (["5"], "7:5:30")


async def test_what_select_leaves_open_is_searched() -> None:
    told = ["* 3 FETCH (UID 5 FLAGS () MODSEQ (30))"]
    answers = {"SELECT": select(6, 30, *told), "UID FETCH 4:5 (UID": described(4, 5)} | ENABLE
    said, uids, _ = await said_to_list(answers | {"UID SEARCH UID 4:*": ["* SEARCH 4 5", OK]}, OFFERED)
    assert "UID SEARCH UID 4:*" in said
    assert uids == ["4", "5"]


async def test_nothing_new_is_told_by_select_alone() -> None:
    assert await said_to_list({"SELECT": select(4)}, "") == (['SELECT "INBOX"'], [], CURSOR)


async def test_qresync_that_is_not_understood_is_done_without() -> None:
    answers = {"SELECT": select(4), 'SELECT "INBOX" (': ["BAD what?"]} | ENABLE
    async with opened(answers, OFFERED) as (account, server):
        assert (await account.folder("INBOX").list(CURSOR, 9)).copies == ()
        await account._session.select("INBOX", Position("7", 3))
        assert [line for line in server.heard if "QRESYNC (" in line] == ['SELECT "INBOX" (QRESYNC (7 1 4:503))']


async def test_what_comes_while_the_news_of_select_are_listed_is_not_forgotten() -> None:
    told = "* 3 FETCH (UID 4 FLAGS () MODSEQ (30))"
    later = {"UID FETCH 4 (UID": ["* 4 EXISTS", *described(4)], "UID FETCH 5 (UID": described(5)}
    answers = {"SELECT": select(5, 30, told), "UID SEARCH UID 5:*": ["* SEARCH 5", OK]} | ENABLE | later
    async with opened(answers, OFFERED) as (account, _):
        box = account.folder("INBOX")
        listing = await box.list(CURSOR, 9)
        assert [listed.place.id for listed in listing.copies] == ["4"]
        assert await account.changed() == ["INBOX"]
        assert [listed.place.id for listed in (await box.list(listing.cursor, 9)).copies] == ["5"]


# Folders that went back


BACK = "went back on the server"


@pytest.mark.parametrize(
    ("cursor", "uidnext", "modseq", "there"),
    [
        ("7:3:20", 3, 19, "2"),
        ("7:3:20", 9, 19, "8"),  # more has come than was lost
        ("7:3", 3, 19, "2"),  # a cursor of a version that knew no more
        ("7:3", 3, "", ""),  # no CONDSTORE, nothing left
    ],
)
async def test_a_folder_that_went_back_loses_the_cursor(cursor: str, uidnext: int, modseq: int, there: str) -> None:
    answers = {"SELECT": select(uidnext, modseq), "UID SEARCH UID *": [f"* SEARCH {there}", OK]}
    async with opened_inbox(answers) as (box, _):
        with pytest.raises(CursorLost, match=BACK):
            await box.list(Cursor(cursor), 9)


@pytest.mark.parametrize(
    ("cursor", "uidnext", "modseq", "there"),
    [
        ("7:3:20", 4, 20, "3"),
        ("7:3:20", 4, 0, "3"),  # HIGHESTMODSEQ 0 and NOMODSEQ say nothing
        ("7:3:20", 4, "", "3"),
        ("7:3", 4, 1, "3"),
        ("7:3:20", 3, 20, "3"),  # UIDNEXT is wrong: message 3 is there
    ],
)
async def test_a_folder_that_did_not_go_back_is_read_on(cursor: str, uidnext: int, modseq: int, there: str) -> None:
    answers = {"SELECT": select(uidnext, modseq), "UID SEARCH UID": [f"* SEARCH {there}", OK]}
    async with opened_inbox(answers) as (box, _):
        listing = await box.list(Cursor(cursor), 9)
        assert (listing.copies, listing.cursor) == ((), cursor)


async def test_places_of_a_folder_that_went_back_are_others() -> None:
    answers = {
        "SELECT": select(3, 19),
        "UID SEARCH UID": ["* SEARCH 1 2", OK],
        "UID FETCH 1:2 (UID RFC822": described(1, 2),
        "UID STORE 2": [OK],
    }
    async with opened_inbox(answers) as (box, server):
        with pytest.raises(CursorLost):
            await box.list(CURSOR, 9)
        listing = await box.list(None, 9)
        assert [listed.place for listed in listing.copies] == [Place("7.1", "1"), Place("7.1", "2")]
        assert listing.cursor == "7.1:2:19"
        # UID 1 of before is another message now: it must not be settled.
        await box.settle([Settlement(Place(valid, uid), After("seen")) for valid, uid in (("7", "1"), ("7.1", "2"))])
        assert [line for line in server.heard if "STORE" in line] == ["UID STORE 2 +FLAGS.SILENT (\\Seen)"]
        assert [copy async for copy in box.fetch([Place("7", "1")], "whole")] == []
    async with opened_inbox(answers) as (box, _):
        assert (await box.list(listing.cursor, 9)).copies == ()
        await box.settle([Settlement(Place("7.1", "2"), After("seen"))])
    # Made anew, and restored once more: each time what lies there has places of its own.
    async with opened_inbox(answers) as (box, server):
        server.answers["SELECT"] = [line.replace("UIDVALIDITY 7", "UIDVALIDITY 8") for line in select(3, 19)]
        with pytest.raises(CursorLost, match="made anew"):
            await box.list(listing.cursor, 9)
        assert {listed.place.validity for listed in (await box.list(None, 9)).copies} == {"8.2"}


async def test_status_tells_of_a_folder_that_went_back() -> None:
    answers = {"SELECT": select(4), "STATUS": ['* STATUS "Box" (UIDNEXT 4 UIDVALIDITY 7)', OK]}
    async with opened(answers, poll=1) as (account, server):
        for name in ("Box", "INBOX"):
            await account.folder(name).list(CURSOR, 9)
        assert await account.changed() == []
        account._looked_at = float("-inf")
        server.answers["STATUS"] = ['* STATUS "Box" (UIDNEXT 2 UIDVALIDITY 7)', OK]
        assert await account.changed() == ["Box"]


# The values


@pytest.mark.parametrize("text", ["7:3", "7:3:20", "7.1:3", "7.12:3:20"])
def test_cursors_are_read_as_they_were_written(text: str) -> None:
    position = Position.read(Cursor(text))
    assert position is not None
    assert position.cursor == text


@pytest.mark.parametrize("text", ["", "7", "7:", ":3", "7:x", "7:3:", "x7:3", "7.:3", "7:3:4:5", "٧:3", "7:3\n"])
def test_other_cursors_are_none(text: str) -> None:
    assert Position.read(Cursor(text)) is None


def test_at_the_end_of_all_uids() -> None:
    assert Position("7", (1 << 32) - 1).resync == "(QRESYNC (7 1 4294967295:4294967295))"


def test_an_opening_that_tells_too_little() -> None:
    some = frozenset(range(4, 9))
    assert Opening(0, 0, some, []).beyond(3) is None
    assert Opening(4, 0, some, []).beyond(3) == []
    # It is wrong about UIDNEXT, so what is new is not known either.
    assert Opening(3, 0, some, []).beyond(3) is None
    assert Opening(9, 0, some, []).beyond(3) == [4, 5, 6, 7, 8]
    assert Opening(10, 0, some, []).beyond(3) is None
    assert Opening(4 + ASKED_UIDS + 1, 0, frozenset(range(4 + ASKED_UIDS + 1)), []).beyond(3) is None


async def test_what_came_since_the_beginning_is_known_by_its_uid_until_the_cursor_is_lost() -> None:
    answers = {"SELECT": select(4), "UID SEARCH UID": ["* SEARCH 4", OK]}
    async with opened_inbox(answers | {"UID FETCH 4 (UID RFC822.SIZE": described(4)}) as (box, server):
        present = (await box.list(None, 0)).cursor
        assert present == "7:3:30+3"
        server.answers["SELECT"] = select(5)
        server.answers["NOOP"] = ["* 4 EXISTS", OK]
        new = await box.list(present, 9)
        assert ([one.place.id for one in new.copies], new.cursor, new.came_since) == (["4"], "7:4:30+3", True)
        assert (await box.list(new.cursor, 9)).cursor == "7:4:30+3"
        from_the_beginning = await box.list(None, 9)
        assert (from_the_beginning.cursor, from_the_beginning.came_since) == ("7:4:30", False)
