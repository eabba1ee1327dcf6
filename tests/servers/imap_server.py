"""What Dovecot and Cyrus have in common: a private folder, free ports, and mailboxes there for the asking.

Any address is a mailbox, with the password `PASSWORD`; `MASTER_USER` with `MASTER_PASSWORD` opens each of them, in the
server's own way.
"""

import imaplib
import os
import shutil
import signal
import smtplib
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.folder import new_folder
from tests.servers.ports import free_port
from tests.servers.process import end, spawn, wait_until
from tests.servers.tls import Tls

HOST = "127.0.0.1"
PASSWORD = "user-password"
MASTER_USER = "crm-router"
MASTER_PASSWORD = "master-password"


class ImapServer(ABC):
    """`imap` and `pop3` speak in clear and STARTTLS, `imaps` and `pop3s` TLS, `lmtp` in clear: ports on `HOST`."""

    name: str
    _kept: Sequence[str]
    """The folders in which it stores what it knows of mail."""
    _on_disk = False
    """Whether it stores that on a disk; otherwise in memory, where there is room."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self.imap, self.imaps, self.pop3, self.pop3s, self.lmtp = (free_port() for _ in range(5))
        self._folder = new_folder(f"er-{self.name.lower()}-", on_disk=self._on_disk)
        self.log_file = self._folder / "log"
        self.log_file.touch()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ports(self) -> dict[str, int]:
        """Every port it listens on, by service."""
        return {name: getattr(self, name) for name in ("imap", "imaps", "pop3", "pop3s", "lmtp")}

    @property
    def pid(self) -> int:
        """Of the process from which all others of the running server come."""
        assert self._process is not None
        return self._process.pid

    @abstractmethod
    def _command(self) -> list[str]:
        """Return what starts it in the foreground; it ends in order on SIGTERM."""

    # Life

    def start(self) -> None:
        """Start, on the same ports with the same mail; return when it answers."""
        process = spawn(self._command(), self.log_file)
        self._process = process
        wait_until(lambda: process.poll() is not None or self._answers(), f"{self.name} answers")
        if process.poll() is not None:
            raise RuntimeError(f"{self.name} did not start:\n{self.log()}")

    def stop(self) -> None:
        """Stop in order. Does nothing when it is not running."""
        if self._process is not None:
            end(self._process, [*self.ports.values()])
            self._process = None

    def kill(self) -> None:
        """Kill every process of it at once, as a power failure would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good, and remove the folder with all mail."""
        self.kill()  # stopping in order can take a second
        shutil.rmtree(self._folder)

    def back_up(self) -> None:
        """Keep a copy of all that it stores, in place of the last one. It is stopped meanwhile."""
        with self._stopped():
            for kept in self._kept:
                _copy(self._folder / kept, self._folder / "backup" / kept)

    def go_back(self) -> None:
        """Restore that copy: what came since is lost, and UIDVALIDITY is the same. It is stopped meanwhile."""
        with self._stopped():
            for kept in self._kept:
                _copy(self._folder / "backup" / kept, self._folder / kept)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    # Mail

    def deliver(self, mailbox: str, message: bytes, sender: str = "sender@out.test") -> None:
        """Hand `message` to `mailbox`'s INBOX through LMTP, as a mail server does."""
        with smtplib.LMTP(HOST, self.lmtp) as lmtp:
            lmtp.sendmail(sender, [mailbox], message)

    def append(self, mailbox: str, message: bytes, folder: str = "INBOX", flags: Sequence[str] = ()) -> None:
        """Put `message` into `folder`, made if need be, as a mail program does."""
        with self.connect(mailbox) as imap:
            if folder != "INBOX":
                imap.create(_quoted(folder))
            _ok(imap.append(_quoted(folder), f"({' '.join(flags)})", "", message))

    def count(self, mailbox: str, folder: str = "INBOX") -> int:
        """Return how many messages `folder` holds."""
        with self.connect(mailbox) as imap:
            return int(_ok(imap.select(_quoted(folder), readonly=True))[0])

    def wait_for(self, mailbox: str, count: int, folder: str = "INBOX") -> None:
        """Return once `folder` holds `count` messages or more."""
        wait_until(lambda: self.count(mailbox, folder) >= count, f"{count} messages in {folder} of {mailbox}")

    def flags(self, mailbox: str, folder: str = "INBOX") -> dict[int, set[str]]:
        """Flags and keywords by UID, without \\Recent."""
        with self.connect(mailbox) as imap:
            _ok(imap.select(_quoted(folder), readonly=True))
            uids = _ok(imap.uid("SEARCH", "ALL"))[0].split()
            found: dict[int, set[str]] = {}
            for uid in uids:
                line = _ok(imap.uid("FETCH", uid.decode(), "(FLAGS)"))[0]
                found[int(uid)] = {flag.decode() for flag in imaplib.ParseFlags(line)} - {"\\Recent"}
            return found

    def messages(self, mailbox: str, folder: str = "INBOX") -> dict[int, bytes]:
        """Whole messages by UID."""
        with self.connect(mailbox) as imap:
            _ok(imap.select(_quoted(folder), readonly=True))
            uids = _ok(imap.uid("SEARCH", "ALL"))[0].split()
            return {int(uid): _ok(imap.uid("FETCH", uid.decode(), "(BODY.PEEK[])"))[0][1] for uid in uids}

    def folders(self, mailbox: str) -> set[str]:
        """Names of all folders, as IMAP writes them (modified UTF-7)."""
        with self.connect(mailbox) as imap:
            return {line.decode().rpartition(' "/" ')[2].strip('"') for line in _ok(imap.list())}

    @contextmanager
    def connect(self, mailbox: str, password: str = PASSWORD) -> Iterator[imaplib.IMAP4]:
        """Logged in with stdlib imaplib over TLS, for whatever else a test wants to look at or do."""
        imap = imaplib.IMAP4_SSL(HOST, self.imaps, ssl_context=self._tls.client_context(), timeout=20)
        # imaplib writes a message and the end of its line apart, and each would wait for the other's acknowledgment.
        imap.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            imap.login(mailbox, password)
            yield imap
        finally:
            try:
                imap.logout()
            except (imaplib.IMAP4.abort, OSError):
                imap.shutdown()

    # Inside

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        self.stop()
        yield
        self.start()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.imap), timeout=20) as connection:
                return connection.recv(4) == b"* OK"
        except ConnectionError:
            return False


def _copy(source: Path, target: Path) -> None:
    """Copy a folder in place of another, with owners and times."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", source, target], check=True)


def _ok(answer: tuple[str, list[Any]]) -> list[Any]:
    status, lines = answer
    if status != "OK":
        raise AssertionError(f"IMAP: {status} {lines}")
    return lines


def _quoted(folder: str) -> str:
    return '"' + folder.replace("\\", "\\\\").replace('"', '\\"') + '"'
