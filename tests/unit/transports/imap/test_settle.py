"""Settling on servers that keep no keywords, or make no folders."""

import pytest

from tests.support.answering_imap import LOGIN, opened_inbox
from transports.base import After, Permanent, Place, Settlement


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", 'pass"word')


async def test_keyword_where_the_folder_keeps_none() -> None:
    select = [*LOGIN["SELECT"][:-1], "* OK [PERMANENTFLAGS (\\Seen \\Deleted $Ours)] limited", "OK done"]
    async with opened_inbox({"SELECT": select, "UID STORE": ["OK done"]}) as (box, server):
        await box.settle([Settlement(Place("7", uid), After("keyword", "$ours")) for uid in ("1", "2", "9")])
        assert server.heard[-1] == "UID STORE 1:2,9 +FLAGS.SILENT ($ours)"
        with pytest.raises(Permanent, match="keeps no keywords"):
            await box.settle([Settlement(Place("7", "1"), After("keyword", "other"))])


async def test_move_to_a_folder_that_cannot_be_made() -> None:
    answers = {"UID MOVE": ["NO [TRYCREATE] no such folder"], "CREATE": ["NO [NOPERM] not here"]}
    async with opened_inbox(answers, "MOVE") as (box, _):
        with pytest.raises(Permanent, match=r"does not make the folder Füße: \[NOPERM\] not here"):
            await box.settle([Settlement(Place("7", "1"), After("move", "Füße"))])
