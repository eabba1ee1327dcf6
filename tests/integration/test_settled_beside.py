"""A message that waits, for what the CRM has locked, keeps no other from being settled."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from router.errors import DatabaseError, MessageWaits
from router.incoming.budget import Budget
from router.incoming.reader import Reader
from router.model import Owner
from router.profile import load
from router.read import read
from router.repository import database as pool
from router.repository import upkeep
from router.repository.database import Database
from router.repository.incoming import waiting
from router.workers.pool import Workers
from tests.integration.test_promote import Crm
from tests.support.crm import Parcel
from tests.support.letters import letter
from tests.support.scripted_account import ScriptedAccount
from transports.base import Folder, Mailbox
from transports.errors import Temporary

ULLA = "ulla@in.test"
LOGO = Parcel("logo.png", "image/png", b"logo")
OFFER = "INSERT INTO crm.email (direction, status, message_id) VALUES ('out', 'sent', $1)"
STORED = "INSERT INTO crm.blob (sha256, content) VALUES ($1, $2)"
PROFILE = f'[incoming.staff]\ntransport = "maildir"\npath = "/{{mailbox}}"\nowners = ["{ULLA}"]\nrule = "replies"\n'


@pytest.fixture
async def opened(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(pool, "_LOCKED_FOR", 0.2)
    async with Database(database) as opened:
        yield opened


async def test_what_is_in_is_settled_though_a_message_that_is_to_be_decided_again_waits(
    database: str, opened: Database, tmp_path: Path
) -> None:
    (tmp_path / "staff.toml").write_text(PROFILE + 'after = "seen"\n')
    [profile] = load(tmp_path).incoming
    crm, account = Crm(opened), ScriptedAccount()
    owner_id = await crm.owner(ULLA, "replies")
    lease = replace(
        await crm.source(owner_id, ULLA), account=profile.account_of(ULLA), begins_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    mailbox = cast("Mailbox", account)  # as far as a reader needs it
    developer = await asyncpg.connect(database)
    await developer.execute(OFFER, "offer@in.test")
    async with Workers(read, limit=30, size=1) as workers:
        reader = Reader(opened, workers, profile, Owner(owner_id, ULLA), Folder("INBOX"), lease, Budget())
        account.deliver(letter("karl@kunde.test", ULLA, "Early", In_Reply_To="<late@in.test>", attachments=[LOGO]))
        account.deliver(letter("karl@kunde.test", ULLA, "Yes", In_Reply_To="<offer@in.test>"))
        account.fails = lambda step: Temporary("later") if step == "settle" else None
        with pytest.raises(Temporary):
            await reader.read(mailbox)
        found = await crm.rows("SELECT disposition FROM router.decision ORDER BY place")
        assert [row["disposition"] for row in found] == ["ignored", "promoted"]
        # What the first one answers is the CRM's now: it is to be decided again, and needs what is locked.
        await developer.execute(OFFER, "late@in.test")
        while await upkeep.move_known_ids(opened):
            pass
        assert await waiting.link_answer(opened)
        async with developer.transaction():
            await developer.execute(STORED, hashlib.sha256(LOGO.content).digest(), LOGO.content)
            account.fails = lambda _step: None
            for _ in range(2):  # until it is known whose fault it is
                with pytest.raises(DatabaseError, match="another session has locked it"):
                    await reader.read(mailbox)
            with pytest.raises(MessageWaits):
                await reader.read(mailbox)
            assert account.settled == {"2"}
        await reader.read(mailbox)
        assert account.settled == {"1", "2"}
    await developer.close()
