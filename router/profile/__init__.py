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
rules       the rules for records from mail
rules_file  the same of one file, to be tried
role        what the role of an incoming profile asks of its keys
words       a mistake → words for an admin
syntax      the same for a file that is not TOML
lines       on which line of a file each key stands
routes      which profiles serve an address
patterns    *@example.com
schema      all of it as a JSON schema, for editors
"""

from collections.abc import Sequence
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
    "examples",
    "load",
    "read_folder",
]


def examples() -> Sequence[str]:
    """Name the example profiles: one for each transport, then those for mail servers and providers."""
    kinds = transports.kinds()
    return (*kinds, *sorted({path.stem for path in _examples().glob("*.toml")}.difference(kinds)))


def example(name: str) -> str:
    """Return an example profile, as TOML. Raises UnknownName for one that there is not."""
    if name not in examples():
        raise UnknownName(f"there is no example {name!r}; there are {', '.join(examples())}")
    try:
        return (_examples() / f"{name}.toml").read_text(encoding="utf-8")
    except FileNotFoundError:
        words = f'the transport {name!r} has no example: write "profiles/{name}.toml" in the source of the router'
        raise UnknownName(words) from None


def _examples() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "examples"
    return installed if installed.exists() else package.parent / "profiles"
