"""T110: who decides on held mail sees what it says, read where it lies; nobody else does, and nothing of it is kept."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp
import pytest

from router.operations.backing import Backing
from router.profile import load
from router.read import read
from router.repository.database import Database
from router.settings import Settings
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.integration.test_letters import DENIED, KARL
from tests.integration.test_pages import HERE
from tests.integration.test_pages import ask as ask_page
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm, Parcel
from tests.support.letters import letter
from tests.support.pages import serving
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter, RouterProcess

HIDDEN = "the marker of this text"


class Desk:
    """The console of those who decide on held mail."""

    def __init__(self, client: aiohttp.ClientSession, sessions: dict[str, str]) -> None:
        self._client = client
        self._sessions = sessions

    async def look(self, who: str, number: int) -> tuple[int, str]:
        """Ask what a held message says: the status, and the page."""
        session = self._sessions[who]
        page = await ask_page(self._client, "/held", session)
        answer = await ask_page(self._client, f"/held/{number}/mail", session, headers=HERE, data={"csrf": page.csrf})
        return answer.status, answer.text


@asynccontextmanager
async def desk(
    database: str, router: RouterProcess, owners: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """Serve it to people who decide on the mail of these owners."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    profiles = load(router.profiles)
    backing = Backing(lambda: profiles, Settings(profiles=router.profiles))
    async with (
        Database(database, connections=4) as opened,
        Workers(read, unwrap, limit=10, size=1) as workers,
        serving(opened, backing=backing, workers=workers) as console,
        aiohttp.ClientSession(console.origin, cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        sessions = {}
        for name, owner_id in owners.items():
            await console.add(name, "decide", [owner_id])
            sessions[name] = await console.session(name)
        yield Desk(client, sessions)


async def test_t110_what_is_held_is_read_by_whom_decides_and_by_nobody_else(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owners = {"ann": await crm.owner(mailbox, "known"), "bob": await crm.owner("bob@in.test", "known")}
    await crm.record("contact", "Karl", KARL)
    parcel = Parcel("prices <i>.pdf", "application/pdf", b"%PDF")
    mail = letter(f"Karl <{KARL}>", mailbox, "An <b>offer</b>", HIDDEN + "x" * 3000, attachments=[parcel])
    dovecot.deliver(mailbox, DENIED + mail)
    router = await new_router(incoming(start="all", authserv="mail.in.test"))
    await crm.wait_for_decisions(1)
    number = await crm.admin.fetchval("SELECT id FROM router.decision WHERE disposition = 'held'")
    looks = "SELECT by, subject FROM router.audit_log WHERE action = 'held-viewed'"
    async with desk(database, router, owners, monkeypatch) as console:
        for none in (number, number + 1, 2**70):
            status, text = await console.look("bob", none)
            assert (status, "There is no such held mail." in text, HIDDEN in text) == (409, True, False)

        # Once released it would be ignored, so that it is its owner's alone.
        await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'none' WHERE mailbox = $1", mailbox)
        status, text = await console.look("ann", number)
        assert (status, "released, it would be ignored" in text) == (409, True)
        assert "offer" not in text
        assert KARL not in text
        await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'known'")
        await crm.admin.execute("INSERT INTO router.never_track (pattern, by) VALUES ($1, 'eve')", KARL)
        status, text = await console.look("ann", number)
        assert (status, HIDDEN in text) == (409, False)
        await crm.admin.execute("DELETE FROM router.never_track")
        assert await crm.admin.fetch(looks) == []

        status, text = await console.look("ann", number)
        assert status == 200
        words = " ".join(re.sub("<[^>]*>", " ", text).split())
        for one in ("An &lt;b&gt;offer", "Karl &lt; karl@kunde.test &gt;", mailbox, HIDDEN, "prices i.pdf"):
            assert one in words, one
        assert "The text goes on" in words
        assert "x" * 2000 not in words
        assert [tuple(row) for row in await crm.admin.fetch(looks)] == [("ann", f"held {number}")]

        # It is held as before, and what it says is nowhere in the database.
        assert await crm.dispositions() == {"held": 1}
        assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 0
        assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0

        for file in dovecot.maildir(mailbox).rglob("*"):
            if file.is_file() and file.parent.name in ("cur", "new"):
                file.unlink()
        status, text = await console.look("ann", number)
        assert (status, "no longer where it lay on the server" in text) == (409, True)
