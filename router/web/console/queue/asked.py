"""What a request asks of the queue: its filters, and the mail that the person sees, or decides on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request

from router.model.viewer import StaffRole, Viewer
from router.operations.queue import Seen
from router.operations.queue.pages import Place
from router.operations.unresolved import NO_SENDER
from router.web.times import time_of

AGES: Final[Mapping[str, tuple[str, timedelta]]] = {
    "day": ("waiting over a day", timedelta(days=1)),
    "week": ("over a week", timedelta(days=7)),
    "month": ("over a month", timedelta(days=30)),
}
NOBODY: Final = NO_SENDER
"""In the place of a sender's address: whose mail has none that can be read."""

REASONS: Final[Mapping[str, str]] = {
    "nobody": "No record has the address",
    "stranger": "New on a thread",
    "denied": "Not vouched for",
    "several": "Several records have the address",
    "ruling": "The linked record is not active",
    "unreadable": "From has no address",
}
VIEWS: Final[Mapping[str, str]] = {"": "People", "machines": "Machines", "snoozed": "Put off", "mine": "Mine"}


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the queue is listed."""

    view: str = ""
    owner: UUID | None = None
    domain: str = ""
    reason: str = ""
    age: str = ""
    text: str = ""

    nobody: ClassVar = NOBODY

    @property
    def owners(self) -> frozenset[UUID] | None:
        """The owners as operations take them."""
        return None if self.owner is None else frozenset((self.owner,))

    @property
    def older_than(self) -> timedelta | None:
        """The age as operations take it."""
        return AGES[self.age][1] if self.age else None

    @property
    def is_plain(self) -> bool:
        """Whether new mail belongs at its top."""
        return not (self.view or self.domain or self.reason or self.age or self.text)

    def query(self, **more: str) -> str:
        """Write them as the query of a link, with what else it asks for."""
        own = {
            "view": self.view, "owner": str(self.owner or ""), "domain": self.domain, "reason": self.reason,
            "age": self.age, "q": self.text,
        }  # fmt: skip
        return urlencode({name: value for name, value in {**own, **more}.items() if value})


def filters_of(request: Request) -> Filters:
    """Read them; what is no filter is as if it were not there."""
    asked = request.query_params
    view, age, reason = asked.get("view", ""), asked.get("age", ""), asked.get("reason", "")
    return Filters(
        view if view in VIEWS else "",
        uuid_of(asked.get("owner", "")),
        asked.get("domain", "").strip().removeprefix("@")[:255],
        reason if reason in REASONS else "",
        age if age in AGES else "",
        asked.get("q", "").strip()[:300],
    )


def seen_by(viewer: Viewer, role: StaffRole = StaffRole.VIEW) -> Seen:
    """Whose mail a person may see, or decide on."""
    if viewer.has(role):
        return None
    return frozenset(one.owner_id for one in viewer.grants if one.owner_id is not None and one.role.includes(role))


def uuid_of(text: str) -> UUID | None:
    """Read an id; None: it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def number_of(text: str) -> int | None:
    """Read the number of a ruling; None: it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def place_of(request: Request) -> Place | None:
    """Read where the page before ended."""
    at = time_of(request.query_params.get("at", ""))
    return Place(at, request.query_params.get("key", "")) if at else None
