"""What the profile folder holds, or all that is wrong with it. No mail server is connected to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from router.errors import Mistake, ProfileErrors
from router.operations.creation_rules import mistakes as wrong_rules
from router.operations.settings import rule_notes
from router.profile import IncomingProfile, OutgoingProfile, Profile, Profiles, check_senders, read_folder
from router.repository.database import Database
from router.repository.owners.choices import read_stored
from router.repository.owners.owners import list_owners


@dataclass(frozen=True, slots=True)
class Checked:
    """Either `profiles`, incoming ones first, or `mistakes`; `notes` tell of files that are not read.

    `owners` are those of the database whom no outgoing profile carries, `rules` those of profiles that the organization
    does not allow, and those for records in the database that are wrong, as far as somebody asked for them.
    """

    profiles: Sequence[Profile]
    mistakes: Sequence[Mistake]
    notes: Sequence[Mistake]
    owners: Sequence[Mistake] = ()
    rules: Sequence[Mistake] = ()

    @property
    def missing(self) -> str | None:
        """What the profiles cannot do, though nothing is wrong with them: bring mail in, or send."""
        directions = {direction for direction, _ in (one.key for one in self.profiles)}
        if "incoming" not in directions:
            return "none of them brings mail in"
        return None if "outgoing" in directions else "none of them sends"


def check(folder: Path) -> Checked:
    """Read the profiles of a folder; one that cannot be read is a mistake like others."""
    try:
        reading = read_folder(folder)
    except ProfileErrors as error:
        return Checked((), error.mistakes, ())
    profiles = () if reading.mistakes else tuple(reading.profiles.by_key.values())
    return Checked(profiles, reading.mistakes, reading.notes)


async def with_owners(checked: Checked, database: Database) -> Checked:
    """Find owners whose email no outgoing profile would carry, rules that are not allowed, and wrong ones stored."""
    incoming = [one for one in checked.profiles if isinstance(one, IncomingProfile)]
    outgoing = [one for one in checked.profiles if isinstance(one, OutgoingProfile)]
    mistakes = check_senders(Profiles(incoming, outgoing), await list_owners(database)) if outgoing else ()
    choices = (await read_stored(database)).choices
    rules = rule_notes(choices, ((one.title, one.tracking_rule) for one in incoming))
    return replace(checked, owners=mistakes, rules=[*rules, *await wrong_rules(database)])
