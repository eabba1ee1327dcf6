"""Whether a machine must not answer it, though a person may have written it (RFC 3834 §2)."""

from typing import Final

from router.classify.headers import Headers
from router.model import Message

_NO_REPLY: Final = ("noreply", "donotreply", "nepasrepondre", "keineantwort")
_SEPARATORS: Final = str.maketrans("", "", "-_.")
_SUPPRESSED: Final = frozenset({"all", "autoreply", "oof"})


def find_no_answer(message: Message, headers: Headers) -> str | None:
    """Say why a machine must not answer it; None: it may, for all that its headers tell."""
    authors = message.of("from")
    if len(authors) != 1 or not message.sender:
        return "it has not one author"
    local_part = message.sender.rpartition("@")[0].lower()
    if local_part.translate(_SEPARATORS).startswith(_NO_REPLY):
        return "its sender wants no answer"
    if local_part.startswith("owner-") or local_part.endswith(("-owner", "-request", "-bounces")):
        return "its sender is that of a list"
    for name in ("x-auto-response-suppress", "x-loop"):
        values = {value.strip().lower() for line in headers.all(name) for value in line.split(",")}
        if values and (name == "x-loop" or values & _SUPPRESSED):
            return f"the header {name}"
    return next((f"the header {name}" for name, _ in message.headers if name.startswith("list-")), None)
