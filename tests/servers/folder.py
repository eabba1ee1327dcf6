"""Folders for servers: short names, in memory where there is room: nothing there has to survive."""

import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes; the largest tests write some hundred MB, and each test process has servers of its own


def new_folder(prefix: str, *, on_disk: bool = False) -> Path:
    """Make a folder that the servers' own users can enter.

    It is not pytest's: Unix socket names end at 107 bytes, and pytest's folders are long, and closed to other users.
    """
    in_memory = not on_disk and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if in_memory else None))
    folder.chmod(0o755)
    return folder
