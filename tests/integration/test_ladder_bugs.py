"""A bug of ours that one message meets: that message is a dead letter, all others are in, at a listener, too."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from router.incoming import copies, forward
from router.incoming.budget import Budget
from router.incoming.copies import Delivered, read_messages
from router.incoming.forward import read_forwards
from router.incoming.lanes import Lanes
from router.incoming.listener import ListenerIntake
from router.incoming.promote import Promoter
from router.model import Owner, Unreadable, uuid7
from router.profile import Profiles, load
from router.read import read
from router.repository.incoming.registry import Source, register
from router.workers.pool import Workers
from tests.support.breaking import Breaking, Breaks, names, once, unbroken
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.pieces import read_or_break, unwrap_or_fail
from transports import ListenerSettings
from transports.base import Place, Received
from transports.errors import Temporary

PROFILE = """
[incoming.drop]
transport = "lmtp"
listen = "127.0.0.1:2424"
owners = ["*@in.test"]
rule = "all"

[incoming.sink]
transport = "smtp"
listen = "127.0.0.1:2525"
role = "forward"
address = "sink@in.test"
forwarders = ["*@in.test"]
authserv = "mx.in.test"
"""
ULLA = "ulla@in.test"


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    (tmp_path / "all.toml").write_text(PROFILE)
    return load(tmp_path)


@pytest.fixture
async def broken(database: str) -> AsyncIterator[Breaking]:
    async with Breaking(database) as opened:
        yield opened


def _received(number: int, subject: str = "") -> Received:
    content = letter(f"{number}@kunde.test", ULLA, subject or f"Number {number}", Message_ID=f"<{number}@kunde.test>")
    return Received(Place("", str(uuid7())), content, datetime.now(UTC), "", (ULLA,))


@pytest.mark.parametrize("by", ["drop", "sink"])
async def test_a_message_that_cannot_be_read_by_a_bug_is_dead_and_all_others_are_read(
    broken: Breaking, profiles: Profiles, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(copies, "read", read_or_break)
    monkeypatch.setattr(forward, "unwrap", unwrap_or_fail)
    mail = [_received(1), _received(2, "fail"), _received(3)]
    (profile,) = (one for one in profiles.incoming if one.name == by)
    async with Workers(read_or_break, unwrap_or_fail, limit=30, size=1) as workers:
        if by == "drop":
            owner = Owner(uuid7(), ULLA)
            delivered = [Delivered(owner, one, one.place) for one in mail]
            found = await read_messages(workers, delivered, 1, profile)
        else:
            found = await read_forwards(broken, workers, mail, 1, profile)
    assert [isinstance(copy.reading, Unreadable) for copy in found] == [False, True, False]
    (unreadable,) = (copy.reading for copy in found if isinstance(copy.reading, Unreadable))
    assert unreadable.fault.startswith("it could not be read: ValueError in fail, line ")


@pytest.fixture
async def intake(broken: Breaking, profiles: Profiles, crm: Crm) -> AsyncIterator[ListenerIntake]:
    """A listener's, as it is once it listens; no message of it has patience."""
    (profile,) = (one for one in profiles.incoming if one.name == "drop")
    assert isinstance(profile.settings, ListenerSettings)
    await crm.owner(ULLA, "all")
    async with Workers(read, limit=30, size=1) as workers:
        made = ListenerIntake(broken, workers, lambda: profiles, profile, profile.settings, Budget())
        source = Source(profile.name, "", profile.account_of(""), "", None, "all")
        made._source_id = (await register(broken, [source]))[source]
        made._lanes = Lanes(Promoter(broken, patience=0), profile.name, structlog.get_logger())
        yield made


async def _hand_over(intake: ListenerIntake, received: Received) -> int:
    """As a mail server does, which tries again; how often it had to."""
    for tries in range(10):
        try:
            (answer,) = await intake.accept(received)
        except (Temporary, KeyError):  # which the transport answers by 451
            continue
        assert answer.accepted
        return tries
    raise AssertionError("it would be tried for ever")


def _of(marks: Sequence[object], how: str | Exception) -> Breaks:
    """Break whatever is about a message with these marks."""
    return lambda _place, arguments: how if names(arguments, marks) else None


HOW: list[str | Exception] = ["40P01", "lost", "23514", "P0001", KeyError("a bug of ours")]


async def test_what_breaks_once_while_a_message_is_handed_over_is_tried_again(
    crm: Crm, broken: Breaking, intake: ListenerIntake
) -> None:
    broken.ran.clear()
    await _hand_over(intake, _received(0))
    places = list(broken.ran)
    assert len(places) >= 4, places
    number = 0
    for place in places:
        for how in HOW:
            number += 1
            broken.breaks = once(place, how)
            assert await _hand_over(intake, _received(number)) <= 1, (place, how)
            broken.breaks = unbroken
            assert (await crm.dispositions()).get("dead", 0) == 0, (place, how)
            assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == number + 1, (place, how)


async def test_one_message_that_breaks_a_statement_is_dead_and_those_handed_over_with_it_are_in(
    crm: Crm, broken: Breaking, intake: ListenerIntake
) -> None:
    number = 0
    for how in HOW:
        number += 5
        mail = [_received(n) for n in range(number, number + 5)]
        marks = [f"{number + 2}@kunde.test"]
        broken.breaks = _of(marks, how)
        tries = await asyncio.gather(*(_hand_over(intake, one) for one in mail))
        broken.breaks = unbroken
        assert max(tries) <= 4, how
        emails = await crm.rows("SELECT message_id FROM crm.email ORDER BY 1")
        wanted = {f"{n}@kunde.test" for n in range(5, number + 5) if n % 5 != 2}
        assert {row["message_id"] for row in emails} == wanted, how
        assert (await crm.dispositions())["dead"] == number // 5


async def test_of_one_message_each_recipient_is_answered_by_what_became_of_their_copy(
    crm: Crm, broken: Breaking, intake: ListenerIntake
) -> None:
    await crm.owner("otto@in.test", "all")
    received = replace(_received(1), recipients=(ULLA, "otto@in.test"))
    broken.breaks = _of([f"{received.place.id}:1"], "55P03")
    first, second = await intake.accept(received)
    assert (first.code, second.code) == (250, 451)
    broken.breaks = unbroken
    (second,) = await intake.accept(replace(received, place=Place("", str(uuid7())), recipients=("otto@in.test",)))
    assert second.accepted
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 1}


async def test_who_cannot_wait_where_others_wait_for_locks_is_to_come_again(
    crm: Crm, broken: Breaking, intake: ListenerIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.incoming.lanes._LONGEST", 0.01)
    locked = _received(1)
    broken.breaks = _of(["1@kunde.test"], "55P03")
    for _ in range(2):  # when it comes, and when it is known
        async with AsyncExitStack() as others:
            for _ in range(2):
                await others.enter_async_context(intake._lanes._slow)
            with pytest.raises(Temporary, match="lock"):
                await intake.accept(locked)
            await _hand_over(intake, _received(2))
        with pytest.raises(Temporary, match="another session has locked it"):
            await intake.accept(locked)
    broken.breaks = unbroken
    assert await _hand_over(intake, locked) == 0
    assert "dead" not in await crm.dispositions()
