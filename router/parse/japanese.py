"""Japanese as mail has it: with the characters of vendors, such as ① and ㈱, that its charsets do not define.

They stand in rows of JIS X 0208 that the standard leaves empty, where Windows and mobile carriers put them: the rows
that code page 932 has. So where a codec stops, the two bytes are read as that code page reads them. What is in no code
page costs one character, and not the text.
"""

import codecs
import re
from functools import cache

_VENDORS = "crm-email-router-vendors"
_ESCAPE = 0x1B
_KANA = re.compile("[\u3041-\u30fe]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_LEAST_KANA = 0.15  # of the characters beyond ASCII: Japanese prose has half, Chinese none
_FEWEST_KANA = 2
_MOST_BROKEN = 0.02

JIS = "iso2022_jp_ext"
CODECS = frozenset({JIS, "euc_jp", "cp932"})
"""The codecs of Japanese mail, by Python's names."""


def decode_japanese(raw: bytes, codec: str) -> str:
    """Decode with one of `CODECS`; what cannot be read becomes U+FFFD, character by character."""
    return raw.decode(codec, "replace" if codec == "cp932" else _VENDORS)


def is_japanese(text: str) -> bool:
    """Whether a text, decoded as Japanese, is that: kana are frequent, and hardly anything is broken."""
    beyond = len(_BEYOND_ASCII.findall(text))
    return (
        len(_KANA.findall(text)) >= max(_FEWEST_KANA, _LEAST_KANA * beyond)
        and text.count("\ufffd") <= _MOST_BROKEN * beyond
    )


@cache
def _of_vendors(row: int, cell: int) -> str:
    """Read a character as code page 932 does; `row` and `cell` are the bytes of JIS X 0208, 0x21 to 0x7E."""
    lead = (row - 0x21) // 2 + (0x81 if row < 0x5F else 0xC1)
    trail = cell + 0x7E if row % 2 == 0 else cell + (0x1F if cell < 0x60 else 0x20)
    return bytes((lead, trail)).decode("cp932", "replace")[:1]


def _vendors(error: UnicodeError) -> tuple[str, int]:
    """Read on where a codec stopped (`codecs.register_error`)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    pair = error.object[error.start : error.start + 2]
    if pair[0] == _ESCAPE:
        return "\ufffd", error.start + 1
    in_jis = len(pair) == 2 and all(0x21 <= byte <= 0x7E for byte in pair)
    in_euc = len(pair) == 2 and all(0xA1 <= byte <= 0xFE for byte in pair) and error.encoding.startswith("euc")
    if in_jis or in_euc:
        return _of_vendors(pair[0] & 0x7F, pair[1] & 0x7F), error.start + 2
    return "\ufffd", error.start + 1


codecs.register_error(_VENDORS, _vendors)
