"""Where a listener stands: an address of the network, or a Unix socket."""

import asyncio
import errno
import fcntl
import grp
import os
import socket
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Self

from transports.errors import Permanent, Temporary, TransportError

_BACKLOG = 100  # connections that wait to be taken
_LONGEST = 107  # bytes of a Unix socket's name (unix(7))

Protocols = Callable[[], asyncio.BaseProtocol]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Address(ABC):
    """Where to listen."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The address as a profile writes it."""

    @property
    @abstractmethod
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""

    @abstractmethod
    def bound(self) -> AbstractContextManager[socket.socket]:
        """A socket that listens there, while the context lasts. Raises Temporary or Permanent, in an admin's words."""

    @abstractmethod
    async def serve(self, protocols: Protocols, bound: socket.socket) -> asyncio.Server:
        """Let connections in."""

    @abstractmethod
    async def connect(self) -> Streams:
        """Connect to whoever listens there. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Inet(Address):
    """An IPv4 or IPv6 address; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "127.0.0.1:2525" or "[::1]:25". Raises ValueError."""
        host, _, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = (IPv6Address if bracketed else IPv4Address)(host.removeprefix("[").removesuffix("]"))
            number = int(port) if port.isascii() and port.isdigit() else -1
        except ValueError:
            address, number = None, -1
        if address is None or not 0 <= number < 65536:
            raise ValueError(f'{text!r} is no address to listen at: write "127.0.0.1:2525" or "[::1]:2525"')
        return cls(str(address), number)

    @property
    def name(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        return ip_address(self.host).is_loopback

    @contextmanager
    def bound(self) -> Iterator[socket.socket]:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listening = socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _taken(self) from error
            if error.errno == errno.EACCES:
                raise Permanent(f"cannot listen at {self.name}: this port needs a privilege that we lack") from error
            raise Temporary(f"cannot listen at {self.name}: {error.strerror or error}") from error
        with listening:
            yield listening

    async def serve(self, protocols: Protocols, bound: socket.socket) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(protocols, sock=bound, backlog=_BACKLOG)

    async def connect(self) -> Streams:
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not bound, but looked for
        return await asyncio.open_connection(everywhere.get(self.host, self.host), self.port)


@dataclass(frozen=True, slots=True)
class Unix(Address):
    """A socket file: who may write to it may connect, so `mode` and `group` say who that is."""

    path: Path
    mode: int
    group: str | None = None

    @classmethod
    def parse(cls, text: str, mode: int, group: str | None) -> Self:
        """Read "unix:/run/email-router/lmtp". Raises ValueError."""
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute() or "\0" in str(path) or len(os.fsencode(path)) > _LONGEST:
            words = f'a path from the root, of at most {_LONGEST} bytes: "unix:/run/email-router/lmtp"'
            raise ValueError(f"{text!r} is no socket to listen at: write {words}")
        return cls(path, mode, group)

    @property
    def name(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_local(self) -> bool:
        return True

    @contextmanager
    def bound(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as listening:
            try:
                with self._folder_locked():
                    inode = self._bind(listening)
            except TransportError:
                raise
            except (OSError, KeyError) as error:
                raise self._in_words(error) from error
            try:
                yield listening
            finally:
                # Another router may have taken the place by now; as long as ours is open, its inode is nobody else's.
                with suppress(OSError), self._folder_locked():
                    if self.path.lstat().st_ino == inode:
                        self.path.unlink()

    async def serve(self, protocols: Protocols, bound: socket.socket) -> asyncio.Server:
        return await asyncio.get_running_loop().create_unix_server(protocols, sock=bound, backlog=_BACKLOG)

    async def connect(self) -> Streams:
        return await asyncio.open_unix_connection(str(self.path))

    def _bind(self, listening: socket.socket) -> int:
        self._remove_stale()
        listening.bind(str(self.path))
        try:
            # Nobody can connect before it listens, so it is never open to more than these.
            if self.group is not None:
                os.chown(self.path, -1, grp.getgrnam(self.group).gr_gid)
            self.path.chmod(self.mode)
            listening.listen(_BACKLOG)
            return self.path.lstat().st_ino
        except BaseException:
            self.path.unlink()
            raise

    @contextmanager
    def _folder_locked(self) -> Iterator[None]:
        """Keep other routers from looking and binding meanwhile: one would remove what the other just made."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _remove_stale(self) -> None:
        """Remove what a killed router left. Raises Temporary where somebody listens."""
        try:
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise Permanent(f"cannot listen at {self.name}: a file lies there that is no socket; move it away")
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
                return
            except BlockingIOError:  # more wait for it than it holds, so there is somebody
                pass
        raise _taken(self)

    def _in_words(self, error: OSError | KeyError) -> Permanent | Temporary:
        cannot = f"cannot listen at {self.name}"
        if isinstance(error, KeyError):
            return Permanent(f"{cannot}: there is no group {self.group}")
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Permanent(f"{cannot}: the folder {self.path.parent} is not there; make it")
        if error.errno == errno.EPERM and self.group is not None:
            return Permanent(f"{cannot}: the router's user is not in the group {self.group}; add it")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return Permanent(f"{cannot}: the router may not write in the folder {self.path.parent}")
        return Temporary(f"{cannot}: {error.strerror or error}")


def _taken(address: Address) -> Temporary:
    return Temporary(f"cannot listen at {address.name}: another program listens there")
