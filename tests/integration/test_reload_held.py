"""A change of the profiles that is held up for as long as a test likes holds up nothing but what it is about.

No time is measured: what would have to wait for the change could not happen before the test lets it go on.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from router.incoming.follow import Follower
from router.profile import store as stores
from router.profile.store import ProfileStore
from router.read import read
from router.repository.database import Database
from router.serve import serve
from router.supervise import Supervisor
from router.workers.pool import Workers
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile

LONG = 3600.0  # seconds, so that nothing here passes because something waited for its end
HELD = "SELECT epoch FROM router.source WHERE mailbox = $1 AND process_id IS NOT NULL"
NAMES = ("ann", "ben", "cem", "dora")


class Scene:
    """A router that serves a folder of profiles, one for each mailbox, and mail that shows that it goes on."""

    def __init__(self, crm: Crm, dovecot: Dovecot, folder: Path, incoming: Profile, outgoing: Profile) -> None:
        self.crm = crm
        self._dovecot = dovecot
        self._folder = folder
        self._incoming = incoming
        self._letters = 0
        (folder / "relay.toml").write_text(outgoing())

    def follow(self, mailbox: str, **keys: object) -> None:
        name = mailbox.partition("@")[0]
        (self._folder / f"{name}.toml").write_text(self._incoming(name, owners=[mailbox], **keys))

    def leave(self, mailbox: str) -> None:
        (self._folder / f"{mailbox.partition('@')[0]}.toml").unlink()

    async def is_followed(self, mailbox: str, epoch: int = 1) -> None:
        """Return once a mailbox was taken for the so-manieth time, and mail comes in there."""
        await self.crm.wait_for(epoch, HELD, mailbox)
        began = "SELECT begins_at < 'infinity' FROM router.source WHERE mailbox = $1"
        await self.crm.wait_for(True, began, mailbox)
        self._letters += 1
        await asyncio.to_thread(self._dovecot.deliver, mailbox, letter("karl@kunde.test", mailbox, "hello"))
        await self.crm.wait_for_emails(self._letters)

    async def goes_out(self, mailbox: str) -> None:
        email = await self.crm.send(mailbox, "karl@kunde.test", "An offer", "hello")
        await self.crm.wait_for_status(email, "sent")


@pytest.fixture
def mailboxes(new_mailbox: Callable[[str], str]) -> list[str]:
    return [new_mailbox(name) for name in NAMES]


@pytest.fixture
async def scene(
    crm: Crm,
    database: str,
    dovecot: Dovecot,
    tmp_path: Path,
    incoming: Profile,
    outgoing: Profile,
    mailboxes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Scene]:
    """All but the last are followed. What the router would do by itself, without a change, it does once an hour."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    scene = Scene(crm, dovecot, tmp_path, incoming, outgoing)
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    for mailbox in mailboxes[:-1]:
        scene.follow(mailbox)
    store = await ProfileStore.open(tmp_path)
    stop = asyncio.Event()
    async with Database(database, patience=10) as ours, Workers(read, limit=10, size=1) as parsers:
        serving = asyncio.create_task(serve(ours, parsers, store, timedelta(seconds=5 * LONG), stop))
        for mailbox in mailboxes[:-1]:
            await scene.is_followed(mailbox)
        yield scene
        stop.set()
        await serving


async def test_a_mailbox_that_does_not_end_holds_up_no_other_that_starts_or_changes(
    scene: Scene, mailboxes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, ben, cem, dora = mailboxes
    lingers, may_end, run = asyncio.Event(), asyncio.Event(), Follower.run

    async def run_and_linger(self: Follower) -> None:
        try:
            await run(self)
        finally:
            if self.owner is not None and self.owner.mailbox == ben:
                lingers.set()
                await may_end.wait()

    monkeypatch.setattr(Follower, "run", run_and_linger)
    monkeypatch.setattr(Supervisor.stop, "__defaults__", (LONG,))
    scene.follow(ben, timeout=20)
    await scene.is_followed(ben, epoch=2)  # by a follower that lingers
    scene.follow(ben, timeout=30)
    await asyncio.wait_for(lingers.wait(), 20)

    await scene.is_followed(ann)
    await scene.goes_out(ann)
    scene.follow(dora)
    await scene.is_followed(dora)
    scene.follow(cem, timeout=20)
    await scene.is_followed(cem, epoch=2)
    scene.leave(dora)
    await scene.crm.wait_for(None, HELD, dora)
    # Nobody takes it before its follower has ended, and then it is free at once.
    await scene.crm.wait_for(2, HELD, ben)
    may_end.set()
    await scene.is_followed(ben, epoch=3)

    lingers.clear()
    may_end.clear()
    scene.leave(ben)
    await asyncio.wait_for(lingers.wait(), 20)
    await scene.is_followed(ann)
    may_end.set()
    await scene.crm.wait_for(None, HELD, ben)


async def test_a_folder_that_does_not_answer_while_it_is_read_holds_up_no_mail(
    scene: Scene, mailboxes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, ben, cem, dora = mailboxes
    reading, may_go_on, read_folder = threading.Event(), threading.Event(), stores._read_folder

    def read_slowly(*arguments: object) -> object:
        reading.set()
        may_go_on.wait(LONG)
        return read_folder(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stores, "_read_folder", read_slowly)
    scene.follow(dora)
    try:
        assert await asyncio.to_thread(reading.wait, 20)
        for _ in range(3):
            for mailbox in (ann, ben, cem):
                await scene.is_followed(mailbox)
                await scene.goes_out(mailbox)
        await scene.crm.wait_for(None, HELD, dora)
    finally:
        may_go_on.set()
    await scene.is_followed(dora)
