"""Lines above a quote that only say when and who: "sob., 21 lis 2026 o 10:15 Ann <ann@client.example>:".

Programs write them in every language, without a word for "wrote". Their shape tells: a date at the beginning, with a
year and a time, an address at the end, and a colon. Or the address comes first, and the date ends with the colon.
"""

import re
from collections.abc import Sequence

_MOST_LINES = 3
_LONGEST = 300
_BIDI = dict.fromkeys([0x200E, 0x200F, *range(0x202A, 0x202F)])
_FRAME = " \t\u00a0>*_\"'"
# "21.11.2026", "2026-11-21", "sob., 21 lis", "Saturday, November 21", "On Sat, 21 Nov"
_DATE = re.compile(r"(?:[^\W\d]{1,15}+[.,]{0,2}+ {1,2}+){0,3}+\d{1,4}(?!\d)")
_YEAR = re.compile(r"(?<!\d)(?:(?:19|20)\d\d(?!\d)|\d{1,2}[./-]\d{1,2}[./-]\d\d(?!\d))")
_TIME = re.compile(r"(?<![\d.])\d{1,2}[:.h]\d\d(?!\d|\.\d)")
_NAME_FIRST = re.compile(r"[^<>@\d:]{1,80}+<[^<>\s@]{1,100}+@[^<>\s@]{1,200}+>")


def dated_address(lines: Sequence[str], number: int) -> int | None:
    """Find the end of such a line, or two or three, that begins here; None if none does. Lines are in lower case."""
    if "@" not in "".join(lines[number : number + _MOST_LINES]):
        return None
    said = lines[number][:_LONGEST].translate(_BIDI).strip(_FRAME)
    begins, named = _DATE.match(said) is not None, _NAME_FIRST.match(said) is not None
    for after in range(number + 1, min(number + _MOST_LINES, len(lines)) + 1 if begins or named else 0):
        if len(said) > _LONGEST:
            break
        if said.endswith((":", "\uff1a")):
            return after if _is_dated(said[:-1], begins=begins, named=named) else None
        if after < len(lines):
            said = f"{said} {lines[after][:_LONGEST].translate(_BIDI).strip(_FRAME)}"
    return None


def _is_dated(said: str, *, begins: bool, named: bool) -> bool:
    if not (_YEAR.search(said) and _TIME.search(said)):
        return False
    words = said.rstrip(" >)]\"'").split()
    ends = bool(words) and "@" in words[-1][1:-1]
    return (begins and ends) or (named and _TIME.search(words[-1]) is not None)
