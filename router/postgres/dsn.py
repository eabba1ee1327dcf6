"""URLs of a PostgreSQL, as asyncpg and libpq both read them: postgresql://user:password@host:port,host:port/database."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

_PORT: Final = 5432
_SECRETS: Final = ("password", "sslpassword")
_WHICH: Final = "target_session_attrs"


class Host(NamedTuple):
    """A name or address, or the folder of a Unix socket, and the port."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def hosts_of(dsn: str) -> tuple[Host, ...]:
    """List the hosts in their order; none where the URL leaves them to the environment. ValueError for a bad port."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    hosts = unquote(parts.netloc.rpartition("@")[2]) or query.get("host", "")
    if not hosts:
        return ()
    ports = [port or _PORT for port in query.get("port", "").split(",")]
    found = []
    for number, host in enumerate(hosts.split(",")):
        name, port = _name_and_port(host)
        # One port is for all hosts.
        found.append(Host(name, int(port or ports[number if len(ports) > 1 else 0])))
    return tuple(found)


def writable(dsn: str) -> str:
    """Of several hosts mean the one that can be written to, unless the URL says something else.

    One host is taken as it is: where it is read-only, its own words are better than that there is no other.
    """
    parts = urlsplit(dsn)
    if len(hosts_of(dsn)) < 2 or _WHICH in dict(parse_qsl(parts.query)):
        return dsn
    return f"{dsn.removesuffix('?')}{'&' if parts.query else '?'}{_WHICH}=read-write"


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


def _name_and_port(host: str) -> tuple[str, str]:
    if host.startswith("/"):
        return host, ""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port
