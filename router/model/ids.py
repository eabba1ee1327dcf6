"""What messages, rows and addresses are known by: the one form in which each is stored and compared."""

import hashlib
import random
import re
import string
import time
import unicodedata
from uuid import UUID

from router.model.lower_case import lower_case

KEY_VERSION = 1

# Controls, blanks and Default_Ignorable_Code_Point of Unicode; but some scripts join letters with two of the latter.
_HIDDEN = re.compile(
    "[\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200b\u200e\u200f"
    "\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<![\u0600-\u1cff])[\u200c\u200d]"
)

# Letters, digits, + - _ and dots of full width, which are no others (RFC 8265 §3.3, UTS 46).
_PLAIN_WIDTH = {ord(plain) + 0xFEE0: plain for plain in f"{string.ascii_letters}{string.digits}+-_."}
_PLAIN_WIDTH_OF_DOMAIN = _PLAIN_WIDTH | {0x3002: ".", 0xFF61: "."}

_WORDS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^".\\]*)(?:\.(?:"(?:[^"\\]|\\.)*"|[^".\\]*))*', re.DOTALL)
_QUOTING = re.compile(r'\\(.)|"', re.DOTALL)
_NEEDS_NO_QUOTES = re.compile("[-!#$%&'*+/0-9=?a-z^_`{|}~.\xa1-\U0010ffff]+")


def uuid7() -> UUID:
    """Make an id that grows with time, so that new rows lie together in their index (RFC 9562 §5.7)."""
    # Asking the system would give way to other threads each time, and an id is no secret.
    value = (time.time_ns() // 1_000_000) << 80 | random.getrandbits(80)
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def normalize(address: str) -> str:
    """Bring an address into the one form in which it is stored and compared; `crm.normalise` does the same in SQL."""
    address = address.strip(" \t\r\n")
    if address.isascii() and '"' not in address and "xn--" not in address.lower():
        return address.lower()
    local, at, domain = address.rpartition("@")
    if not at:
        return _composed(address)
    local = _unquoted(_composed(local.translate(_PLAIN_WIDTH)))
    labels = [_unicode_label(label) for label in domain.translate(_PLAIN_WIDTH_OF_DOMAIN).split(".")]
    return _composed(f"{local}@{'.'.join(labels)}")


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", lower_case(text))  # lower case can compose anew


def _unquoted(local: str) -> str:
    """Take away quotation marks that a local part does not need (RFC 5322 §3.2.4)."""
    if '"' not in local or not _WORDS.fullmatch(local):
        return local
    bare = _QUOTING.sub(lambda found: found[1] or "", local)
    return bare if _NEEDS_NO_QUOTES.fullmatch(bare) else local


def _unicode_label(label: str) -> str:
    if not label.lower().startswith("xn--"):
        return label
    try:
        decoded = label[4:].lower().encode("ascii").decode("punycode")
        decoded.encode("utf-8")  # surrogates are no characters
    except UnicodeError:
        return label
    # What is ASCII, in upper case or decomposed is never written in punycode (RFC 5891 §5.4): `xn--client-` is no other
    # name of `client`, nor `xn--bcher-2pa` (`bÜcher`) one of `bücher`, but a stranger's domain. What nobody sees is not
    # decoded: people would take `xn--client-gf0c` for `client`.
    stored = _composed(decoded.translate(_PLAIN_WIDTH_OF_DOMAIN))
    return label if decoded.isascii() or decoded != stored or _HIDDEN.search(decoded) else decoded


def message_id_hash(message_id: str) -> bytes:
    """Hash a Message-ID (without brackets) to 16 bytes: long ids do not fit an index."""
    return hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).digest()[:16]


def local_id_hash(message_id: str) -> bytes:
    """Hash a Message-ID without its host: some relays tell only what they put on the left of the @."""
    return message_id_hash(message_id.rpartition("@")[0] + "@")


def conversation_hash(conversation: UUID) -> bytes:
    """Hash a conversation of Exchange's to 16 bytes, as no Message-ID hashes (NUL is in none)."""
    return message_id_hash(f"\0thread-index:{conversation.hex}")
