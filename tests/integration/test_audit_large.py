"""An audit of a large mailbox: what it takes does not grow with the mailbox, but for the number of pages."""

import tracemalloc
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, cast

import pytest

from router.incoming.audit import Auditor
from router.incoming.turns import Slots
from router.model import Disposition, Owner
from router.profile import load
from router.read import read
from router.repository.database import Database
from router.workers.pool import Workers
from tests.support.crm import Crm
from tests.support.profiles import Profile
from transports import MailboxKind
from transports.base import PAGE, Account, Cursor, Folder, Mailbox, Part, Place, Present, Received

FOUND = datetime(2026, 11, 21, tzinfo=UTC)


class Large:
    """An account with one folder of many messages, of which it makes a page at a time."""

    def __init__(self, many: int) -> None:
        self._many = many

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def folders(self) -> Sequence[Folder]:
        return [Folder("INBOX", "inbox")]

    async def counts(self) -> dict[str, int]:
        return {"INBOX": self._many, "Junk": 7}

    def folder(self, _: str) -> Mailbox:
        return cast("Mailbox", self)

    async def present(self, _: Cursor | None, beyond: Place | None = None) -> AsyncIterator[Sequence[Present]]:
        for start in range(int(beyond.id) + 1 if beyond else 1, self._many + 1, PAGE):
            end = min(start + PAGE, self._many + 1)
            yield [Present(Place("7", str(uid)), FOUND, waits=False) for uid in range(start, end)]

    async def fetch(self, places: Sequence[Place], _: Part) -> AsyncIterator[Received]:
        for place in places:
            content = f"Message-ID: <{place.id}@out.test>\r\nDate: Fri, 20 Nov 2026 10:00:00 +0100\r\n\r\n"
            yield Received(place, content.encode(), FOUND)


class Counting(Database):
    """Counts how often a connection is taken."""

    taken = 0

    def connection(self) -> Any:
        self.taken += 1
        return super().connection()


@pytest.mark.parametrize(("many", "lost"), [(100_000, 1), (10_000, 5000)])
async def test_a_hundred_thousand_messages(
    crm: Crm,
    database: str,
    incoming: Profile,
    mailbox: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    many: int,
    lost: int,
) -> None:
    monkeypatch.setenv("MAILBOX_PASSWORD", "secret")
    owner_id = await crm.owner(mailbox, "all")
    (tmp_path / "all.toml").write_text(incoming(start="all"))
    [profile] = load(tmp_path).incoming
    assert isinstance(profile.kind, MailboxKind)
    large = replace(profile, kind=replace(profile.kind, open=lambda *_: cast("Account", Large(many))))
    source_id = await crm.admin.fetchval(
        "INSERT INTO router.source (profile, mailbox, folder, account, identity, begins_at, cursor) "
        "VALUES ('staff', $1, 'INBOX', $2, $1, '-infinity', '7:100000') RETURNING id",
        mailbox,
        profile.account_of(mailbox),
    )
    await crm.admin.execute(
        "INSERT INTO router.decision (source_id, validity, place, owner_id, disposition, rule, reasons, received_at) "
        "SELECT $1, '7', uid::text, $2, 'ignored', 'all', '{}', now() FROM generate_series(1, $3::int) AS uid",
        source_id,
        owner_id,
        many - lost,
    )
    async with Counting(database) as counting, Workers(read, limit=30, size=1) as workers:
        auditor = Auditor(counting, workers, large, Owner(owner_id, mailbox), Slots(1), pause=0)
        await workers.map(read, [(b"\r\n", (), None)])  # what it needs is loaded
        before = counting.taken
        tracemalloc.start()
        found = await auditor.run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        taken = counting.taken - before
    assert (found.tally.messages, found.tally.missing, found.faults) == (many, lost, [])
    assert found.tally.dispositions == {Disposition.IGNORED: many - lost}
    assert len(found.folders["INBOX"].accounted.missing) == min(lost, 1000)
    assert found.not_read == {"Junk": 7}
    # One for each page, three for each 50 messages that have to be looked at, and a few for all.
    assert taken <= many / PAGE + 3 * (lost / 50 + 1) + 20
    assert peak < 8 << 20
