"""Whether an address is named, in text that people and machines wrote: as a whole, and not as the end of another one.

`mail@x.example` is not named by `a_mail@x.example`, nor by `mail@x.example.net`; but by `<MAIL@X.example>`, in a URL
(`mail%40x.example`), in HTML (`mail&#64;x.example`), as a return path (`bounce-mail=x.example@list.example`), and with
its domain in punycode.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from router.model import normalize

# PostgreSQL's regular expressions (ARE). Letters of Latin, Greek and Cyrillic may belong to an address; others, such as
# a quotation mark, stand beside it. What is escaped, in JSON or in a URL, ends with a letter or digit, too.
_OTHERS: Final = "0-9A-Za-z\u00c0-\u024f\u0370-\u04ff"
_BEFORE: Final = rf"(?:(?<![{_OTHERS}._+~%-])|(?<=\\[bfnrt])|(?<=%[0-9A-Fa-f][0-9A-Fa-f]))"
_BEFORE_RETURN: Final = rf"(?<![{_OTHERS}._~%])"
_AFTER: Final = rf"(?![{_OTHERS}]|[.-][{_OTHERS}])"
_AT: Final = ("@", "%40", "&#64;", "&#x40;", "\uff20")
_RETURN_AT: Final = "="


@dataclass(frozen=True, slots=True)
class Named:
    """How an address may be written. `pattern` is for PostgreSQL's `~*`; in lower case, all that matches has `part`."""

    address: str
    pattern: str = field(init=False)
    part: str = field(init=False)
    _locals: tuple[str, ...] = field(init=False)
    _domains: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        local, _, domain = self.address.rpartition("@")
        # JSON and arrays escape what a quoted local part has.
        locals_ = tuple(dict.fromkeys((local, _escaped(local), quote(local).lower())))
        domains = tuple(dict.fromkeys((domain, _punycode(domain), quote(domain).lower())))
        of_local, of_domain, at = map(_any_of, (locals_, domains, _AT))
        pattern = (
            f"{_BEFORE}{of_local}{at}{of_domain}{_AFTER}|{_BEFORE_RETURN}{of_local}{_RETURN_AT}{of_domain}{_AFTER}"
        )
        alike = [one[0] for one in (locals_, domains) if len(one) == 1]
        for name, value in (
            ("pattern", pattern),
            ("part", max(alike, key=len, default="")),
            ("_locals", locals_),
            ("_domains", domains),
        ):
            object.__setattr__(self, name, value)

    def in_text(self, text: str) -> bool:
        """Whether a text names it."""
        text = text.lower()
        return any(
            _stands_alone(text, start, start + len(form), is_return=at == _RETURN_AT)
            for at in (*_AT, _RETURN_AT)
            for form in (f"{local}{at}{domain}" for local in self._locals for domain in self._domains)
            for start in _found(text, form)
        )

    def in_bytes(self, content: bytes) -> bool:
        """Whether bytes name it, as UTF-8."""
        return self.in_text(content.decode("utf-8", "replace"))

    @property
    def longest(self) -> int:
        """Bytes that one way to write it may take, with what stands beside it."""
        return 4 * (max(map(len, self._locals)) + max(map(len, self._domains)) + 12)


def _found(text: str, form: str) -> Iterator[int]:
    start = text.find(form)
    while start >= 0:
        yield start
        start = text.find(form, start + 1)


def _stands_alone(text: str, start: int, end: int, *, is_return: bool) -> bool:
    before, after = text[max(0, start - 3) : start], text[end : end + 2]
    if after and (_is_other(after[0]) or (after[0] in ".-" and len(after) > 1 and _is_other(after[1]))):
        return False
    if not before:
        return True
    if is_return:
        return not (_is_other(before[-1]) or before[-1] in "._~%")
    is_escape = before[-2:-1] == "\\" and before[-1] in "bfnrt"
    is_in_url = before[0] == "%" and len(before) == 3 and all(one in "0123456789abcdef" for one in before[1:])
    return is_escape or is_in_url or not (_is_other(before[-1]) or before[-1] in "._+~%-")


def _is_other(character: str) -> bool:
    return (
        (character.isascii() and character.isalnum())
        or "\u00c0" <= character <= "\u024f"
        or "\u0370" <= character <= "\u04ff"
    )


def _punycode(domain: str) -> str:
    labels = []
    for label in domain.split("."):
        coded = label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
        labels.append(coded if normalize(f"a@{coded}") == f"a@{label}" else label)
    return ".".join(labels)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _any_of(texts: Sequence[str]) -> str:
    return "(?:" + "|".join(map(_literal, texts)) + ")"


def _literal(text: str) -> str:
    """Write text as a regular expression; the server's locale may know no capitals but those of ASCII."""
    return "".join(
        one if one.isascii() and one.isalnum() else f"\\{one}" if one.isascii() else f"[{one}{one.upper()[:1]}]"
        for one in text
    )
