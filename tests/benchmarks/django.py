"""Django programs to compare with: the newest from PyPI, each in an environment of its own under `.benchmarks`."""

import asyncio
import os
import resource
import shutil
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from router.postgres.dsn import hosts_of

_FOLDER = Path(__file__).parents[2] / ".benchmarks"

_SETTINGS = """
SECRET_KEY = "benchmark"
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.postgresql", "NAME": {name!r}, "USER": "email_router", "HOST": {host!r}}}
}}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

_VERSIONS = """
import sys
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in sys.argv[1:]), sep=", ")
"""


@dataclass(frozen=True)
class Program:
    """An installed application of Django's, and which versions it consists of."""

    folder: Path
    versions: str

    @classmethod
    async def installed(cls, application: str) -> Self:
        """Install it where that has not happened yet: without the environment the newest versions are taken."""
        folder = _FOLDER / application
        if not (folder / "installed").exists():
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            await asyncio.to_thread(venv.create, folder, with_pip=True)
            packages = (application, "django", "psycopg[binary]")
            await _run(folder, "python", ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
            (folder / "installed").touch()
        return cls(folder, (await _run(folder, "python", ["-c", _VERSIONS, application, "django", "psycopg"])).strip())

    async def run(self, program: str, *arguments: str, settings: Path | None = None) -> str:
        """Run a program of the environment to its end; what it printed. `settings`: see `write_settings`."""
        found = {"PYTHONPATH": str(settings), "DJANGO_SETTINGS_MODULE": "benchmark_settings"} if settings else {}
        return await _run(self.folder, program, arguments, found)


def write_settings(folder: Path, dsn: str, more: str) -> Path:
    """Write Django's settings for this database, and `more` of them, into a new folder."""
    folder.mkdir()
    (host,) = hosts_of(dsn)
    name = dsn.partition("///")[2].partition("?")[0]
    settings = _SETTINGS.format(name=name, host=host.name) + more
    (folder / "benchmark_settings.py").write_text(settings, encoding="utf-8")
    return folder


async def _run(folder: Path, program: str, arguments: Sequence[str], environment: dict[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        folder / "bin" / program,
        *arguments,
        env=os.environ | (environment or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise AssertionError(f"{program} {' '.join(arguments)}: {errors.decode()[-2000:]}")
    return output.decode()


def processor_time_of_ended() -> float:
    """Seconds of processor time of our children that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
