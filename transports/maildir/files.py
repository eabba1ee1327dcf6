"""One folder of a Maildir on disk: which messages are in it, their contents, and where they go. All of it blocks."""

import errno
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from transports._poison import OTHERS
from transports.base import After, Listed, Part, Place, Received, Settlement
from transports.errors import Permanent, Temporary
from transports.maildir import names
from transports.maildir.errors import translated
from transports.maildir.folders import make_folder
from transports.maildir.writing import Writing

LARGEST = 128 << 20
"""Bytes of one message."""

_GROUP = 4 << 20  # bytes that are read before they are handed over
_CHUNK = 1 << 16
_SCANS = 3  # a file that is renamed while the folder is read may be overlooked
_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_LAST_TIME = 253402300799  # the end of the year 9999

# What can be wrong with one file, and not with the folder or the disk, if another file can be read after it. The last
# two say that the file system is damaged there (on Linux).
_OF_A_FILE = {errno.EACCES, errno.EPERM, errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)}

_T = TypeVar("_T")

Stamp = tuple[int, int]
"""When `new` and `cur` were last changed, by the clock of the disk."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a folder held: what was not seen before, oldest first, and the tokens of what was seen and is still there.

    `stamp` and `at` (this process's clock, in seconds) are of before it was read.
    """

    copies: Sequence[Listed]
    kept: str
    stamp: Stamp
    at: float


