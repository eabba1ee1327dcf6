"""Rulings, their undoing, mail and the CRM, in any order and by two processes: it ends as some order would."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from router.decide import decide_batch
from router.model import Copy, Decision, Facts
from router.repository.database import Database
from router.repository.incoming.registry import Source, register
from router.repository.rulings import ruling_walks, rulings
from tests.support.crm import Crm
from tests.support.senders import STAFF, Senders

KARL, DOMAIN = "karl@kunde.test", "@kunde.test"
ADDRESSES = (KARL, "berta@kunde.test", "else@other.test")
SUBJECTS = (*ADDRESSES, DOMAIN)
RECORDS = [UUID(int=number) for number in (1, 2, 3)]
OF_THE_CRM = UUID(int=9)

_STEPS = st.one_of(
    st.tuples(st.just("rule"), st.sampled_from(SUBJECTS), st.sampled_from([*RECORDS, None])),
    st.tuples(st.just("undo"), st.integers(0, 9), st.none()),
    st.tuples(st.just("mail"), st.sampled_from(ADDRESSES), st.none()),
    st.tuples(st.just("says"), st.integers(0, 30), st.none()),
    st.tuples(st.just("begin"), st.sampled_from(ADDRESSES), st.none()),
    st.tuples(st.just("finish"), st.none(), st.none()),
    st.tuples(st.just("piece"), st.sampled_from((0, 1)), st.booleans()),
)
Step = tuple[str, Any, Any]


class Two:
    """Two processes of ours, the CRM, and mail that is decided on and not yet in."""

    def __init__(
        self, databases: Sequence[Database], admin: "asyncpg.Connection[asyncpg.Record]", senders: Senders
    ) -> None:
        self.databases = databases
        self.admin = admin
        self.senders = senders
        self._lock = asyncio.Lock()  # for the one connection of the CRM
        self._under_way: tuple[asyncio.Task[list[Decision]], threading.Event] | None = None

    async def reset(self) -> None:
        """Begin anew, with the records."""
        await self.admin.execute(
            "DELETE FROM crm.email; DELETE FROM router.ruling; DELETE FROM router.ruling_work; DELETE FROM crm.event"
        )

    async def do(self, step: Step) -> None:
        """Take a step; what is refused is no fault."""
        match step:
            case ("rule", subject, record_id):
                found = await rulings.rulings_in_force(self.databases[0], subject)
                own = [one.id for one in found if one.subject == subject]
                kind: rulings.Kind = "resolve" if record_id else "ignore-sender"
                await rulings.rule(self.databases[0], kind, subject, record_id, "ann", own[0] if own else None)
            case ("undo", number, _):
                found = await rulings.list_rulings(self.databases[1], limit=100, undone=True)
                if found:
                    await rulings.undo(self.databases[1], found[number % len(found)].id, "bob")
            case ("mail", address, _):
                await self.senders.write(address, 3)
            case ("says", number, _):
                async with self._lock:
                    await self.admin.execute(
                        "UPDATE crm.party AS p SET record_id = $2 FROM (SELECT email_id FROM crm.party "
                        "WHERE role = 'from' ORDER BY email_id OFFSET $1 LIMIT 1) AS s "
                        "WHERE p.email_id = s.email_id AND p.role = 'from'",
                        number,
                        OF_THE_CRM,
                    )
            case ("begin", address, _) if self._under_way is None:
                await self._begin(address)
            case ("finish", _, _):
                await self.finish()
            case ("piece", process, all_there_are):
                while await ruling_walks.carry_out(self.databases[process]) and all_there_are:
                    pass

    async def _begin(self, address: str) -> None:
        reached, go = threading.Event(), threading.Event()

        def held(copies: Sequence[Copy], facts: Facts) -> list[Decision]:
            reached.set()
            assert go.wait(20)
            return decide_batch(copies, facts)

        promoting = self.senders.promote([self.senders.copy(self.senders.message(address))], held)
        self._under_way = asyncio.create_task(promoting), go
        assert await asyncio.to_thread(reached.wait, 20)

    async def finish(self) -> None:
        """Let the mail in that is under way."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            task, go = under_way
            go.set()
            await task

    async def end(self) -> None:
        """Carry out all that is left, and see that all is as the rulings in force say."""
        await self.finish()
        left = "SELECT count(*) FROM router.ruling_work"
        for _ in range(5):
            await self.admin.execute("UPDATE router.ruling_work SET try_at = now()")
            while any(await asyncio.gather(*map(ruling_walks.carry_out, self.databases))):
                pass
            if await self.admin.fetchval(left) == 0:
                break
            await self.senders.crm.wait_for_earlier()
        assert await self.admin.fetchval(left) == 0
        in_force = await self._in_force()
        rows = await self.admin.fetch(
            "SELECT p.*, r.ruling_id, q.email_id IS NOT NULL AS waits FROM crm.party AS p "
            "LEFT JOIN router.ruled_party AS r USING (email_id, role, position) "
            "LEFT JOIN router.unresolved_email AS q USING (email_id) WHERE p.role = 'from'"
        )
        for row in rows:
            ruling = in_force.get(row["address"]) or in_force.get("@" + row["address"].partition("@")[2])
            if row["record_id"] == OF_THE_CRM:
                assert (row["ruling_id"], row["waits"]) == (None, False)
                continue
            resolved = ruling is not None and ruling["kind"] == "resolve"
            assert row["record_id"] == (ruling["record_id"] if ruling else None)
            assert row["ruling_id"] == (ruling["id"] if ruling and resolved else None)
            assert row["waits"] == (ruling is None)

    async def _in_force(self) -> dict[str, asyncpg.Record]:
        """By its subject the ruling in force, which is the last one that is not undone."""
        rows = await self.admin.fetch("SELECT * FROM router.ruling ORDER BY id")
        in_force = {row["subject"]: row for row in rows if row["undone_at"] is None}
        marked = [row["id"] for row in rows if row["undone_at"] is None and row["replaced_by"] is None]
        assert marked == sorted(row["id"] for row in in_force.values())
        return in_force


