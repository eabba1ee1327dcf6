"""Describing and fetching from servers that refuse, reorder, and lie about sizes."""

from datetime import timedelta

import pytest

from tests.support.answering_imap import opened, opened_inbox
from transports import _poison
from transports.base import MOST_WORDS, Place
from transports.errors import Temporary, TransportError


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", 'pass"word')


async def test_one_that_the_server_cannot_read_spoils_no_other() -> None:
    def copy(uid: int) -> str:
        return f"* {uid} FETCH (UID {uid} BODY[] {{2}}\r\n{uid}{uid})"

    answers = {
        "UID FETCH 1:4 (UID RFC822.SIZE": [f"* {uid} FETCH (UID {uid} RFC822.SIZE 2)" for uid in (1, 2, 4)]
        + ["OK done"],
        "UID FETCH 1:4 (UID BODY.PEEK[])": [copy(1), "NO [SERVERBUG] the disk is torn"],
        "UID FETCH 2": ["NO [SERVERBUG] the disk is torn"],
        "UID FETCH 4": [copy(4), "OK done"],
        "UID FETCH 4 (UID BODY.PEEK[]<0": [copy(4).replace("[]", "[]<0>"), "OK done"],
        "UID SEARCH ALL": ["* SEARCH 1 2 4", "OK done"],
        "UID SEARCH UID 3": ["* SEARCH", "OK done"],
        "UID SEARCH UID 2": ["* SEARCH 2", "OK done"],
        "UID SEARCH UID 2:4": ["* SEARCH 2 4", "OK done"],
        "UID SEARCH UID 2,4": ["* SEARCH 2 4", "OK done"],
    }
    answers["UID FETCH 1:2,4"] = answers["UID FETCH 1:4 (UID BODY.PEEK[])"]
    async with opened_inbox(answers) as (box, _):
        copies = [copy async for copy in box.fetch([Place("7", str(uid)) for uid in (4, 2, 3, 1)], "whole")]
        assert [(copy.place.id, copy.content) for copy in copies] == [("4", b"44"), ("2", b""), ("1", b"11")]
        assert [copy.fault for copy in copies] == [
            None,
            "[SERVERBUG] the disk is torn",
            None,
        ]


async def test_folder_made_anew_in_mid_fetch_gives_no_other_messages() -> None:
    answers = {
        "UID FETCH 1 (UID RFC822.SIZE": ["* 1 FETCH (UID 1 RFC822.SIZE 1)", "OK done"],
        "UID FETCH 1 (UID BODY.PEEK[])": ["DROP"],
    }
    async with opened_inbox(answers) as (box, server):
        await box.list(None, 0)
        server.answers["SELECT"] = ["* 1 EXISTS", "* OK [UIDVALIDITY 8] ok", "OK done"]
        assert [copy async for copy in box.fetch([Place("7", "1")], "whole")] == []


@pytest.mark.parametrize("size", [5, 40, 400])
async def test_wrong_size_of_a_literal_spoils_only_its_own_message(size: int) -> None:
    # Announced too small, the rest of it is no IMAP; too large, it takes the tagged line into it, and silence follows.
    wrong = f"* 2 FETCH (UID 2 BODY[] {{{size}}}\r\nSubject: twenty\r\n\r\nbytes)"
    right = {uid: f"* {uid} FETCH (UID {uid} BODY[] {{1}}\r\nx)" for uid in (1, 3)}
    answers = {
        "UID FETCH 1:3 (UID RFC822.SIZE": [f"* {uid} FETCH (UID {uid} RFC822.SIZE 20)" for uid in (1, 2, 3)]
        + ["OK done"],
        "UID FETCH 1:3 (UID BODY.PEEK[])": [right[1], wrong, right[3], "OK done"],
        "UID FETCH 1 (UID BODY": [right[1], "OK done"],
        "UID FETCH 2 (UID BODY": [wrong, "OK done"],
        "UID FETCH 3 (UID BODY": [right[3], "OK done"],
        "UID FETCH 3 (UID BODY.PEEK[]<0": [right[3].replace("[]", "[]<0>"), "OK done"],
        "UID SEARCH": ["* SEARCH 1 2 3", "OK done"],
    }
    async with opened(answers, timeout=0.3) as (account, _):
        box = account.folder("INBOX")
        copies = [copy async for copy in box.fetch([Place("7", uid) for uid in ("1", "2", "3")], "whole")]
        assert [(copy.place.id, copy.content, copy.fault is None) for copy in copies] == [
            ("1", b"x", True),
            ("2", b"", False),
            ("3", b"x", True),
        ]


