"""What strangers write, as a page shows it: nothing of it is taken for what it is not.

Characters that turn the text around them are taken out, and those that override the order of letters are written out.
In an address what nobody sees is written out, and a domain whose letters can look like others' is shown as the network
has it, too: anna@\u0430\u0440\u0440\u04cf\u0435.com \u2039xn--80ak6aa92e.com\u203a. Elsewhere such letters are just
another language.

Attributes stay as they are, as forms send them.
"""

import re
import unicodedata
from typing import Final

_UNSEEN: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2065\u206a-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
_ENDS: Final = "\\s<>&;,:()\\[\\]\"'"  # of an address in a page's text
_DISGUISES: Final = re.compile(f"<[^>]*+|[\u202a-\u202e\u2066-\u2069]|@[^{_ENDS}]++|[{_UNSEEN}]++")
_IS_UNSEEN: Final = re.compile(f"[{_UNSEEN}]")
_BEGIN_OF_ADDRESS: Final = re.compile(f"[^{_ENDS}@]*@")
_LONGEST: Final = 64  # characters before the @ (RFC 5321 §4.5.3.1.1): so far at most each of them is looked after

_KNOWN_LETTERS: Final = re.compile("[\x00-\x7f\u00df-\u00f6\u00f8-\u0130\u0132-\u0137\u0139-\u017e]*")
"""Of Latin with its accents, but for those that look like a letter without one (\u0131, \u0138, \u017f)."""


def undisguised(html: str) -> str:
    """Show in a page's text what is in disguise there."""
    return html if html.isascii() else _DISGUISES.sub(_shown, html)


def _shown(found: re.Match[str]) -> str:
    text = found[0]
    match text[0]:
        case "<":
            return text
        case "@":
            return _domain(text)
        case "\u202d" | "\u202e":
            return _written_out(text)
        case _ if _IS_UNSEEN.match(text):
            # Beyond addresses they belong to emoji and to some languages, and bulk mail is full of them.
            return _all_written_out(text) if _BEGIN_OF_ADDRESS.match(found.string, found.end(), _end(found)) else text
        case _:
            return ""


def _end(found: re.Match[str]) -> int:
    return min(found.end() + _LONGEST, len(found.string))


def _domain(text: str) -> str:
    """Show @ and what follows it."""
    if text.isascii():
        return text
    written = _all_written_out(text)
    domain = text[1:].rstrip(".")
    if _KNOWN_LETTERS.fullmatch(domain) or not unicodedata.is_normalized("NFC", domain):
        return written
    labels = (one if one.isascii() else f"xn--{one.encode('punycode').decode()}" for one in domain.split("."))
    return f"{written} \u2039{'.'.join(labels)}\u203a"


def _all_written_out(text: str) -> str:
    return _IS_UNSEEN.sub(lambda one: _written_out(one[0]), text)


def _written_out(character: str) -> str:
    return f"\u2039{ord(character):X}\u203a"
