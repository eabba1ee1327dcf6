"""Profiles as values that travel between processes: what one serves, and what the folder holds."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from router.errors import Mistake
from router.model import ServedProfile
from router.profile.claim import claim_of
from router.profile.draft import Draft
from router.profile.folder import profile_of, read_folder
from router.profile.profiles import OutgoingProfile, Profile
from router.profile.routes import Routes, RouteTable


class ServedProfiles:
    """Served profiles that can be asked who serves a mailbox."""

    def __init__(self, profiles: Iterable[ServedProfile]) -> None:
        self.all = tuple(profiles)
        self._known: dict[str, Routes[ServedProfile, ServedProfile]] = {}
        incoming = [one for one in self.all if one.direction == "incoming"]
        self._table = RouteTable(
            [one for one in incoming if one.runs],
            [one for one in self.all if one.runs and one.direction == "outgoing"],
            [one for one in self.all if not one.runs],
        )

    def routes_of(self, mailbox: str) -> Routes[ServedProfile, ServedProfile]:
        """Find all the profiles that serve a mailbox."""
        if mailbox not in self._known:
            self._known[mailbox] = self._table.find(mailbox)
        return self._known[mailbox]


def served(profile: Profile, fault: str | None = None) -> ServedProfile:
    """Describe a profile that is served; `fault` says why the newer form in its file is not in use."""
    if isinstance(profile, OutgoingProfile):
        return ServedProfile(
            direction="outgoing",
            name=profile.name,
            kind=profile.kind.name,
            file=profile.file,
            line=profile.line,
            senders=profile.senders,
            form=_form(profile),
            fault=fault,
        )
    return ServedProfile(
        direction="incoming",
        name=profile.name,
        kind=profile.kind.name,
        file=profile.file,
        line=profile.line,
        role=profile.role,
        owners=profile.owners,
        forwarders=profile.forwarders,
        listens=profile.listens,
        keeps_original=profile.keeps_original,
        tracking_rule=profile.tracking_rule,
        choices=profile.chosen,
        form=_form(profile),
        fault=fault,
    )


@dataclass(frozen=True, slots=True)
class WrittenProfile:
    """A profile as its file says it, as far as that can be understood, and what is wrong with it here.

    A secret that this process cannot read is a mistake, too, and hides nothing else.
    """

    profile: ServedProfile
    mistakes: tuple[Mistake, ...] = ()


def read_written(folder: Path) -> tuple[list[WrittenProfile], list[Mistake]]:
    """Read what the folder's profiles would serve, and the mistakes that belong to none of them.

    Raises ProfileErrors where the folder cannot be read.
    """
    reading = read_folder(folder)
    written = [WrittenProfile(_of_draft(draft), tuple(sorted(draft.mistakes))) for draft in reading.drafts]
    return written, reading.strays


def read_clear(folder: Path) -> list[Profile]:
    """Read the profiles of the folder whose keys are clear, whatever else is wrong with them here, such as secrets.

    Raises ProfileErrors where the folder cannot be read.
    """
    return [profile_of(draft) for draft in read_folder(folder).drafts if _is_clear(draft)]


def _is_clear(draft: Draft) -> bool:
    return draft.kind is not None and draft.keys is not None and draft.settings is not None


def _of_draft(draft: Draft) -> ServedProfile:
    if _is_clear(draft):
        return served(profile_of(draft))
    # What is told of a folder is what its profiles would do.
    return replace(claim_of(draft), fault=None, runs=True)


def _form(profile: Profile) -> str:
    """Tell two forms of a profile apart; where in which file it stands, and on which machine, makes no difference."""
    apart = {"kind", "files"}
    said = [getattr(profile, one.name) for one in fields(profile) if one.compare and one.name not in apart]
    # Secrets are references in settings, so no secret is hashed.
    return hashlib.sha256(repr((profile.kind.name, said)).encode()).hexdigest()[:8]