async def test_answers_in_another_order_and_messages_that_vanish_between_them() -> None:
    date = 'INTERNALDATE "01-Feb-2026 10:00:00 +0000"'
    answers = {
        "UID SEARCH UID 1:*": ["* SEARCH 3 1", "* 9 EXISTS", "* SEARCH 2", "OK done"],
        "UID FETCH 1:3 (UID RFC822.SIZE": [
            "* 1 EXPUNGE",
            f"* 2 FETCH ({date} RFC822.SIZE 3 UID 3)",
            "* 2 FETCH (FLAGS (\\Seen))",
            f"* 1 FETCH (RFC822.SIZE 2 {date} UID 2)",
            "OK done",
        ],
        "UID SEARCH UID 1": ["* SEARCH", "OK done"],
        "UID FETCH 2:3 (UID BODY.PEEK[])": [
            "* 2 FETCH (BODY[] {1}\r\n3 UID 3)",
            "* 1 EXPUNGE",
            "* 1 FETCH (FLAGS (\\Seen) UID 2 BODY[] {1}\r\n2)",
            "* 5 EXISTS",
            "OK done",
        ],
    }
    async with opened(answers) as (account, _):
        box = account.folder("INBOX")
        listing = await box.list(None, 9)
        assert [(listed.place.id, listed.size) for listed in listing.copies] == [("2", 2), ("3", 3)]
        copies = [copy async for copy in box.fetch([listed.place for listed in listing.copies], "whole")]
        assert [(copy.place.id, copy.content) for copy in copies] == [("2", b"2"), ("3", b"3")]
        # What came meanwhile is not forgotten.
        assert "INBOX" in await account.changed()


async def test_a_server_in_trouble_makes_no_message_faulty() -> None:
    answers = {
        "UID FETCH 1 (UID RFC822.SIZE": ["* 1 FETCH (UID 1 RFC822.SIZE 2)", "OK done"],
        "UID FETCH 1 (UID BODY.PEEK[])": ["NO [UNAVAILABLE] later"],
    }
    async with opened_inbox(answers) as (box, _):
        with pytest.raises(Temporary, match="later"):
            [copy async for copy in box.fetch([Place("7", "1")], "whole")]


REFUSALS = [
    "NO [SERVERBUG] internal error",
    "NO [OVERQUOTA] the mailbox is full",
    "NO Server Unavailable. 15",
    "NO [UNAVAILABLE] try again later",
    "BAD User is authenticated but not connected.",
    "OK but without data",
]


def refusing(words: str, *sound: int) -> dict[str, list[str]]:
    """Answers of a server that has three messages, and refuses all FETCH but those of the sound ones."""
    described = [f"* {uid} FETCH (UID {uid} RFC822.SIZE 2)" for uid in (1, 2, 3)]
    answers = {"UID FETCH 1:3 (UID RFC822.SIZE": [*described, "OK done"], "UID FETCH": [words]}
    answers |= {f"UID SEARCH {what}": ["* SEARCH 1 2 3", "OK done"] for what in ("ALL", "UID 1:3", "UID 1:2")}
    answers |= {f"UID SEARCH UID {uid}": [f"* SEARCH {uid}", "OK done"] for uid in (1, 2, 3)}
    for uid in sound:
        copy = f"* {uid} FETCH (UID {uid} BODY[] {{1}}\r\nx)"
        answers[f"UID FETCH {uid} (UID BODY.PEEK[])"] = [copy, "OK done"]
        answers[f"UID FETCH {uid} (UID BODY.PEEK[]<0"] = [copy.replace("[]", "[]<0>"), "OK done"]
        answers["UID FETCH 1:3 (UID BODY.PEEK[])"] = [copy, words]
    return answers


@pytest.mark.parametrize("words", REFUSALS)
async def test_a_server_that_refuses_every_message_makes_none_faulty(words: str) -> None:
    places = [Place("7", uid) for uid in ("1", "2", "3")]
    async with opened_inbox(refusing(words)) as (box, server):
        with pytest.raises(Temporary):
            [copy async for copy in box.fetch(places, "whole")]
        # It has come back: nothing is lost.
        server.answers = refusing(words, 1, 2, 3) | {key: server.answers[key] for key in ("NOOP", "SELECT", "LOGOUT")}
        assert [copy.content async for copy in box.fetch(places, "whole")] == [b"x"] * 3


