"""The IMAP transport against servers that no Dovecot would be: refusing, poor, or broken."""

import asyncio
import re
from contextlib import suppress
from itertools import product

import pytest

from tests.support.answering_imap import opened, opened_inbox
from transports.base import After, Place, Settlement
from transports.errors import Permanent, Temporary, TransportError, Unreachable
from transports.imap.account import ImapAccount
from transports.imap.decode import Splitter


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", 'pass"word')


async def test_one_that_makes_the_server_drop_the_connection_spoils_no_other() -> None:
    answers = {
        "UID FETCH 1:3 (UID RFC822.SIZE": [f"* {uid} FETCH (UID {uid} RFC822.SIZE 1)" for uid in (1, 2, 3)]
        + ["OK done"],
        "UID FETCH 1:3 (UID BODY.PEEK[])": ["DROP"],
        "UID FETCH 1": ["* 1 FETCH (UID 1 BODY[] {1}\r\nx)", "OK done"],
        "UID FETCH 2": ["DROP"],
        "UID FETCH 3": ["* 3 FETCH (UID 3 BODY[] {1}\r\nx)", "OK done"],
        "UID SEARCH ALL": ["* SEARCH 1 2 3", "OK done"],
        "UID FETCH 3 (UID BODY.PEEK[]<0": ["* 3 FETCH (UID 3 BODY[]<0> {1}\r\nx)", "OK done"],
    }
    async with opened_inbox(answers) as (box, _):
        copies = [copy async for copy in box.fetch([Place("7", uid) for uid in ("1", "2", "3")], "whole")]
        assert [(copy.place.id, copy.content, "lost" in (copy.fault or "")) for copy in copies] == [
            ("1", b"x", False),
            ("2", b"", True),
            ("3", b"x", False),
        ]


@pytest.mark.parametrize(
    ("command", "answer", "kind"),
    [
        *product(
            ["SELECT", "NOOP", "UID SEARCH", "UID FETCH", "UID STORE"],
            ["NO [THROTTLED] slowly", "NO [INUSE] somebody else has it", "NO [UNAVAILABLE] the disk is away"],
            [Temporary],
        ),
        # A FETCH refused for good is the fault of a message.
        *product(["SELECT", "NOOP", "UID SEARCH", "UID STORE"], ["NO no", "BAD what?"], [Permanent]),
    ],
)
async def test_refusals_of_any_command_are_told(command: str, answer: str, kind: type[TransportError]) -> None:
    answers = {
        "UID SEARCH": ["* SEARCH 1", "OK done"],
        "UID FETCH": ["* 1 FETCH (UID 1 RFC822.SIZE 1)", "OK done"],
        "UID FETCH 1 (UID BODY": ["* 1 FETCH (UID 1 BODY[] {1}\r\nx)", "OK done"],
        "UID STORE": ["OK done"],
    }
    async with opened(answers) as (account, server):
        server.answers[command] = [answer]
        with pytest.raises(kind, match=re.escape(answer.split(" ", 1)[1])):
            await read_and_settle(account)


async def read_and_settle(account: ImapAccount) -> None:
    box = account.folder("INBOX")
    listing = await box.list(None, 9)
    [copy] = [copy async for copy in box.fetch([listed.place for listed in listing.copies], "whole")]
    await box.settle([Settlement(copy.place, After("seen"))])
    await account.changed()


async def test_no_to_everything_is_an_error_of_ours() -> None:
    for answer in ("NO no", "BAD no", "OK yes"):
        async with opened() as (account, server):
            box = account.folder("INBOX")
            await box.list(None, 0)
            server.answers = {"": [answer]}
            for work in (
                account.folders(),
                account.changed(),
                account.wait(0.01),
                box.list(None, 9),
                box.list(None, 0),
                box.settle([Settlement(Place("7", "1"), After("move", "elsewhere"))]),
                account.folder("other").list(None, 9),
            ):
                with suppress(TransportError):
                    await work
            with suppress(TransportError):
                assert [copy async for copy in box.fetch([Place("7", "1")], "whole")] == []


async def test_a_line_without_end_ends_at_the_limit_and_another_connection_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Splitter.__init__, "__defaults__", (1 << 16, 1 << 20))
    async with opened({"UID SEARCH": ["* SEARCH " + "1 " * (1 << 16), "OK done"]}) as (account, _):
        with pytest.raises(Unreachable, match="a line of more than 65536 bytes"):
            await account.folder("INBOX").list(None, 9)
        with pytest.raises(Unreachable):
            await account.wait(1)
        await account._session.connect()
        assert (await account.folder("INBOX").list(None, 0)).cursor == "7:3+3"


async def test_waiting_without_idle_looks_by_itself() -> None:
    answers = {"UID SEARCH": ["* SEARCH", "OK done"]}
    async with opened(answers, poll=1) as (account, server):
        await account.folder("INBOX").list(None, 9)
        server.answers["NOOP"] = ["* 4 EXISTS", "OK done"]
        await asyncio.wait_for(account.wait(600), 30)
        assert server.heard[-1] == "NOOP"
        assert await account.changed() == ["INBOX"]
