"""Which folders a mailbox has and what each is for: LIST (RFC 3501 §7.2.2, RFC 6154), NAMESPACE (RFC 2342)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transports._folders import Found, with_uses
from transports.base import Folder, FolderUse
from transports.imap.connection import ImapConnection
from transports.imap.decode import Response, Value, status, values
from transports.imap.encode import can_be_said, seen_name

_USES: dict[str, FolderUse] = {
    "\\sent": "sent",
    "\\junk": "junk",
    "\\trash": "trash",
    "\\drafts": "drafts",
    "\\archive": "archive",
    "\\all": "all",
    # Views of what lies elsewhere (RFC 6154 §2, RFC 8457).
    "\\flagged": "other",
    "\\important": "other",
}
_LIST = re.compile(rb"\* LIST ", re.IGNORECASE)
_NAMESPACE = re.compile(rb"\* NAMESPACE ", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """One folder as LIST tells it."""

    name: str
    attributes: frozenset[str]
    separator: str

    @property
    def selectable(self) -> bool:
        """Whether it can hold messages, and exists."""
        return not self.attributes & {"\\noselect", "\\nonexistent"}

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders it lies in, from the outermost, and itself."""
        return tuple(self.name.split(self.separator)) if self.separator else (self.name,)

    @property
    def told(self) -> FolderUse:
        """What the server says that it is for."""
        return next((use for flag, use in _USES.items() if flag in self.attributes), "")


async def find_folders(imap: ImapConnection) -> Sequence[Folder]:
    """Return the folders of the mailbox's own that can be selected, INBOX first.

    One whose name nobody can say to the server (a control character, half a character) is left out.
    """
    # Servers that know RFC 6154 need not tell uses without being asked to.
    asked = imap.known.capabilities >= {"SPECIAL-USE", "LIST-EXTENDED"}
    reply = await imap.run("LIST", '""', '"*"', *(("RETURN", "(SPECIAL-USE)") if asked else ()))
    reply.require(f"{imap.peer} does not list the folders")
    utf8 = imap.known.utf8
    found = [folder for response in reply.data if (folder := listed_folder(response, utf8=utf8))]
    foreign = await _foreign_prefixes(imap)
    own = {folder.name: folder for folder in found if folder.name == "INBOX" or not foreign(folder.name)}
    uses = with_uses([Found(folder.name, folder.parts, folder.told) for folder in own.values()])
    selectable = [folder for folder in uses if own[folder.name].selectable and can_be_said(folder.name)]
    return sorted(selectable, key=lambda folder: (folder.name != "INBOX", folder.name))


async def count_messages(imap: ImapConnection, folders: Sequence[str]) -> dict[str, int]:
    """Return how many messages lie in each of these folders; one that the server does not tell of is left out."""
    if imap.known.capabilities >= {"LIST-EXTENDED", "LIST-STATUS"}:
        replies = [await imap.run("LIST", '""', '"*"', "RETURN", "(STATUS (MESSAGES))")]
    else:
        replies = [await imap.run("STATUS", imap.named(name), "(MESSAGES)") for name in folders]
    told = [one for reply in replies for response in reply.data if (one := status(response))]
    counts = {seen_name(name, utf8=imap.known.utf8): numbers.get("MESSAGES") for name, numbers in told}
    return {name: number for name in folders if (number := counts.get(name)) is not None}


def has_labels(imap: ImapConnection) -> bool:
    """Whether the folders are labels, as Gmail's are, so that a message lies in many at once, and in All Mail."""
    return "X-GM-EXT-1" in imap.known.capabilities


async def is_there(imap: ImapConnection, name: str) -> bool:
    """Whether the folder exists and can be selected."""
    reply = await imap.run("LIST", '""', imap.named(name))
    utf8 = imap.known.utf8
    found = (listed_folder(response, utf8=utf8) for response in reply.data)
    return not reply.ok or any(folder.name == name and folder.selectable for folder in found if folder)


def listed_folder(response: Response, *, utf8: bool) -> ListedFolder | None:
    """Read a LIST response; None if it is another, or cannot be read."""
    match values(response, _LIST):
        case [list(attributes), bytes() | None as separator, bytes(name), *_]:
            flags = frozenset(flag.decode(errors="replace").lower() for flag in attributes if isinstance(flag, bytes))
            return ListedFolder(seen_name(name, utf8=utf8), flags, (separator or b"").decode(errors="replace"))
    return None


async def _foreign_prefixes(imap: ImapConnection) -> "_Foreign":
    if "NAMESPACE" not in imap.known.capabilities:
        return _Foreign([], [])
    reply = await imap.run("NAMESPACE")
    for response in reply.data:
        told = values(response, _NAMESPACE)
        if told is not None and len(told) >= 3:
            personal, *others = (_prefixes(part) for part in told[:3])
            return _Foreign(personal, [prefix for part in others for prefix in part])
    return _Foreign([], [])


class _Foreign:
    """Tells the folders of other people, and shared ones, by the longest prefix: they are nobody's mailbox."""

    def __init__(self, personal: Iterable[str], foreign: Iterable[str]) -> None:
        self._prefixes = dict.fromkeys(foreign, True) | dict.fromkeys(personal, False)

    def __call__(self, name: str) -> bool:
        fitting = [prefix for prefix in self._prefixes if name.startswith(prefix)]
        return bool(fitting) and self._prefixes[max(fitting, key=len)]


def _prefixes(namespaces: Value) -> Sequence[str]:
    if not isinstance(namespaces, list):
        return []
    return [
        seen_name(one[0], utf8=False)
        for one in namespaces
        if isinstance(one, list) and one and isinstance(one[0], bytes)
    ]
