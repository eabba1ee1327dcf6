"""The errors of a transport: each says what to do next, and keeps the server's own words.

    TransportError
    ├── Temporary           try again later, after `retry_after` seconds if the server named a time
    │   └── Unreachable     no connection: name, network, TLS
    ├── Permanent           will not work before somebody changes something
    │   ├── Unauthorized    the login was refused
    │   └── Missing         this folder is not there (or no longer); the account's other folders are not concerned
    └── CursorLost          the place to go on from means nothing any more: list from the beginning

Foreign exceptions (of a library, the socket, TLS) end at the transport's edge.
"""

from transports.base import storable


class TransportError(Exception):
    """Base of all that a transport raises; the text is for an admin and holds the server's own words, `storable`."""

    def __init__(self, words: str) -> None:
        super().__init__(storable(words))


class Temporary(TransportError):
    """Try again later; `retry_after` in seconds where the server named a time."""

    def __init__(self, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Unreachable(Temporary):
    """There is no connection: the name, the network or TLS failed, or it was lost."""


class Permanent(TransportError):
    """It will not work before somebody changes something."""


class Unauthorized(Permanent):
    """The server refused the login."""


class Missing(Permanent):
    """The folder is not there; the other folders of its account are not concerned."""


class CursorLost(TransportError):
    """The place to go on from means nothing any more: list from the beginning."""
