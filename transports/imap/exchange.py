"""One command on its way: what is said for it, and what the server answers to it."""

import base64
from collections.abc import Callable

from aioimaplib import Command

from transports.imap.decode import Response
from transports.imap.reply import Reply, server_text

Respond = Callable[[bytes], bytes | None]
"""What is said to a challenge of AUTHENTICATE, both without base64; None: nothing is left to say."""


class Exchange(Command):
    """`respond` answers the challenges of AUTHENTICATE.

    Raises ValueError for arguments that no command line can hold.
    """

    def __init__(self, name: str, tag: str, *arguments: str, uid: bool = False, respond: Respond | None = None) -> None:
        super().__init__(name, tag, *arguments, prefix="UID" if uid else "")
        self.line = str(self)
        self._respond = respond
        self.has_given_up = False
        self._responses: list[Response] = []

    @property
    def reply(self) -> Reply:
        """What came of it, once the server has ended it."""
        return Reply(self.response.result, server_text(self.response.lines[-1]), tuple(self._responses))

    def take(self, response: Response) -> None:
        """Take an untagged response. What comes while we idle is not kept: nobody reads it again."""
        if self.name != "IDLE":
            self._responses.append(response)

    def answer(self, challenge: bytes) -> str:
        """Return what is said to a challenge; "*" ends it where nothing is left to say (RFC 3501 §6.2.2)."""
        try:
            told = base64.b64decode(challenge, validate=True)
        except ValueError:
            told = b""  # words, in which some servers ask for the first response
        said = None if self._respond is None else self._respond(told)
        self.has_given_up = said is None
        return "*" if said is None else base64.b64encode(said).decode()

    def end(self, result: bytes, words: bytes) -> None:
        """Take the tagged response."""
        self.close(words, result.decode(errors="replace").upper())
