"""One command on its way: what is said for it, and what the server answers to it."""

from collections import deque
from collections.abc import Iterable

from aioimaplib import Command

from transports.imap.decode import Response
from transports.imap.reply import Reply, server_text


class Exchange(Command):
    """`answers` go to the server's continuation requests, in their order.

    Raises ValueError for arguments that no command line can hold.
    """

    def __init__(self, name: str, tag: str, *arguments: str, uid: bool = False, answers: Iterable[str] = ()) -> None:
        super().__init__(name, tag, *arguments, prefix="UID" if uid else "")
        self.line = str(self)
        self._answers = deque(answers)
        self._responses: list[Response] = []

    @property
    def reply(self) -> Reply:
        """What came of it, once the server has ended it."""
        return Reply(self.response.result, server_text(self.response.lines[-1]), tuple(self._responses))

    def take(self, response: Response) -> None:
        """Take an untagged response. What comes while we idle is not kept: nobody reads it again."""
        if self.name != "IDLE":
            self._responses.append(response)

    def next_answer(self) -> str:
        """Return what is said next; "*" ends an exchange in which nothing is left to say (RFC 3501 §6.2.2)."""
        return self._answers.popleft() if self._answers else "*"

    def end(self, result: bytes, words: bytes) -> None:
        """Take the tagged response."""
        self.close(words, result.decode(errors="replace").upper())
