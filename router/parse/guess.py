"""Who a sender may be, where nobody knows: name and company, from display name, signature and address.

A guess for a person to look at: it is put into a form, never stored by itself. Where nothing is likely, it is empty.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from router.parse.guess_words import (
    FORMS,
    FORMS_BEFORE,
    KINDS,
    PARTICLES,
    ROLES,
    SECOND_LEVEL,
    SUFFIXES,
    TITLES,
)

Source = Literal["display name", "signature", "address", ""]

_MOST_LINES: Final = 12
_LONGEST: Final = 120  # characters of a name, or of a line that may hold one


_EASTERN_FORM: Final = re.compile(r"(?:株式会社|有限会社|合同会社|有限公司|股份公司|집단|주식회사|\(주\)|㈜|㈱)")

_SPLIT: Final = re.compile(r" (?:\||·|•|—|\u2013|-|/|@|at|bei|von|chez|from) ", re.IGNORECASE)
_VIA: Final = re.compile(r" via .*", re.IGNORECASE)  # the service that sent it is not who wrote it, nor its company
_IN_BRACKETS: Final = re.compile(r"^([^()\[\]]*)[(\[]([^()\[\]]*)[)\]]\s*$")
_PARTS: Final = re.compile(r"[|·•]")
_IN_LOCAL: Final = re.compile(r"[._\-]+")
_QUOTES: Final = "'\"\u201c\u201d\u201e\u2018\u2019"
_JOINTS: Final = ".-'\u2019"
_POINTS: Final = re.compile(r"[.,]")


@dataclass(frozen=True, slots=True)
class Guess:
    """Name and company, and from what each was guessed; empty where nothing is likely."""

    name: str = ""
    name_from: Source = ""
    company: str = ""
    company_from: Source = ""


def guess(display_name: str, address: str, signature: Sequence[str], *, is_public: bool, text: str = "") -> Guess:
    """Guess who a sender is. `signature` are its lines; `is_public`: anybody can have an address at that domain.

    `text` is what the sender wrote: where no signature is marked in it, it may end with one.
    """
    local, _, domain = address.rpartition("@")
    shown, shown_company = _read_display(display_name, address)
    lines = [line for line in (_plain(one) for one in signature[:_MOST_LINES]) if line and "@" not in line]
    signed = next((line for line in lines if _is_person(line)), "")
    below = [*lines, *_below_name(text, shown or _name_of(local))]
    signed_company = next((_company_in(line) for line in below if line != shown and _company_in(line)), "")
    name: tuple[str, Source] = next(
        (
            found
            for found in (
                (shown, "display name"),
                (signed, "signature"),
                (_name_of(local), "address"),
            )
            if found[0]
        ),
        ("", ""),
    )
    company: tuple[str, Source] = next(
        (
            found
            for found in (
                (signed_company, "signature"),
                (shown_company, "display name"),
                ("" if is_public else _company_of(domain), "address"),
            )
            if found[0]
        ),
        ("", ""),
    )
    return Guess(name[0], name[1], company[0], company[1])


def _below_name(text: str, name: str) -> list[str]:
    """Find the lines at the end of a text below its author's name, or a part of it, which stands alone in a line.

    A comma and what the author is may follow the whole name.
    """
    words = set(name.casefold().split())
    lines = [line for line in map(_plain, text.rstrip().splitlines()[-_MOST_LINES:]) if line]
    for n, line in enumerate(lines):
        named, comma, _ = line.partition(",")
        own = set(_POINTS.sub("", named).casefold().split())
        if own and (own == words or (own <= words and not comma)):
            return [one for one in lines[n + 1 :] if "@" not in one]
    return []


def _read_display(written: str, address: str) -> tuple[str, str]:
    """Read a display name as a person's, and the company it may name beside."""
    text = _VIA.sub("", _plain(written).strip(_QUOTES))
    if not text or ("@" in text and not _SPLIT.search(text)):
        return "", ""
    if text.casefold() in (address.casefold(), address.rpartition("@")[2].casefold()):
        return "", ""
    company = ""
    if bracketed := _IN_BRACKETS.match(text):
        text, company = bracketed[1].strip(), bracketed[2].strip()
    elif len(parts := _SPLIT.split(text, maxsplit=1)) == 2:
        text, company = parts[0].strip(), parts[1].strip()
    if _company_in(text) and not company:
        return "", text
    words = text.split()
    if len(words) < 4 and words and (words[0].casefold() in ROLES or words[-1].casefold() in ROLES):
        return "", company or " ".join(word for word in words if word.casefold() not in ROLES)
    return _person(text), company if not any(one.isdigit() for one in company) else ""


