"""How soon a change among many profiles is told, and how long the event loop stands still meanwhile.

python -m tests.benchmarks.reload [PROFILES]: by default 10, 100 and 1,000, each a file of its own with a secret of its
own. Everything that the router does goes through that loop: what it stands still, all mail waits.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from router.profile.store import Change, ProfileStore

PROFILE = """
[incoming.mail-{number}]
transport = "imap"
host = "mail.example.com"
owners = ["*@{number}.example.com"]
auth = {{ user = "{{mailbox}}", password = {{ file = "{secrets}/{number}" }} }}
poll = {poll}
"""
CALM = 5.0  # seconds in which nothing changes, for comparison
TICK = 0.005


class Pulse:
    """How long the loop stood still at most since it was last asked."""

    def __init__(self) -> None:
        self._longest = 0.0

    def longest(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest

    async def beat(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            self._longest = max(self._longest, time.perf_counter() - began - TICK)


@asynccontextmanager
async def pulse_of_loop() -> AsyncIterator[Pulse]:
    pulse = Pulse()
    beating = asyncio.create_task(pulse.beat())
    try:
        yield pulse
    finally:
        beating.cancel()


async def measure(folder: Path, count: int) -> None:
    """Print how soon a profile and a secret that change are told."""
    profiles, secrets = folder / "profiles", folder / "secrets"
    profiles.mkdir()
    secrets.mkdir()

    def write(number: int, poll: int) -> None:
        text = PROFILE.format(number=number, secrets=secrets, poll=poll)
        (profiles / f"{number}.toml").write_text(text)

    for number in range(count):
        (secrets / str(number)).write_text("secret")
        write(number, poll=60)
    store = await ProfileStore.open(profiles)
    changes: asyncio.Queue[Change] = asyncio.Queue()
    watching = asyncio.create_task(store.watch(changes.put))
    async with pulse_of_loop() as pulse:
        await asyncio.sleep(CALM)
        report(count, "nothing changes", CALM, pulse.longest())
        began = time.perf_counter()
        write(0, poll=120)
        await changes.get()
        report(count, "a profile changes", time.perf_counter() - began, pulse.longest())
        await asyncio.sleep(CALM)
        pulse.longest()
        began = time.perf_counter()
        (secrets / "0").write_text("another")
        await changes.get()
        report(count, "a secret is replaced", time.perf_counter() - began, pulse.longest())
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def report(count: int, what: str, seconds: float, longest: float) -> None:
    sys.stdout.write(f"{count:5} profiles, {what:20} {seconds:5.2f} s, loop held at most {longest * 1000:4.0f} ms\n")
    sys.stdout.flush()


def main() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    for count in [int(number) for number in sys.argv[1:]] or [10, 100, 1000]:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(Path(folder), count))


main()
