"""The text and the HTML of a message, of all the parts that a person is shown one below the other.

Apple Mail writes the text around a picture as two parts, a mailing list adds its footer as one more (RFC 2046 §5.1.3).
Of the parts of a multipart/alternative one is shown, so of each kind only those of one branch belong to a body.
"""

from html import escape

from router.parse.structure import Part

LONGEST = 5_000_000  # bytes of all the parts of a kind; what goes beyond stays an attachment

PLAIN, HTML = "text/plain", "text/html"


class Shown:
    """Gathers the bodies, part by part in their order."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {PLAIN: [], HTML: []}
        self._sizes = {PLAIN: 0, HTML: 0}
        self._branches: dict[tuple[str, int], int] = {}  # the branch taken, by kind and alternative

    @property
    def text(self) -> str | None:
        """The plain text, None where there is none."""
        return _joined(self._texts[PLAIN])

    @property
    def html(self) -> str | None:
        """The HTML, None where there is none."""
        return _joined(self._texts[HTML])

    def takes(self, part: Part, size: int) -> bool:
        """Whether a part of `size` bytes belongs to a body: the first of its kind, or one shown below the others."""
        kind = part.media_type
        if kind not in self._texts:
            return False
        if not self._texts[kind]:
            return True
        same = all(self._branches.get((kind, one), branch) == branch for one, branch in part.branches)
        return part.shown and same and self._sizes[kind] + size <= LONGEST

    def add(self, part: Part, text: str, size: int) -> None:
        """Add the text of a part to its body. Plain text below HTML belongs to the HTML as well.

        Where there is no other plain text, it belongs to the HTML alone.
        """
        kind = part.media_type
        self._sizes[kind] += size
        self._branches |= {(kind, one): branch for one, branch in part.branches}
        if kind == PLAIN and self._texts[HTML] and part.shown and not self._is_instead_of_html(part):
            if text.strip():
                lines = escape(text, quote=False).replace("\n", "<br>\n")
                self._texts[HTML].append(f"<div>{lines}</div>")
            if not any(one.strip() for one in self._texts[PLAIN]):
                return
        self._texts[kind].append(text)

    def _is_instead_of_html(self, part: Part) -> bool:
        return any((HTML, one) in self._branches for one, _ in part.branches)


def _joined(texts: list[str]) -> str | None:
    """Join texts, each on lines of its own."""
    if not texts:
        return None
    return "".join([*(text if text.endswith("\n") else text + "\n" for text in texts[:-1]), texts[-1]])
