"""One mailbox: which folders it has, which of them may hold something new, and waiting for that.

Waiting is IDLE in the first folder (INBOX) with NOTIFY (RFC 5465) for the others where it is offered, and beneath both
a look every `poll` seconds: NOOP, and the UIDNEXT of all other folders in one LIST with STATUS (RFC 5819), or one
STATUS each.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Self

from transports._folders import wanted_folders
from transports._net.credentials import NO_TOKENS, Tokens
from transports.base import After, Folder
from transports.errors import Permanent
from transports.imap.connection import ImapConnection
from transports.imap.folders import count_messages, find_folders, has_labels
from transports.imap.mailbox import ImapMailbox
from transports.imap.session import ImapSession
from transports.imap.settings import ImapSettings

RENEW_IDLE = 28 * 60
"""Seconds; servers may end an IDLE after 30 minutes (RFC 2177)."""

BUSY_POLL, BUSY_LOOK = 0.25, 1
"""Seconds between looks where mail has just come: into the selected folder by NOOP, and into the others."""

SHORTEST_PAUSE = 0.05
"""Seconds between two looks, at least."""


class ImapAccount:
    """See `Account`. It reads nothing before it is asked to."""

    def __init__(self, settings: ImapSettings, mailbox: str, after: After, tokens: Tokens = NO_TOKENS) -> None:
        self._settings = settings
        self._after = after
        self._session = ImapSession(settings, mailbox, tokens)
        self._views: dict[str, ImapMailbox] = {}
        self._notified: tuple[ImapConnection, frozenset[str]] | None = None
        self._looked_at = 0.0

    async def __aenter__(self) -> Self:
        await self._session.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close(abort=exc[0] is not None)

    async def folders(self) -> Sequence[Folder]:
        """Return the folders that the settings ask for. See `Account.folders`."""
        async with self._session.exclusive() as imap:
            there = await find_folders(imap)
            labels = has_labels(imap)
        self._session.all_mail = next((one.name for one in there if labels and one.use == "all"), None)
        return wanted_folders(there, self._settings.folders, self._after, sent=self._settings.sent, labels=labels)

    async def counts(self) -> Mapping[str, int]:
        """Return how many messages lie in each folder. See `Account.counts`."""
        async with self._session.exclusive() as imap:
            return await count_messages(imap, [folder.name for folder in await find_folders(imap)])

    async def all_folders(self) -> Sequence[Folder]:
        """Return the folders in which mail may lie. See `Account.all_folders`."""
        async with self._session.exclusive() as imap:
            there = await find_folders(imap)
            labels = has_labels(imap) and any(folder.use == "all" for folder in there)
        # On Gmail, all but what is spam or deleted lies in All Mail.
        return [folder for folder in there if not labels or folder.use in ("all", "junk", "trash")]

    def folder(self, name: str) -> ImapMailbox:
        """Return the view of one folder. See `Account.folder`."""
        name = "INBOX" if name.upper() == "INBOX" else name
        if name not in self._views:
            self._views[name] = ImapMailbox(self._session, name)
        return self._views[name]

    async def changed(self) -> Collection[str]:
        """Return which folders may hold something new. See `Account.changed`."""
        async with self._session.exclusive() as imap:
            if not self._is_urgent() or _clock() >= self._due_at():
                await self._look(imap)
        return [name for name, watch in self._session.watches.items() if watch.dirty]

    async def wait(self, timeout: float) -> None:
        """Return when something may be new. See `Account.wait`."""
        until = _clock() + timeout
        while not self._is_urgent() and (left := until - _clock()) > 0:
            async with self._session.exclusive() as imap:
                await self._select_first()
                await self._ask_to_be_notified(imap)
                if self._is_urgent():
                    return
                pause = min(left, self._pause(), RENEW_IDLE)
                if "IDLE" in imap.known.capabilities:
                    await imap.idle_for(pause)
                else:
                    await imap.rest(pause)
                self._session.note_news()
                # At the end of the time the caller is about to look.
                if not self._is_urgent() and not imap.is_wanted and _clock() < until:
                    await self._look(imap)

    async def _select_first(self) -> None:
        """Select the first folder that can be: what comes into it is told at once."""
        for name, watch in self._session.watches.items():
            if name == self._session.selected:
                return
            if not watch.troubled:
                with suppress(Permanent):
                    await self._session.select(name)
                    return

    def _is_urgent(self) -> bool:
        return any(watch.urgent for watch in self._session.watches.values())

    def _pause(self) -> float:
        pause = BUSY_POLL if self._session.is_busy else self._settings.poll
        return pause if len(self._session.watches) < 2 else min(pause, max(SHORTEST_PAUSE, self._due_at() - _clock()))

    def _due_at(self) -> float:
        return self._looked_at + (BUSY_LOOK if self._session.is_busy else self._settings.poll)

    async def _look(self, imap: ImapConnection) -> None:
        """Look into the selected folder, and if it is time into the others."""
        session = self._session
        try:
            await session.refresh()
        except Permanent:
            # A folder that cannot be selected any more concerns no other; listing it tells why.
            if session.selected is not None:
                raise
        session.note_news()
        others = {name: imap.named(name) for name in session.watches if name != session.selected}
        if not others or _clock() < self._due_at():
            return
        self._looked_at = _clock()
        session.told.clear()
        if imap.known.capabilities >= {"LIST-EXTENDED", "LIST-STATUS"}:
            await imap.run("LIST", '""', f"({' '.join(others.values())})", "RETURN", "(STATUS (UIDNEXT UIDVALIDITY))")
        else:
            for name in others.values():
                await imap.run("STATUS", name, "(UIDNEXT UIDVALIDITY)")
        # Of what is not told, opening it will tell why.
        for name in others.keys() - session.told:
            session.watches[name].dirty = True

    async def _ask_to_be_notified(self, imap: ImapConnection) -> None:
        watched = frozenset(self._session.watches)
        # Of one folder IDLE tells alone.
        if "NOTIFY" not in imap.known.capabilities or len(watched) < 2 or self._notified == (imap, watched):
            return
        self._notified = imap, watched
        names = " ".join(imap.named(name) for name in sorted(watched))
        events = "(MessageNew MessageExpunge)"
        reply = await imap.run("NOTIFY", "SET", f"(selected {events})", f"(mailboxes ({names}) {events})")
        if not reply.ok:
            imap.known.capabilities.discard("NOTIFY")


def _clock() -> float:
    return asyncio.get_running_loop().time()
