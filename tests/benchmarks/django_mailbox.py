"""django-mailbox, to compare with: the newest from PyPI, with Django and psycopg, in an environment of its own.

`getmail`, with all settings as they come, drains IMAP mailboxes into PostgreSQL: over TLS, one after the other, each
message fetched, stored and marked as deleted before the next. It stores headers, texts (as one MIME text), attachments
as files, and which message is answered, each row in a transaction of its own. It does not: tell a message from its
duplicate, go on where it stopped after a crash (it deletes on the server what it stored, and stores twice what it
had no time to delete), know contacts, decode texts, mark quotes, classify, or use more than one processor.
"""

import asyncio
import os
import resource
import shutil
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

import asyncpg

from router.postgres.dsn import hosts_of
from tests.benchmarks.corpus import fill
from tests.benchmarks.stage import Stage
from tests.servers.dovecot import HOST, PASSWORD

KEPT = Path(__file__).parents[2] / ".benchmarks" / "django-mailbox"
"""The environment; without it the newest versions are installed anew."""

PACKAGES = ["django-mailbox", "django", "psycopg[binary]"]

SETTINGS = """
import os

SECRET_KEY = "benchmark"
INSTALLED_APPS = ["django_mailbox"]
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.postgresql", "NAME": {name!r}, "USER": {user!r}, "HOST": {host!r}}}
}}
MEDIA_ROOT = {media!r}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

VERSIONS = """
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("django-mailbox", "Django", "psycopg")), sep=", ")
"""


@dataclass(frozen=True)
class DjangoMailbox:
    """The installed programs, and which versions they are."""

    versions: str

    @classmethod
    async def installed(cls) -> Self:
        """Install it where that has not happened yet."""
        if not (KEPT / "installed").exists():
            await asyncio.to_thread(shutil.rmtree, KEPT, ignore_errors=True)
            await asyncio.to_thread(venv.create, KEPT, with_pip=True)
            await _run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES)
            (KEPT / "installed").touch()
        return cls((await _run("python", "-c", VERSIONS)).strip())

    async def drain(self, stage: Stage, count: int) -> tuple[float, float]:
        """Drain so many messages out of four mailboxes: messages a second, and milliseconds of processor time each.

        The first are from its first message to its last, so without the start of Django; that is in the second.
        """
        number = next(stage.numbers)
        mailboxes = [f"django-{number}-{part}@in.test" for part in range(4)]
        await asyncio.to_thread(fill, stage.dovecot.connect, mailboxes, count)
        async with stage.empty_database() as dsn:
            environment = _environment(stage.folder / f"django-{number}", dsn)
            await _run("django-admin", "migrate", environment=environment)
            sql = await asyncpg.connect(dsn)
            await _add(sql, mailboxes, stage.dovecot.imaps)
            before = _ended()
            await _run("django-admin", "getmail", environment=environment)
            used = _ended() - before
            times = await sql.fetch("SELECT processed FROM django_mailbox_message ORDER BY processed")
            await sql.close()
        if len(times) != count:
            raise AssertionError(f"{len(times)} of {count} messages were stored")
        seconds = (times[-1]["processed"] - times[0]["processed"]).total_seconds()
        return (count - 1) / seconds, used * 1000 / count


async def _add(sql: "asyncpg.Connection[asyncpg.Record]", mailboxes: Sequence[str], port: int) -> None:
    await sql.executemany(
        "INSERT INTO django_mailbox_mailbox (name, uri, active) VALUES ($1, $2, true)",
        [(mailbox, f"imap+ssl://{quote(mailbox)}:{PASSWORD}@{HOST}:{port}") for mailbox in mailboxes],
    )


def _environment(folder: Path, dsn: str) -> dict[str, str]:
    """Write Django's settings, and say where they are."""
    folder.mkdir()
    (host,) = hosts_of(dsn)
    name = dsn.partition("///")[2].partition("?")[0]
    settings = SETTINGS.format(name=name, user="email_router", host=host.name, media=str(folder / "media"))
    (folder / "benchmark_settings.py").write_text(settings, encoding="utf-8")
    return {"PYTHONPATH": str(folder), "DJANGO_SETTINGS_MODULE": "benchmark_settings"}


async def _run(program: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        KEPT / "bin" / program,
        *arguments,
        env=os.environ | (environment or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise AssertionError(f"{program} {' '.join(arguments)}: {errors.decode()[-2000:]}")
    return output.decode()


def _ended() -> float:
    """Seconds of processor time of our children that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