async def _opened(dsn: str) -> Two:
    databases = [Database(dsn, connections=4) for _ in range(2)]
    for database in databases:
        await database.__aenter__()
    admin = await asyncpg.connect(dsn)
    crm = Crm(admin, admin)
    owner_id = await crm.owner(STAFF, "all")
    await admin.executemany(
        "INSERT INTO crm.record (id, kind) VALUES ($1, 'contact')", [(record_id,) for record_id in RECORDS]
    )
    source = Source("staff", STAFF, "imap:staff", "INBOX", owner_id, "all")
    source_id = (await register(databases[0], [source]))[source]
    return Two(databases, admin, Senders(crm, databases[0], owner_id, source_id))


def test_t114_whatever_comes_in_whatever_order_ends_as_the_rulings_in_force_say(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ruling_walks, "PIECE", 2)
    with asyncio.Runner() as runner:
        two = runner.run(_opened(database))

        async def run(groups: Sequence[Sequence[Step]]) -> None:
            await two.reset()
            for group in groups:
                under_way: list[Coroutine[Any, Any, None]] = [two.do(step) for step in group]
                await asyncio.gather(*under_way)
            await two.end()

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.lists(_STEPS, min_size=1, max_size=3), min_size=3, max_size=12))
        @example(
            [[("begin", KARL, None)], [("rule", KARL, RECORDS[0])], [("piece", 0, True)], [("finish", None, None)]]
        )
        @example([[("mail", KARL, None)], [("rule", DOMAIN, RECORDS[0])], [("piece", 0, True)], [("rule", KARL, None)]])
        def check(groups: list[list[Step]]) -> None:
            runner.run(run(groups))

        async def close() -> None:
            await two.admin.close()
            for one in two.databases:
                await one.__aexit__()

        try:
            check()
        finally:
            runner.run(close())
