"""The folders inside a Maildir, as Maildir++ has them: directories beside `cur` whose names begin with a dot."""

import os
from collections.abc import Sequence
from pathlib import Path
from stat import S_IMODE

from transports._folders import Found, with_uses
from transports.base import Folder
from transports.maildir import names
from transports.maildir.errors import translated


def find_folders(root: Path) -> Sequence[Folder]:
    """List the folders of a mailbox, INBOX first."""
    with translated(root):
        (root / "cur").stat()
        found = [names.folder(path.name) for path in root.iterdir() if (path / "cur").is_dir()]
    inner = sorted(name for name in found if name is not None)
    return with_uses([Found(name, tuple(name.split("/"))) for name in ("INBOX", *inner)])


def make_folder(root: Path, name: str) -> str:
    """Return where a folder lies; make it if it is not there, as the mailbox's owner would. Raises OSError."""
    path = root / names.directory(name)
    # It is made last: where it is, the folder is whole.
    if not (path / "cur").is_dir():
        owner = root.stat()
        for directory in (path, path / "tmp", path / "new", path / "cur"):
            directory.mkdir(exist_ok=True)
            directory.chmod(S_IMODE(owner.st_mode))
            if os.geteuid() == 0:
                os.chown(directory, owner.st_uid, owner.st_gid)
    return str(path)
