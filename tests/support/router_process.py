"""The router as an admin runs it: the real `email-router run`, in processes of its own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.forked import Forked, email_router
from tests.support.profiles import SECRETS

_TOP = Path(__file__).parents[2]
_SETTING = re.compile("EMAIL_ROUTER_")


class RouterProcess:
    """One `email-router run`; `pid` is its own, and what it logs is added to `log_file`."""

    def __init__(self, environment: Mapping[str, str], log_file: Path) -> None:
        self._environment = environment
        self.log_file = log_file
        self._process: Forked | None = None

    async def start(self, *says: str) -> None:
        """Return once it says that it is running, and each of `says` (regular expressions) too."""
        begins = await self.launch()
        for words in (r"\brunning\b", *says):
            await self.wait_for_log(words, begins)

    async def launch(self, *options: str) -> int:
        """Start it with these options and wait for nothing; returns how long its log is by now, in bytes."""
        begins = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = await email_router(
                "run",
                *options,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return begins

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def wait_for_log(self, words: str, begins: int = 0, timeout: float = 20.0) -> None:
        """Return once its log, from byte `begins` on, holds the regular expression."""
        try:
            async with asyncio.timeout(timeout):
                while not re.search(words, self.log_file.read_bytes()[begins:].decode(errors="replace")):
                    if not self.running:
                        raise AssertionError(f"the router ended before it said {words!r}:\n{self.log()}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"the router did not say {words!r} within {timeout:g} s:\n{self.log()}") from None

    async def stop(self) -> None:
        """Tell it to end, with SIGTERM, and expect that it ends in order: status 0, within 8 s."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):
            status = await self._process.wait()
        assert status == 0, f"the router ended with status {status}:\n{self.log()}"

    async def ask(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run another command where it runs; returns the exit status and what it prints to stdout.

        It has the same environment, but for the variables that are named.
        """
        status, printed, _ = await self.ask_for_all(*arguments, **environment)
        return status, printed

    async def ask_for_all(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run another command as `ask` does; returns what it prints to stderr, too, at the end."""
        process = await email_router(
            *arguments,
            env={**self._environment, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, complained = (words.decode() for words in await process.communicate())
        sys.stderr.write(complained)  # shown where the test fails
        assert process.returncode is not None
        return process.returncode, printed, complained

    async def kill(self) -> None:
        """Kill it with -9, as often as one likes; return when it is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def profiles(self) -> Path:
        """Its folder of profiles."""
        return Path(self._environment["EMAIL_ROUTER_PROFILES"])

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def log(self) -> str:
        """All that it logged, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


class NewRouter(Protocol):
    """`new_router(profiles, lease=2, says=(), **environment)` starts one more router on the test's database.

    `profiles` is TOML; the further words are environment variables, beside the secrets of `tests.support.profiles`.
    """

    async def __call__(
        self, profiles: str, *, lease: float = 2, says: tuple[str, ...] = (), **environment: str
    ) -> RouterProcess: ...


@pytest.fixture
async def new_router(database: str, tmp_path: Path) -> AsyncIterator[NewRouter]:
    """Start routers; those that still run at the end are told to stop, in order. Their logs are shown on failure."""
    started: list[RouterProcess] = []

    async def start(
        profiles: str, *, lease: float = 2, says: tuple[str, ...] = (), **environment: str
    ) -> RouterProcess:
        folder = tmp_path / f"router-{len(started) + 1}"
        (folder / "profiles").mkdir(parents=True)
        (folder / "profiles" / "all.toml").write_text(profiles)
        # What is set for whoever runs the tests is not meant for the routers under test.
        inherited = {name: value for name, value in os.environ.items() if not _SETTING.match(name)}
        settings = {
            "EMAIL_ROUTER_DATABASE_URL": database,
            "EMAIL_ROUTER_PROFILES": str(folder / "profiles"),
            "EMAIL_ROUTER_DATA": str(folder / "data"),
            "EMAIL_ROUTER_LEASE": str(lease),
            "EMAIL_ROUTER_LOG_FORMAT": "json",
            "EMAIL_ROUTER_CONSOLE": "off",
            "EMAIL_ROUTER_AUDIT": "off",  # it would come at any time; tests of the audit ask for it
        }
        router = RouterProcess(inherited | settings | SECRETS | environment, folder / "log")
        started.append(router)
        await router.start(*says)
        return router

    yield start
    try:
        for router in started:
            if router.running:
                await router.stop()
    finally:
        for number, router in enumerate(started, 1):
            await router.kill()
            sys.stdout.write(f"--- router {number}\n{router.log()}")
