"""Opening a folder again on real servers: SELECT itself names what is new (RFC 7162), and a round trip is spared."""

from pathlib import Path

import pytest

from tests.servers.imap_server import HOST, PASSWORD, ImapServer
from transports.base import After, Cursor
from transports.imap.account import ImapAccount
from transports.imap.settings import ImapSettings

BODY = b"From: a@out.test\r\nSubject: x\r\n\r\nx\r\n"


@pytest.fixture(params=["dovecot", "cyrus"])
def server(request: pytest.FixtureRequest) -> ImapServer:
    made: ImapServer = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def settings(server: ImapServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> ImapSettings:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", PASSWORD)
    auth = {"user": "{mailbox}", "password": {"env": "IMAP_TEST_PASSWORD"}}
    return ImapSettings.model_validate({"host": HOST, "port": server.imaps, "ca_file": ca_file, "auth": auth})


async def test_opening_with_news_costs_a_round_trip_less(
    server: ImapServer, settings: ImapSettings, mailbox: str
) -> None:
    async def listed(after: Cursor | None, *, qresync: bool = True) -> tuple[list[str], Cursor, int]:
        async with ImapAccount(settings, mailbox, After("keep")) as account:
            assert "QRESYNC" in account._session.connection.known.enabled
            if not qresync:
                account._session.connection.known.enabled.discard("QRESYNC")
            before = account._session.connection.tagnum
            listing = await account.folder("INBOX").list(after, 10)
            return [one.place.id for one in listing.copies], listing.cursor, account._session.connection.tagnum - before

    server.append(mailbox, BODY)
    _, cursor, _ = await listed(None)
    server.append(mailbox, BODY, flags=["\\Seen"])
    server.append(mailbox, BODY)
    searched, told = await listed(cursor, qresync=False), await listed(cursor)
    assert searched[:2] == told[:2] == (["2", "3"], told[1])
    assert (searched[2], told[2]) == (3, 2)
    # What came and is gone is no gap, and flags of old mail are nothing new.
    server.append(mailbox, BODY)
    with server.connect(mailbox) as imap:
        imap.select()
        imap.uid("STORE", "1:2", "+FLAGS", "(\\Flagged)")
        imap.uid("STORE", "3", "+FLAGS", "(\\Deleted)")
        imap.expunge()
    uids, cursor, commands = await listed(cursor)
    assert (uids, commands) == (["2", "4"], 2)
    # Nothing new.
    assert await listed(cursor) == ([], cursor, 1)
