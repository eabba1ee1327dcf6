"""One message for several owners, by several ways: their own mailboxes, a forward mailbox, and a listener.

In whatever order it comes, and also at once by two processes, it is one email; each owner's rule decides on their own
copy; and nobody learns from it who else received it.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from router.incoming.budget import Budget
from router.incoming.copies import Delivered, read_messages
from router.incoming.forward import read_forwards
from router.incoming.listener import ListenerIntake
from router.incoming.promote import Promoter
from router.model import Copy, Owner
from router.profile import IncomingProfile, Profiles, load
from router.read import read
from router.repository.database import Database
from router.repository.incoming.batch import Batch
from router.repository.incoming.registry import Source, register
from router.workers.pool import Workers
from tests.support.crm import Crm
from tests.support.forwards import forwarding
from tests.support.letters import letter
from transports import ListenerSettings
from transports.base import Place, Received

KARL = "karl@kunde.test"
ANN, BEN, CID, DORA = (f"{name}@in.test" for name in ("ann", "ben", "cid", "dora"))
RULES = {ANN: "all", BEN: "replies", CID: "none", DORA: "known"}
PROFILES = """
[incoming.staff]
transport = "maildir"
path = "/var/mail/{mailbox}"
owners = ["*@in.test"]

[incoming.sink]
transport = "maildir"
path = "/var/mail/sink"
role = "forward"
forwarders = ["*@in.test"]
allow_unverified = true

