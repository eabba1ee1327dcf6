"""HTML as a flat run of tags and texts, in time that grows with its length alone, whatever it is.

Libraries build a tree, and each has input for which that takes minutes: 100,000 nested elements, 60,000 attributes,
a comment opened 20,000 times. Here there is no tree: `tokens` follows the tokeniser of the WHATWG (HTML §13.2.5), and
`shallow` writes HTML anew that every parser reads in the same way: closed, quoted, and nested no deeper than told.
"""

import re
from collections import Counter
from collections.abc import Iterator
from html import escape, unescape
from string import ascii_letters
from typing import NamedTuple

_TEXT_AND_TAG = re.compile(
    r"""([^<]*+)<(/?)([a-zA-Z][^\s/>]*+)
        ((?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+|(?=>)))?+)*+)>""",
    re.VERBOSE,
)
_ATTRIBUTE = re.compile(
    r"""([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"'][^\s>]*+)|(?=>|$)))?+""", re.VERBOSE
)
_ODD = frozenset("!?/" + ascii_letters)  # what after a "<" makes it more than a character
_NO_TAGS = re.compile(r"(?:<(?![!?/a-zA-Z]))++")
_COMMENT_END = re.compile(r"--!?>")
_NAME = re.compile(r"[a-z][a-z0-9]*")
_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9-]*")
_MOST_ATTRIBUTES = 40

# Their content is not HTML; only that of the last three is shown.
_RAW = ("script", "style", "title", "iframe", "noembed", "noframes", "textarea", "xmp", "plaintext")
_RAW_SHOWN = frozenset(_RAW[-3:])
_RAW_END = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _RAW}
# Languages of their own: left out with all that is in them.
_FOREIGN = frozenset({"svg", "math", "template"})


def words(text: str) -> frozenset[str]:
    """Read a set of names, with spaces between."""
    return frozenset(text.split())


VOID = words("area base br col embed hr img input link meta param source track wbr")
BLOCK = words(
    "address article aside blockquote body center dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6"
    " header hr html li main nav ol p pre section table tbody tfoot thead tr ul"
)
_KNOWN = VOID | BLOCK | words("a abbr b big em font i img s small span strike strong sub sup td th u")

# Elements whose end is rarely written: what begins ends these (HTML §13.1.2.4).
_ENDS: dict[str, frozenset[str]] = {name: frozenset({"p"}) for name in BLOCK}
_ENDS |= {name: frozenset({"p", "td", "th"}) for name in ("td", "th")}
_ENDS |= {"tr": frozenset({"p", "td", "th", "tr", "colgroup"})}
_ENDS |= {name: _ENDS["tr"] | words("tbody thead tfoot") for name in ("tbody", "thead", "tfoot")}
_ENDS |= {name: frozenset({"p", "dt", "dd"}) for name in ("dt", "dd")}
_ENDS |= {"li": frozenset({"p", "li"}), "option": frozenset({"option"})}


# Elements that may hold only rows and cells. A parser moves anything else before the table, piece by piece, and seeks
# the place each time: 5 s for 150,000 pieces. So each run of such pieces gets a cell.
_TABLE = words("table tbody thead tfoot tr")
_OF_TABLE = words("tbody thead tfoot tr td th caption colgroup col")
_DEEPEST_TABLE = 4  # levels: body, row and cell are to fit in


class Tag(NamedTuple):
    """A tag: its name in lower case, whether it is an end, and its attributes as they are written."""

    name: str
    end: bool
    written: str

    @property
    def attributes(self) -> dict[str, str]:
        """Its attributes, decoded; of those written twice the first counts."""
        attributes: dict[str, str] = {}
        for found in _ATTRIBUTE.finditer(self.written):
            name = found[1].lower()
            if name not in attributes and _ATTRIBUTE_NAME.fullmatch(name):
                attributes[name] = unescape(found[2] or found[3] or found[4] or "")
                if len(attributes) == _MOST_ATTRIBUTES:
                    break
        return attributes


