"""Writing one message into a Maildir: in `tmp`, and when it is whole and on the disk, in `cur`. All of it blocks."""

import os
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from stat import S_IMODE

from transports.base import Flag
from transports.maildir import names
from transports.maildir.errors import translated

_FLAGS = {"seen": "S", "answered": "R", "flagged": "F", "draft": "D"}


class Writing:
    """One file, as the mailbox's owner would make it; lines end as on the disk of a mail server, with LF alone."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name
        self._path = root / names.directory(name)
        host = socket.gethostname().replace("/", "_").replace(":", "_")
        self._file_name = f"{time.time_ns() // 1_000_000_000}.R{token_hex(8)}.{host}"
        self._temporary = self._path / "tmp" / self._file_name
        self._ends_in_cr = False
        with translated(root, name):
            owner = (self._path / "cur").stat()
            mode = S_IMODE(owner.st_mode) & 0o666
            self._file = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            os.fchmod(self._file, mode)
            if os.geteuid() == 0:
                os.fchown(self._file, owner.st_uid, owner.st_gid)

    def write(self, piece: bytes) -> None:
        """Write one piece more."""
        if self._ends_in_cr:
            piece = b"\r" + piece
        self._ends_in_cr = piece.endswith(b"\r")
        self._write((piece[:-1] if self._ends_in_cr else piece).replace(b"\r\n", b"\n"))

    def finish(self, flags: Collection[Flag], when: datetime | None) -> str:
        """Let it appear, and return its id."""
        if self._ends_in_cr:
            self._write(b"\r")
        with translated(self._root, self._name):
            if when is not None:
                os.utime(self._file, (when.timestamp(), when.timestamp()))
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
            marks = "".join(sorted(_FLAGS[flag] for flag in flags))
            self._temporary.rename(self._path / "cur" / f"{self._file_name}:2,{marks}")
            folder = os.open(self._path / "cur", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return names.id_of(self._file_name)

    def give_up(self) -> None:
        """Leave nothing behind, unless it has appeared. At worst a file stays in `tmp`, which mail programs clear."""
        with suppress(OSError):
            if self._file >= 0:
                os.close(self._file)
        with suppress(OSError):
            self._temporary.unlink()

    def _write(self, data: bytes) -> None:
        with translated(self._root, self._name):
            while data:
                data = data[os.write(self._file, data) :]
