"""Where the quotes, the forwarded mail and the signatures of a text are, so that pages and searches can fold them.

Ours: mail-parser-reply, the library that is kept, must be told the languages, and told fourteen of them finds just
what was written in 16 of the 64 mails that the tests read; this finds it in all. One pass over the lines; what is
looked at around a line is bounded. Nothing is taken out of the text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from router.model import Mark
from router.parse.dated import dated_address
from router.parse.mark_words import (
    BEGIN_FORWARDED,
    FORWARDED,
    FROM,
    FURTHER,
    ON,
    ORIGINAL,
    SENT_FROM,
    SENT_FROM_END,
    SUBJECT,
    VERB,
    WEEKDAY,
    WROTE,
)

Kind = Literal["quote", "forward", "signature"]

LONGEST = 100_000  # characters that are looked at
_MOST = 1_000  # marks

_COLON = "[:\uff1a]"
# They look at lines in lower case: half the time that re.IGNORECASE takes.
_WROTE = re.compile(WROTE)
# What an attribution begins with where it begins with a date: "On", "Am", "Le", ...; or the date itself.
_OPENER = re.compile(
    rf"[\s>*\-]*(?:(?:{ON})\s(?=.{{0,60}}\d)|在|於|于|{WEEKDAY}"
    r"|\d{1,4}[./\-\s]{1,5}\S{1,12}[./\-\s]{1,5}\d{1,4}\b|\d{4}年)",
)
_ON = re.compile(rf"[\s>*\-]*(?:{ON})\s(?=.{{0,60}}\d)")
_SENTENCE_END = re.compile(r"[^\W\d]{3}[.!?] $")
_NAMED = re.compile(r"^[^<>\n]{1,100}<[^<>\s]{1,200}@[^<>\s]{1,200}>")
_DATED = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?: \d{1,2}:\d\d)?(?: gmt[+-]\d\d:?\d\d)? \S[^:\n]{0,150}:?$")
_ORIGINAL = re.compile(rf"[\s>*]*[-_]{{2,}}[ \t]*(?:{ORIGINAL})[ \t]*[-_]{{2,}}[\s*]*$")
_FORWARDED = re.compile(rf"[\s>*]*(?:[-_]{{2,}}[ \t]*(?:{FORWARDED})[^\n]{{0,1000}}$|{BEGIN_FORWARDED})")
_FROM = re.compile(rf"[\s>*_]*(?:{FROM})[*_]*[ \t\u00a0]*{_COLON}")
_SUBJECT = re.compile(rf"[\s>*_]*(?:{SUBJECT})[*_]*[ \t\u00a0]*{_COLON}")
_FURTHER = re.compile(rf"[\s>*_]*(?:{FURTHER}|{SUBJECT})[*_]*[ \t\u00a0]*{_COLON}")
_SENT_FROM = re.compile(rf"[\s<(*_]*(?:{SENT_FROM})")
_VERB = re.compile(rf"\b(?:{VERB})\b")
_SENT_FROM_END = re.compile(rf"(?:{SENT_FROM_END})\s*$")
_DASHES = re.compile(r"\s*(?:-- ?|—|__{4,}|--{4,})\s*$")
_RULE = re.compile(r"[\s>]*+(?:\*++[\s>]++)?+[_=\-*~#]{5,}+[\s*]*$")
_WORDS_BETWEEN_DASHES = re.compile(r"[\s>*]*+-{3,}+[^-\n]{1,60}+-{3,}+\s*+$")
_BETWEEN_DASHES = re.compile(r"[\s>*]*+-{3,}+[^:\n]{1,150}+: ?-{3,}+\s*+$")
_NOTES = re.compile(  # Ann Smith ---21.11.2026 10:15:32---Dear Bob, …
    r"[^\n-]{1,100}+-{3,}+\d{1,4}[./-]\d{1,2}[./-]\d{2,4} \d{1,2}[:.]\d\d(?:[:.]\d\d)?(?: [ap]m)?-{3,}"
)
# What every line has on which something may begin. Most lines of a text have none of it, and need no further look.
_SIGN = re.compile(r"[\d:\uff1a<>|在於于_\-]")
_WEEKDAY = re.compile(rf"[\s*]*(?:{WEEKDAY})")
_QUOTED = re.compile(r"\s{0,3}(?:>|\|(?= |$)|[A-Z][a-z]{0,15}>(?: |$))")


def find_marks(text: str, *, forwarded: bool = False) -> tuple[Mark, ...]:
    """Find the marks of a text whose lines end with LF, in order and without overlap. All other lines are the author's.

    `forwarded`: the subject says so; then the quote at the end is what was forwarded, as Outlook and Apple Mail write.
    """
    written = text[:LONGEST].split("\n")
    lines = _lower(text)
    quoted = _quoted(written) if ">" in text or "|" in text else [False] * len(written)
    kinds: list[Kind | None] = [None] * len(lines)
    number = 0
    while number < len(lines):
        number = _mark(lines, quoted, kinds, number) if _may_begin(lines[number]) else number + 1
    _mark_signatures(lines, kinds)
    marks = _ranges(written, kinds)
    if forwarded and marks and marks[-1].kind == "quote" and not text[marks[-1].end : LONGEST].strip():
        marks[-1] = marks[-1]._replace(kind="forward")
    return tuple(marks)[:_MOST]


def _quoted(written: Sequence[str]) -> list[bool]:
    return [_QUOTED.match(line) is not None for line in written]


def forwards(text: str) -> bool:
    """Whether a text, whose lines end with LF, holds forwarded mail: a line that says so, or headers in words."""
    lines = _lower(text)
    return any(
        _FORWARDED.match(line) or _ORIGINAL.match(line) or _is_header_block(lines, at) for at, line in enumerate(lines)
    )


def _lower(text: str) -> list[str]:
    return text[:LONGEST].replace("İ", "i").lower().split("\n")  # in lower case İ would be two characters


def _may_begin(line: str) -> bool:
    return _SIGN.search(line) is not None or _WEEKDAY.match(line) is not None


def _mark(lines: Sequence[str], quoted: Sequence[bool], kinds: list[Kind | None], number: int) -> int:
    """Mark what begins on a line; return the line to go on with."""
    line = lines[number]
    if not line or line.isspace():
        return number + 1
    if _FORWARDED.match(line):
        return _fill(kinds, number, len(lines), "forward")
    if _ORIGINAL.match(line) or _is_wrote_between_dashes(line) or _is_header_block(lines, number):
        return _fill(kinds, _rule_above(lines, number), len(lines), "quote")
    if (after := _attribution(lines, quoted, number)) is not None:
        start = _rule_above(lines, number)
        following = _next_written(lines, after)
        if following < len(lines) and quoted[following]:
            kinds[following] = "quote"
            return _fill(kinds, start, following, "quote")
        return _fill(kinds, start, _end_of_quote(lines, start), "quote")
    if line.lstrip()[0] == ">" or (quoted[number] and _beside_quote(quoted, kinds, number)):
        kinds[number] = "quote"
    return number + 1


def _beside_quote(quoted: Sequence[bool], kinds: Sequence[Kind | None], number: int) -> bool:
    """Whether a line that begins with a name and ">", or with "|", has another beside it: alone it may be anything."""
    return bool((number and kinds[number - 1]) or (number + 1 < len(quoted) and quoted[number + 1]))


def _end_of_quote(lines: Sequence[str], number: int) -> int:
    """Find the end of a quote without marks.

    That is the end of the text or, where nothing stands above the quote, of an older marked quote that text follows.
    """
    if any(line.strip() for line in lines[:number]):
        return len(lines)
    last = next((at for at in range(len(lines) - 1, number, -1) if lines[at].startswith(">")), None)
    return last + 1 if last and any(line.strip() for line in lines[last + 1 :]) else len(lines)


def _attribution(lines: Sequence[str], quoted: Sequence[bool], number: int) -> int | None:
    """Find the end of an attribution ("On … wrote:") that begins on this line; None if none does."""
    line = lines[number]
    if len(line) > 400:
        return None
    end = number + 1 if _NOTES.match(line) else dated_address(lines, number)
    return _wrote(lines, quoted, number) if end is None else end


def _wrote(lines: Sequence[str], quoted: Sequence[bool], number: int) -> int | None:
    """Find the end of an attribution that says who wrote, in words, or has a date that only a program writes."""
    line = lines[number]
    if _DATED.match(line.strip()):
        following = _next_written(lines, number + 1)
        return number + 1 if "gmt" in line or (following < len(lines) and quoted[following]) else None
    opener = _OPENER.match(line)
    if not opener and not _NAMED.match(line):
        return None
    said = ""
    for after, more in enumerate(lines[number : number + 7], number + 1):
        said += more.strip()[:400] + " "
        end = said.rstrip(" -*_")
        if not end.endswith((":", "\uff1a")) and not (opener and more.rstrip().endswith("---")):
            if len(said) > 500 or _ends_sentence(said, lines[after : after + 1]):
                return None
            continue
        begun_below = opener and any(_begins_below(lines, number, below) for below in range(number + 1, after))
        return after if _WROTE.search(said) and not begun_below else None
    return None


def _begins_below(lines: Sequence[str], number: int, below: int) -> bool:
    """Whether an attribution begins on a line below: what looked like one above is a sentence ("Thursday suits us")."""
    if not lines[below - 1].strip():
        return _OPENER.match(lines[below]) is not None
    return _WEEKDAY.match(lines[number]) is not None and _ON.match(lines[below]) is not None


def _ends_sentence(said: str, below: Sequence[str]) -> bool:
    """Whether a sentence ends here. The "févr." of a date, with the year on the next line, is no end."""
    return _SENTENCE_END.search(said) is not None and any(line.strip()[:1].isalpha() for line in below)


def _is_wrote_between_dashes(line: str) -> bool:
    """Whether it is "-----Ann Smith wrote: -----", as Notes writes."""
    return _BETWEEN_DASHES.match(line[:200]) is not None and _WROTE.search(line[:200]) is not None


def _is_header_block(lines: Sequence[str], number: int) -> bool:
    """Whether headers in words begin here: a From, and two more; one is a subject or has an address.

    GMX, T-Online and Hotmail begin with another one than From. Then the From has to have an address.
    """
    first = lines[number][:200]
    begins = _FROM.match(first) is not None
    if not begins and not _FURTHER.match(first):
        return False
    below = lines[number + 1 : number + 10]
    further = [line for line in below if _FURTHER.match(line[:200])]
    if begins:
        return len(further) >= 2 and any(
            "@" in line[:1_000] or _SUBJECT.match(line[:200]) for line in (first, *further)
        )
    return bool(further) and any(_FROM.match(line[:200]) and "@" in line[:1_000] for line in below)


def _rule_above(lines: Sequence[str], number: int) -> int:
    """Return the line of the rule (dashes, with words between or without) above a quote; or the line itself."""
    rule = above = number
    while above > max(0, number - 3) and (not lines[above - 1].strip() or _is_separator(lines[above - 1])):
        above -= 1
        rule = above if lines[above].strip() else rule
    return rule


def _is_separator(line: str) -> bool:
    return _RULE.match(line) is not None or (len(line) < 100 and _WORDS_BETWEEN_DASHES.match(line) is not None)


def _mark_signatures(lines: Sequence[str], kinds: list[Kind | None]) -> None:
    """Mark each signature, from its dashes to the quote that follows or the end; and lines like "Sent from"."""
    written = next((number for number, line in enumerate(lines) if line.strip() and kinds[number] is None), None)
    rules = Counter(line.strip() for line, kind in zip(lines, kinds, strict=True) if kind is None and _is_rule(line))
    in_signature = False
    for number, line in enumerate(lines):
        if kinds[number] is not None:
            in_signature = False
            continue
        if not in_signature and number != written and _is_rule(line):
            # A rule in the middle of a text is no signature's, nor is one of several: those are between sections.
            in_signature = line == "-- " or (rules[line.strip()] == 1 and _is_near_end(lines, kinds, number))
        if in_signature or _is_sent_from(line):
            kinds[number] = "signature"


def _is_rule(line: str) -> bool:
    return len(line) < 100 and _DASHES.match(line) is not None


def _is_near_end(lines: Sequence[str], kinds: Sequence[Kind | None], number: int) -> bool:
    rest = [line for line, kind in zip(lines[number + 1 : number + 12], kinds[number + 1 :], strict=False) if not kind]
    return len(rest) < 11 and sum(bool(line.strip()) for line in rest) <= 8


def _is_sent_from(line: str) -> bool:
    if len(line) > 250:
        return False
    says_end = not line.isascii() and _SENT_FROM_END.search(line) is not None
    return says_end or (_SENT_FROM.match(line) is not None and not _VERB.search(line))


def _next_written(lines: Sequence[str], number: int) -> int:
    while number < len(lines) and not lines[number].strip():
        number += 1
    return number


def _fill(kinds: list[Kind | None], start: int, end: int, kind: Kind) -> int:
    kinds[start:end] = [kind] * (end - start)
    return end


def _ranges(lines: Sequence[str], kinds: Sequence[Kind | None]) -> list[Mark]:
    """Join marked lines of one kind; empty lines between them belong to them."""
    marks: list[Mark] = []
    position = 0
    empty = True  # since the last mark
    for line, kind in zip(lines, kinds, strict=True):
        after = position + len(line) + 1
        if kind is not None:
            if marks and empty and marks[-1].kind == kind:
                marks[-1] = marks[-1]._replace(end=after)
            else:
                marks.append(Mark(position, after, kind))
            empty = True
        elif line.strip():
            empty = False
        position = after
    if marks and marks[-1].end == position:
        marks[-1] = marks[-1]._replace(end=position - 1)  # the last line has no LF
    return marks
