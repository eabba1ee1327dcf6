"""What holds of any mail whatever, through the real database: hypothesis makes it up. Each example is rolled back."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.decide import decide_batch
from router.incoming.copies import Delivered, make_copy
from router.model import Copy, Decision, Owner, Rule, Unreadable, normalize
from router.read import read
from router.repository.database import Connection, Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.incoming.registry import Source
from tests.support.build import mail
from transports.base import Place, Received

T = TypeVar("T")

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RULES = {
    "ann@in.test": Rule.ALL,
    "ben@in.test": Rule.REPLIES,
    "eva@in.test": Rule.KNOWN,
    "tom@in.test": Rule.EMAIL_ENABLED,
    "nora@in.test": Rule.NONE,
}
RECORDS = {
    "contact": ("karl@kunde.test", "both@kunde.test"),
    "lead": ("lea@neu.test", "both@kunde.test"),
    "account": ("info@kunde.test",),
    "user": ("karl@kunde.test",),
}
SENDERS = ("karl@kunde.test", "KARL@Kunde.test", "both@kunde.test", "lea@neu.test", "x@out.test", "ann@in.test", "")
SUBJECTS = ("Offer", "Re: Offer", "Fwd: Offer", "CRM:k3m9x2p7", "")

rolled_back = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@dataclass(frozen=True)
class World:
    """Owners and records, in a transaction of which nothing stays."""

    connection: Connection
    owners: dict[str, Owner]
    sources: dict[str, int]

    async def promote(self, copies: Sequence[Copy], size: int = 100) -> list[Decision]:
        decisions: list[Decision] = []
        for first in range(0, len(copies), size):
            batch = Batch(copies[first : first + size])
            decisions += await inbox.promote_in(self.connection, batch, decide_batch, {})
        return decisions

    def copy(self, content: bytes, mailbox: str, uid: int, at: datetime = NOW) -> Copy:
        place = Place("1", str(uid))
        received = Received(place, content, at)
        return make_copy(
            Delivered(self.owners[mailbox], received, place),
            read(content, (), None),
            self.sources[mailbox],
            Rule.ALL,
            {},
        )

    async def rows(self, sql: str) -> list[Any]:
        return [tuple(row) for row in await self.connection.fetch(sql)]

    async def became(self) -> list[Any]:
        """All that stands in the CRM, without the ids that are made anew each time."""
        return await self.rows(
            """
            SELECT e.message_id, e.subject, e.direction, e.regarding_id, c.message_id, e.correlation_method, e.flags,
                (SELECT array_agg((role, position, address, record_id)::text ORDER BY role, position, record_id)
                    FROM crm.party AS p WHERE p.email_id = e.id),
                (SELECT array_agg(owner_id ORDER BY owner_id) FROM crm.receipt AS r WHERE r.email_id = e.id)
            FROM crm.email AS e LEFT JOIN crm.email AS c ON c.id = e.correlated_id ORDER BY 1, 2
            """
        )

    async def dispositions(self) -> list[Any]:
        return await self.rows("SELECT source_id, place, disposition FROM router.decision ORDER BY 1, 2")

    async def check_balance(self) -> None:
        assert await self.rows(
            """
                SELECT source_id, sum(promoted + duplicate + ignored + held + dead)::int FROM router.source_count
                GROUP BY 1 ORDER BY 1
                """
        ) == await self.rows("SELECT source_id, count(*)::int FROM router.decision GROUP BY 1 ORDER BY 1")


Play = Callable[[Callable[[World], Awaitable[T]]], T]


@pytest.fixture
def play(database: str) -> Iterator[Play[Any]]:
    """`play(work)` runs `await work(world)`, and takes back what it did."""
    with asyncio.Runner() as runner:
        opened = Database(database)
        runner.run(opened.__aenter__())

        async def played(work: Callable[[World], Awaitable[T]]) -> T:
            async with opened.rolled_back() as connection:
                return await work(await _made(connection))

        yield lambda work: runner.run(played(work))
        runner.run(opened.__aexit__(None, None, None))


async def _made(connection: Connection) -> World:
    owners: dict[str, Owner] = {}
    sources: dict[str, int] = {}
    for kind, addresses in RECORDS.items():
        for address in addresses:
            await _record(connection, kind, address)
    for mailbox, rule in RULES.items():
        id_ = await _record(connection, "user", mailbox)
        owners[mailbox] = Owner(id_, mailbox, rule)
        await connection.execute(
            "INSERT INTO crm.owner (record_id, mailbox, tracking_rule, approved) VALUES ($1, $2, $3, true)",
            id_,
            mailbox,
            rule.value,
        )
        source = Source("staff", mailbox, "imap:x", "INBOX", id_, "all")
        sources[mailbox] = await connection.fetchval(
            """
            INSERT INTO router.source (profile, mailbox, identity, account, folder, owner_id, begins_at)
            VALUES ($1, $2, $2, $3, $4, $5, '-infinity') RETURNING id
            """,
            source.profile,
            mailbox,
            source.account,
            source.folder,
            id_,
        )
    return World(connection, owners, sources)


async def _record(connection: Connection, kind: str, address: str) -> UUID:
    id_ = uuid4()
    await connection.execute("INSERT INTO crm.record (id, kind, name) VALUES ($1, $2, $3)", id_, kind, address)
    await connection.execute("INSERT INTO crm.address (address, record_id) VALUES ($1, $2)", normalize(address), id_)
    return id_


def _copies(world: World, made: Sequence[Any], first: int = 1) -> list[Copy]:
    """Make a copy of each letter in its mailbox, with UIDs from `first` on."""
    return [world.copy(_letter(mailbox, *letter), mailbox, uid) for uid, (letter, mailbox) in enumerate(made, first)]


def _letter(mailbox: str, number: int, sender: str, subject: str, answers: int | None = None) -> bytes:
    return mail(
        **{"from": sender},
        to=mailbox,
        subject=subject,
        message_id=f"<{number}@made.test>",
        date=f"Sun, 01 Nov 2026 10:{number:02}:00 +0000",
        in_reply_to="" if answers is None else f"<{answers}@made.test>",
    )


letters = st.tuples(
    st.integers(0, 9), st.sampled_from(SENDERS), st.sampled_from(SUBJECTS), st.none() | st.integers(0, 9)
)
deliveries = st.lists(st.tuples(letters, st.sampled_from(sorted(RULES))), min_size=1, max_size=8)


@rolled_back
@given(
    contents=st.lists(
        st.binary(max_size=400) | st.builds(lambda head, rest: mail()[:head] + rest, st.integers(0, 250), st.binary()),
        min_size=1,
        max_size=5,
    ),
    mailbox=st.sampled_from(sorted(RULES)),
)
def test_any_bytes_get_exactly_one_disposition(play: Play[None], contents: list[bytes], mailbox: str) -> None:
    async def work(world: World) -> None:
        copies = [world.copy(content, mailbox, uid) for uid, content in enumerate(contents, 1)]
        decisions = await world.promote(copies)
        assert len(decisions) == len(contents)
        assert len(await world.dispositions()) == len(contents)
        await world.check_balance()

    play(work)


@rolled_back
@given(made=deliveries)
def test_promoting_twice_changes_nothing_and_neither_does_moving(play: Play[None], made: list[Any]) -> None:
    async def work(world: World) -> None:
        await world.promote(_copies(world, made))
        became, dispositions = await world.became(), await world.dispositions()
        again = _copies(world, made)
        assert all(decision.decided_before for decision in await world.promote(again, size=2))
        assert (await world.became(), await world.dispositions()) == (became, dispositions)
        await world.promote(_copies(world, made, 101))
        assert [row[0:2] + row[-1:] for row in await world.became()] == [row[0:2] + row[-1:] for row in became]
        await world.check_balance()

    play(work)


@rolled_back
@given(
    made=st.lists(
        st.tuples(st.sampled_from(SENDERS), st.sampled_from(SUBJECTS), st.sampled_from(sorted(RULES))), max_size=8
    ),
    data=st.data(),
)
def test_the_order_of_independent_messages_does_not_matter(play: Play[Any], made: list[Any], data: Any) -> None:
    numbered = list(enumerate(made, 1))
    shuffled = data.draw(st.permutations(numbered))
    size = data.draw(st.integers(1, 8))

    async def work(world: World, order: Sequence[Any], size: int) -> Any:
        copies = [
            world.copy(_letter(mailbox, number, sender, subject), mailbox, number, NOW + timedelta(seconds=number))
            for number, (sender, subject, mailbox) in order
        ]
        await world.promote(copies, size)
        names = {id_: mailbox for mailbox, id_ in world.sources.items()}
        return (
            [(row[0], row[1], row[2], row[5], row[6], _without_ids(row[7])) for row in await world.became()],
            [(names[source], place, disposition) for source, place, disposition in await world.dispositions()],
        )

    in_order = play(lambda world: work(world, numbered, 100))
    other = play(lambda world: work(world, shuffled, size))
    assert sorted(other[1]) == sorted(in_order[1])
    assert other[0] == in_order[0]


def _without_ids(parties: list[str]) -> list[str]:
    """Whether each party was resolved: the records are made anew for each example."""
    return sorted(f"{party.rpartition(',')[0]} {party.rpartition(',')[2] != ')'}" for party in parties)


@rolled_back
@given(made=deliveries)
def test_no_address_resolves_to_a_record_that_does_not_have_it(play: Play[None], made: list[Any]) -> None:
    async def work(world: World) -> None:
        await world.promote(_copies(world, made))
        assert not await world.rows(
            """
            SELECT p.address, p.record_id FROM crm.party AS p WHERE p.record_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM crm.address AS a WHERE a.address = p.address AND a.record_id = p.record_id
            )
            """
        )

    play(work)


@rolled_back
@given(fault=st.text(max_size=50), mailbox=st.sampled_from(sorted(RULES)))
def test_what_cannot_be_read_is_one_dead_letter(play: Play[None], fault: str, mailbox: str) -> None:
    async def work(world: World) -> None:
        place = Place("1", "1")
        delivered = Delivered(world.owners[mailbox], Received(place, b"", NOW), place)
        words = fault.replace("\0", "").encode("utf-8", "replace").decode()
        copy = make_copy(delivered, Unreadable(words), world.sources[mailbox], Rule.ALL, {})
        await world.promote([copy])
        assert [row[2] for row in await world.dispositions()] == ["dead"]

    play(work)
