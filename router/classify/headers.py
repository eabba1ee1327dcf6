"""The headers of a message, read only when they are asked for: most of them never are."""

from router.parse.headers import raw_text, read_parameters, unfold
from router.parse.text import clean_line

_LONGEST = 10_000


class Headers:
    """Gives the values of headers by lower-case name."""

    def __init__(self, headers: tuple[tuple[str, bytes], ...]) -> None:
        self._values: dict[str, list[bytes]] = {}
        self._parameters: dict[str, tuple[str, dict[str, str]]] = {}
        for name, value in headers:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def all(self, name: str) -> list[str]:
        """Give every value of a header, the topmost first, each on one line."""
        if name not in self._values:
            return []
        return [clean_line(unfold(raw_text(value[:_LONGEST]))) for value in self._values[name]]

    def first(self, name: str) -> str:
        """Give the topmost value of a header; empty if there is none."""
        return next(iter(self.all(name)), "")

    def count(self, name: str) -> int:
        """Count how often a header is there."""
        return len(self._values.get(name, ()))

    def parameters(self, name: str) -> tuple[str, dict[str, str]]:
        """Read a header such as Content-Type: its value in lower case and its parameters."""
        if name not in self._parameters:
            values = self._values.get(name)
            self._parameters[name] = read_parameters(values[0]) if values else ("", {})
        return self._parameters[name]
