"""Which profiles serve an address: in each of four ways, the one with the most exact pattern that matches it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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
    forward mail, `sends` carries what the owner sends.
    """

    reads: In_co | None
    listens: In_co | None
    forwards: In_co | None
    sends: Out_co | None

    @property
    def incoming(self) -> Sequence[In_co]:
        """Those that bring the owner's mail in."""
        return [one for one in (self.reads, self.listens, self.forwards) if one is not None]

    @property
    def all(self) -> Sequence[In_co | Out_co]:
        """All of them."""
        return [*self.incoming, *([] if self.sends is None else [self.sends])]


class RouteTable(Generic[In, Out]):
    """Finds the profiles that serve a mailbox."""

    def __init__(self, incoming: Iterable[In], outgoing: Iterable[Out]) -> None:
        incoming = list(incoming)
        self.reads = PatternTable((owner, one) for one in incoming if not one.listens for owner in one.owners)
        self.listens = PatternTable((owner, one) for one in incoming if one.listens for owner in one.owners)
        self.forwards = PatternTable((pattern, one) for one in incoming for pattern in one.forwarders)
        self.sends = PatternTable((sender, one) for one in outgoing for sender in one.senders)

    def find(self, mailbox: str) -> Routes[In, Out]:
        """Find the profiles that serve a mailbox."""
        return Routes(
            self.reads.find(mailbox),
            self.listens.find(mailbox),
            self.forwards.find(mailbox),
            self.sends.find(mailbox),
        )
