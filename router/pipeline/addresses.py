"""Address lists of real mail (RFC 5322 §3.4): groups, quotes, comments, encoded names, and whatever else people write.

`email.utils.getaddresses` answers one odd address with an empty list, and differs between patch releases of Python.
"""

import re
from collections.abc import Iterator

from router.model import normalise
from router.pipeline.headers import decode_words, raw_text, unfold
from router.pipeline.text import clean_line

_LONGEST = 320  # RFC 3696: 64 before the @, 255 after it; longer ones would not fit an index
_MOST = 1_000
_TOKEN = re.compile(
    r"""  "(?:[^"\\]|\\.)*"?                # a quoted string
        | =\?[^?\s]+\?[bq]\?[^?]*\?=    # an encoded word
        | <(?:"(?:[^"\\]|\\.)*"|[^">])*>?  # an address in angle brackets
        | [(),;:]
        | [^"<(),;:=]+
        | .
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_SPACES = re.compile(r"\s+")


def read_addresses(raw: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """Read a field's addresses as (name, normalised address), in order; also what could not be read."""
    text = unfold(raw_text(raw))
    if "@" not in text and "=?" in text:
        text = decode_words(text)  # some programs encode the whole list
    found: list[tuple[str, str]] = []
    odd = 0
    for name, written in _entries(text):
        address = _readable(written)
        if address is None:
            odd += 1
            continue
        if len(found) == _MOST:
            return found, [f"more than {_MOST} addresses: the rest was left out"]
        found.append((name, address))
    if len(found) > 1:
        words = [entry for entry in found if "@" not in entry[1]]
        found = [entry for entry in found if "@" in entry[1]] or found[:1]
        odd += len(words)
    return found, [f"{odd} of the addresses could not be read"] if odd else []


def _readable(written: str) -> str | None:
    address = _SPACES.sub("", clean_line(decode_words(written))) if '"' not in written else clean_line(written)
    address = normalise(address.removeprefix("mailto:").strip("'<>"))
    if not address or len(address) > _LONGEST or ("@" not in address and _SPACES.search(written.strip())):
        return None
    return address


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, address as written) for each entry of the list; groups are taken apart."""
    if text.count("(") != text.count(")"):
        text = text.replace("(", " ").replace(")", " ")
    words: list[str] = []
    comments: list[str] = []
    angle: str | None = None
    depth = 0
    for token in (*_TOKEN.findall(text), ","):
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= depth > 0
        elif depth > 0 and token != ",":
            comments.append(token)
        elif token in {",", ";"} and depth == 0:
            if angle is not None:
                yield _name(words or comments), angle
            elif written := "".join(words).strip():
                yield _name(comments), written
            words, comments, angle = [], [], None
        elif token == ":" and angle is None and "@" not in "".join(words):
            words.clear()  # what came before is the name of a group
        elif token.startswith("<") and angle is None:
            angle = token[1:].removesuffix(">")
            angle = angle.rpartition(":")[2] if angle.startswith("@") else angle  # an old route (RFC 5322 §4.4)
        elif depth == 0:
            words.append(token)


def _name(words: list[str]) -> str:
    plain = (re.sub(r"\\(.)", r"\1", word[1:].removesuffix('"')) if word.startswith('"') else word for word in words)
    return clean_line(_SPACES.sub(" ", decode_words("".join(plain))))
