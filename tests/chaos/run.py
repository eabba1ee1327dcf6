"""One chaos run: mail and faults for a while, then calm, and then everything has to be as it should be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tests.chaos.faults import LONG_FAULTS
from tests.chaos.heart import Heart
from tests.chaos.judge import judge
from tests.chaos.plan import Plan, Strike
from tests.chaos.world import World, world

_LETTERS, _EMAILS = 0.15, 0.5  # seconds between two, of people and of the CRM
_CALM = 180.0  # seconds in which everything is to become as it should be, once all faults are over

Tell = Callable[[str], None]


@asynccontextmanager
async def run(plan: Plan, folder: Path, tell: Tell = lambda line: print(line, flush=True)) -> AsyncIterator[World]:
    """Do all that a plan says, and yield the world as it is then; AssertionError says what is wrong with it.

    In `folder` are the logs of the routers, `router-1/log` and `router-2/log`.
    """
    tell(str(plan))
    async with world(folder, Random(plan.seed)) as made:
        heart = Heart(made)
        watching = asyncio.create_task(heart.watch())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_write_letters(made, plan))
                group.create_task(_queue_emails(made, plan))
                for strike in plan.strikes:
                    group.create_task(_strike(made, strike, tell))
            over = asyncio.get_running_loop().time()
            tell("all faults are over")
            await _become_calm(made)
            tell(f"all was as it should be after {asyncio.get_running_loop().time() - over:.1f} s")
            assert not heart.late, heart.late
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        tell(
            f"{len(made.writer.letters)} letters and {len(made.sent)} emails came through; of {heart.looks} looks at "
            f"routers, the longest silence was {heart.worst:.1f} s"
        )
        yield made


async def _strike(made: World, strike: Strike, tell: Tell) -> None:
    await asyncio.sleep(strike.at)
    tell(f"{strike.at:6.1f} s  {strike.kind}")
    try:
        await LONG_FAULTS[strike.kind](made, strike.lasts, Random(strike.seed))
    except Exception as error:
        error.add_note(f"in {strike}")
        raise


async def _write_letters(made: World, plan: Plan) -> None:
    dice = Random(plan.seed)
    loop = asyncio.get_running_loop()
    ends = loop.time() + plan.seconds
    while loop.time() < ends:
        write = dice.choices(
            [made.writer.ordinary, made.writer.forged, made.writer.poison, made.writer.broken], [90, 4, 3, 3]
        )[0]
        made.send(write())
        await asyncio.sleep(dice.expovariate(1 / _LETTERS))


async def _queue_emails(made: World, plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + plan.seconds
    while loop.time() < ends:
        await made.queue()
        await asyncio.sleep(_EMAILS)


async def _become_calm(made: World) -> None:
    found: list[str] = ["nothing was looked at"]
    try:
        async with asyncio.timeout(_CALM):
            while found:
                found = [*await judge(made)]
                await asyncio.sleep(0.2 if found else 0)
            # What comes twice may come late.
            began = await made.sql.value("SELECT clock_timestamp()")
            heard = "SELECT count(*) FROM router.process WHERE seen_at > $1"
            while await made.sql.value(heard, began) < len(made.routers):
                await asyncio.sleep(0.1)
    except TimeoutError:
        found += [f"after {_CALM:g} s of calm"]
    found = found or [*await judge(made, final=True)]
    assert not found, "\n".join(found)
