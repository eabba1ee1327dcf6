"""A profile as a running process serves it, in a form that other processes can read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from router.model.tracking import Rule

Direction = Literal["incoming", "outgoing"]

Key = tuple[Direction, str]
"""What a profile is known by: its direction and its name."""


@dataclass(frozen=True, slots=True)
class ServedProfile:
    """What a profile does, for whom, and where it is written.

    `form` is the same for two profiles that say the same, and empty where the profile could not be understood. `role`,
    `tracking_rule`, `choices` (settings of tracking), `owners` and `forwarders` are those of an incoming profile,
    `senders` those of an outgoing one. `keeps_original` is False for a listener that may be handed the last copy of a
    mail. `fault`: why this form, or the newer one that its file holds, is not in use, and since when. `runs` is False
    for a profile that is broken and has no earlier form: whose mail it would bring or carry, nobody else does.
    """

    direction: Direction
    name: str
    kind: str
    file: str
    line: int
    role: Literal["mailbox", "forward", "catch-all"] | None = None
    owners: tuple[str, ...] = ()
    forwarders: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    listens: bool = False
    keeps_original: bool = True
    tracking_rule: Rule | None = None
    form: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    fault: str | None = None
    fault_since: datetime | None = None
    runs: bool = True

    @property
    def key(self) -> Key:
        """What tells it from other profiles: direction and name."""
        return self.direction, self.name

    @property
    def title(self) -> str:
        """The profile as TOML names it."""
        return f"[{self.direction}.{self.name}]"