def _person(text: str) -> str:
    """Put a person's name in the order and the case in which it is spoken."""
    while "," in text and _POINTS.sub("", text.rpartition(",")[2]).strip().casefold() in SUFFIXES:
        text = text.rpartition(",")[0].strip()
    before, comma, after = text.partition(",")
    if comma and "," not in after:
        text = f"{after.strip()} {before.strip()}"
    words = text.split()
    while len(words) > 1 and _POINTS.sub("", words[0]).casefold() in TITLES:
        words = words[1:]
    shouted = [len(word) > 1 and word.isupper() for word in words]
    if len(words) == 2 and shouted == [True, False]:
        words.reverse()  # "KESTREL Lena"
    if text.islower():
        words[:1] = [word.capitalize() for word in words[:1]]  # "ben costa" has no particle
    return " ".join(_cased(word) for word in words)[:_LONGEST]


def _cased(word: str) -> str:
    letters = [one for one in word if one.isalpha()]
    if len(letters) < 2 or "." in word:
        return word
    if not (word.isupper() or word.islower()) or (word.casefold() in PARTICLES and word.islower()):
        return word
    return "-".join("'".join(part[:1].upper() + part[1:].lower() for part in one.split("'")) for one in word.split("-"))


def _is_person(line: str) -> bool:
    """Whether a line of a signature is the name of a person, and nothing else."""
    if len(line) > 60 or any(one.isdigit() for one in line) or _company_in(line) or line[-1] in ",:;!?":
        return False
    words = line.split()
    if len(words) == 1:
        # Names without spaces: in Chinese, Japanese, Korean.
        return 2 <= len(line) <= 5 and all("\u3400" <= one <= "\u9fff" or "\uac00" <= one <= "\ud7a3" for one in line)
    if not 2 <= len(words) <= 5 or any(not one.isalpha() and one not in _JOINTS for word in words for one in word):
        return False
    named = [word for word in words if word.casefold() not in PARTICLES]
    has_case = any(word[:1].lower() != word[:1].upper() for word in named)
    return len(named) >= 2 and (not has_case or all(word[:1].isupper() for word in named))


def _company_in(line: str) -> str:
    """Find a company's name in a line, known by its legal form or its kind."""
    for part in map(str.strip, _PARTS.split(line)):
        if not part or len(part) > _LONGEST or sum(one.isdigit() for one in part) > 3:
            continue
        words = [_POINTS.sub("", word).casefold() for word in part.split()]
        if _EASTERN_FORM.search(part):
            return part
        if 1 < len(words) <= 8 and (words[-1] in FORMS or words[0] in FORMS_BEFORE or _two(words) in FORMS):
            return part
        if 1 < len(words) <= 6 and part[:1].isupper() and any(word in KINDS for word in words):
            return part
    return ""


def _two(words: Sequence[str]) -> str:
    """Put the last words together, as of "Sp. z o.o." and "S. p. A."."""
    return "".join(words[-3:]) if len(words) > 3 and all(len(a) + len(b) < 5 for a, b in pairwise(words[-3:])) else ""


def _name_of(local: str) -> str:
    """Guess a name from what stands before the @: "lena.kestrel+shop" is "Lena Kestrel"."""
    local = local.split("+", 1)[0].strip('"')
    words = [word for word in _IN_LOCAL.split(local.strip("0123456789._-")) if word]
    words = [word.strip("0123456789") for word in words]
    if not words or len(words) > 4 or any(not word.isalpha() for word in words) or any(w in ROLES for w in words):
        return ""
    if len(words) == 1 and (len(words[0]) < 3 or len(words[0]) > 12):
        return ""
    return " ".join(f"{word.upper()}." if len(word) == 1 else _cased(word) for word in words)


def _company_of(domain: str) -> str:
    """Guess a company from a domain: "mail.kestrel-tours.co.uk" is "Kestrel Tours"."""
    labels = domain.split(".")
    if len(labels) < 2:
        return ""
    labels.pop()
    if len(labels) > 1 and (labels[-1] in SECOND_LEVEL or (len(labels[-1]) < 3 and len(labels) > 2)):
        labels.pop()
    words = [word for word in labels[-1].split("-") if word]
    if len(labels[-1]) < 2:
        return ""
    return " ".join(word.upper() if len(word) < 4 and word.isascii() else _cased(word) for word in words)


def _plain(text: str) -> str:
    return " ".join(text.replace("\ufffd", "").split())[:_LONGEST]
