"""A message that costs the connection: whether it is faulty, or the server or the network is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.answering_imap import opened
from transports import _poison
from transports.base import Place, Received
from transports.errors import Temporary, Unreachable

OK = "OK done"
BAD_ONE = 4
SIZE = 40_000


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", "password")


async def fetched(
    ending: str, *, alike: Sequence[int] = (), sound: Sequence[int] = (), age: timedelta = timedelta()
) -> list[Received]:
    """Fetch a message that ends the connection so; `alike` are others like it, of which the sound ones come."""
    date = (datetime.now(UTC) - age).strftime("%d-%b-%Y %H:%M:%S +0000")
    others = {
        f"UID FETCH {uid} (UID BODY.PEEK[]<0.16384>)": [f"* {uid} FETCH (UID {uid} BODY[]<0> {{1}}\r\nx)", OK]
        if uid in sound
        else [ending]
        for uid in alike
    }
    criteria = "LARGER 16383" if ending == "HANG" else "ALL"
    answers = {
        f"UID FETCH {BAD_ONE} (UID RFC822": [
            f'* 1 FETCH (UID {BAD_ONE} RFC822.SIZE {SIZE} INTERNALDATE "{date}")',
            OK,
        ],
        f"UID FETCH {BAD_ONE} (UID BODY": [ending],
        f"UID SEARCH UID {BAD_ONE}": [f"* SEARCH {BAD_ONE}", OK],
        f"UID SEARCH {criteria}": [f"* SEARCH {' '.join(map(str, [*alike, BAD_ONE]))}", OK],
    }
    async with opened(answers | others, timeout=1.0) as (account, server):
        box = account.folder("INBOX")
        try:
            return [copy async for copy in box.fetch([Place("7", str(BAD_ONE))], "whole")]
        finally:
            # Alone, and twice.
            assert len([line for line in server.heard if line.startswith(f"UID FETCH {BAD_ONE} (UID BODY")]) == 2
            # Whatever it was, the connection is as good as new.
            await box.settle([])


@pytest.mark.parametrize("ending", ["DROP", "HANG", "NO [SERVERBUG] no", "BAD no"])
@pytest.mark.parametrize("sound", [(1,), (9,), (1, 9)])
async def test_faulty_where_others_come(ending: str, sound: Sequence[int]) -> None:
    (copy,) = await fetched(ending, alike=(1, 9), sound=sound)
    assert copy.content == b""
    assert copy.fault is not None


@pytest.mark.parametrize("ending", ["DROP", "HANG", "NO [SERVERBUG] no", "BAD no"])
async def test_not_faulty_where_no_other_comes_either(ending: str) -> None:
    with pytest.raises(Temporary, match=rf"message {BAD_ONE} of INBOX \({SIZE} bytes\) does not come.*MTU") as caught:
        await fetched(ending, alike=(1, 2, 8, 9), age=timedelta(days=400))
    # The connection holds, so that the other folders of the mailbox are read.
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize("ending", ["DROP", "HANG", "NO no", "BAD no"])
async def test_alone_it_is_borne_for_a_day(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"DROP": "lost", "HANG": "no answer to FETCH"}.get(ending, "no")
    # However old it is: old mail, too, meets a server in trouble.
    with pytest.raises(Temporary, match=words):
        await fetched(ending, age=timedelta(days=400))
    monkeypatch.setattr(_poison, "PATIENCE", timedelta(seconds=-1))
    (copy,) = await fetched(ending)
    assert words in str(copy.fault)
