"""What an IMAP server answered to one command, and which error that makes."""

import re
from dataclasses import dataclass

from transports.errors import Permanent, Temporary, TransportError
from transports.imap.decode import Response

_CODE = re.compile(r"\[([^\s\]]+)(?: ([^\]]*))?\]")
_BACKOFF = re.compile(r"backoff time: (\d{1,12}) milliseconds", re.IGNORECASE)
_TIMING = re.compile(r" \(\d+\.\d+(?: \+ \d+\.\d+)* secs\)\.?$")
_PASSING_CODES = {"UNAVAILABLE", "INUSE", "LIMIT", "THROTTLED", "SERVERBUG"}
_PASSING_WORDS = re.compile(r"too many|throttl|try again|temporar", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered to one command: OK, NO or BAD, its own words, and the data before it."""

    result: str
    words: str
    data: tuple[Response, ...]

    @property
    def ok(self) -> bool:
        """Whether the command was done."""
        return self.result == "OK"

    @property
    def code(self) -> str:
        """The response code's name (RFC 5530), or nothing."""
        return response_code(self.words)[0]

    @property
    def passing(self) -> bool:
        """Whether the refusal is one that goes away by itself."""
        return self.code in _PASSING_CODES or _PASSING_WORDS.search(self.words) is not None

    def refusal(self, refused: str, otherwise: type[Permanent] = Permanent) -> TransportError:
        """Make the error for a reply that is not OK; `refused` says who did not do what."""
        words = f"{refused}: {self.words or self.result}"
        if not self.passing:
            return otherwise(words)
        return Temporary(words, backoff(self.words))

    def require(self, refused: str) -> "Reply":
        """Return itself if it is OK; raises Temporary or Permanent."""
        if not self.ok:
            raise self.refusal(refused)
        return self


def server_text(line: bytes) -> str:
    """Return the server's own words in the line that ends a reply, without the seconds that Dovecot puts after them."""
    return _TIMING.sub("", line.decode(errors="replace"))


def backoff(words: str) -> float | None:
    """Return the seconds after which the server wants us to try again, where it says so (Exchange does)."""
    match = _BACKOFF.search(words)
    return int(match[1]) / 1000 if match else None


def response_code(words: str) -> tuple[str, str]:
    """Return name and value of the response code that `words` begin with (RFC 3501 §7.1); empty without one."""
    match = _CODE.match(words)
    return (match[1].upper(), match[2] or "") if match else ("", "")
