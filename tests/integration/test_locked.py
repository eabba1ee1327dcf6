"""What the CRM has locked, in a transaction that stays open, keeps only the mail waiting that needs it."""

import asyncio
import hashlib
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import pytest

from router.errors import MessageWaits
from router.incoming.budget import Budget
from router.incoming.reader import Reader
from router.model import Owner
from router.profile import IncomingProfile, load
from router.read import read
from router.repository import processes, upkeep
from router.repository.database import Database
from router.repository.incoming import sources, waiting
from router.repository.incoming.registry import Source, register
from router.workers.pool import Workers
from tests.integration.test_careless_crm import STORED
from tests.integration.test_open_transactions import INSERTED
from tests.servers.ports import free_port
from tests.support.crm import Crm, Parcel
from tests.support.letters import letter
from tests.support.router_process import NewRouter
from tests.support.scripted_account import ScriptedAccount
from transports.base import Folder, Mailbox

MAILBOX, KARL, OFFER = "ulla@in.test", "karl@kunde.test", "offer@crm.test"
PROFILE = '[incoming.staff]\ntransport = "maildir"\npath = "/{mailbox}"\nowners = ["*@in.test"]\nrule = "all"\n'
LOGO = Parcel("logo.png", "image/png", b"logo of the firm" * 40)
PROMOTED = "SELECT count(*) FROM router.decision WHERE disposition = 'promoted'"


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database) as pool:
        yield pool


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    async with Workers(read, limit=30, size=1) as pool:
        yield pool


@pytest.fixture
def profile(tmp_path: Path) -> IncomingProfile:
    (tmp_path / "staff.toml").write_text(PROFILE)
    (loaded,) = load(tmp_path).incoming
    return loaded


async def new_reader(opened: Database, workers: Workers, profile: IncomingProfile, owner_id: UUID) -> Reader:
    source = Source(profile.name, MAILBOX, profile.account_of(MAILBOX), "INBOX", owner_id, "all")
    source_id = (await register(opened, [source]))[source]
    process_id = uuid4()
    await processes.beat(opened, process_id)
    (lease,) = await sources.acquire(opened, process_id, [source_id], timedelta(minutes=1))
    return Reader(opened, workers, profile, Owner(owner_id, MAILBOX), Folder("INBOX"), lease, Budget())


async def lock_the_logo(crm: Crm) -> None:
    """Store what the attachment contains, in a transaction that the caller ends."""
    await crm.sql.execute(STORED, hashlib.sha256(LOGO.content).digest(), LOGO.content)


async def test_of_a_folder_in_which_a_message_waits_only_that_one_is_fetched_again(
    crm: Crm, opened: Database, workers: Workers, profile: IncomingProfile
) -> None:
    owner_id = await crm.owner(MAILBOX, "all")
    reader = await new_reader(opened, workers, profile, owner_id)
    account = ScriptedAccount()
    for number in range(1, 6):
        account.deliver(letter(KARL, MAILBOX, attachments=[LOGO] if number == 2 else ()))
    async with crm.sql.transaction():  # left open
        await lock_the_logo(crm)
        with pytest.raises(MessageWaits, match=r"^1 message waits: another session has locked it"):
            await reader.read(cast("Mailbox", account))
        assert await crm.admin.fetchval(PROMOTED) == 4
        account.deliver(letter(KARL, MAILBOX))
        account.fetched.clear()
        with pytest.raises(MessageWaits):
            await reader.read(cast("Mailbox", account))
        assert account.fetched == ["2", "6"]
        assert await crm.admin.fetchval(PROMOTED) == 5
        account.fetched.clear()
        with pytest.raises(MessageWaits):
            await reader.read(cast("Mailbox", account))
        assert account.fetched == ["2"]
    await reader.read(cast("Mailbox", account))
    assert await crm.dispositions() == {"promoted": 6}
    account.fetched.clear()
    await reader.read(cast("Mailbox", account))
    assert account.fetched == []


