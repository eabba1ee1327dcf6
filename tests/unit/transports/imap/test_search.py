"""What is said to an IMAP server that is searched, and what it may answer."""

from datetime import UTC, datetime

import pytest

from tests.support.answering_imap import LOGIN, opened
from transports.base import Folder, Wanted

EXAMINE = {"EXAMINE": LOGIN["SELECT"]}
FOUND = {
    "UID SEARCH": ["* SEARCH 3 1", "OK done"],
    "UID FETCH 1,3 (UID RFC822.SIZE": [
        '* 1 FETCH (UID 1 RFC822.SIZE 90 INTERNALDATE "20-Nov-2026 10:00:00 +0000")',
        '* 3 FETCH (UID 3 RFC822.SIZE 90 INTERNALDATE "24-Nov-2026 10:00:00 +0000")',
        "OK done",
    ],
    "UID FETCH 3 (UID BODY.PEEK[HEADER])": ["* 3 FETCH (UID 3 BODY[HEADER] {12}", "Subject: x\r\n)", "OK done"],
}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", "secret")


async def test_it_only_examines_and_peeks_and_says_everything_in_ascii() -> None:
    wanted = Wanted(
        message_id='a"b\\c@x.test',
        sender="karl@kunde.test",
        recipient="@in.test",
        words=("offer", "größe", "two\nlines"),
        since=datetime(2026, 11, 23, 23, 30, tzinfo=UTC),
        until=datetime(2026, 11, 25, tzinfo=UTC),
    )
    async with opened(EXAMINE | FOUND) as (account, server):
        found = await account.folder("Junk").search(wanted, 10)
    assert [copy.place.id for copy in found.copies] == ["3"]
    assert not found.certain
    commands = [heard for heard in server.heard if heard.startswith(("EXAMINE", "SELECT", "UID"))]
    exact = 'HEADER Message-ID "a\\"b\\\\c@x.test" FROM "karl@kunde.test" '
    exact += 'OR TO "@in.test" OR CC "@in.test" BCC "@in.test" SUBJECT "offer"'
    assert commands == [
        'EXAMINE "Junk"',
        f"UID SEARCH ALL SINCE 22-Nov-2026 BEFORE 27-Nov-2026 {exact}",
        "UID FETCH 1,3 (UID RFC822.SIZE INTERNALDATE)",
        "UID FETCH 3 (UID BODY.PEEK[HEADER])",
    ]


async def test_what_it_keeps_back_may_be_what_was_looked_for() -> None:
    kept_back = FOUND | {"UID FETCH 1,3 (UID BODY.PEEK[HEADER])": [*FOUND["UID FETCH 3 (UID BODY.PEEK[HEADER])"]]}
    async with opened(EXAMINE | kept_back) as (account, _):
        found = await account.folder("INBOX").search(Wanted(), 10)
    assert [copy.place.id for copy in found.copies] == ["3"]
    assert not found.certain


async def test_what_is_done_next_in_the_folder_selects_it_anew() -> None:
    answers = EXAMINE | {"UID SEARCH": ["* SEARCH", "OK done"]}
    async with opened(answers) as (account, server):
        box = account.folder("INBOX")
        assert (await box.search(Wanted(), 10)).certain
        await box.list(None, 10)
    assert [heard for heard in server.heard if heard.startswith(("EXAMINE", "SELECT"))] == [
        'EXAMINE "INBOX"',
        'SELECT "INBOX"',
    ]


async def test_of_labels_that_show_the_same_mail_all_mail_is_searched() -> None:
    labels = [
        '* LIST () "/" INBOX',
        '* LIST () "/" Customers',
        '* LIST (\\All) "/" "[Gmail]/All Mail"',
        '* LIST (\\Junk) "/" "[Gmail]/Spam"',
        '* LIST (\\Trash) "/" "[Gmail]/Trash"',
        "OK done",
    ]
    everywhere = [
        Folder("[Gmail]/All Mail", "all"),
        Folder("[Gmail]/Spam", "junk"),
        Folder("[Gmail]/Trash", "trash"),
    ]
    async with opened({"LIST": labels}, "X-GM-EXT-1") as (account, _):
        assert await account.all_folders() == everywhere
    # Where All Mail is hidden, each label is looked into.
    async with opened({"LIST": [*labels[:2], "OK done"]}, "X-GM-EXT-1") as (account, _):
        assert [one.name for one in await account.all_folders()] == ["INBOX", "Customers"]
