"""Dates as mail programs write them above a forward, in the language of who forwards: "27. Okt. 2021 um 09:31 Uhr"."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from router.parse.headers import read_date

_RFC = re.compile(r"\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d")
_TIME = re.compile(r"(?<![\d.:+-])(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?!\d|[.:]\d)\s*([ap])?\.?m?", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})\s?[-/.年]\s?(\d{1,2})\s?[-/.月]\s?(\d{1,2})(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})\s?[-/.]\s?(\d{1,2})\s?[-/.]\s?(\d{4}|\d{2})(?!\d)")
_DAY_MONTH = re.compile(r"(?<!\d)(\d{1,2})(?!\d)\.?\s*(?:(?:de|of) \s*)?([^\W\d_]{3,})")
_MONTH_DAY = re.compile(r"(?<![^\W\d_])([^\W\d_]{3,})\.?\s+(\d{1,2})(?!\d|[:.]\d)")
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)(\.?)")
_ZONE = re.compile(r"(?:(?:GMT|UTC)\s?)?([+-])(\d{1,2}):?(\d{2})?\s*$|\b([A-ZČ]{3,5})\s*$")
_LONGEST = 200

# The hours by which the zones that programs name are ahead of UTC.
_ZONES = {
    "UTC": 0, "GMT": 0, "BST": 1, "CET": 1, "MEZ": 1, "SEČ": 1, "CEST": 2, "MESZ": 2, "SELČ": 2, "EET": 2, "OEZ": 2,
    "EEST": 3, "OESZ": 3, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}  # fmt: skip

# What the months begin with. The longest that fits counts.
_MONTHS = [
    "jan ian ene gen jän sty led янв січ oca tammi jaan",
    "feb fév fev lut úno фев лют şub helmi veeb",
    "mar mär maa márc bře мар бер",
    "apr abr avr kwi dub апр кві nis huhti ápr",
    "mai maj may mag mei máj kvě мая май тра touko",
    "jun juin giu cze červ iun jún juuni июн чер haz kesä",
    "jul juil lug lip červenc iul júl juuli июл лип tem heinä",
    "aug aou aoû ago sie srp авг сер ağu elo",
    "sep set wrz zář szept сен вер eyl syys",
    "oct okt out ott paź říj окт жов eki loka",
    "nov noi lis ноя лис kas marras",
    "dec déc dez dic des det gru pro дек гру ara joulu",
]
_STEMS = {stem: number for number, stems in enumerate(_MONTHS, 1) for stem in stems.split()}
# Croatian has months of its own, some with the names that other Slavs give to others; it writes a dot behind the year.
_CROATIAN = ["sij", "velj", "ožu", "tra", "svi", "lip", "srp", "kol", "ruj", "lis", "stu", "pro"]
_CROATIAN_STEMS = {stem: number for number, stem in enumerate(_CROATIAN, 1)}


def read_written_date(text: str, zone: tzinfo | None) -> datetime | None:
    """Read a date with its time; None if it cannot be read. Without a zone of its own it is taken to be in `zone`."""
    text = text.replace("\xa0", " ").replace("\u202f", " ").strip()[:_LONGEST]
    if _RFC.match(text):
        return read_date(text.encode())
    time = _time(text)
    if time is None:
        return None
    (hour, minute, second), meridian, rest = time
    day = _numeric_day(rest, american=bool(meridian)) or _named_day(rest)
    if day is None:
        return None
    if meridian:
        hour = hour % 12 + (12 if meridian == "p" else 0)
    year, month, number = day
    try:
        return datetime(year, month, number, hour, minute, second, tzinfo=_zone(text) or zone or UTC)
    except ValueError:
        return None


def _time(text: str) -> tuple[tuple[int, int, int], str, str] | None:
    """Find the last time in a text; also returns the text without it."""
    found = None
    for found in _TIME.finditer(text):  # noqa: B007  # the last is wanted
        pass
    if found is None:
        return None
    rest = text[: found.start()] + " " + text[found.end() :]
    return (int(found[1]), int(found[2]), int(found[3] or 0)), (found[4] or "").lower(), rest


def _numeric_day(text: str, *, american: bool) -> tuple[int, int, int] | None:
    if found := _YEAR_FIRST.search(text):
        return int(found[1]), int(found[2]), int(found[3])
    if found := _YEAR_LAST.search(text):
        first, second, year = int(found[1]), int(found[2]), int(found[3])
        month, day = (first, second) if (american and first <= 12) or second > 12 else (second, first)
        return (year if year > 99 else 2000 + year), month, day
    return None


def _named_day(text: str) -> tuple[int, int, int] | None:
    year = _YEAR.search(text)
    if year is None:
        return None
    stems = _CROATIAN_STEMS if year[2] else _STEMS
    for tried in (stems, _STEMS):
        for found in _DAY_MONTH.finditer(text):
            if month := _month(found[2], tried):
                return int(year[1]), month, int(found[1])
        for found in _MONTH_DAY.finditer(text):
            if month := _month(found[1], tried):
                return int(year[1]), month, int(found[2])
    return None


def _month(word: str, stems: dict[str, int]) -> int | None:
    word = word.lower()
    return next((stems[word[:length]] for length in range(len(word), 1, -1) if word[:length] in stems), None)


def _zone(text: str) -> tzinfo | None:
    found = _ZONE.search(text)
    if found is None:
        return None
    if found[4]:
        return timezone(timedelta(hours=_ZONES[found[4]])) if found[4] in _ZONES else None
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    if ahead >= timedelta(hours=24):
        return None
    return timezone(ahead if found[1] == "+" else -ahead)
