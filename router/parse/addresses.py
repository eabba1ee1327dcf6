"""Address lists of real mail (RFC 5322 §3.4): groups, quotes, comments, encoded names, and whatever else people write.

`email.utils.getaddresses` answers one odd address with an empty list, and differs between patch releases of Python.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from router.model import normalize
from router.parse.headers import decode_words, raw_text, unescape, unfold
from router.parse.text import clean_line

_LONGEST = 320  # RFC 3696: 64 before the @, 255 after it; longer ones would not fit an index
MOST_ADDRESSES = 1_000
"""Of one kind in a message, such as To; more are not read."""
_TOKEN = re.compile(
    r"""  "(?:[^"\\]|\\.)*"?                # a quoted string
        | =\?[^?\s]+\?[bq]\?[^?]*\?=    # an encoded word
        | <(?:"(?:[^"\\]|\\.)*"?|[^">])*>?  # an address in angle brackets
        | [(),;:]
        | \\.
        | [^"<(),;:=\\]+
        | .
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
# What most programs write, `Ann Smith <ann@client.example>, "Smith, Bob" <bob@client.example>`: five times as fast.
_ATOM = r"[\w!#$%&*+/^`{|}~.-]"
_SIMPLE = re.compile(
    rf"""[ \t]*+
        (?: (?: "([^"\\]*)"[ \t]*+ | ([^"\\<>(),;:]*+) ) <({_ATOM}{{1,64}}@{_ATOM}{{1,255}})>
          | ({_ATOM}{{1,64}}@{_ATOM}{{1,255}}) )
        [ \t]*+ (?: , | \Z )""",
    re.VERBOSE | re.ASCII,
)
_COMMENT = re.compile(r"\([^()]*\)")
_BETWEEN = re.compile(r"([@.])")
_SPACED_DOT = re.compile(r"(?<!\s)\s+\.\s*(?=\w)")
_NOT_IN_ADDRESS = re.compile(r"[\s:;,()<>\[\]\\]")


def read_addresses(raw: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """Read a field's addresses as (name, normalized address), in order; also what could not be read."""
    text = unfold(raw_text(raw))
    if (simple := _read_simple(text)) is not None:
        return simple, []
    if "@" not in text and "=?" in text:
        text = decode_words(text)  # some programs encode the whole list
    found: list[tuple[str, str]] = []
    odd = 0
    for name, written in _entries(text):
        address = _readable(written)
        if address is None:
            odd += 1
        elif len(found) == MOST_ADDRESSES:
            return found, [f"more than {MOST_ADDRESSES} addresses: the rest was left out"]
        else:
            found.append((name, address))
    return found, [f"{odd} of the addresses could not be read"] if odd else []


def _read_simple(text: str) -> list[tuple[str, str]] | None:
    """Read a list without anything odd in it; None for any other."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        entry = _SIMPLE.match(text, position)
        if entry is None or len(found) == MOST_ADDRESSES:
            return None
        quoted, words, address, bare = entry.groups()
        found.append((_plain_name(quoted or words or ""), normalize(address or bare)))
        position = entry.end()
    return found


def _readable(written: str) -> str | None:
    """Make an address of an entry's text, or say that the text is no address."""
    if len(written) > 4 * _LONGEST:
        return None
    if '"' in written:
        address = normalize(clean_line(written))
        return address if len(address) <= _LONGEST else None
    words = _COMMENT.sub("", clean_line(decode_words(written)))
    address = "".join(piece.strip() for piece in _BETWEEN.split(words)).strip("'<> ").removeprefix("mailto:")
    local, _, domain = address.rpartition("@")
    literal = domain.startswith("[") and domain.endswith("]")
    if _NOT_IN_ADDRESS.search(local if literal else address):
        return None
    address = normalize(address)
    return address if 0 < len(address) <= _LONGEST else None


@dataclass(slots=True)
class _Entry:
    """One entry of the list: the text between two commas."""

    words: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    angle: str | None = None
    title: list[str] = field(default_factory=list)

    def read(self) -> list[tuple[str, str]]:
        """Return the address as written; several where the commas between them were forgotten."""
        if self.angle is not None:
            inner = self.angle[1:].removesuffix(">")
            inner = inner.rpartition(":")[2] if inner.startswith("@") else inner  # an old route (RFC 5322 §4.4)
            return [(_name(self.title or self.comments), inner)]
        written = "".join(self.words).strip()
        if len(written) <= 4 * _LONGEST:
            local, at, domain = written.partition("@")
            written = local + at + _SPACED_DOT.sub(".", domain)  # an old spacing (RFC 5322 §4.4)
        bare = [word for word in written.split() if "@" in word[1:-1]] if '"' not in written else []
        if len(bare) > 1:
            return [("", address) for address in bare]
        if bare:
            return [(_name([written.replace(bare[0], "")]) or _name(self.comments), bare[0])]
        return [(_name(self.comments), written)] if written else []


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, address as written) for each entry of the list; groups are taken apart."""
    entry = _Entry()
    word = ""  # before a comma, without an @: a local user, or the surname of "Smith, John <...>"
    for piece, is_comment in _pieces(text):
        if is_comment:
            entry.comments.append(piece)
        elif piece == ":" and entry.angle is None and not any("@" in word for word in entry.words):
            entry.words.clear()  # what came before is the name of a group
        elif piece in {",", ";"} and not (entry.words or entry.comments or entry.angle):
            continue
        elif piece in {",", ";"} or (piece.startswith("<") and entry.angle is not None):
            found, word = _joined(entry, word)
            yield from found
            entry = _Entry(angle=piece, title=entry.words) if piece.startswith("<") else _Entry()
        elif piece.startswith("<"):
            entry = _Entry(comments=entry.comments, angle=piece, title=entry.words)
        else:
            entry.words.append(piece)
    if word:
        yield "", word


def _joined(entry: _Entry, word: str) -> tuple[list[tuple[str, str]], str]:
    """Read an entry, below the word that waits for it; also the word that waits for the next one."""
    found: list[tuple[str, str]] = []
    for name, written in entry.read():
        whole = "@" in written or bool(entry.angle)  # a local user in brackets is no surname of the next entry
        if word and name and entry.angle and "@" in written:
            found.append((clean_line(f"{word}, {name}"), written))
        else:
            found += [("", word)] * bool(word)
            found += [(name, written)] * whole
        word = "" if whole else written
    return found, word


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the list's tokens and whether each is in a comment; the list ends with a comma."""
    tokens = _TOKEN.findall(text)
    balanced = tokens.count("(") == tokens.count(")")
    depth = 0
    for piece in tokens:
        if piece == "(":
            depth += balanced
        elif piece == ")":
            depth = max(0, depth - 1)
        else:
            yield piece, depth > 0
    yield ",", False


def _name(words: list[str]) -> str:
    plain = (unescape(word[1:].removesuffix('"')) if word.startswith('"') else word for word in words)
    return _plain_name("".join(plain))


def _plain_name(written: str) -> str:
    return clean_line(" ".join(decode_words(written).split()))