[incoming.drop]
transport = "lmtp"
listen = "127.0.0.1:2424"
owners = ["*@in.test"]
copy = true
"""

Way = Callable[[bytes], Awaitable[None]]


@dataclass
class Process:
    """One process of two: it has its own connections, and reads what the other reads."""

    database: Database
    workers: Workers
    profiles: Profiles
    owners: dict[str, UUID]
    intake: ListenerIntake
    source_ids: dict[str, int]

    @property
    def ways(self) -> list[Way]:
        """The ways by which a message comes; Dora and Cid are on none of its headers."""
        return [self.by_mailboxes, self.by_forward, self.by_listener]

    def profile(self, name: str) -> IncomingProfile:
        return next(one for one in self.profiles.incoming if one.name == name)

    async def by_mailboxes(self, raw: bytes) -> None:
        for mailbox in (ANN, BEN, CID):
            delivered = Delivered(Owner(self.owners[mailbox], mailbox), _received(raw, mailbox), _place())
            await self._promote(
                await read_messages(self.workers, [delivered], self.source_ids[mailbox], self.profile("staff"))
            )

    async def by_forward(self, raw: bytes) -> None:
        """Dora forwards it, twice in one mail, and Ann does."""
        for forwarder, times in ((DORA, 2), (ANN, 1)):
            outer = _received(forwarding(forwarder, [_way(raw, forwarder)] * times, Message_ID=f"<{uuid4()}@in.test>"))
            copies = await read_forwards(
                self.database, self.workers, [outer], self.source_ids["sink"], self.profile("sink")
            )
            await self._promote(copies)

    async def by_listener(self, raw: bytes) -> None:
        """One hand-over for four owners, one of them by three addresses."""
        recipients = (BEN, DORA, "dora+news@in.test", "Dora+crm-k3m9x2p7@in.test", CID, ANN)
        answers = await self.intake.accept(_received(raw, DORA, recipients))
        assert [one.code for one in answers] == [250] * len(recipients)

    async def _promote(self, copies: list[Copy]) -> None:
        await Promoter(self.database).promote(Batch(copies))


def _place() -> Place:
    return Place("", uuid4().hex)


def _way(raw: bytes, mailbox: str) -> bytes:
    """What the servers on the way to a mailbox write on top."""
    return f"Delivered-To: {mailbox}\r\nReceived: from a.test by b.test for <{mailbox}>\r\n".encode() + raw


def _received(raw: bytes, mailbox: str | None = None, recipients: tuple[str, ...] = ()) -> Received:
    return Received(_place(), _way(raw, mailbox) if mailbox else raw, datetime.now(UTC), KARL, recipients)


@pytest.fixture
async def processes(database: str, crm: Crm, tmp_path: Path) -> AsyncIterator[list[Process]]:
    await crm.record("contact", "Karl", KARL)
    owners = {mailbox: await crm.owner(mailbox, rule) for mailbox, rule in RULES.items()}
    (tmp_path / "a.toml").write_text(PROFILES)
    profiles = load(tmp_path)
    drop = next(one for one in profiles.incoming if one.name == "drop")
    assert isinstance(drop.settings, ListenerSettings)
    async with AsyncExitStack() as stack:
        workers = await stack.enter_async_context(Workers(read, limit=30, size=1))
        made = []
        for _ in range(2):
            opened = await stack.enter_async_context(Database(database))
            sources = {
                mailbox: Source("staff", mailbox, f"maildir:{mailbox}", "INBOX", owner_id, "all")
                for mailbox, owner_id in owners.items()
            } | {name: Source(name, "", f"{name}:", "", None, "all") for name in ("sink", "drop")}
            ids = await register(opened, list(sources.values()))
            intake = ListenerIntake(opened, workers, lambda: profiles, drop, drop.settings, Budget())
            source_ids = {name: ids[source] for name, source in sources.items()}
            intake._source_id = source_ids["drop"]
            made.append(Process(opened, workers, profiles, owners, intake, source_ids))
        yield made


async def _is_one_email(crm: Crm, subject: str) -> None:
    [email] = await crm.rows("SELECT id, row_to_json(e)::text AS said FROM crm.email AS e WHERE subject = $1", subject)
    receipts = await crm.rows(
        "SELECT o.mailbox FROM crm.receipt AS r JOIN crm.owner AS o ON o.record_id = r.owner_id WHERE r.email_id = $1",
        email["id"],
    )
    assert sorted(row["mailbox"] for row in receipts) == [ANN, BEN, DORA], subject
    decisions = await crm.admin.fetch(
        "SELECT o.mailbox, d.disposition FROM router.decision AS d JOIN crm.owner AS o ON o.record_id = d.owner_id "
        "WHERE d.key = (SELECT m.key FROM router.message AS m WHERE m.email_id = $1)",
        email["id"],
    )
    counts = Counter(row["disposition"] for row in decisions)
    assert (counts["promoted"], counts["ignored"], counts["duplicate"]) == (1, 2, 9), subject
    assert {row["mailbox"] for row in decisions if row["disposition"] == "ignored"} == {CID}
    # Each owner's receipt is told once.
    events = await crm.rows("SELECT kind FROM crm.event WHERE email_id = $1", email["id"])
    assert Counter(row["kind"] for row in events) == {"promoted": 1, "received": 2}, subject
    # Who is on it stands in its headers: by Bcc or envelope nobody is.
    parties = await crm.rows("SELECT role, address FROM crm.party WHERE email_id = $1", email["id"])
    assert {tuple(row) for row in parties} == {("from", KARL), ("to", ANN), ("to", BEN)}
    for hidden in (CID, DORA):
        assert hidden.partition("@")[0] not in email["said"].lower(), subject


def _message(subject: str, *, has_id: bool) -> bytes:
    message_id = f"<{uuid4()}@kunde.test>" if has_id else None
    return letter(KARL, f"{ANN}, {BEN}", subject, "As agreed.\n", Message_ID=message_id)


@pytest.mark.parametrize("has_id", [True, False])
async def test_t92_by_three_ways_in_any_order_it_is_one_email(
    crm: Crm, processes: list[Process], *, has_id: bool
) -> None:
    for order in itertools.permutations(range(3)):
        subject = f"In the order {order}"
        raw = _message(subject, has_id=has_id)
        for number, which in enumerate(order):
            await processes[number % 2].ways[which](raw)
        await _is_one_email(crm, subject)


async def test_t10_by_three_ways_at_once_by_two_processes_it_is_one_email(crm: Crm, processes: list[Process]) -> None:
    dice = random.Random(10)
    mail = {f"At once {number}": _message(f"At once {number}", has_id=number % 2 == 0) for number in range(8)}
    work = [
        processes[(number + which) % 2].ways[which](raw)
        for number, raw in enumerate(mail.values())
        for which in range(3)
    ]
    dice.shuffle(work)
    await asyncio.gather(*work)
    for subject in mail:
        await _is_one_email(crm, subject)
