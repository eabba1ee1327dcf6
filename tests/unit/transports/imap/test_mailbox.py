"""One folder on servers that tell less than they should."""

import pytest

from tests.support.answering_imap import opened_inbox
from transports.base import Cursor, Place


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", 'pass"word')


async def test_a_message_beyond_all_limits_is_not_fetched() -> None:
    async with opened_inbox({"UID FETCH 1": ["* 1 FETCH (UID 1 RFC822.SIZE 999999999)", "OK done"]}) as (box, server):
        copies = [copy async for copy in box.fetch([Place("7", "1")], "whole")]
        assert [copy.fault for copy in copies] == ["999999999 bytes are more than can be read"]
        assert not any("BODY" in line for line in server.heard)


async def test_contents_are_fetched_two_hundred_at_once_and_four_megabytes_at_most() -> None:
    sizes = {uid: 2 << 20 if uid > 250 else 10 for uid in range(1, 254)}
    answers = {
        "UID FETCH 1:253 (UID RFC822": [f"* {uid} FETCH (UID {uid} RFC822.SIZE {sizes[uid]})" for uid in sizes],
        "UID FETCH": [f"* {uid} FETCH (UID {uid} BODY[] {{1}}\r\nx)" for uid in sizes],
    }
    async with opened_inbox({begin: [*data, "OK done"] for begin, data in answers.items()}) as (box, server):
        copies = [copy async for copy in box.fetch([Place("7", str(uid)) for uid in sizes], "whole")]
        assert [copy.place.id for copy in copies] == [str(uid) for uid in sizes]
        sets = [line.split()[2] for line in server.heard if "BODY.PEEK[]" in line]
        assert sets == ["1:200", "201:251", "252:253"]


async def test_the_last_message_is_not_new() -> None:
    # "4:*" names message 3 where there is no 4.
    answers = {"SELECT": ["* 3 EXISTS", "* OK [UIDVALIDITY 7] ok", "OK done"]}
    async with opened_inbox(answers | {"UID SEARCH UID 4:*": ["* SEARCH 3", "OK done"]}) as (box, server):
        listing = await box.list(Cursor("7:3"), 9)
        assert (listing.copies, listing.cursor) == ((), "7:3")
        searches = len([line for line in server.heard if "SEARCH" in line])
        assert searches == 1
        await box.list(listing.cursor, 9)
        assert len([line for line in server.heard if "SEARCH" in line]) == searches


async def test_present_where_the_server_does_not_tell_it() -> None:
    select = ["* 3 EXISTS", "* OK [UIDVALIDITY 7] ok", "OK done"]
    async with opened_inbox({"SELECT": select, "UID SEARCH UID *": ["* SEARCH 12", "OK done"]}) as (box, _):
        assert (await box.list(None, 0)).cursor == "7:12+12"
