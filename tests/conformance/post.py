"""A mailbox on a real server, seen from both ends: the contract's, and another mail program's."""

import imaplib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transports
from tests.conformance.kinds import KINDS, Ability, Way
from tests.servers.imap_server import ImapServer
from tests.servers.process import wait_until
from transports.base import Account, After

SECRET = "CONFORMANCE_PASSWORD"
"""The environment variable that holds the mailbox's password."""


class Post:
    """`open()` reads the mailbox by the transport under test; everything else is done by another mail program.

    Folders are named there as IMAP writes them (modified UTF-7).
    """

    def __init__(self, way: Way, server: ImapServer, mailbox: str, ca_file: Path) -> None:
        self.way = way
        self.server = server
        self.mailbox = mailbox
        self._ca_file = ca_file

    def open(self, *, after: str = "keep", **changes: Any) -> Account:
        """Make a reader; it connects when it is entered."""
        incoming = transports.load(self.way.kind).incoming
        assert isinstance(incoming, transports.MailboxKind)
        kind = KINDS[self.way.kind]
        keys: dict[str, Any] = {"timeout": 20, "poll": 600}  # a test that passes by a poll would take long
        if "login" in kind.abilities:
            keys |= {"ca_file": self._ca_file, "auth": {"user": "{mailbox}", "password": {"env": SECRET}}}
        settings = incoming.settings.model_validate(keys | {**kind.keys(self.server, self.way)} | changes)
        return incoming.open(settings, self.mailbox, After.parse(after), transports.NO_TOKENS)

    def can(self, ability: Ability) -> bool:
        return ability in KINDS[self.way.kind].abilities

    @property
    def appends(self) -> bool:
        """Whether the kind says that it puts mail into folders."""
        incoming = transports.load(self.way.kind).incoming
        assert isinstance(incoming, transports.MailboxKind)
        return incoming.appends

    def put(self, *messages: bytes, folder: str = "INBOX", flags: Sequence[str] = ()) -> None:
        """Append messages to a folder, which is made if need be."""
        with self.server.connect(self.mailbox) as imap:
            if folder != "INBOX":
                imap.create(f'"{folder}"')
            for message in messages:
                assert imap.append(f'"{folder}"', f"({' '.join(flags)})", "", message)[0] == "OK"

    def try_to_put(self, message: bytes) -> bool:
        """Whether the server takes this message at all."""
        with self.server.connect(self.mailbox) as imap:
            return imap.append("INBOX", "", "", message)[0] == "OK"

    def deliver(self, message: bytes) -> None:
        self.server.deliver(self.mailbox, message)

    def contents(self, folder: str = "INBOX") -> list[bytes]:
        """The messages as the server has them, oldest first."""
        messages = self.server.messages(self.mailbox, folder)
        return [messages[uid] for uid in sorted(messages)]

    def flags(self, folder: str = "INBOX") -> list[set[str]]:
        """Their flags and keywords, in the same order."""
        flags = self.server.flags(self.mailbox, folder)
        return [flags[uid] for uid in sorted(flags)]

    def remove(self, *positions: int, folder: str = "INBOX") -> None:
        """Delete the messages that have these positions now, from 0, oldest first."""
        with self.server.connect(self.mailbox) as imap:
            imap.select(f'"{folder}"')
            uids = imap.uid("SEARCH", "ALL")[1][0].split()
            imap.uid("STORE", b",".join(uids[position] for position in positions).decode(), "+FLAGS", "(\\Deleted)")
            imap.expunge()

    def make(self, folder: str) -> None:
        with self.server.connect(self.mailbox) as imap:
            assert imap.create(f'"{folder}"')[0] == "OK"

    def drop(self, folder: str) -> None:
        with self.server.connect(self.mailbox) as imap:
            assert imap.delete(f'"{folder}"')[0] == "OK"

    def make_anew(self, folder: str) -> None:
        """Delete the folder and make it again, under another UIDVALIDITY; servers count these in seconds."""
        with self.server.connect(self.mailbox) as imap:
            before = _validity(imap, folder)

            def differs() -> bool:
                assert imap.delete(f'"{folder}"')[0] == "OK"
                assert imap.create(f'"{folder}"')[0] == "OK"
                return _validity(imap, folder) != before

            wait_until(differs, "another UIDVALIDITY")


def _validity(imap: imaplib.IMAP4, folder: str) -> str:
    line: bytes = imap.status(f'"{folder}"', "(UIDVALIDITY)")[1][0]
    return line.rpartition(b"UIDVALIDITY ")[2].decode()
