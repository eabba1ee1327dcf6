"""What a connection knows of its server, its login and the selected folder. No I/O: it is fed responses.

    CONNECTED ─▶ NONAUTH ─▶ AUTH ◀─▶ SELECTED     the greeting, the login, SELECT (RFC 3501 §3)
        └────────────────────▲                    a greeting of PREAUTH
        └─────────┴──────────┴─────────┴─▶ LOGOUT BYE, or the end of the connection

The commands that lead to AUTH and SELECTED set the stage themselves; the server tells all else.
"""

import re

from aioimaplib import AUTH, CONNECTED, LOGOUT, NONAUTH, SELECTED, STARTED

from transports.imap.decode import Response, vanished
from transports.imap.reply import response_code

_CODES_LIMIT = 100
_NUMBER = re.compile("[0-9]{1,20}")
_FOLDER_CODES = ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ", "PERMANENTFLAGS", "READ-ONLY", "READ-WRITE")


class State:
    """`stage` is one of those above; `capabilities` and `enabled` (RFC 5161) are in upper case.

    `codes` holds the last value of response codes such as UIDVALIDITY, `exists` how many messages the selected folder
    has. `news` is set when they have become more; the reader of it clears it.
    """

    def __init__(self) -> None:
        self.stage: str = STARTED
        self.capabilities: set[str] = set()
        self.enabled: set[str] = set()
        self.codes: dict[str, str] = {}
        self.exists = 0
        self.news = False

    @property
    def validity(self) -> str:
        """UIDVALIDITY of the selected folder; empty if it was not told."""
        return self.codes.get("UIDVALIDITY", "")

    @property
    def utf8(self) -> bool:
        """Whether names of folders are said in UTF-8 (RFC 6855)."""
        return "UTF8=ACCEPT" in self.enabled

    def number(self, code: str) -> int:
        """Return what a response code has told, such as UIDNEXT; 0 if it was not told, or is no number."""
        value = self.codes.get(code, "")
        return int(value) if _NUMBER.fullmatch(value) else 0

    def leave_folder(self) -> None:
        """Forget the selected folder: another will be."""
        self.stage = AUTH
        self.news = False
        for code in _FOLDER_CODES:
            self.codes.pop(code, None)

    def forget_offers(self) -> None:
        """Forget what was told in clear text, once TLS begins."""
        self.capabilities.clear()
        self.codes.clear()

    def take(self, response: Response) -> None:
        """Take an untagged response."""
        word, _, words = response[0][2:].partition(b" ")
        kind = word.upper()
        if self.stage == CONNECTED:
            self._take_greeting(kind, words)
        elif kind.isdigit():
            self._take_count(kind, words.strip().upper())
        elif kind in (b"OK", b"NO", b"BAD"):
            self.take_code(words)
        elif kind == b"CAPABILITY":
            self.capabilities = _names(words)
        elif kind == b"ENABLED":
            self.enabled |= _names(words)
        # What had vanished earlier is not counted in EXISTS.
        elif kind == b"VANISHED" and b"(EARLIER)" not in response[0].upper():
            self._take_expunged(sum(span.stop - span.start for span in vanished(response)))
        elif kind == b"BYE":
            self.stage = LOGOUT

    def take_code(self, words: bytes) -> None:
        """Take the response code before the words of a status response (RFC 3501 §7.1), tagged or not."""
        name, value = response_code(words.decode(errors="replace"))
        if name == "CAPABILITY":
            self.capabilities = set(value.upper().split())
        elif name and (name in self.codes or len(self.codes) < _CODES_LIMIT):
            self.codes[name] = value

    def _take_greeting(self, kind: bytes, words: bytes) -> None:
        self.stage = {b"OK": NONAUTH, b"PREAUTH": AUTH}.get(kind, LOGOUT)
        if self.stage != LOGOUT:
            self.take_code(words)

    def _take_count(self, number: bytes, kind: bytes) -> None:
        if kind == b"EXPUNGE":
            self._take_expunged(1)
        elif kind == b"EXISTS" and len(number) <= 10:
            if int(number) > self.exists and self.stage == SELECTED:
                self.news = True
            self.exists = int(number)

    def _take_expunged(self, count: int) -> None:
        self.exists = max(0, self.exists - count)


def _names(words: bytes) -> set[str]:
    return set(words.decode(errors="replace").upper().split())
