"""What the router says when it cannot go on.

RouterError                 words for an admin: what is wrong, and what to do about it
├── SettingsError           the environment: one line for each mistake, naming its variable
├── ProfileErrors           the profiles: one line for each mistake, with its file and line
├── UnknownName             what was asked about is not there; the words name what is
└── DatabaseError           the database cannot be used
    ├── EmbeddedError       the embedded PostgreSQL cannot be started or joined
    ├── MigrationError      the schema is not one that this program can work with
    ├── DatabaseAway        a fault of the system: the same again, later
    │   ├── MessageWaits        of several messages some wait, and all others are in
    │   └── TookTooLong         it was given up, since others wait behind it
    ├── ContentRefused      a fault of what was to be stored: never again as it is
    ├── OwnerGone           mail came for an owner who is none any more
    └── LeaseLost           another process holds now what was ours
        └── DatabaseCopied      nothing is ours: it is a copy of the database

DatabaseMisused             beside them: a bug of ours in the use of the database, which nobody else can put right
"""

import traceback
from collections.abc import Iterable
from dataclasses import dataclass


class RouterError(Exception):
    """Something an admin can put right; its words are shown as they are, without a traceback."""


class SettingsError(RouterError):
    """The environment is wrong."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong with the profiles.

    `file` is its name in the profile folder and `line` counts from 1; 0 means the whole file, and an empty `file` no
    file in particular.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        if not self.file:
            return self.text
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class ProfileErrors(RouterError):
    """The profiles are wrong: every mistake of every one at once, ordered by file and line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(map(str, self.mistakes)))


class UnknownName(RouterError):
    """What was asked about is not there; the words name what is."""


class DatabaseError(RouterError):
    """The database cannot be used."""


class EmbeddedError(DatabaseError):
    """The embedded PostgreSQL cannot be started or joined."""


class MigrationError(DatabaseError):
    """The schema is not one that this program can work with."""


class DatabaseAway(DatabaseError):
    """A fault of the system (SQLSTATE classes 08, 25, 40, 53, 55, 57, 58, or no connection): try again, later."""


class TookTooLong(DatabaseAway):
    """What was asked for was given up, since others wait behind it: a trigger of the CRM's, perhaps, takes so long."""


class MessageWaits(DatabaseAway):
    """`count` messages wait, most often for what another transaction has locked; a plain one would get in.

    `reason` says for what the last of them waits.
    """

    def __init__(self, reason: str, count: int = 1) -> None:
        self.reason = reason
        self.count = count
        super().__init__(f"{count} message{' waits' if count == 1 else 's wait'}: {reason}")


class ContentRefused(DatabaseError):
    """PostgreSQL refuses what was to be stored (SQLSTATE classes 22 and 23): never try it again as it is."""


class OwnerGone(DatabaseError):
    """The CRM removed an owner whose mail is under way, or the approval ended: look for the owners again."""


class LeaseLost(DatabaseError):
    """Another process holds now what was ours: nothing was committed, let go of it."""


class DatabaseCopied(LeaseLost):
    """The database is a copy of another: nothing is sent, and nothing read, before an admin starts it."""

    def __init__(self) -> None:
        super().__init__(
            "this database is a copy of another, as after a restore or pg_upgrade: nothing is sent or "
            'read before "email-router sending start" makes it the real one'
        )


class DatabaseMisused(Exception):
    """A bug of ours: a query with a wrong number of arguments, or a connection that two tasks use at once.

    No message is at fault, and to try again is no use: what did it ends, and is told of as any other bug.
    """


def whereabouts(error: BaseException) -> str:
    """Say where something broke by a mistake of ours, and not what with: its words may hold those of private mail."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {where.name}, line {where.lineno}"
