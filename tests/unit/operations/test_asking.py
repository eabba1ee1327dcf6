"""Asking a mail server for a message: what it finds is compared, and what it says or does stops no more than itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from unittest import mock
from uuid import UUID

import pytest

from router.model import Mention, Message
from router.operations.trace import Concerned, Sought, asking
from router.operations.trace.asking import Asker, matches
from transports.base import Candidates, Folder, Place, Received, Wanted
from transports.errors import Permanent, Unreachable

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
SOUGHT = Sought(sender="karl@kunde.test", words=("offer",), since=NOW - timedelta(days=7))

Search = Callable[[str, Wanted], Candidates]


class Server:
    """A profile, an account and its folders at once, which answers each search as the test says."""

    title = "[incoming.staff]"
    reads: Any = None

    def __init__(self, search: Search, *folders: str, refuses: bool = False) -> None:
        self._search = search
        self._folders = [Folder(name) for name in folders or ("INBOX",)]
        self._refuses = refuses
        self._name = ""
        self.reads = self
        self.asked: list[tuple[str, Wanted]] = []

    def routes_of(self, _: str) -> Self:
        return self

    def account_of(self, mailbox: str) -> str:
        return f"test:{mailbox}"

    def open(self, _: str) -> Self:
        return self

    async def __aenter__(self) -> Self:
        if self._refuses:
            raise Unreachable("mail.in.test:993 cannot be reached")
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def folders(self) -> Sequence[Folder]:
        return self._folders[:1]

    async def all_folders(self) -> Sequence[Folder]:
        return self._folders

    def folder(self, name: str) -> Self:
        self._name = name
        return self

    async def search(self, wanted: Wanted, _: int) -> Candidates:
        name = self._name
        self.asked.append((name, wanted))
        await asyncio.sleep(0)
        if name == "Hangs":
            await asyncio.get_running_loop().create_future()
        return self._search(name, wanted)

    async def fetch(self, *_: object) -> AsyncIterator[Received]:
        """Give no message whole, so that none is compared with what is known."""
        return
        yield


class Here:
    """Reads messages in this process."""

    async def map(self, function: Callable[..., Any], pieces: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*piece) for piece in pieces]


def mail(subject: str, sender: str = "Karl <karl@kunde.test>", hours: int = 1) -> Received:
    head = f"From: {sender}\r\nTo: ann@in.test\r\nSubject: {subject}\r\n\r\n"
    return Received(Place("1", subject), head.encode(), NOW - timedelta(hours=hours))


def found(*copies: Received, certain: bool = True) -> Candidates:
    return Candidates(copies, certain)


async def ask(server: Server, sought: Sought = SOUGHT) -> Any:
    owner = Concerned(UUID(int=1), "ann@in.test", "recipient", approved=True, profile="staff")
    anything: Any = server
    nothing: Any = None
    workers: Any = Here()
    known = mock.AsyncMock(side_effect=lambda _, __, keys, ___: [None] * len(keys))
    with mock.patch.object(asking, "known_messages", known):
        [answered] = await Asker(nothing, workers, anything, sought).ask([owner])
    return answered.asked


async def test_what_is_not_meant_is_not_told() -> None:
    other = mail("Offer of another", "eve@kunde.test")
    asked = await ask(
        Server(lambda *_: found(mail("Your OFFER", hours=2), mail("Offers"), mail("Something else"), other))
    )
    assert [(one.folder, one.received_at) for one in asked.copies] == [("INBOX", NOW - timedelta(hours=2))]
    assert asked.certain


async def test_a_server_that_understands_words_otherwise_is_asked_by_time_alone() -> None:
    def by_time(_: str, wanted: Wanted) -> Candidates:
        return found(mail("Your offer", hours=2), mail("Other")) if not wanted.words else found(certain=False)

    server = Server(by_time)
    asked = await ask(server)
    assert [one.received_at for one in asked.copies] == [NOW - timedelta(hours=2)]
    assert [wanted for _, wanted in server.asked] == [
        Wanted(sender="karl@kunde.test", words=("offer",), since=SOUGHT.since),
        Wanted(since=SOUGHT.since),
    ]
    # Of no time, there is too much to read.
    server = Server(by_time)
    assert not (await ask(server, Sought(sender="karl@kunde.test", words=("offer",)))).certain
    assert len(server.asked) == 1


async def test_where_not_all_was_looked_at_it_is_not_said_that_it_is_not_there() -> None:
    asked = await ask(Server(lambda *_: found(mail("Other"), certain=False)))
    assert (asked.copies, asked.certain, asked.fault) == ((), False, None)


async def test_a_folder_that_cannot_be_opened_keeps_no_other_from_being_looked_into() -> None:
    def refuse(folder: str, _: Wanted) -> Candidates:
        if folder == "Shut":
            raise Permanent("Shut is not opened")
        return found(mail(f"offer in {folder}"))

    asked = await ask(Server(refuse, "INBOX", "Shut", "Junk"))
    assert (asked.folders, asked.fault, asked.certain) == (("INBOX", "Junk"), "Shut is not opened", False)
    assert {one.folder: one.words.partition(";")[0] for one in asked.copies} == {
        "INBOX": "it is not read yet: the folder was never opened",
        "Junk": "[incoming.staff] does not read this folder",
    }


async def test_a_server_that_hangs_is_left_and_what_it_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_ANSWER", 0.2)
    asked = await ask(Server(lambda *_: found(mail("an offer")), "INBOX", "Hangs", "Junk"))
    assert (asked.folders, len(asked.copies), asked.certain) == (("INBOX",), 1, False)
    assert asked.fault == "it did not answer within 0.2 s"


async def test_a_server_that_cannot_be_reached_is_a_fault() -> None:
    asked = await ask(Server(lambda *_: found(), refuses=True))
    assert (asked.folders, asked.fault, asked.certain) == ((), "mail.in.test:993 cannot be reached", False)


@pytest.mark.parametrize(
    ("wanted", "is_it"),
    [
        (Wanted(), True),
        (Wanted(message_id="1@kunde.test", sender="karl@kunde.test", words=("gröSSe", "your")), True),
        (Wanted(sender="@kunde.test", recipient="@in.test"), True),
        (Wanted(recipient="ben@in.test"), True),
        (Wanted(message_id="1@kunde"), False),
        (Wanted(sender="@unde.test"), False),
        (Wanted(sender="arl@kunde.test"), False),
        (Wanted(recipient="karl@kunde.test"), False),
        (Wanted(words=("your", "bill")), False),
    ],
)
def test_headers_are_compared(wanted: Wanted, is_it: bool) -> None:
    people = (Mention("from", 0, "karl@kunde.test"), Mention("to", 0, "ann@in.test"), Mention("cc", 0, "ben@in.test"))
    message = Message(message_id="1@kunde.test", subject="Your Größe", mentions=people)
    assert matches(message, wanted) is is_it
