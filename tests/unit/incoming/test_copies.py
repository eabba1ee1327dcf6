"""What becomes of messages that a transport could not fetch, and what copies bring along."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from router.incoming import forward
from router.incoming.copies import Delivered, read_messages
from router.model import CreationRule, Original, Owner, Unreadable, Unwrapped, uuid7
from router.profile import IncomingProfile, load
from router.read import read
from router.repository.database import Database
from router.workers.pool import Workers
from transports.base import Place, Received

PROFILE = """
[incoming.staff]
transport = "maildir"
path = "/var/mail/{mailbox}"
owners = ["*@in.test"]
"""
PLACE = Place("", "1")
UNFETCHED = Received(PLACE, b"", datetime.now(UTC), fault="[SERVERBUG] the disk is torn")
TOLD = "the message could not be fetched: [SERVERBUG] the disk is torn"


@pytest.fixture
def profile(tmp_path: Path) -> IncomingProfile:
    (tmp_path / "a.toml").write_text(PROFILE)
    (profile,) = load(tmp_path).incoming
    return profile


async def test_a_dead_letter_says_once_that_a_message_could_not_be_fetched(profile: IncomingProfile) -> None:
    delivered = Delivered(Owner(uuid7(), "ann@in.test"), UNFETCHED, PLACE)
    (copy,) = await read_messages(Workers(read, limit=30, size=1), [delivered], 1, profile)
    assert copy.reading == Unreadable(TOLD)


async def test_so_it_does_in_a_forward_mailbox(profile: IncomingProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(_database: Database, _named: Sequence[str]) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(forward, "approved_owners", nobody)
    (copy,) = await forward.read_forwards(Database(""), Workers(read, limit=30, size=1), [UNFETCHED], 1, profile)
    assert copy.reading == Unreadable(TOLD)


RULES = """
[[incoming.staff.create]]
name = "sales"
makes = "lead"
owners = ["Sales@in.test"]

[[incoming.staff.create]]
name = "all"
makes = "case"
"""


async def test_t124_a_copy_brings_the_rules_for_records_that_are_for_its_owner(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(PROFILE + RULES)
    (profile,) = load(tmp_path).incoming
    sales = CreationRule("sales", "lead", owners=("sales@in.test",), kept_in="profile staff")
    every = CreationRule("all", "case", kept_in="profile staff")
    received = Received(PLACE, b"Subject: x\n\n", datetime.now(UTC))
    owners = [Owner(uuid7(), mailbox) for mailbox in ("sales@in.test", "ann@in.test")]
    delivered = [Delivered(owner, received, PLACE) for owner in owners]
    async with Workers(read, limit=30, size=1) as workers:
        of_sales, of_ann = await read_messages(workers, delivered, 1, profile)
    assert (of_sales.creation_rules, of_ann.creation_rules) == ((sales, every), (every,))

    unwrapped = Unwrapped(
        form="attached",
        forwarder="ann@in.test",
        mailboxes=("ann@in.test",),
        originals=(Original(received.content, read(received.content, (), None)),),
    )
    (forwarded,) = forward.copies_of(received, unwrapped, {"ann@in.test": owners[1]}, 1, profile)
    assert forwarded.creation_rules == (every,)
