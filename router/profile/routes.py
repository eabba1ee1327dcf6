"""Which profiles serve an address: in each of four ways, the one with the most exact pattern that matches it.

A broken profile that does not run claims its addresses all the same. No less exact profile takes them meanwhile: that
would be mail read by a rule that its owner never had.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Generic, Protocol, TypeVar

from router.model import ServedProfile
from router.profile.patterns import PatternTable


class Incoming(Protocol):
    """What tells whose mail an incoming profile brings."""

    @property
    def owners(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def forwarders(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def listens(self) -> bool: ...  # noqa: D102


class Outgoing(Protocol):
    """What tells whose mail an outgoing profile carries."""

    @property
    def senders(self) -> Sequence[str]: ...  # noqa: D102


In = TypeVar("In", bound=Incoming)
Out = TypeVar("Out", bound=Outgoing)
In_co = TypeVar("In_co", bound=Incoming, covariant=True)
Out_co = TypeVar("Out_co", bound=Outgoing, covariant=True)


@dataclass(frozen=True, slots=True)
class Routes(Generic[In_co, Out_co]):
    """The profiles that serve one mailbox; an owner may have all of them at once.

    `reads` reads the mailbox, `listens` is handed its mail, `forwards` is a forward mailbox to which its owner may
    forward mail, `sends` carries what the owner sends. `broken` are those that would, and do not run.
    """

    reads: In_co | None
    listens: In_co | None
    forwards: In_co | None
    sends: Out_co | None
    broken: tuple[ServedProfile, ...] = ()

    @property
    def incoming(self) -> Sequence[In_co]:
        """Those that bring the owner's mail in."""
        return [one for one in (self.reads, self.listens, self.forwards) if one is not None]

    @property
    def all(self) -> Sequence[In_co | Out_co]:
        """All of them."""
        return [*self.incoming, *([] if self.sends is None else [self.sends])]


class RouteTable(Generic[In, Out]):
    """Finds the profiles that serve a mailbox, past those that are `broken` and do not run."""

    def __init__(self, incoming: Iterable[In], outgoing: Iterable[Out], broken: Iterable[ServedProfile] = ()) -> None:
        incoming, broken = list(incoming), list(broken)
        # Of equally exact patterns the first is found: that of a profile which runs.
        self.reads = PatternTable(chain(_read(incoming), _withheld(_read(broken))))
        self.listens = PatternTable(chain(_handed(incoming), _withheld(_handed(broken))))
        self.forwards = PatternTable(chain(_forwarded(incoming), _withheld(_forwarded(broken))))
        self.sends = PatternTable(chain(_sent(outgoing), _withheld(_sent(broken))))
        ways = (_read, _handed, _forwarded, _sent)
        self._broken = [PatternTable(way(broken)) for way in ways] if broken else []

    def find(self, mailbox: str) -> Routes[In, Out]:
        """Find the profiles that serve a mailbox."""
        reads, listens = self.reads.find(mailbox), self.listens.find(mailbox)
        forwards, sends = self.forwards.find(mailbox), self.sends.find(mailbox)
        if not self._broken:
            return Routes(reads, listens, forwards, sends)
        nobody = [one is None for one in (reads, listens, forwards, sends)]
        broken = (table.find(mailbox) for table in compress(self._broken, nobody))
        return Routes(reads, listens, forwards, sends, tuple(one for one in broken if one is not None))


def _read(incoming: Iterable[In]) -> Iterator[tuple[str, In]]:
    return ((owner, one) for one in incoming if not one.listens for owner in one.owners)


def _handed(incoming: Iterable[In]) -> Iterator[tuple[str, In]]:
    return ((owner, one) for one in incoming if one.listens for owner in one.owners)


def _forwarded(incoming: Iterable[In]) -> Iterator[tuple[str, In]]:
    return ((pattern, one) for one in incoming for pattern in one.forwarders)


def _sent(outgoing: Iterable[Out]) -> Iterator[tuple[str, Out]]:
    return ((sender, one) for one in outgoing for sender in one.senders)


def _withheld(entries: Iterable[tuple[str, ServedProfile]]) -> Iterator[tuple[str, None]]:
    return ((pattern, None) for pattern, _ in entries)
