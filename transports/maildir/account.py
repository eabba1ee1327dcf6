"""One mailbox on disk, with its folders.

A look at the disk costs two calls of the system for each folder, and sees what no inotify tells: mail that another
machine delivers over NFS.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Self

from transports._folders import wanted_folders
from transports._net.credentials import NO_TOKENS, Tokens
from transports.base import After, Folder
from transports.errors import TransportError
from transports.maildir.disk import Disk
from transports.maildir.files import MaildirFiles
from transports.maildir.folders import find_folders
from transports.maildir.mailbox import MaildirMailbox
from transports.maildir.settings import MaildirSettings

LOOK = 0.5
"""Seconds between looks for new mail."""


class MaildirAccount:
    """See `Account`. It holds nothing open."""

    def __init__(self, settings: MaildirSettings, mailbox: str, after: After, _tokens: Tokens = NO_TOKENS) -> None:
        self._settings = settings
        self._after = after
        self._disk = Disk(settings.path_of(mailbox), settings.timeout)
        self._views: dict[str, MaildirMailbox] = {}
        self._inbox = MaildirFiles(self._disk.root, "INBOX")
        self._joined = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._disk.run(self._inbox.stamp)
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def folders(self) -> Sequence[Folder]:
        """Return the folders that the settings ask for. See `Account.folders`."""
        there = await self._disk.run(find_folders, self._disk.root)
        return wanted_folders(there, self._settings.folders, self._after, sent=self._settings.sent)

    async def counts(self) -> Mapping[str, int]:
        """Return how many messages lie in each folder. See `Account.counts`."""
        folders = await self._disk.run(find_folders, self._disk.root)
        return {
            folder.name: len(await self._disk.run(MaildirFiles(self._disk.root, folder.name).ids)) for folder in folders
        }

    async def all_folders(self) -> Sequence[Folder]:
        """Return the folders that there are. See `Account.all_folders`."""
        return await self._disk.run(find_folders, self._disk.root)

    def folder(self, name: str) -> MaildirMailbox:
        """Return the view of one folder. See `Account.folder`."""
        if name not in self._views:
            self._views[name] = MaildirMailbox(self._disk, MaildirFiles(self._disk.root, name), name)
            self._joined.set()
        return self._views[name]

    async def changed(self) -> Collection[str]:
        """Return which folders may hold something new. See `Account.changed`."""
        await self._look()
        return [name for name, view in self._views.items() if view.attention.dirty]

    async def wait(self, timeout: float) -> None:
        """Return when something may be new. See `Account.wait`."""
        clock = asyncio.get_running_loop().time
        until = clock() + timeout
        self._joined.clear()
        while not any(view.attention.urgent for view in self._views.values()) and (left := until - clock()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK)):
                    await self._joined.wait()
                    return
            # At the end of the time the caller is about to look.
            if clock() < until:
                await self._look()

    async def _look(self) -> None:
        quiet = [view for view in self._views.values() if not view.attention.dirty]
        for view in await self._disk.run(_stirring, quiet):
            await view.look()


def _stirring(views: Sequence[MaildirMailbox]) -> Sequence[MaildirMailbox]:
    return [view for view in views if _stirs(view)]


def _stirs(view: MaildirMailbox) -> bool:
    try:
        return view.stirs()
    except TransportError:
        return True  # looking into it will tell why
