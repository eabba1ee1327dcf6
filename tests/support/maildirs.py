"""Maildirs on disk, written as a mail server does: into `tmp`, then renamed into `new`."""

import itertools
import os
import time
from pathlib import Path

_numbers = itertools.count()


def make_maildir(path: Path) -> Path:
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True)
    return path


def deliver(maildir: Path, content: bytes, name: str | None = None, *, at: float | None = None) -> str:
    """Deliver a message, with the line ends of the disk, and return its name; `at`: when, in seconds."""
    when = time.time() if at is None else at
    name = name or f"{int(when)}.M{next(_numbers)}P{os.getpid()}.host"
    file = maildir / "tmp" / name
    file.write_bytes(content.replace(b"\r\n", b"\n"))
    os.utime(file, (when, when))
    file.rename(maildir / "new" / name)
    return name


def files(maildir: Path) -> set[str]:
    """What lies in it, as "new/…" and "cur/…"."""
    return {f"{part}/{path.name}" for part in ("new", "cur") for path in (maildir / part).iterdir()}
