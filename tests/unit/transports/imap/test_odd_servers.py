"""The IMAP transport against servers that no Dovecot would be: refusing, poor, or broken."""

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import product
from typing import Any

import pytest

from tests.support.paths import ROOT
from transports import load
from transports.base import (
    After,
    Cursor,
    Permanent,
    Place,
    Settlement,
    Temporary,
    TransportError,
    Unauthorized,
    Unreachable,
)
from transports.imap.account import ImapAccount
from transports.imap.decode import Splitter, Value, internal_date
from transports.imap.encode import folder_name, uid_set
from transports.imap.mailbox import ImapMailbox
from transports.imap.settings import ImapSettings

LOGIN = {"LOGIN": ["OK done"], "SELECT": ["* 3 EXISTS", "* OK [UIDVALIDITY 7] ok", "* OK [UIDNEXT 4] ok", "OK done"]}


class Server:
    """Answers commands by how they begin, the longest first; the last line of an answer gets the tag.

    DROP in its place closes the connection, HANG says nothing more.
    """

    def __init__(self, answers: Mapping[str, list[str]], capabilities: str, greeting: str) -> None:
        self.answers = {"CAPABILITY": [f"* CAPABILITY IMAP4rev1 {capabilities}", "OK done"], "NOOP": ["OK done"]}
        self.answers |= {"LOGOUT": ["OK bye"], "LIST": ['* LIST () "/" INBOX', "OK done"], **answers}
        self._greeting = greeting
        self.heard: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self._greeting}\r\n".encode())
        try:
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                tag, _, command = line.partition(" ")
                self.heard.append(command)
                begin = max((start for start in self.answers if command.startswith(start)), key=len)
                *data, last = self.answers[begin]
                if last == "DROP":
                    return
                if last == "HANG":
                    await reader.read()
                    return
                for answer in data:
                    writer.write(f"{answer}\r\n".encode())
                    if answer.startswith("+"):
                        self.heard.append((await reader.readline()).decode().rstrip("\r\n"))
                writer.write(f"{tag} {last}\r\n".encode())
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def opened(
    answers: Mapping[str, list[str]] | None = None,
    capabilities: str = "",
    security: str = "none",
    greeting: str = "* OK ready",
    **changes: Any,
) -> AsyncIterator[tuple[ImapAccount, Server]]:
    script = Server(LOGIN | dict(answers or {}), capabilities, greeting)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    settings = ImapSettings.model_validate(
        {
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "security": security,
            "timeout": 20,
            "poll": 600,
            "auth": {"user": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}},
        }
        | changes
    )
    try:
        async with ImapAccount(settings, "a@in.test", After("keep")) as account:
            yield account, script
    finally:
        server.close()


