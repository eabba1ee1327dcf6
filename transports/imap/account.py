"""One mailbox over one connection, whose folders take turns in it.

A turn is a lock with the folder selected in it, so that the commands of two folders never mix; UIDVALIDITY is read at
each SELECT, and whoever holds places of another finds nothing under them. Waiting is IDLE in the first folder (INBOX)
with NOTIFY (RFC 5465) for the others where it is offered, and beneath both a look every `poll` seconds: NOOP, and the
UIDNEXT of all other folders in one LIST with STATUS (RFC 5819), or one STATUS each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

from transports._folders import wanted_folders
from transports.base import After, Folder, Missing, Permanent, TransportError
from transports.imap.connection import ImapConnection
from transports.imap.decode import Response, status
from transports.imap.encode import seen_name
from transports.imap.folders import find_folders, is_there
from transports.imap.login import log_in
from transports.imap.mailbox import ImapMailbox
from transports.imap.position import Opening, Position
from transports.imap.reply import Reply

if TYPE_CHECKING:
    from transports.imap.settings import ImapSettings

RENEW_IDLE = 28 * 60
"""Seconds; servers may end an IDLE after 30 minutes (RFC 2177)."""

BUSY_FOR, BUSY_POLL, BUSY_LOOK = 10, 0.25, 1
"""Seconds. Dovecot tells IDLE half a second late, so where mail has just come, we look more often for a while: into
the selected folder by NOOP, and somewhat less often for the others."""


class ImapAccount:
    """See `Account`. It reads nothing before it is asked to."""

    def __init__(self, settings: ImapSettings, mailbox: str, after: After) -> None:
        self._settings = settings
        self._after = after
        self._connection: ImapConnection | None = None
        self._lock = asyncio.Lock()
        self._selected: str | None = None
        self._looked = False
        self._views: dict[str, ImapMailbox] = {}
        self._notified: frozenset[str] = frozenset()
        self._heard: set[str] = set()
        self._busy_until = self._looked_at = 0.0
        self.mailbox = mailbox

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if exc[0] is not None:
            connection.abort("closed")
        await connection.close()

    async def folders(self) -> Sequence[Folder]:
        """Return the folders that the settings ask for. See `Account.folders`."""
        async with self.turn() as imap:
            there = await find_folders(imap)
        return wanted_folders(there, self._settings.folders, self._after, sent=self._settings.sent)

    def folder(self, name: str) -> ImapMailbox:
        """Return the view of one folder. See `Account.folder`."""
        name = "INBOX" if name.upper() == "INBOX" else name
        return self._views.setdefault(name, ImapMailbox(self, name))

    async def changed(self) -> Collection[str]:
        """Return which folders may hold something new. See `Account.changed`."""
        async with self.turn() as imap:
            if not self._urgent() or _clock() >= self._due_at():
                await self._look(imap)
        return [name for name, view in self._views.items() if view.watch.dirty]

    async def wait(self, timeout: float) -> None:
        """Return when something may be new. See `Account.wait`."""
        until = _clock() + timeout
        while not self._urgent() and (left := until - _clock()) > 0:
            async with self.turn() as imap:
                await self._go_home()
                await self._ask_to_be_notified(imap)
                if self._urgent():
                    return
                pause = min(left, self._pause(), RENEW_IDLE)
                if "IDLE" in imap.known.capabilities:
                    await imap.idle_for(pause)
                else:
                    await imap.rest(pause)
                self._gather()
                # At the end of the time the caller is about to look.
                if not self._urgent() and not imap.is_wanted and _clock() < until:
                    await self._look(imap)

    # For its folders

    @property
    def imap(self) -> ImapConnection:
        """The connection, for whoever has the turn."""
        if self._connection is None:
            raise Permanent("the mailbox is not open")
        return self._connection

    @asynccontextmanager
    async def turn(self, folder: str | None = None) -> AsyncIterator[ImapConnection]:
        """Have the connection for oneself, with this folder selected."""
        with self.imap.wanted():
            await self._lock.acquire()
        try:
            self._gather()
            if folder is not None and folder != self._selected:
                await self.select(folder)
            yield self.imap
        finally:
            self._lock.release()

    async def look_into(self, folder: str, after: Position | None) -> Opening | None:
        """Make the server show what has come into a folder; what it told, if that took selecting it.

        Selected by somebody who did not look, it is selected anew: that tells more than NOOP would.
        """
        known = folder == self._selected and self._looked
        opening = await (self.refresh(after) if known else self.select(folder, after))
        self._looked = True
        return opening

    async def select(self, folder: str, after: Position | None = None) -> Opening:
        """Select a folder, anew if it is already; with a position, so that the server tells what is beyond it.

        Raises Missing, Permanent or Temporary.
        """
        imap = self.imap
        self._gather()
        self._selected = None
        resync = [after.resync] if after is not None and "QRESYNC" in imap.known.enabled else []
        reply = await imap.select(imap.named(folder), *resync)
        if reply.result == "BAD" and resync:
            # It is offered and not understood: do without.
            imap.known.enabled.discard("QRESYNC")
            reply = await imap.select(imap.named(folder))
        if not reply.ok:
            self._note_trouble(folder)
            raise await self._refusal(folder, reply)
        if not imap.known.validity.isdigit():
            self._note_trouble(folder)
            raise Permanent(f"{imap.peer} gives the folder {folder} no UIDVALIDITY, so its UIDs mean nothing")
        self._selected, self._looked = folder, False
        told = {
            code: number for code in ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ") if (number := imap.known.number(code))
        }
        if folder in self._views:
            self._views[folder].watch.hear(told)
        return Opening.read(told, reply.data)

    async def refresh(self, after: Position | None = None) -> Opening | None:
        """Hear what has come into the selected folder, and whether it is still the same. Raises Missing if it is gone.

        Where it was deleted, or made anew, NOOP goes on being OK: Dovecot then warns by an untagged NO, and Cyrus shows
        a folder without messages. Only SELECT tells.
        """
        imap = self.imap
        if self._selected is not None and not imap.known.exists:
            return await self.select(self._selected, after)
        reply = (await imap.run("NOOP")).require(f"{imap.peer} refuses NOOP")
        warned = any(response[0][:5].upper() == b"* NO " for response in reply.data)
        if self._selected is not None and (warned or not imap.known.exists):
            return await self.select(self._selected, after)
        return None

    async def connect(self) -> None:
        """Connect and log in, also in place of a connection that is lost."""
        self._connection = await log_in(self._settings, self.mailbox)
        self._connection.on_status = self._hear
        self._selected = None
        self._notified = frozenset()

    def note_busy(self) -> None:
        """Mail has just come."""
        self._busy_until = _clock() + BUSY_FOR

    # Looking

    async def _go_home(self) -> None:
        """Select the first folder that can be: what comes into it is told at once."""
        for name, view in self._views.items():
            if name == self._selected:
                return
            if not view.watch.troubled:
                with suppress(Permanent):
                    await self.select(name)
                    return

    def _urgent(self) -> bool:
        return any(view.watch.urgent for view in self._views.values())

    def _busy(self) -> bool:
        return _clock() < self._busy_until

    def _pause(self) -> float:
        pause = BUSY_POLL if self._busy() else self._settings.poll
        return pause if len(self._views) < 2 else min(pause, max(0.05, self._due_at() - _clock()))

    def _due_at(self) -> float:
        return self._looked_at + (BUSY_LOOK if self._busy() else self._settings.poll)

    def _look_again(self, folder: str) -> None:
        if folder in self._views:
            self._views[folder].watch.dirty = True

    def _note_trouble(self, folder: str) -> None:
        if folder in self._views:
            self._views[folder].watch.note_failure()

    def _gather(self) -> None:
        """Note to which folder the news belong that the connection tells of."""
        if self.imap.known.news:
            self.imap.known.news = False
            if self._selected is not None:
                self._look_again(self._selected)

    def _hear(self, response: Response) -> bool:
        """Take a STATUS; True if there may be something new."""
        told = status(response)
        if told is None:
            return False
        view = self._views.get(seen_name(told[0], utf8=self.imap.known.utf8))
        # What is selected tells by EXISTS, and STATUS may lie about it (RFC 3501 §6.3.10).
        if view is None or view.name == self._selected or "UIDNEXT" not in told[1]:
            return False
        self._heard.add(view.name)
        return view.watch.hear(told[1]) and view.watch.urgent

    async def _look(self, imap: ImapConnection) -> None:
        try:
            await self.refresh()
        except Permanent:
            # A folder that cannot be selected any more concerns no other; whoever lists it is told.
            if self._selected is not None:
                raise
        self._gather()
        others = {name: imap.named(name) for name in self._views if name != self._selected}
        if not others or _clock() < self._due_at():
            return
        self._looked_at = _clock()
        self._heard.clear()
        if imap.known.capabilities >= {"LIST-EXTENDED", "LIST-STATUS"}:
            await imap.run("LIST", '""', f"({' '.join(others.values())})", "RETURN", "(STATUS (UIDNEXT UIDVALIDITY))")
        else:
            for name in others.values():
                await imap.run("STATUS", name, "(UIDNEXT UIDVALIDITY)")
        # Of what is not told, opening it will tell why.
        for name in others.keys() - self._heard:
            self._look_again(name)

    async def _ask_to_be_notified(self, imap: ImapConnection) -> None:
        # Of one folder IDLE tells alone.
        watched = frozenset(self._views)
        if "NOTIFY" not in imap.known.capabilities or len(watched) < 2 or watched == self._notified:
            return
        self._notified = watched
        names = " ".join(imap.named(name) for name in sorted(watched))
        events = "(MessageNew MessageExpunge)"
        reply = await imap.run("NOTIFY", "SET", f"(selected {events})", f"(mailboxes ({names}) {events})")
        if not reply.ok:
            imap.known.capabilities.discard("NOTIFY")

    async def _refusal(self, folder: str, reply: Reply) -> TransportError:
        if reply.code == "NONEXISTENT" or (not reply.passing and not await is_there(self.imap, folder)):
            there = f'there is no folder "{folder}" in {self.mailbox} at {self.imap.peer}'
            return Missing(f'{there}: make it, or take it out of "folders" ({reply.words})')
        return reply.refusal(f"{self.imap.peer} does not open the folder {folder} of {self.mailbox}")


def _clock() -> float:
    return asyncio.get_running_loop().time()
