"""Checks the profiles against the owners that the database has."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from router.errors import Mistake
from router.model import Rule
from router.profile.routes import Incoming, Outgoing, Routes


class Listener(Incoming, Protocol):
    """What has to be known of a profile that may be a listener."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def file(self) -> str: ...  # noqa: D102
    @property
    def line(self) -> int: ...  # noqa: D102
    @property
    def tracking_rule(self) -> Rule | None: ...  # noqa: D102
    @property
    def keeps_original(self) -> bool: ...  # noqa: D102


class Serving(Protocol):
    """Profiles that can be asked who serves a mailbox."""

    def routes_of(self, mailbox: str) -> Routes[Listener, Outgoing]: ...  # noqa: D102


class Sending(Protocol):
    """Profiles that can be asked which of them carries what a mailbox sends."""

    @property
    def outgoing(self) -> Sequence[object]: ...  # noqa: D102
    def outgoing_for(self, mailbox: str) -> object | None: ...  # noqa: D102


class Owner(Protocol):
    """An owner, as far as profiles are concerned; `mailbox` is None where nobody has named it yet."""

    @property
    def mailbox(self) -> str | None: ...  # noqa: D102
    @property
    def approved(self) -> bool: ...  # noqa: D102
    @property
    def rule(self) -> Rule | None: ...  # noqa: D102


def check_owners(profiles: Serving, owners: Iterable[Owner]) -> list[Mistake]:
    """Find owners whom no incoming profile serves, or a broken one, and whose rule would lose mail at a listener.

    Owners without mailbox or approval are left out, since nothing of theirs is read.
    """
    mistakes = []
    for owner in owners:
        if owner.mailbox is None or not owner.approved:
            continue
        routes = profiles.routes_of(owner.mailbox)
        for broken in routes.broken:
            words = (
                f"owner {owner.mailbox}: not served by {broken.title}, because that profile is broken, and by no other "
                "in its place"
            )
            mistakes.append(Mistake(broken.file, broken.line, words))
        if not routes.incoming and not any(one.direction == "incoming" for one in routes.broken):
            words = f"owner {owner.mailbox}: no incoming profile serves this mailbox; add it to the owners of one"
            mistakes.append(Mistake("", 0, words))
        listener = routes.listens
        if listener is None or listener.keeps_original:
            continue
        effective = owner.rule or listener.tracking_rule
        if effective != Rule.ALL:
            words = (
                f"[incoming.{listener.name}] copy must be true, because owner {owner.mailbox} has the rule "
                f'"{effective}" and what it ignores would be lost: say copy = true if the mail server keeps the '
                'original, or give the owner the rule "all"'
            )
            mistakes.append(Mistake(listener.file, listener.line, words))
    return mistakes


def check_senders(profiles: Sending, owners: Iterable[Owner]) -> list[Mistake]:
    """Find approved owners whose email no outgoing profile carries; none, where no profile sends at all."""
    if not profiles.outgoing:
        return []
    return [
        Mistake("", 0, f"owner {owner.mailbox}: no outgoing profile carries this mailbox; add it to the senders of one")
        for owner in owners
        if owner.mailbox is not None and owner.approved and profiles.outgoing_for(owner.mailbox) is None
    ]
