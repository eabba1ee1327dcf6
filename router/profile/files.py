"""The files that a profile names, and what tells that one of them has changed."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from transports import Secret, Settings, is_of_mailbox

Stamp = tuple[int, int, int] | None
"""A file's time of change (nanoseconds), size (bytes) and inode; None if it is not there."""


def stamp(path: Path) -> Stamp:
    """Tell how a file is now, without reading it."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def certificates(settings: Settings) -> Iterator[Path]:
    """Name certificates, their keys and authorities: what a server or client is opened with, and keeps till its end."""
    return (value for value in _values(settings) if isinstance(value, Path))


def secrets(settings: Settings) -> Iterator[Path]:
    """Name where the secrets are, which are read anew at each login; for those of mailboxes, the folder of them all."""
    for value in _values(settings):
        if isinstance(value, Secret) and value.file is not None and not is_of_mailbox(str(value.file.parent)):
            yield value.file.parent if is_of_mailbox(value.file.name) else value.file


def _values(settings: BaseModel) -> Iterator[object]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        yield value
        if isinstance(value, BaseModel) and not isinstance(value, Secret):
            yield from _values(value)
