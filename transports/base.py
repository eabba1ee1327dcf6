"""The contracts of a transport, and the values they pass.

    Account     a mailbox with its folders, over one connection       (IMAP, POP3, maildir)
    Mailbox     one folder of it, to read from
    Listener    mail is handed to us                                 (SMTP, LMTP)
    Relay       where mail goes                                      (SMTP)

Account, listener and relay are async context managers, opened by their kinds (transports/_kinds.py), which can also
probe whether they work, and say so in findings. What they raise is in transports/errors.py.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, NewType, Protocol, Self, runtime_checkable

from transports._content import Content

Part = Literal["headers", "whole"]
"""How much of a message is fetched: its header block, or all of it."""

_DAYS = re.compile(r"([1-9]\d{0,3})d", re.ASCII)

Cursor = NewType("Cursor", str)
"""Where a reader goes on: opaque text that belongs to account, folder and validity. Only its transport reads it."""


Action = Literal["keep", "seen", "keyword", "move", "delete"]
"""What can be done to a copy that we are done with."""

Flag = Literal["seen", "answered", "flagged", "draft"]
"""What a message can be marked with when it is put into a folder (RFC 3501 §2.3.2)."""

FolderUse = Literal["inbox", "sent", "junk", "trash", "drafts", "archive", "all", "other", ""]
"""What a folder is for (RFC 6154 §2). `other`: it holds no mail, or shows some again; empty for a folder of mail."""


PAGE = 500
"""Copies in one page of `Mailbox.present`, at most; also as servers limit the length of a line (RFC 7162 §4)."""

MOST_WORDS = 2000
"""Characters of a server's words that are kept."""


def storable(words: str) -> str:
    """Cut the words of a server, or of a disk, and rid them of what PostgreSQL cannot hold: NUL, lone surrogates."""
    return words[:MOST_WORDS].replace("\0", "").encode("utf-8", "replace").decode()


# --- Incoming values -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder as a person sees its name, and its use as the server tells it, else by its well-known name."""

    name: str
    use: FolderUse = ""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where one copy of a message lies in its source.

    `validity` is what makes `id` unique for ever (IMAP's UIDVALIDITY, and how often the folder was listed anew; empty
    where there is none), `id` the UID, UIDL or file name.
    """

    validity: str
    id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One copy as a listing tells it: `size` in bytes (RFC822.SIZE), `received_at` the server's own time of arrival."""

    place: Place
    size: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """What is new, oldest first, and the cursor after it; `more` says that the limit cut it short.

    `came_since`: all of it was put there since the cursor of the present (`limit` 0) was asked for, by what the server
    says and not by any clock.
    """

    copies: tuple[Listed, ...]
    cursor: Cursor
    more: bool = False
    came_since: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """One copy that lies in a folder, whether it was listed or not.

    `received_at` is None where the server tells it only with the message. `waits`: listing from the cursor is yet to
    show it. `since_start`: whether it was put there since the cursor of the present (`limit` 0) was asked for, by what
    the server says and not by any clock; None where nothing tells, or reading did not begin so.
    """

    place: Place
    received_at: datetime | None
    waits: bool
    since_start: bool | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One copy of a message as it was read or handed over, byte for byte.

    `content` is only the header block if only the headers were asked for. `sender` and `recipients` are the SMTP
    envelope, known only to listeners. `fault` is set, and `content` empty, where the message could not be fetched: the
    bare cause, in the server's words or the disk's, `storable`.
    """

    place: Place
    content: bytes
    received_at: datetime
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    fault: str | None = None

    def __post_init__(self) -> None:
        if self.fault is not None:
            object.__setattr__(self, "fault", storable(self.fault))


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A listener's answer for one envelope recipient: an SMTP reply without line breaks (RFC 5321 §4.2)."""

    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Whether the answer makes the message ours."""
        return 200 <= self.code < 300


@dataclass(frozen=True, slots=True)
class After:
    """What happens on the server to a copy we are done with: keep, seen, keyword:NAME, move:FOLDER, delete, delete:14d.

    `days` is how long it stays before it is deleted; whoever settles waits for that.
    """

    action: Action
    argument: str = ""
    days: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the TOML form. Raises ValueError in words for an admin."""
        action, _, argument = text.partition(":")
        if (action in ("keep", "seen", "delete") and not argument) or (action in ("keyword", "move") and argument):
            folder = "INBOX" if action == "move" and argument.upper() == "INBOX" else argument
            return cls(action, folder)  # type: ignore[arg-type]  # narrowed by the condition above
        if action == "delete" and (days := _DAYS.fullmatch(argument)):
            return cls("delete", days=int(days[1]))
        raise ValueError(f"{text!r} is none of keep, seen, keyword:NAME, move:FOLDER, delete, delete:14d")

    def moves_to(self, folder: str) -> bool:
        """Whether this is the folder into which a copy is moved: one that lies there already stays."""
        return self.action == "move" and self.argument == folder

    def __str__(self) -> str:
        if self.days:
            return f"{self.action}:{self.days}d"
        return f"{self.action}:{self.argument}" if self.argument else self.action


