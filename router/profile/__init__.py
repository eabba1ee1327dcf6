"""The profiles: where mail comes from and where it goes, read from TOML into values that never change.

profiles    the values, and which profile serves an address
folder      all files of a folder → the sound profiles, and every mistake at once
served      profiles as values that travel between processes
check       what several profiles may not do together
owners      the owners in the database whom nobody serves as their rule needs it
draft       one file → drafts: each profile as far as it can be understood
keys role   the keys that every profile has, and what its role asks of them
words       a mistake → words for an admin
lines       on which line of a file each key stands
routes      which profiles serve an address
patterns    *@example.com
schema      all of it as a JSON schema, for editors
"""

from pathlib import Path

import transports
from router.profile.folder import Reading, load, read_folder
from router.profile.owners import check_owners
from router.profile.profiles import IncomingProfile, Key, OutgoingProfile, Profile, Profiles

__all__ = [
    "IncomingProfile",
    "Key",
    "OutgoingProfile",
    "Profile",
    "Profiles",
    "Reading",
    "check_owners",
    "example",
    "load",
    "read_folder",
]


def example(kind: str) -> str:
    """Return the example profile of a transport, as TOML. Raises KeyError for a kind that there is not."""
    if kind not in transports.kinds():
        raise KeyError(kind)
    package = Path(__file__).parents[1]
    installed = package / "examples" / f"{kind}.toml"
    checkout = package.parent / "profiles" / f"{kind}.toml"
    return (installed if installed.exists() else checkout).read_text(encoding="utf-8")
