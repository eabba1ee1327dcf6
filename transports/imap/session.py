"""One connection to a mailbox, shared by its folders: each has it alone for a while, with itself selected.

So the commands of two folders never mix. UIDVALIDITY is read at each SELECT; places of another one are passed over.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from transports._net.credentials import NO_TOKENS, Tokens
from transports.errors import Missing, Permanent, TransportError
from transports.imap.connection import ImapConnection
from transports.imap.decode import Response, status
from transports.imap.encode import seen_name
from transports.imap.folders import is_there
from transports.imap.login import connect_and_log_in
from transports.imap.position import Opening, Position
from transports.imap.reply import Reply
from transports.imap.settings import ImapSettings
from transports.imap.watch import Watch

BUSY_FOR = 10
"""Seconds. Dovecot tells IDLE half a second late, so where mail has just come, we look more often for a while."""


class ImapSession:
    """`watches` has what is known of each folder that is watched; `selected` is the folder that is selected.

    `all_mail` is Gmail's folder in which every message lies. `told` are the folders of which the server has told by
    STATUS since it was last cleared.
    """

    def __init__(self, settings: ImapSettings, mailbox: str, tokens: Tokens = NO_TOKENS) -> None:
        self._settings = settings
        self._tokens = tokens
        self._connection: ImapConnection | None = None
        self._lock = asyncio.Lock()
        self._is_shown = False
        self._busy_until = 0.0
        self.mailbox = mailbox
        self.account = settings.account_of(mailbox)
        self.selected: str | None = None
        self.all_mail: str | None = None
        self.watches: dict[str, Watch] = {}
        self.told: set[str] = set()

    @property
    def connection(self) -> ImapConnection:
        """The connection, for use within `exclusive`. Raises Permanent if the session is not open."""
        if self._connection is None:
            raise Permanent("the mailbox is not open")
        return self._connection

    @property
    def is_busy(self) -> bool:
        """Whether mail has come within BUSY_FOR seconds."""
        return asyncio.get_running_loop().time() < self._busy_until

    async def connect(self) -> None:
        """Connect and log in, also in place of a connection that is lost."""
        self._connection = await connect_and_log_in(self._settings, self.mailbox, self._tokens)
        self._connection.on_status = self._take_status
        self.selected = None

    async def close(self, *, abort: bool) -> None:
        """Log out; `abort`: close the connection without a word to the server."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.on_status = None
        if abort:
            connection.abort("closed")
        await connection.close()

    @asynccontextmanager
    async def exclusive(self, folder: str | None = None) -> AsyncIterator[ImapConnection]:
        """Have the connection alone, with this folder selected. Raises what `select` raises.

        An IDLE that is under way ends at once; what else the connection is used for is waited for, one user at a time.
        """
        with self.connection.wanted():
            await self._lock.acquire()
        try:
            self.note_news()
            if folder is not None and folder != self.selected:
                await self.select(folder)
            yield self.connection
        finally:
            self._lock.release()

    async def look_into(self, folder: str, after: Position | None) -> Opening | None:
        """Make the server show what has come into a folder. Return what it told, if that took selecting the folder.

        A folder that was selected only to fetch or settle is selected anew: that tells more than NOOP would.
        """
        is_shown = folder == self.selected and self._is_shown
        opening = await (self.refresh(after) if is_shown else self.select(folder, after))
        self._is_shown = True
        return opening

    async def select(self, folder: str, after: Position | None = None, *, read_only: bool = False) -> Opening:
        """Select a folder, anew if it is already; with a position, so that the server tells what is beyond it.

        `read_only`: it is only examined, so that nothing at all changes in it. Raises Missing, Permanent or Temporary.
        """
        imap = self.connection
        self.note_news()
        self.selected = None
        resync = [after.resync] if after is not None and "QRESYNC" in imap.known.enabled else []
        reply = await imap.select(imap.named(folder), *resync, read_only=read_only)
        if reply.result == "BAD" and resync:
            # It is offered and not understood: do without.
            imap.known.enabled.discard("QRESYNC")
            reply = await imap.select(imap.named(folder), read_only=read_only)
        if not reply.ok:
            self._note_failure(folder)
            raise await self._refusal(folder, reply)
        if not imap.known.validity.isdigit():
            self._note_failure(folder)
            raise Permanent(f"{imap.peer} gives the folder {folder} no UIDVALIDITY, so its UIDs mean nothing")
        self.selected, self._is_shown = folder, False
        numbers = {code: imap.known.number(code) for code in ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ")}
        told = {code: number for code, number in numbers.items() if number}
        if folder in self.watches:
            self.watches[folder].hear(told)
        return Opening.read(told, reply.data)

    async def refresh(self, after: Position | None = None) -> Opening | None:
        """Hear what has come into the selected folder, and whether it is still the same. Raises Missing if it is gone.

        Where it was deleted, or made anew, NOOP goes on being OK: Dovecot then warns by an untagged NO, and Cyrus shows
        a folder without messages. Only SELECT tells.
        """
        imap = self.connection
        if self.selected is not None and not imap.known.exists:
            return await self.select(self.selected, after)
        reply = (await imap.run("NOOP")).require(f"{imap.peer} refuses NOOP")
        warned = any(response[0][:5].upper() == b"* NO " for response in reply.data)
        if self.selected is not None and (warned or not imap.known.exists):
            return await self.select(self.selected, after)
        return None

    def forget_selected(self) -> None:
        """Let whoever comes next select their folder anew."""
        self.note_news()
        self.selected = None

    def note_mail(self) -> None:
        """Note that mail has just come."""
        self._busy_until = asyncio.get_running_loop().time() + BUSY_FOR

    def note_news(self) -> None:
        """Note that what the connection has heard concerns the selected folder."""
        if self.connection.known.news:
            self.connection.known.news = False
            if self.selected in self.watches:
                self.watches[self.selected].dirty = True

    def _take_status(self, response: Response) -> bool:
        """Take a STATUS response; True if a folder has become worth looking into."""
        told = status(response)
        if told is None:
            return False
        name, numbers = seen_name(told[0], utf8=self.connection.known.utf8), told[1]
        watch = self.watches.get(name)
        # What is selected tells by EXISTS, and STATUS may lie about it (RFC 3501 §6.3.10).
        if watch is None or name == self.selected or "UIDNEXT" not in numbers:
            return False
        self.told.add(name)
        return watch.hear(numbers) and watch.urgent

    def _note_failure(self, folder: str) -> None:
        if folder in self.watches:
            self.watches[folder].note_failure()

    async def _refusal(self, folder: str, reply: Reply) -> TransportError:
        imap = self.connection
        if reply.code == "NONEXISTENT" or (not reply.passing and not await is_there(imap, folder)):
            there = f'there is no folder "{folder}" in {self.mailbox} at {imap.peer}'
            return Missing(f'{there}: make it, or take it out of "folders" ({reply.words})')
        return reply.refusal(f"{imap.peer} does not open the folder {folder} of {self.mailbox}")