@dataclass(frozen=True, slots=True)
class Settlement:
    """One copy that has its disposition, and what is to be done with it."""

    place: Place
    after: After


@dataclass(frozen=True, slots=True)
class Wanted:
    """Mail that a person looks for, by what is known of it; what is empty says nothing.

    `message_id` is without angle brackets. `sender` and `recipient` are normalized addresses, or "@" and a domain;
    `words` are those of the subject. `since` and `until` are of the server's own time of arrival.
    """

    message_id: str = ""
    sender: str = ""
    recipient: str = ""
    words: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def came_in_time(self, received_at: datetime) -> bool:
        """Whether what came then is of the time that is meant."""
        return (self.since is None or self.since <= received_at) and (self.until is None or received_at <= self.until)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Copies that may be the wanted ones, as header blocks, the newest first.

    `certain`: no other can be. It is False where the limit cut them short, where a copy could not be read, and where
    the server chose them by what it understands of subjects and addresses.
    """

    copies: tuple[Received, ...]
    certain: bool


# --- Outgoing values -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message ready to be sent: SMTP envelope, and the content with CRLF line ends.

    `sender` is the return path, empty for a report. `envelope_id` (ENVID, RFC 3461 §4.4) comes back in reports, where
    the relay and those behind it can do that. `mailbox` is whose mail it is, where the relay has a login for each.
    `before_end` is awaited in each transaction, just before the
    end of the content is sent: what it raises ends the transaction before anything is taken.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes | Content
    envelope_id: str = ""
    before_end: "Begin | None" = None
    mailbox: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the relay said for one recipient.

    `code` is the enhanced status code (RFC 3463) or, where the relay gave none, the reply code; `text` the relay's own
    words, `storable`. `unknown`: the content was handed over and no answer came; it may or may not have been accepted.
    `relay` is the server that was spoken to, "smtp.example.com:587"; empty where there was none. `of_address`: it
    is the answer to this recipient's address alone (RCPT), and not to the message.
    """

    recipient: str
    state: Literal["accepted", "deferred", "refused", "unknown"]
    code: str
    text: str
    relay: str = field(default="", compare=False)
    of_address: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", storable(self.text))


class Sender(NamedTuple):
    """In whose name a relay is asked whether it takes mail: the owner's `mailbox`, and the return path of its mail."""

    mailbox: str
    return_path: str


