"""When a message that a server does not give up is a poison message, and not the victim of its server or network.

A poison message makes the server drop the connection or fall silent (Dovecot drops it where a file is torn), and must
not stop its folder. But a server in trouble, or a network that loses large packets (MTU), does the same to sound
messages, and a sound message must not become a dead letter. So it takes proof:

1. The message is asked for once more, alone. If it comes, or is gone, all is well.
2. If it fails again, a few other messages are asked for. If one of them comes, the message is poison. After silence
   only messages that fill packets as well prove anything.
3. Without proof, Temporary is raised, and the folder is tried again later.

Where there is no other message to ask, a server that hung up is taken at its word. A message that stays silent there
is borne for PATIENCE: until then any message that arrives is the other one that gives proof. Where there are others
and none comes, IMAP waits for as long as that lasts, since the account's other folders are read meanwhile; POP3 has
one folder only, and gives the message up after PATIENCE.
"""

from datetime import timedelta

from transports.base import Temporary

FULL_PACKETS = 16 << 10
"""Bytes that cannot be sent without packets of full size, jumbo frames (9,000 bytes) included."""

OTHERS = 3
"""How many others are asked for, as they may be poison too."""

PATIENCE = timedelta(days=1)
"""How long a message is borne without proof, from its arrival. It outlasts an outage of the server."""


def least_bytes(size: int, *, silent: bool) -> int:
    """Return how large another message must be to prove that one of this size is poison."""
    return min(size, FULL_PACKETS) if silent else 0


def unproven(message: str, cause: object) -> Temporary:
    """Make the error for a message that does not come, where nothing proves that it is poison."""
    return Temporary(
        f"{message} does not come, nor does another like it: {cause}; "
        "does the network lose large packets (MTU), or is the server in trouble?"
    )