@asynccontextmanager
async def opened_inbox(
    answers: Mapping[str, list[str]] | None = None, capabilities: str = ""
) -> AsyncIterator[tuple[ImapMailbox, Server]]:
    async with opened(answers, capabilities) as (account, server):
        yield account.folder("INBOX"), server


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", 'pass"word')


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("NO [AUTHENTICATIONFAILED] wrong", Unauthorized, "wrong"),
        ("NO just no", Unauthorized, "just no"),
        ('NO [AUTHENTICATIONFAILED] not pass"word', Unauthorized, "not …"),
        ("NO [UNAVAILABLE] later", Temporary, "later"),
        ("NO [INUSE] busy", Temporary, "busy"),
        ("NO [LIMIT] enough", Temporary, "enough"),
        ("NO [ALERT] Too many simultaneous connections", Temporary, "Too many"),
        ("BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", Temporary, "throttled"),
    ],
)
async def test_refused_login(answer: str, kind: type[TransportError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        async with opened({"LOGIN": [answer]}):
            pass
    assert type(caught.value) is kind
    assert 'pass"word' not in str(caught.value)
    if isinstance(caught.value, Temporary) and "Backoff" in answer:
        assert caught.value.retry_after == 92.415


async def test_login_is_quoted_and_capabilities_are_read_anew() -> None:
    async with opened({"LOGIN": ["OK [CAPABILITY IMAP4rev1 MOVE] done"]}, "IDLE") as (account, server):
        assert server.heard[1] == 'LOGIN "a@in.test" "pass\\"word"'
        assert account._session.connection.known.capabilities == {"IMAP4REV1", "MOVE"}


@pytest.mark.parametrize("initial", ["", "SASL-IR"])
async def test_plain_is_preferred(initial: str) -> None:
    plain = {"AUTHENTICATE": ["OK done"]} if initial else {"AUTHENTICATE": ["+ ", "OK done"]}
    async with opened(plain, f"AUTH=PLAIN {initial}") as (_, server):
        token = "AGFAaW4udGVzdABwYXNzIndvcmQ="
        said = [f"AUTHENTICATE PLAIN {token}"] if initial else ["AUTHENTICATE PLAIN", token]
        assert server.heard[1 : len(said) + 1] == said
        assert not any(line.startswith("LOGIN") for line in server.heard)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"security": "starttls"}, Permanent, "does not offer STARTTLS"),
        ({"security": "starttls", "greeting": "* PREAUTH come in"}, Unreachable, "no place for STARTTLS"),
        (
            {"security": "starttls", "capabilities": "STARTTLS", "answers": {"STARTTLS": ["NO not now"]}},
            Permanent,
            "refuses STARTTLS: not now",
        ),
        ({"capabilities": "LOGINDISABLED"}, Permanent, "LOGINDISABLED|in clear"),
        ({"greeting": "* BYE full house"}, Unreachable, "turns us away: full house"),
        ({"greeting": "* BYE [UNAVAILABLE] Too many connections"}, Unreachable, "Too many connections"),
        ({"greeting": "220 mail.example.com ESMTP"}, Unreachable, "220 mail"),
        ({"answers": {"SELECT": ["* 1 EXISTS", "OK done"]}}, Permanent, "no UIDVALIDITY"),
        ({"answers": {"SELECT": ["NO [NOPERM] not yours"]}}, Permanent, "not yours"),
        ({"answers": {"SELECT": ["NO [SERVERBUG] oops"]}}, Temporary, "oops"),
    ],
)
async def test_refused_opening(changes: dict[str, str], kind: type[TransportError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        async with opened(**changes) as (account, _):  # type: ignore[arg-type]  # the cases are a table
            await account.folder("INBOX").list(None, 1)
    assert type(caught.value) is kind


async def test_one_that_the_server_cannot_read_spoils_no_other() -> None:
    def copy(uid: int) -> str:
        return f"* {uid} FETCH (UID {uid} BODY[] {{2}}\r\n{uid}{uid})"

    answers = {
        "UID FETCH 1:4 (UID RFC822.SIZE": [f"* {uid} FETCH (UID {uid} RFC822.SIZE 2)" for uid in (1, 2, 4)]
        + ["OK done"],
        "UID FETCH 1:4 (UID BODY.PEEK[])": [copy(1), "NO [SERVERBUG] the disk is torn"],
        "UID FETCH 2": ["NO [SERVERBUG] the disk is torn"],
        "UID FETCH 4": [copy(4), "OK done"],
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
        assert (await account.folder("INBOX").list(None, 0)).cursor == "7:3"


async def test_a_server_in_trouble_makes_no_message_faulty() -> None:
    answers = {
        "UID FETCH 1 (UID RFC822.SIZE": ["* 1 FETCH (UID 1 RFC822.SIZE 2)", "OK done"],
        "UID FETCH 1 (UID BODY.PEEK[])": ["NO [UNAVAILABLE] later"],
    }
    async with opened_inbox(answers) as (box, _):
        with pytest.raises(Temporary, match="later"):
            [copy async for copy in box.fetch([Place("7", "1")], "whole")]


async def test_a_message_shorter_than_the_server_said_is_no_fault() -> None:
    answers = {
        "UID FETCH 1 (UID RFC822.SIZE": ["* 1 FETCH (UID 1 RFC822.SIZE 900)", "OK done"],
        "UID FETCH 1 (UID BODY.PEEK[])": ["* 1 FETCH (UID 1 BODY[] {2}\r\nxx)", "OK done"],
    }
    async with opened_inbox(answers) as (box, server):
        (copy,) = [copy async for copy in box.fetch([Place("7", "1")], "whole")]
        assert (copy.content, copy.fault) == (b"xx", None)
        assert len([line for line in server.heard if "BODY.PEEK" in line]) == 1


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
        assert (await box.list(None, 0)).cursor == "7:12"


async def test_waiting_without_idle_looks_by_itself() -> None:
    answers = {"UID SEARCH": ["* SEARCH", "OK done"]}
    async with opened(answers, poll=1) as (account, server):
        await account.folder("INBOX").list(None, 9)
        server.answers["NOOP"] = ["* 4 EXISTS", "OK done"]
        await asyncio.wait_for(account.wait(600), 30)
        assert server.heard[-1] == "NOOP"
        assert await account.changed() == ["INBOX"]


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


def test_folder_names() -> None:
    # The examples of RFC 3501 §5.1.3.
    assert folder_name("~peter/mail/台北/日本語") == '"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'
    assert folder_name('A&B "\\') == '"A&-B \\"\\\\"'
    with pytest.raises(Permanent):
        folder_name("a\r\nb")


def test_uid_sets() -> None:
    assert uid_set([7, 1, 3, 2, 9, 3]) == "1:3,7,9"


def test_internal_dates() -> None:
    date = internal_date(b" 1-jan-2026 00:30:00 +0130")
    assert date is not None
    assert date.isoformat() == "2025-12-31T23:00:00+00:00"
    unreadable: tuple[Value, ...] = (b"31-Feb-2026 10:00:00 +0000", b"01-Xyz-2026 10:00:00 +0000", b"", None, [])
    assert [internal_date(value) for value in unreadable] == [None] * 5


def test_example_profile() -> None:
    text = (ROOT / "profiles" / "imap.toml").read_text()
    profile = tomllib.loads(text)["incoming"]["staff"]
    kind = load(profile["transport"]).incoming
    assert kind is not None
    assert kind.settings is ImapSettings
    common = {"transport", "owners", "start", "after"}
    kind.settings.model_validate({key: value for key, value in profile.items() if key not in common})
    assert str(After.parse(profile["after"])) == "keep"