@pytest.mark.parametrize("patient", [True, False])
async def test_decisions_that_are_made_again_do_not_wait_for_those_that_cannot_be(
    crm: Crm,
    opened: Database,
    workers: Workers,
    profile: IncomingProfile,
    monkeypatch: pytest.MonkeyPatch,
    patient: bool,
) -> None:
    if not patient:  # each read leaves off after the first that wait, and the next one goes on behind them
        monkeypatch.setattr("router.incoming.reader._AGAIN_SECONDS", 0.0)
    owner_id = await crm.owner(MAILBOX, "replies")
    reader = await new_reader(opened, workers, profile, owner_id)
    account = ScriptedAccount()
    for number in range(14):
        account.deliver(letter(KARL, MAILBOX, attachments=[LOGO] if number < 11 else (), In_Reply_To=f"<{OFFER}>"))
    await reader.read(cast("Mailbox", account))
    assert await crm.dispositions() == {"ignored": 14}
    await crm.admin.fetchval(INSERTED, OFFER, owner_id)
    await _until_nothing_is_left(lambda: upkeep.move_known_ids(opened))
    await _until_nothing_is_left(lambda: waiting.link_answer(opened))
    assert await crm.admin.fetchval("SELECT count(*) FROM router.decide_again") == 14
    async with crm.sql.transaction():  # left open
        await lock_the_logo(crm)
        if not patient:
            with pytest.raises(MessageWaits, match=r"^14 messages wait: another session has locked it"):
                await reader.read(cast("Mailbox", account))
        with pytest.raises(MessageWaits, match=r"^11 messages wait: another session has locked it"):
            await reader.read(cast("Mailbox", account))
        assert await crm.admin.fetchval(PROMOTED) == 3
    await reader.read(cast("Mailbox", account))
    assert await crm.dispositions() == {"promoted": 14}


async def _until_nothing_is_left(step: Callable[[], Awaitable[object]]) -> None:
    while await step():
        pass


def _hand_over(port: int, owner: str, content: bytes) -> int:
    """Hand a message over by LMTP, over a connection of its own; the code of the answer."""
    try:
        with smtplib.LMTP("127.0.0.1", port) as client:
            client.sendmail(KARL, [owner], content)
    except smtplib.SMTPRecipientsRefused as refused:
        ((code, _),) = refused.recipients.values()
        return code
    except smtplib.SMTPDataError as refused:
        return refused.smtp_code
    return 250


async def test_a_listener_answers_all_mail_but_what_needs_what_is_locked(crm: Crm, new_router: NewRouter) -> None:
    port = free_port()
    await crm.owner(MAILBOX, "all")
    await crm.owner("otto@in.test", "all")
    await new_router(
        f'[incoming.drop]\ntransport = "lmtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\nrule = "all"\n',
        says=("listening",),
    )
    logos = [letter(KARL, MAILBOX, f"logo {number}", attachments=[LOGO]) for number in range(4)]
    with ThreadPoolExecutor(40) as threads:

        def hand_over(owner: str, content: bytes) -> asyncio.Future[int]:
            return asyncio.get_running_loop().run_in_executor(threads, _hand_over, port, owner, content)

        async with crm.sql.transaction():  # left open
            await lock_the_logo(crm)
            # Twice, as a mail server does that was told 4xx.
            for _ in range(2):
                # At the same time, so that they are committed together.
                locked = [hand_over(MAILBOX, one) for one in logos]
                others = [hand_over("otto@in.test", letter(KARL, "otto@in.test")) for _ in range(30)]
                assert set(await asyncio.gather(*others)) == {250}
                # None of those waited until all of these were given up.
                assert not all(one.done() for one in locked)
                assert set(await asyncio.gather(*locked)) == {451}
            assert await crm.dispositions() == {"promoted": 60}
        assert [await hand_over(MAILBOX, one) for one in logos] == [250] * 4
    assert await crm.dispositions() == {"promoted": 64}
