"""Let everything go wrong at once, for minutes: make chaos MINUTES=10, and SEED=… to do the same again."""

import argparse
import asyncio
import secrets
import shutil
import tempfile
from pathlib import Path

from tests.chaos.faults import LONG_FAULTS
from tests.chaos.plan import Plan
from tests.chaos.run import run

PAUSE, LONGEST = 2.0, 15.0  # seconds between two faults, and for which one lasts at most


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    plan = Plan.draw(seed, arguments.minutes * 60, list(LONG_FAULTS), PAUSE, LONGEST)
    folder = Path(tempfile.mkdtemp(prefix="er-chaos-"))
    try:
        asyncio.run(_run(plan, folder))
    except BaseException:
        print(f"what the routers logged is in {folder}/router-*/log", flush=True)
        raise
    shutil.rmtree(folder)


async def _run(plan: Plan, folder: Path) -> None:
    async with run(plan, folder):
        pass


if __name__ == "__main__":
    main()