class MaildirFiles:
    """`new` and `cur` of one folder. Where a file lay when it was last seen is only a hint."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name
        self._path = str(root / names.directory(name))
        self._lay: dict[str, str] = {}

    def stamp(self) -> Stamp:
        """Return what changes whenever a file comes, goes or is renamed."""
        with translated(self._root, self._name):
            return os.stat(f"{self._path}/new/").st_mtime_ns, os.stat(f"{self._path}/cur/").st_mtime_ns

    def scan(self, seen: str) -> Scan:
        """Read the folder; `seen` are tokens."""
        with translated(self._root, self._name):
            stamp, at = self.stamp(), time.monotonic()
            self._lay = self._files()
            there = {names.token(message): message for message in self._lay}
            known = [seen[begin : begin + names.TOKEN] for begin in range(0, len(seen), names.TOKEN)]
            kept = "".join(one for one in known if one in there)
            for one in known:
                there.pop(one, None)
            found = [listed for message in there.values() if (listed := self._listed(message)) is not None]
        found.sort(key=lambda listed: (listed.received_at, names.in_order(listed.place.id)))
        return Scan(found, kept, stamp, at)

    def ids(self) -> Sequence[str]:
        """Return the ids of all messages, by their names."""
        with translated(self._root, self._name):
            self._lay = self._files()
            return sorted(self._lay, key=names.in_order)

    def times(self, messages: Sequence[str]) -> Mapping[str, datetime]:
        """Return when these messages were delivered; one that is gone is left out."""
        with translated(self._root, self._name):
            self._find(messages)
            states = ((message, self._do(message, os.lstat)) for message in messages)
            return {message: _time(state) for message, state in states if state}

    def read(self, messages: Sequence[str], part: Part) -> Sequence[Received | None]:
        """Read the first of these messages, as many as are a group, in their order; None for one that is gone.

        A file that cannot be read is a fault of its own if another one can be after it, and it cannot even then.
        """
        copies: list[Received | None] = []
        refused: dict[int, OSError] = {}
        size = 0
        with translated(self._root, self._name):
            self.stamp()  # where there is no folder, nothing is merely gone
            self._find(messages)
            for message in messages:
                copy: Received | None = None
                try:
                    copy = self._read(message, part)
                except OSError as error:
                    if error.errno not in _OF_A_FILE:
                        raise
                    refused[len(copies)] = error
                copies.append(copy)
                size += len(copy.content) if copy else 0
                if size >= _GROUP:
                    break
            if refused:
                self._require_another([messages[number] for number in refused], next(iter(refused.values())))
            for number in refused:
                try:
                    copies[number] = self._read(messages[number], part)
                except OSError as error:
                    copies[number] = _faulty(Place("", messages[number]), error.strerror or "")
        return copies

    def _read(self, message: str, part: Part) -> Received | None:
        return self._do(message, lambda path: _read(path, Place("", message), part))

    def _require_another(self, refused: Sequence[str], refusal: OSError) -> None:
        """Raise the refusal unless a file that was not refused can be read now: else the disk may be at fault."""
        others = [message for message in reversed(self._lay) if message not in set(refused)]
        for other in others[:OTHERS]:
            with suppress(OSError):
                copy = self._read(other, "headers")
                if copy is not None and not copy.fault:
                    return
        raise refusal

    def settle(self, done: Sequence[Settlement]) -> None:
        """Rename or remove the files. What is gone is no error."""
        with translated(self._root, self._name):
            self._find([one.place.id for one in done])
            for one in done:
                self._settle(one.place.id, one.after)

    def _settle(self, message: str, after: After) -> None:
        match after.action:
            case "seen":
                self._do(message, lambda path: os.rename(path, _in_cur(path)))
            case "delete":
                self._do(message, os.unlink)
            case "move":
                folder = make_folder(self._root, after.argument)
                self._do(message, lambda path: os.rename(path, folder + path.removeprefix(self._path)))
            case "keyword":
                raise Permanent("a Maildir keeps no keywords")

    def create(self) -> Writing:
        """Begin to write a message."""
        return Writing(self._root, self._name)

    # Finding

    def _files(self) -> dict[str, str]:
        # In this order: what is moved from `new` to `cur` meanwhile is seen twice, and not never.
        return {
            names.id_of(name): f"{self._path}/{part}/{name}"
            for part in ("new", "cur")
            for name in os.listdir(f"{self._path}/{part}/")
            if not name.startswith(".")
        }

    def _find(self, messages: Sequence[str]) -> None:
        for _ in range(_SCANS):
            if all(message in self._lay for message in messages):
                return
            self._lay = self._files()

    def _do(self, message: str, work: Callable[[str], _T]) -> _T | None:
        """Do something with a file wherever it lies by now; None if it is nowhere."""
        for _ in range(_SCANS):
            path = self._lay.get(message)
            if path is None:
                return None
            try:
                return work(path)
            except FileNotFoundError:
                self._lay.pop(message, None)
                self._find([message])
        raise Temporary(f"{message} in {self._path} is moved again and again")

    def _listed(self, message: str) -> Listed | None:
        path = self._lay[message]
        try:
            state = os.lstat(path)
        except FileNotFoundError:  # moved meanwhile: that is a change, so the folder is read again
            return None
        return Listed(Place("", message), names.content_size(path) or state.st_size, _time(state))


def _read(path: str, place: Place, part: Part) -> Received:
    """Read a file; what is none, or too large, is a fault. Lines end with CRLF, as on the wire."""
    try:
        # No link leads out of the mailbox, and no pipe keeps us waiting.
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link; a socket
            return _faulty(place, "it is no file")
        raise
    try:
        state = os.fstat(opened)
        if not S_ISREG(state.st_mode):
            return _faulty(place, "it is no file")
        if state.st_size > LARGEST:
            return _faulty(place, f"{state.st_size} bytes are more than can be read")
        with open(opened, "rb", closefd=False) as file:
            raw = _headers(file) if part == "headers" else file.read(state.st_size)
    finally:
        os.close(opened)
    if raw.count(b"\n") != raw.count(b"\r\n"):
        raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return Received(place, raw, _time(state))


def _headers(file: BufferedReader) -> bytes:
    raw = bytearray()
    while chunk := file.read(_CHUNK):
        begins = max(0, len(raw) - 3)
        raw += chunk
        if end := _BLANK_LINE.search(raw, begins):
            return bytes(raw[: end.end()])
    return bytes(raw)


def _faulty(place: Place, cause: str) -> Received:
    return Received(place, b"", datetime.now(UTC), fault=cause)


def _time(state: os.stat_result) -> datetime:
    """Return when it was delivered; mail programs keep the time when they move or copy a message."""
    return datetime.fromtimestamp(min(max(state.st_mtime, 0), _LAST_TIME), UTC)


def _in_cur(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder.rpartition('/')[0]}/cur/{names.seen(name)}"