@pytest.mark.parametrize("words", [words for words in REFUSALS if "UNAVAILABLE" not in words])
async def test_a_message_that_is_refused_is_faulty_where_another_comes_after_it(words: str) -> None:
    async with opened_inbox(refusing(words, 1, 3)) as (box, _):
        copies = [copy async for copy in box.fetch([Place("7", uid) for uid in ("1", "2", "3")], "whole")]
    assert [copy.fault is None for copy in copies] == [True, False, True]
    assert "without data" not in str(copies[1].fault)


async def test_a_refusal_that_will_pass_is_believed_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [Place("7", uid) for uid in ("1", "2", "3")]
    async with opened_inbox(refusing("NO [UNAVAILABLE] try again later", 1, 3)) as (box, _):
        with pytest.raises(Temporary, match="try again later"):
            [copy async for copy in box.fetch(places, "whole")]
        monkeypatch.setattr(_poison, "PATIENCE", timedelta(seconds=-1))
        copies = [copy async for copy in box.fetch(places, "whole")]
    assert [copy.fault is None for copy in copies] == [True, False, True]


async def test_mail_is_not_dated_by_a_server_that_describes_nothing() -> None:
    answers = refusing("NO [SERVERBUG] internal error") | {"UID SEARCH UID 1:*": ["* SEARCH 1 2 3", "OK done"]}
    answers["UID FETCH 1:3 (UID RFC822.SIZE"] = ["NO [SERVERBUG] internal error"]
    async with opened_inbox(answers) as (box, _):
        with pytest.raises(Temporary, match="describes none of 3 messages"):
            await box.list(None, 9)


async def test_a_message_shorter_than_the_server_said_is_no_fault() -> None:
    answers = {
        "UID FETCH 1 (UID RFC822.SIZE": ["* 1 FETCH (UID 1 RFC822.SIZE 900)", "OK done"],
        "UID FETCH 1 (UID BODY.PEEK[])": ["* 1 FETCH (UID 1 BODY[] {2}\r\nxx)", "OK done"],
    }
    async with opened_inbox(answers) as (box, server):
        (copy,) = [copy async for copy in box.fetch([Place("7", "1")], "whole")]
        assert (copy.content, copy.fault) == (b"xx", None)
        assert len([line for line in server.heard if "BODY.PEEK" in line]) == 1


async def test_what_cannot_be_described_is_listed_all_the_same() -> None:
    answers = {
        "UID FETCH": ['* 1 FETCH (UID 1 RFC822.SIZE 5 INTERNALDATE "01-Feb-2026 10:00:00 +0000")', "NO cannot read 2"],
        "UID SEARCH UID 1:*": ["* SEARCH 1 2", "OK done"],
        "UID SEARCH UID 2": ["* SEARCH 2", "OK done"],
    }
    async with opened_inbox(answers) as (box, _):
        listing = await box.list(None, 9)
        assert [(listed.place.id, listed.size) for listed in listing.copies] == [("1", 5), ("2", 0)]
        assert listing.cursor == "7:2"


HOSTILE = ["bad \0 block", "half a \udcff \ud800", "x" * 9_000]


@pytest.mark.parametrize("words", HOSTILE, ids=["NUL", "surrogates", "long"])
async def test_a_faults_words_can_be_stored(words: str) -> None:
    said = words.encode("utf-8", "surrogatepass").decode("latin-1") if words.isascii() else "half a \xff\xfe"
    async with opened_inbox(refusing(f"NO {said}", 1, 3)) as (box, server):
        copies = [copy async for copy in box.fetch([Place("7", uid) for uid in ("1", "2", "3")], "whole")]
        fault = copies[1].fault
        assert fault is not None
        assert len(fault) <= MOST_WORDS
        assert "\0" not in fault
        fault.encode()
        server.answers["SELECT"] = [f"NO {said}"]
        with pytest.raises(TransportError) as caught:
            await box.list(None, 1)
        assert len(str(caught.value)) <= MOST_WORDS
        assert "\0" not in str(caught.value)


async def test_ten_megabytes_of_words_end_the_connection() -> None:
    async with opened_inbox(refusing("NO " + "x" * 10_000_000)) as (box, _):
        with pytest.raises(TransportError) as caught:
            [copy async for copy in box.fetch([Place("7", uid) for uid in ("1", "2", "3")], "whole")]
        assert len(str(caught.value)) <= MOST_WORDS
