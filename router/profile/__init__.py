"""The profiles: where mail comes from and where it goes, read from TOML into values that never change.

store       the profiles that are in use, and word of each change
watch       word that files may have changed
files       the files that a profile names, such as certificates
profiles    the values, and which profile serves an address
folder      all files of a folder → the sound profiles, and every mistake at once
claim       what a broken profile claims, which no other takes meanwhile
tokens      which profiles log in by access tokens
served      profiles as values that travel between processes
check       what several profiles may not do together
owners      the owners in the database whom nobody serves as their rule needs it
draft       one file → drafts: each profile as far as it can be understood
keys        the keys that every profile has
role        what the role of an incoming profile asks of its keys
words       a mistake → words for an admin
syntax      the same for a file that is not TOML
lines       on which line of a file each key stands
routes      which profiles serve an address
patterns    *@example.com
schema      all of it as a JSON schema, for editors
"""

from pathlib import Path

import transports
from router.errors import UnknownName
from router.model import Key
from router.profile.folder import Reading, load, read_folder
from router.profile.owners import check_owners, check_senders
from router.profile.profiles import IncomingProfile, OutgoingProfile, Profile, Profiles

__all__ = [
    "IncomingProfile",
    "Key",
    "OutgoingProfile",
    "Profile",
    "Profiles",
    "Reading",
    "check_owners",
    "check_senders",
    "example",
    "load",
    "read_folder",
]


def example(kind: str) -> str:
    """Return a transport's example profile, as TOML. Raises UnknownName for no transport, or one without an example."""
    if kind not in transports.kinds():
        raise UnknownName(f"there is no transport {kind!r}; there are {', '.join(transports.kinds())}")
    package = Path(__file__).parents[1]
    installed = package / "examples" / f"{kind}.toml"
    checkout = package.parent / "profiles" / f"{kind}.toml"
    try:
        return (installed if installed.exists() else checkout).read_text(encoding="utf-8")
    except FileNotFoundError:
        words = f'the transport {kind!r} has no example: write "profiles/{kind}.toml" in the source of the router'
        raise UnknownName(words) from None
