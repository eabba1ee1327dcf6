"""When a message that a server does not give up is a poison message, and not the victim of its server or network.

A poison message makes the server refuse it, drop the connection or fall silent (Dovecot drops it where a file is torn),
and must not stop its folder. But a server in trouble, or a network that loses large packets (MTU), does the same to
sound messages, and a sound message must not become a dead letter. So it takes proof, however the message is refused:

1. The message is asked for once more, alone. If it comes, or is gone, all is well.
2. If it fails again, a few other messages are asked for. If one of them comes, the message is poison. After silence
   only messages that fill packets as well prove anything.
3. Without proof, Temporary is raised, and the folder is tried again later.

A refusal that says that it will pass is borne for PATIENCE before it takes proof. Where there is no other message to
ask, the message is borne for PATIENCE: until then any message that arrives is the other one that gives proof. Where
there are others and none comes, IMAP waits for as long as that lasts, since the account's other folders are read
meanwhile; POP3 has one folder only, and gives the message up after PATIENCE. A file of a Maildir that cannot be read
has proof or none: the disk is waited for, for as long as it takes.
"""

import time
from datetime import timedelta

from transports.errors import Temporary

FULL_PACKETS = 16 << 10
"""Bytes that cannot be sent without packets of full size, jumbo frames (9,000 bytes) included."""

OTHERS = 3
"""How many others are asked for, as they may be poison too."""

PATIENCE = timedelta(days=1)
"""How long a message is borne without proof, from its first failure in this process. It outlasts most outages."""

_MOST = 10_000


class Patience:
    """Since when messages have failed, by account and place. It outlives the connections that fail with them."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, ...], float] = {}

    def is_over(self, *message: str) -> bool:
        """Whether a message that fails now has failed for PATIENCE. The first failure begins the time."""
        now = time.monotonic()
        while len(self._since) >= _MOST and message not in self._since:
            del self._since[next(iter(self._since))]
        return now - self._since.setdefault(message, now) > PATIENCE.total_seconds()

    def forget(self, *message: str) -> None:
        """Begin anew when the message fails next: it came, or is gone."""
        self._since.pop(message, None)


patience = Patience()
"""That of this process."""


def least_bytes(size: int, *, silent: bool) -> int:
    """Return how large another message must be to prove that one of this size is poison."""
    return min(size, FULL_PACKETS) if silent else 0


def unproven(message: str, cause: object) -> Temporary:
    """Make the error for a message that does not come, where nothing proves that it is poison."""
    return Temporary(
        f"{message} does not come, nor does another like it: {cause}; "
        "does the network lose large packets (MTU), or is the server in trouble?"
    )
