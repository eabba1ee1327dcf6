"""What lies in a folder, as it is asked of odd servers: gaps between UIDs, no UIDNEXT, no STATUS in LIST, labels."""

import pytest

from tests.support.answering_imap import opened, opened_inbox
from transports.base import Cursor
from transports.imap.position import Position

OK = "OK done"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", "password")


def select(*codes: str) -> dict[str, list[str]]:
    return {"SELECT": ["* 3 EXISTS", "* OK [UIDVALIDITY 7] ok", *(f"* OK [{code}] ok" for code in codes), OK]}


def described(uid: int) -> dict[str, list[str]]:
    return {f"UID FETCH {uid} (UID": [f"* 1 FETCH (UID {uid} RFC822.SIZE 1)", OK]}


async def test_gaps_take_few_looks() -> None:
    far = 3_000_000_000
    answers = {
        **select(f"UIDNEXT {far + 1}"),
        "UID SEARCH UID": [OK],
        "UID SEARCH UID 1:2000": ["* SEARCH 5", OK],
        **described(5),
        **described(far),
    }
    async with opened_inbox(answers) as (box, server):
        server.answers |= {f"UID SEARCH UID {begin}": [f"* SEARCH {far}", OK] for begin in (1_198_370_001, 149_794_001)}
        found = [one.place.id for page in [page async for page in box.present(None)] for one in page]
        searches = [line for line in server.heard if line.startswith("UID SEARCH")]
    assert found[0] == "5"
    assert searches[:3] == ["UID SEARCH UID 1:2000", "UID SEARCH UID 2001:6000", "UID SEARCH UID 6001:38000"]
    assert searches[-1].endswith(f":{far}")
    assert len(searches) < 12


async def test_a_server_that_tells_no_uidnext() -> None:
    answers = {**select(), "UID SEARCH UID *": ["* SEARCH 3", OK], "UID SEARCH UID 1:3": ["* SEARCH 3", OK]}
    async with opened_inbox({**answers, **described(3)}) as (box, _):
        assert [one.place.id for page in [page async for page in box.present(None)] for one in page] == ["3"]


async def test_written_mail_of_all_mail_is_left_out_as_it_is_of_the_listing() -> None:
    listed = [
        '* LIST (\\HasNoChildren) "/" INBOX',
        '* LIST (\\All) "/" "[Gmail]/All Mail"',
        OK,
    ]
    labeled = [
        "* 1 FETCH (UID 1 RFC822.SIZE 9 X-GM-LABELS (\\Sent))",
        "* 2 FETCH (UID 2 RFC822.SIZE 9 X-GM-LABELS (\\Important))",
        OK,
    ]
    answers = {**select("UIDNEXT 3"), "LIST": listed, "UID SEARCH UID 1:2": ["* SEARCH 1 2", OK], "UID FETCH": labeled}
    async with opened(answers, "X-GM-EXT-1") as (account, _):
        await account.folders()
        box = account.folder("[Gmail]/All Mail")
        assert [one.place.id for page in [page async for page in box.present(None)] for one in page] == ["2"]


async def test_folders_are_counted_without_list_status() -> None:
    listed = ['* LIST () "/" INBOX', '* LIST () "/" "Sales"', '* LIST (\\Noselect) "/" "Top"', OK]
    answers = {
        "LIST": listed,
        'STATUS "INBOX"': ["* STATUS INBOX (MESSAGES 5)", OK],
        'STATUS "Sales"': ["NO not now"],
    }
    async with opened(answers) as (account, _):
        assert await account.counts() == {"INBOX": 5}


@pytest.mark.parametrize(
    ("cursor", "since"),
    [("7:5:20+3", [False, True]), ("7:5+0", [True, True]), ("7:5:20+", [None, None]), ("7:5", [None, None])],
)
def test_a_cursor_carries_where_reading_began(cursor: str, since: list[bool | None]) -> None:
    position = Position.read(Cursor(cursor))
    assert position is not None
    assert position.cursor == cursor
    assert [position.since_start(3), position.since_start(4)] == since
