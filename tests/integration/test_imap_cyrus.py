"""The IMAP transport against what only Cyrus has: an administrator who comes in a mailbox's name (RFC 4616)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.cyrus import HOST, MASTER_PASSWORD, MASTER_USER, PASSWORD, Cyrus
from transports.base import After
from transports.errors import Unauthorized
from transports.imap.account import ImapAccount
from transports.imap.settings import ImapSettings


def settings(cyrus: Cyrus, ca_file: Path, **auth: Any) -> ImapSettings:
    keys = {"host": HOST, "port": cyrus.imaps, "ca_file": ca_file, "auth": {"act_as": "{mailbox}"} | auth}
    return ImapSettings.model_validate(keys)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAP_TEST_MASTER", MASTER_PASSWORD)
    monkeypatch.setenv("IMAP_TEST_PASSWORD", PASSWORD)


async def test_the_master_user_reads_any_mailbox(
    cyrus: Cyrus, ca_file: Path, new_mailbox: Callable[[str], str], mailbox: str
) -> None:
    other = new_mailbox("other")
    cyrus.deliver(mailbox, b"Subject: theirs\r\n\r\n")
    cyrus.deliver(other, b"Subject: other\r\n\r\n")

    master = settings(cyrus, ca_file, user=MASTER_USER, password={"env": "IMAP_TEST_MASTER"})
    for name, subject in ((mailbox, b"Subject: theirs"), (other, b"Subject: other")):
        async with ImapAccount(master, name, After("keep")) as account:
            box = account.folder("INBOX")
            (listed,) = (await box.list(None, 10)).copies
            (copy,) = [copy async for copy in box.fetch([listed.place], "whole")]
            assert subject in copy.content


@pytest.mark.parametrize("user", [MASTER_USER, "somebody@in.test"])
async def test_nobody_else_does(cyrus: Cyrus, ca_file: Path, mailbox: str, user: str) -> None:
    cyrus.deliver(mailbox, b"Subject: theirs\r\n\r\n")

    refused = settings(cyrus, ca_file, user=user, password={"env": "IMAP_TEST_PASSWORD"})
    with pytest.raises(Unauthorized, match=f"{HOST}:{cyrus.imaps} refuses the login of {user}"):
        async with ImapAccount(refused, mailbox, After("keep")):
            pass