# --- Examining -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One step of a probe, in an admin's words: what was found, and what to do about what is not well.

    After `failed` come only steps that do not need this one. A `warning` stops nothing, now. No secret is in it.
    """

    step: str
    state: Literal["ok", "warning", "failed"]
    words: str
    advice: str = ""


# --- Contracts -------------------------------------------------------------------------------------------------------


class Account(Protocol):
    """One mailbox with its folders, over one connection, made and logged in when it is entered.

    A connection that is lost stays lost: everything then raises Unreachable until the account is opened anew. POP3 has
    none between two looks, and makes another where one is needed. How a reader goes about it:

        async with kind.open(settings, mailbox, after) as account:
            views = {folder.name: account.folder(folder.name) for folder in await account.folders()}
            while True:
                for name in await account.changed():
                    ...  # list, fetch and settle in views[name] until nothing is left
                await account.wait(seconds)
    """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> None: ...

    async def folders(self) -> Sequence[Folder]:
        """Return the folders that the settings ask for, as they are now; INBOX is always first where it is among them.

        A folder that the settings name is among them even if it is not there: reading it raises Missing.
        """
        ...

    async def counts(self) -> Mapping[str, int]:
        """Return how many messages lie in each folder that there is, read or not, without opening any."""
        ...

    async def all_folders(self) -> Sequence[Folder]:
        """Return the folders in which mail may lie, whether the settings ask for them or not; INBOX first.

        Of folders that show the same mail twice, only that which has all of it is among them.
        """
        ...

    def folder(self, name: str) -> "Mailbox":
        """Return the view of one folder, always the same one, without any I/O. From now on it is watched."""
        ...

    async def changed(self) -> Collection[str]:
        """Return which watched folders may hold what `list` has not shown yet, at the cost of about one round trip.

        Every folder is among them until it has been listed to its end. A reader that could not go on with what it was
        shown looks again by itself.
        """
        ...

    async def wait(self, timeout: float) -> None:
        """Return when something may be new in a watched folder, at the latest after `timeout` seconds.

        Other calls may be made meanwhile. Raises Unreachable as soon as the connection is lost.
        """
        ...


class Mailbox(Protocol):
    """One folder of an account. Whether a person has read a message never matters.

    The views of one account may be used at the same time; what they do then waits its turn. Each method raises Missing
    where the folder is not there.
    """

    async def list(self, after: Cursor | None, limit: int) -> Listing:
        """List what came after the cursor, oldest first, at most `limit` copies; from the beginning if it is None.

        With `limit` 0 nothing is listed and the cursor is that of the present: what lies there now is behind it. Raises
        CursorLost where the cursor means nothing any more (UIDVALIDITY changed, or the folder was restored from a
        backup and went back): list again from None. What lies there then has places of another validity.
        """
        ...

    def fetch(self, places: Sequence[Place], part: Part) -> AsyncIterator[Received]:
        """Yield the copies at these places in order, without marking them. One that is gone by now is left out."""
        ...

    def present(self, cursor: Cursor | None, beyond: Place | None = None) -> AsyncIterator[Sequence[Present]]:
        """Yield all that lies there, in pages of at most `PAGE` and in an order that stays; nothing is marked.

        What `list` shows next does not change by it. What that leaves out on purpose is left out here. `beyond` is a
        place that was yielded before, to go on after, though it may be gone by now; of another validity, it is passed
        over. Between two pages nothing is held that others may want: of POP3, no session. Raises CursorLost where the
        cursor means nothing any more.
        """
        ...

    def compared(self, cursor: Cursor, place: Place) -> Present:
        """Tell of a copy that lies there what `present` would, without asking the server, nor when it came.

        The cursor is one that `list` has not refused.
        """
        ...

    async def search(self, wanted: Wanted, limit: int) -> Candidates:
        """Find copies that may be the wanted ones, at most `limit`. Nothing is changed, nor what `list` shows.

        Others may be among them: whoever asks reads the headers.
        """
        ...

    async def settle(self, done: Sequence[Settlement]) -> None:
        """Flag, move or delete. Settling again what is settled, or gone, is no error.

        A reader that resumes from a cursor lists before it settles: only listing tells which places mean another
        message by now.
        """
        ...


@runtime_checkable
class WritableMailbox(Mailbox, Protocol):
    """A folder into which messages can be put, too: each of a kind that `appends`."""

    async def append(
        self, content: bytes | Content, flags: Collection[Flag] = (), when: datetime | None = None
    ) -> Place | None:
        """Put a message into the folder, as if it had come at `when`.

        Returns its place where the server tells that, as in a folder that never went back. Raises Permanent where the
        message is too large, or the mailbox full. If the answer is lost (Unreachable), it may lie there or not. What
        iterating the content raises goes on, and nothing was put there.
        """
        ...


class Listener(Protocol):
    """Mail is handed to us by a mail server."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> None: ...

    async def serve(self, accept: "Accept", admit: "Admit") -> None:
        """Serve until canceled. A 2xx of `accept` promises that the message is safe; when it raises, we answer 4xx.

        `accept` gives one answer per envelope recipient, in their order; `admit` answers at RCPT whether an address is
        one of ours.
        """
        ...


class Relay(Protocol):
    """Where mail goes, over pooled connections."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> None: ...

    @property
    def warm(self) -> int:
        """How many messages could be begun at once, over connections that are ready."""
        ...

    async def send(self, envelope: Envelope, begin: "Begin") -> Sequence[Outcome]:
        """Hand over one message; one outcome per recipient, in their order.

        `begin` is awaited once, on a ready connection, just before MAIL FROM; if it raises, nothing was said. Raises
        TransportError only where nothing can have been accepted; later faults are outcomes. On cancellation the
        connection is closed, and Interrupted is raised once `begin` has returned.
        """
        ...

    async def connect(self) -> None:
        """Open a connection and log in, anew, to find out whether it works; it is kept for the next message.

        Raises TransportError.
        """
        ...


class Interrupted(asyncio.CancelledError):
    """The cancellation of `Relay.send`, with the `outcomes` of those recipients of whom they were known by then.

    No `asyncio.timeout` may be put around `send`: it knows the cancellation that it asked for by its class alone.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__()
        self.outcomes = outcomes


Accept = Callable[[Received], Awaitable[Sequence[Acceptance]]]
"""Whether a message is ours now; raises Temporary where we cannot tell, and the mail server tries again later."""

Admit = Callable[[str], Awaitable[Acceptance]]
"""Whether an address is one of ours; raises Temporary where we cannot tell, and the mail server tries again later."""

Begin = Callable[[], Awaitable[None]]
"""Notes that an attempt starts; if it raises, nothing may be said to the relay."""
