"""What the disk says, in the contract's errors."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transports.errors import Missing, Permanent, Temporary, TransportError, Unreachable

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO}
_LASTING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}


@contextmanager
def translated(root: Path, folder: str = "INBOX") -> Iterator[None]:
    """Translate what the system says about a folder of the mailbox at `root`.

    A disk that is not mounted, or a server of it that is away, is no empty mailbox.
    """
    try:
        yield
    except OSError as error:
        raise _translate(error, root, folder) from error


def _translate(error: OSError, root: Path, folder: str) -> TransportError:
    if error.errno in _GONE:
        if folder != "INBOX" and (root / "cur").is_dir():
            return Missing(f"there is no folder {folder} in {root}: {error.strerror}")
        return Unreachable(f"there is no Maildir at {root} now: {error.strerror}")
    kind = Permanent if error.errno in _LASTING else Temporary
    path = os.fsencode(str(error.filename or root)).decode(errors="replace")
    return kind(f"{path}: {error.strerror}")
