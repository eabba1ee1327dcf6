"""A POP3 server's refusals, and which error each makes: by response code (RFC 2449 §8, RFC 3206), else by its words."""

import poplib
import re
from collections.abc import Mapping, Sequence

from transports.errors import Permanent, Temporary, TransportError, Unauthorized

_CODE = re.compile(r"\[([^\s\]]++)[^\]]*\]")
_LASTING_CODES = {"AUTH", "SYS/PERM"}
_PASSING_CODES = {"IN-USE", "LOGIN-DELAY", "SYS/TEMP"}
_PASSING_WORDS = re.compile(r"\block|in use|busy|another session|too many|throttl|try again|temporar", re.IGNORECASE)


class Refused(Exception):
    """The server answered -ERR; `words` are its own, with the response code before them."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words

    @property
    def code(self) -> str:
        """The response code's name, or nothing."""
        match = _CODE.match(self.words)
        return match[1].upper() if match else ""

    @property
    def passing(self) -> bool:
        """Whether it goes away by itself, as a lock of another mail program does."""
        if self.code in _LASTING_CODES:
            return False
        return self.code in _PASSING_CODES or _PASSING_WORDS.search(self.words) is not None

    def error(
        self, refused: str, capabilities: Mapping[str, Sequence[str]], otherwise: type[Permanent] = Permanent
    ) -> TransportError:
        """Make the error; `refused` says who did not do what."""
        told = f"{refused}: {self.words}"
        if self.passing:
            seconds = "".join(capabilities.get("LOGIN-DELAY", ())[:1])
            return Temporary(told, float(seconds) if self.code == "LOGIN-DELAY" and seconds.isdecimal() else None)
        if self.code == "AUTH":
            return Unauthorized(told)
        return Permanent(told) if self.code == "SYS/PERM" else otherwise(told)

    def without(self, secret: str) -> "Refused":
        """Return it for an error's text, should the server repeat what it was told."""
        return Refused(self.words.replace(secret, "…")) if secret else self


def as_refusal(error: BaseException) -> Refused | None:
    """Return the server's refusal, where the error is one; poplib has its own errors in text, the server's in bytes."""
    if isinstance(error, poplib.error_proto) and error.args and isinstance(error.args[0], bytes):
        return Refused(error.args[0].removeprefix(b"-ERR").decode("utf-8", "replace").strip())
    return error if isinstance(error, Refused) else None
