import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.judge import judge
from tests.chaos.plan import Plan
from tests.chaos.run import run
from tests.chaos.world import World

SEED, SECONDS, PAUSE, LONGEST = 1, 15, 0.7, 3

ONE = "(SELECT min(email_id::text)::uuid FROM router.decision WHERE disposition = 'duplicate')"
MADE_WRONG = {
    "UPDATE router.source_count SET held = held + 1 WHERE promoted > 0": "the ledger of seen1@seen.test INBOX says",
    f"UPDATE router.decision SET settled_at = NULL WHERE email_id = {ONE}": "copies that are not settled",
    f"UPDATE router.decision SET disposition = 'promoted' WHERE email_id = {ONE}": r"promoted \d times",
    "UPDATE router.decision SET disposition = 'ignored' WHERE disposition = 'held'": "not {'held'}",
    "DELETE FROM router.decision WHERE disposition = 'ignored'": "no disposition in",
    f"DELETE FROM crm.receipt WHERE email_id = {ONE}": r"receipts of \[\]",
    f"INSERT INTO crm.email (direction, status, message_id) SELECT 'in', 'received', message_id FROM crm.email "
    f"WHERE id = {ONE}": "2 emails of",
    "DELETE FROM crm.email WHERE direction = 'in' AND subject = 'Letter 0'": r"lost: 0\.",
    "DELETE FROM crm.email WHERE status = 'sent'": "outgoing emails are there",
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The logs in it are shown where a test fails."""
    yield tmp_path
    for log in sorted(tmp_path.glob("router-*/log")):
        sys.stdout.write(f"--- {log.parent.name}\n{log.read_text(errors='replace')}")


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_every_fault_at_once_loses_nothing_and_brings_nothing_twice(folder: Path) -> None:
    """`make chaos` does the same for minutes, with other seeds."""
    async with run(Plan.draw(SEED, SECONDS, list(FAULTS), PAUSE, LONGEST), folder) as world:
        await _check_that_it_would_be_told(world)


async def _check_that_it_would_be_told(world: World) -> None:
    """Nothing is wrong; so that this says something, all of it is made wrong, and told."""
    with world.routers[0].process.log_file.open("a") as log:
        log.write("messages are missing\n")
    assert await judge(world, final=True) == ["router 1: messages are missing"]
    for statement, words in MADE_WRONG.items():
        await world.sql.fetch(statement)
        told = await judge(world)
        assert any(re.search(words, line) for line in told), (words, told)
    world.captures["relay"].accepted.update(list(world.captures["relay"].accepted))
    assert any("left 2 times" in line for line in await judge(world))


def test_a_plan_is_repeated_by_its_seed() -> None:
    first, again, other = (Plan.draw(seed, 60, list(FAULTS), 2, 10) for seed in (1, 1, 2))
    assert first == again != other
    assert {strike.kind for strike in first.strikes} == set(FAULTS)