def tokens(html: str, names: frozenset[str] | None = None) -> Iterator[Tag | str]:  # noqa: C901  # a call for each tag would double its time
    """Yield tags, or only those of these names, and decoded texts.

    Comments, scripts, styles and foreign languages are left out.
    """
    foreign: list[str] = []
    position, length = 0, len(html)
    while position < length:
        found = _TEXT_AND_TAG.match(html, position)
        if found is None:
            start = html.find("<", position)
            text, position = (
                (html[position:], length) if start < 0 else (html[position:start], _after_oddity(html, start))
            )
            if text and not foreign:
                yield unescape(text) if "&" in text else text
            if start >= 0 and html[start + 1 : start + 2] not in _ODD and not foreign:
                yield html[start:position]
            continue
        position = found.end()
        text, slash, written, attributes = found.groups()
        if text and not foreign:
            yield unescape(text) if "&" in text else text
        name = written.lower()
        if name in _RAW_END:
            if slash:
                continue
            end = _RAW_END[name].search(html, position)
            if name in _RAW_SHOWN and not foreign:
                yield "\n" + unescape(html[position : end.start() if end else length]) + "\n"
            position = end.start() if end else length
        elif name in _FOREIGN:
            if not slash:
                foreign.append(name)
            elif foreign and foreign[-1] == name:
                foreign.pop()
        elif not foreign and (name in names if names else name in _KNOWN or _NAME.fullmatch(name)):
            yield Tag(name, bool(slash), "" if slash else attributes)


def _after_oddity(html: str, start: int) -> int:
    """Say where reading goes on after a "<" that begins no whole tag."""
    following = html[start + 1 : start + 2]
    if html.startswith("<!--", start):
        if html.startswith((">", "->"), start + 4):
            return html.index(">", start) + 1
        end = _COMMENT_END.search(html, start + 4)
        return end.end() if end else len(html)
    if following in {"!", "?"} or (following == "/" and not html[start + 2 : start + 3].isalpha()):
        return html.find(">", start) + 1 or len(html)
    if following in _ODD:
        return len(html)  # a tag that never ends
    more = _NO_TAGS.match(html, start)
    return more.end() if more else start + 1


def shallow(html: str, deepest: int) -> str:
    """Write HTML anew: every element closed where its parent ends, tags nested deeper than told left out."""
    writer = _Writer(deepest)
    for token in tokens(html):
        if isinstance(token, str):
            writer.text(token)
        elif token.end:
            writer.end(token.name)
        else:
            writer.begin(token)
    writer.close(len(writer.open))
    return "".join(writer.written)


class _Writer:
    """Writes elements, and knows which are open: their names, and whether their tags were written."""

    def __init__(self, deepest: int) -> None:
        self.written: list[str] = []
        self.open: list[tuple[str, bool]] = []
        self._counts: Counter[str] = Counter()
        self._depth = 0
        self._deepest = deepest

    def text(self, text: str) -> None:
        if not text.isspace():
            self._leave_table()
        self.written.append(escape(text, quote=False))

    def _leave_table(self) -> None:
        """Begin a cell for content that may not stand in a table."""
        if self.open and self.open[-1][0] == "colgroup":
            self.close(1)
        if self.open and self.open[-1][0] in _TABLE:
            self.begin(Tag("td", end=False, written=""))

    def begin(self, tag: Tag) -> None:
        ends = _ENDS.get(tag.name)
        while ends and self.open and self.open[-1][0] in ends:
            self.close(1)
        if tag.name not in _OF_TABLE:
            self._leave_table()
        is_void, fits = tag.name in VOID, self._depth < self._deepest - _DEEPEST_TABLE * (tag.name == "table")
        if fits or is_void:
            pairs = [f' {name}="{escape(value)}"' for name, value in tag.attributes.items()]
            self.written.append(f"<{tag.name}{''.join(pairs)}>")
        if not is_void:
            self.open.append((tag.name, fits))
            self._counts[tag.name] += 1
            self._depth += fits

    def end(self, name: str) -> None:
        if self._counts[name]:
            while self.open[-1][0] != name:
                self.close(1)
            self.close(1)

    def close(self, count: int) -> None:
        for _ in range(count):
            name, was_written = self.open.pop()
            self._counts[name] -= 1
            if was_written:
                self._depth -= 1
                self.written.append(f"</{name}>")
