"""Settling on servers that keep no keywords, make no folders, or let nobody delete."""

import pytest

from tests.support.answering_imap import LOGIN, Server, opened_inbox
from transports.base import After, Cursor, Place, Settlement
from transports.errors import Permanent


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


# Servers without MOVE

HEADER = "BODY[HEADER.FIELDS (MESSAGE-ID)]"
MOVES = [Settlement(Place("7", uid), After("move", "Done")) for uid in ("2", "3")]


def identity(uid: int, message_id: str, size: int = 5) -> str:
    header = f"Message-ID: {message_id}\r\n\r\n" if message_id else "\r\n"
    return f"* {uid} FETCH (UID {uid} RFC822.SIZE {size} {HEADER} {{{len(header)}}}\r\n{header})"


def without_move(store: str, *in_target: str) -> dict[str, list[str]]:
    """Answers of a server that copies; UIDs 2 and 3 are <b@x> and <c@x>, of 5 bytes."""
    found = [line.split()[1] for line in in_target]
    return {
        "EXAMINE": ["* 1 EXISTS", "* OK [UIDVALIDITY 9] ok", "OK [READ-ONLY] done"],
        "UID FETCH 2:3 (UID RFC822.SIZE BODY": [identity(2, "<b@x>"), identity(3, "<c@x>"), "OK done"],
        'UID SEARCH HEADER Message-ID "<': ["* SEARCH", "OK done"],
        'UID SEARCH HEADER Message-ID "<b@x>"': [f"* SEARCH {' '.join(found)}", "OK done"],
        "UID FETCH 8": [*in_target, "OK done"],
        "UID COPY": ["OK done"],
        "UID STORE": [store],
        "UID EXPUNGE": ["OK done"],
    }


def copied(server: Server) -> list[str]:
    return [line for line in server.heard if line.startswith("UID COPY")]


async def test_what_is_copied_and_cannot_be_deleted_is_not_copied_again() -> None:
    async with opened_inbox(without_move("NO [NOPERM] not yours"), "UIDPLUS") as (box, server):
        for _ in range(3):
            with pytest.raises(Permanent, match=r"does not set the flag .Deleted: \[NOPERM\] not yours"):
                await box.settle(MOVES)
        assert copied(server) == ['UID COPY 2:3 "Done"']
        # It is looked for once, and once we may, it is deleted.
        assert len([line for line in server.heard if line.startswith("EXAMINE")]) == 1
        server.answers["UID STORE"] = ["OK done"]
        await box.settle(MOVES)
        assert copied(server) == ['UID COPY 2:3 "Done"']
        assert server.heard[-2:] == ["UID STORE 2:3 +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE 2:3"]


@pytest.mark.parametrize(
    ("there", "copies"),
    [
        (identity(8, "<b@x>"), ['UID COPY 3 "Done"']),
        (identity(8, "<b@x>", size=6), ['UID COPY 2:3 "Done"']),
        (identity(8, "<bb@x>"), ['UID COPY 2:3 "Done"']),
    ],
)
async def test_what_an_earlier_connection_copied_is_found_in_the_target(there: str, copies: list[str]) -> None:
    async with opened_inbox(without_move("OK done", there)) as (box, server):
        await box.settle(MOVES)
        assert copied(server) == copies
        assert server.heard[-1] == "UID STORE 2:3 +FLAGS.SILENT (\\Deleted)"


async def test_what_has_just_come_is_not_looked_for() -> None:
    answers = without_move("OK done") | {"UID SEARCH UID": ["* SEARCH 2 3", "OK done"]}
    answers["UID FETCH 2:3 (UID RFC822.SIZE INTERNALDATE"] = [f"* {n} FETCH (UID {n} RFC822.SIZE 5)" for n in (2, 3)]
    answers["UID FETCH 2:3 (UID RFC822.SIZE INTERNALDATE"] += ["OK done"]
    async with opened_inbox(answers) as (box, server):
        assert len((await box.list(Cursor("7:1"), 9)).copies) == 2
        await box.settle(MOVES)
        assert copied(server) == ['UID COPY 2:3 "Done"']
        assert not [line for line in server.heard if line.startswith("EXAMINE")]


@pytest.mark.parametrize(
    ("told", "ending", "rights"),
    [
        ("* OK [PERMANENTFLAGS (\\Seen \\*)] ok", "OK done", ""),
        ("* OK [PERMANENTFLAGS (\\Deleted \\*)] ok", "OK [READ-ONLY] done", ""),
        ("* OK [PERMANENTFLAGS (\\Deleted \\*)] ok", "OK done", "lrswi"),
    ],
)
async def test_nothing_is_copied_where_we_may_not_delete(told: str, ending: str, rights: str) -> None:
    answers = without_move("OK done") | {"SELECT": [*LOGIN["SELECT"][:-1], told, ending]}
    answers["MYRIGHTS"] = [f"* MYRIGHTS INBOX {rights}", "OK done"]
    async with opened_inbox(answers, "ACL" if rights else "") as (box, server):
        with pytest.raises(Permanent, match="does not let us delete in the folder INBOX, so nothing is moved"):
            await box.settle(MOVES)
        assert copied(server) == []


@pytest.mark.parametrize("rights", ["lrswite", "lrd"])
async def test_where_we_may_delete_it_is_moved(rights: str) -> None:
    answers = without_move("OK done") | {"MYRIGHTS": [f'* MYRIGHTS "INBOX" {rights}', "OK done"]}
    async with opened_inbox(answers, "ACL") as (box, server):
        await box.settle(MOVES)
        assert copied(server) == ['UID COPY 2:3 "Done"']
