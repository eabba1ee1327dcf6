"""What the CRM has locked, in a transaction that stays open, keeps only the mail waiting that needs it."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
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
from router.repository import processes, sources, upkeep, waiting
from router.repository.database import Database
from router.repository.registry import Source, register
from router.workers.pool import Workers
from tests.integration.test_careless_crm import STORED
from tests.integration.test_open_transactions import INSERTED
from tests.support.crm import Crm, Parcel
from tests.support.letters import letter
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
