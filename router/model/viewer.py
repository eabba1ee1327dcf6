"""Who looks: a person of the console, and what the person may see and do."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class StaffRole(StrEnum):
    """What a person may do; each includes those before it."""

    VIEW = "view"
    DECIDE = "decide"
    ADMINISTER = "administer"

    def includes(self, other: "StaffRole") -> bool:
        """Whether who has this one has the other, too."""
        roles = list(StaffRole)
        return roles.index(self) >= roles.index(other)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role with the mail of one owner, a user or a queue; `owner_id` None: with all mail."""

    role: StaffRole
    owner_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person, as operations are told for whom they work.

    Lists are limited in SQL, by router.seen_owners(id) and router.may_see(id, owner), which go by the same grants.
    """

    id: int
    name: str
    grants: tuple[Grant, ...]

    @property
    def administers(self) -> bool:
        """Whether the whole house is the person's."""
        return self.has(StaffRole.ADMINISTER)

    @property
    def sees_all(self) -> bool:
        """Whether the person may see all mail, also what has no owner."""
        return self.has(StaffRole.VIEW)

    @property
    def owners(self) -> frozenset[UUID]:
        """The owners that are granted one by one; with `sees_all` the others are, too."""
        return frozenset(one.owner_id for one in self.grants if one.owner_id is not None)

    def has(self, role: StaffRole, owner_id: UUID | None = None) -> bool:
        """Whether the person has at least this role with the mail of this owner; None: with all mail."""
        return any(one.role.includes(role) and one.owner_id in (None, owner_id) for one in self.grants)

    def has_anywhere(self, role: StaffRole) -> bool:
        """Whether the person has at least this role with anybody's mail."""
        return any(one.role.includes(role) for one in self.grants)
