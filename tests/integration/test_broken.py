"""Messages that cannot be read: each is a dead letter, and stops neither its mailbox nor the router."""

import asyncio
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from router.incoming import copies
from router.profile.store import ProfileStore
from router.repository.database import Database
from router.serve import serve
from router.workers.pool import Workers
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.pieces import read_or_break
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter

Serving = Callable[[str], AbstractAsyncContextManager[None]]

TOO_LONG = "it could not be read: it took longer than 1 s"
ENDED = "it could not be read: the process that did it ended (Segmentation fault)"


@pytest.fixture
def serving(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(copies, "read", read_or_break)

    @asynccontextmanager
    async def serving(profiles: str) -> AsyncIterator[None]:
        """A router whose processes hang and crash where a message's subject says so."""
        (tmp_path / "all.toml").write_text(profiles)
        stop = asyncio.Event()
        async with Database(database, patience=10) as ours, Workers(read_or_break, limit=1, size=2) as workers:
            lease = timedelta(seconds=2)
            store = await ProfileStore.open(tmp_path)
            task = asyncio.create_task(serve(ours, workers, store, lease, stop))
            yield
            stop.set()
            await task

    return serving


async def reasons(crm: Crm) -> dict[str, int]:
    """How many of the dead letters have each of these reasons."""
    rows = await crm.admin.fetch(
        "SELECT array_to_string(reasons, '; ') AS words, count(*) FROM router.decision WHERE disposition = 'dead' "
        "GROUP BY 1"
    )
    return {row["words"]: row["count"] for row in rows}


@pytest.mark.parametrize(("rule", "kept"), [("known", 0), ("all", 2)])
async def test_t97_a_message_that_cannot_be_read_is_a_dead_letter_and_its_neighbors_are_promoted(
    crm: Crm,
    serving: Serving,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    rule: str,
    kept: int,
) -> None:
    await crm.owner(mailbox, rule)
    await crm.record("contact", "Karl", "karl@kunde.test")
    for subject in ("one", "hang", "two", "crash", "three"):
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, subject))
    async with serving(incoming(start="all", after="seen")):
        await crm.wait_for_decisions(5)
        assert await crm.dispositions() == {"promoted": 3, "dead": 2}
        assert await reasons(crm) == {TOO_LONG: 1, ENDED: 1}
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "four"))
        await crm.wait_for_emails(4)
        await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert {row["subject"] for row in await crm.rows("SELECT subject FROM crm.email")} == {
        "one",
        "two",
        "three",
        "four",
    }
    # Private mail that is still in its mailbox keeps its place, and not its bytes.
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == kept
    assert sum("\\Seen" in flags for flags in dovecot.flags(mailbox).values()) == 4


async def test_t97_a_message_that_was_handed_over_is_answered_and_kept(
    crm: Crm, serving: Serving, mailbox: str
) -> None:
    await crm.owner(mailbox, "known")
    port = free_port()
    profiles = (
        f'[incoming.copies]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\ncopy = true\n'
    )

    def deliver() -> None:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            smtp.sendmail("karl@kunde.test", [mailbox], letter("karl@kunde.test", mailbox, "hang"))

    async with serving(profiles):
        async with asyncio.timeout(20):
            while True:
                try:
                    await asyncio.to_thread(deliver)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)
        await crm.wait_for_decisions(1)
    assert await reasons(crm) == {TOO_LONG: 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 1


# 5 KB, for which a pattern once took hours, and with it all threads of the process.
STARS = "*" * 5_000 + "x\n-----Original Message-----\n> Hello.\n"


@pytest.mark.parametrize("by", ["mailbox", "listener"])
async def test_mail_that_is_made_to_take_long_stops_nothing(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: Callable[[str], str], by: str
) -> None:
    port, mailbox, other, handed = free_port(), new_mailbox("one"), new_mailbox("other"), "ulla@handed.test"
    for address in (mailbox, other, handed):
        await crm.owner(address, "all")
    listener = (
        f'[incoming.drop]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["{handed}"]\nrule = "all"\n'
    )
    router = await new_router(incoming(start="all") + listener, says=("listening",))

    def hand_over(content: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
            smtp.sendmail("karl@kunde.test", [handed], content)

    hostile = letter("karl@kunde.test", mailbox, "stars", STARS)
    if by == "mailbox":
        dovecot.deliver(mailbox, hostile)
    else:
        await asyncio.to_thread(hand_over, hostile)
    for address in (mailbox, other):
        dovecot.deliver(address, letter("karl@kunde.test", address, "after"))
    await asyncio.to_thread(hand_over, letter("karl@kunde.test", handed, "after"))
    await crm.wait_for_emails(4)
    assert await crm.dispositions() == {"promoted": 4}
    marked = "SELECT jsonb_array_length(text_marks) FROM crm.email WHERE subject = 'stars'"
    assert await crm.admin.fetchval(marked) == 1
    await crm.wait_for_beats()
    await router.stop()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_no_worker_outlives_its_router(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, end: str
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(incoming(start="all"), EMAIL_ROUTER_WORKERS="1")
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox))
    await crm.wait_for_emails(1)
    [server] = children(router.pid)
    [worker] = children(server)
    assert "PASSWORD" not in environment(server) + environment(worker)
    await (router.stop() if end == "stop" else router.kill())
    async with asyncio.timeout(20):
        while exists(server) or exists(worker):
            await asyncio.sleep(0.01)


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()
