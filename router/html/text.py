"""A text made of an HTML body, for mail that has no plain one: what a person would read, without its looks.

Ours, in one pass over the tags, since it stands in the way of every HTML-only mail: 20 KB take inscriptis and html2text
16 to 20 ms, and 80 KB of unclosed comments 3.5 s. Links and images are not written out: the HTML is kept beside.
"""

import re

from router.html.markup import BLOCK, Tag, tokens, words

LONGEST = 400_000  # characters of HTML that are looked at, so that it takes well under a second

_SPACES = re.compile(r"[ \t\r\n\f]+")
_UNEVEN = re.compile(r"[\t\r\n\f]|  ")
_BLANK_LINES = re.compile(r"\n{3,}")
_APART = frozenset({"p", "ul", "ol", "dl", "table", "blockquote", "pre", *(f"h{level}" for level in range(1, 7))})
_TELLING = BLOCK | words("br td th")  # the tags that make a difference to a text
_DEEPEST_QUOTE = 10


def html_to_text(html: str) -> str:
    """Make a text: paragraphs apart, items as "- ", cells apart by a tab, quotes behind "> " as in mail."""
    writer = _Writer()
    for token in tokens(html[:LONGEST], _TELLING):
        if isinstance(token, Tag):
            writer.tag(token)
        else:
            writer.text(token)
    return writer.whole()


class _Writer:
    """Gathers lines. White space is collapsed but in `pre`; line breaks wait for the text that follows them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line: list[str] = []
        self._space = ""
        self._breaks = 0  # lines to begin before the next text: 1 a new one, 2 after an empty one
        self._quotes = 0
        self._written_quotes = 0  # those of the last line
        self._preformatted = 0

    def tag(self, tag: Tag) -> None:
        name, step = tag.name, -1 if tag.end else 1
        if name == "br":
            self._end_line(keep=True)
            return
        if name in {"td", "th"}:
            if self._line and not tag.end:
                self._space = "\t"
            return
        self._end_line()
        if self._breaks < 2:
            self._breaks = 2 if name in _APART else 1
        if name == "blockquote":
            self._quotes = max(0, self._quotes + step)
        elif name == "pre":
            self._preformatted = max(0, self._preformatted + step)
        elif name == "li" and not tag.end:
            self._begin_line()
            self._line.append("- ")
        elif name == "hr" and not tag.end:
            self._begin_line()
            self._line.append("---")
            self._end_line()

    def text(self, text: str) -> None:
        if self._preformatted:
            first, *rest = text.replace("\r\n", "\n").split("\n")
            self._write(first)
            for line in rest:
                self._end_line(keep=True)
                self._write(line)
            return
        words = _SPACES.sub(" ", text) if _UNEVEN.search(text) else text
        if words.startswith(" ") and self._line:
            self._space = self._space or " "
        if words := words.strip(" "):
            self._write(words)
            self._space = " " if text[-1] in " \t\r\n\f" else ""

    def whole(self) -> str:
        self._end_line()
        text = _BLANK_LINES.sub("\n\n", "\n".join(self._lines)).strip("\n")
        return text + "\n" if text else ""

    def _write(self, text: str) -> None:
        if not text:
            return
        if not self._line:
            self._begin_line()
            self._space = ""
        if self._line[-1:] != ["- "]:
            self._line.append(self._space)
        self._space = ""
        self._line.append(text)

    def _begin_line(self) -> None:
        self._end_line()
        if self._breaks == 2 and self._lines:
            self._lines.append(_prefix(min(self._quotes, self._written_quotes)).rstrip())
        self._breaks = 0

    def _end_line(self, *, keep: bool = False) -> None:
        line = "".join(self._line).rstrip(" \t\u00a0") if self._line else ""
        if line or keep:
            self._lines.append((_prefix(self._quotes) + line).rstrip(" ") if self._quotes else line)
            self._written_quotes = self._quotes
        self._line.clear()
        self._space = ""


def _prefix(quotes: int) -> str:
    return "> " * min(quotes, _DEEPEST_QUOTE)
