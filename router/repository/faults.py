"""What asyncpg and the socket raise, as errors of ours that say whether to try again. Errors of asyncpg end here."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from router.errors import ContentRefused, DatabaseAway, DatabaseError, DatabaseMisused, TookTooLong

_OF_THE_SYSTEM: Final = ("08", "25", "40", "53", "55", "57", "58")
_OF_LOCKS: Final = ("40", "55")
_OF_THE_CONTENT: Final = ("22", "23")

# asyncpg has one class for a connection that has ended and for a mistake in its use, and only words to tell them apart.
# A connection of the pool that is lost while somebody uses it counts as released.
_GONE: Final = re.compile(
    r"connection is closed|released back\s+to the pool|pool is clos|another operation is cancelling"
)

_LOST: Final = re.compile(r"connection is closed|released back\s+to the pool")

# What an admin has to know first; the server's own words follow.
_CAUSES: Final = {
    "25006": "the database can only be read",
    "53100": "the disk of the database is full",
    "53200": "the database is out of memory",
    "53300": "the database has no connection left",
    "55P03": "another session has locked it, in a transaction that is still open",
}


@contextmanager
def translated() -> Iterator[None]:
    """Turn what asyncpg and the socket raise into errors of ours that say whether to try again.

    Raises DatabaseMisused for what no other connection would mend.
    """
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise fault_of(error) from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if isinstance(error, asyncpg.InterfaceError) and not _is_gone(error):
            raise DatabaseMisused(f"a mistake in using the database: {error}") from error
        raise DatabaseAway(f"no connection to the database: {words_of(error)}") from error


def fault_of(error: Exception) -> DatabaseError:
    """Choose the error of ours that tells what to do next."""
    if isinstance(error, asyncpg.PostgresError):
        words, state = words_of(error), error.sqlstate or ""
        if state.startswith(_OF_THE_SYSTEM):
            return DatabaseAway(words)
        return ContentRefused(words) if state.startswith(_OF_THE_CONTENT) else DatabaseError(words)
    if isinstance(error, asyncpg.DataError | UnicodeEncodeError | OverflowError):
        return ContentRefused(str(error))
    # A socket that belongs to another user stays as it is, and so does a login that asyncpg does not know.
    never = isinstance(error, PermissionError) or (isinstance(error, asyncpg.InterfaceError) and not _is_gone(error))
    return DatabaseError(words_of(error)) if never else DatabaseAway(words_of(error))


def is_locked(error: DatabaseError) -> bool:
    """Tell whether somebody else has locked what was asked for: whoever holds it lets it go, at some time."""
    return getattr(error.__cause__, "sqlstate", None) == "55P03"


def is_late(error: DatabaseError) -> bool:
    """Tell whether others waited for it in vain: it took too long, or waited for a lock."""
    return isinstance(error, TookTooLong) or getattr(error.__cause__, "sqlstate", None) in ("57014", "55P03")


def is_lost(error: DatabaseError) -> bool:
    """Tell whether the server ended, or the connection to it: perhaps by what it was asked to do."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return (
        isinstance(error, DatabaseAway)
        and not isinstance(error, TookTooLong)
        and (not state or state.startswith(("08", "57P")))
    )


def may_be_of_one(error: DatabaseError) -> bool:
    """Tell whether the fault may be that of one row among several: it is refused, or somebody else has locked it."""
    if isinstance(error, DatabaseAway):
        state = getattr(error.__cause__, "sqlstate", None) or ""
        return state.startswith(_OF_LOCKS)
    return True


def _is_gone(error: asyncpg.InterfaceError) -> bool:
    return _GONE.search(str(error)) is not None


def words_of(error: Exception) -> str:
    """Say what is wrong in the server's own words, or the system's; without the address, which is said beside it.

    Without PostgreSQL's DETAIL, too: it quotes rows, and rows are private mail. asyncpg quotes a value that it refuses,
    and so does PostgreSQL in class 22.
    """
    if isinstance(error, asyncpg.PostgresError):
        message = getattr(error, "message", None) or str(error).partition(":")[0]
        if (error.sqlstate or "").startswith("22"):
            message = _without_quotes(message)
        words = f"{message} (SQLSTATE {error.sqlstate})"
        cause = _CAUSES.get(error.sqlstate or "")
        return f"{cause}: {words}" if cause else words
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    if isinstance(error, asyncpg.InterfaceError) and _LOST.search(str(error)):
        return "the connection was lost"  # asyncpg names its own methods
    return str(error) or type(error).__name__


def _without_quotes(message: str) -> str:
    """Leave out all from the first quotation mark to the last: a value can have such marks in it."""
    before, mark, rest = message.partition('"')
    return f'{before}"…"{rest.rpartition(chr(34))[2]}' if mark else message


def refusal_of(error: DatabaseError) -> str | None:
    """Say why what somebody wanted to store is refused, with the hint that the schema gives; None for other faults.

    The schema, and triggers of the CRM's, refuse in words that are meant for whoever wrote it.
    """
    cause = error.__cause__
    if isinstance(error, DatabaseAway):
        return None
    if isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith((*_OF_THE_CONTENT, "P0")):
        words = words_of(cause).removesuffix(f" (SQLSTATE {cause.sqlstate})")
        hint = getattr(cause, "hint", None)
        return f"{words}. {hint}" if hint else words
    return str(error) if isinstance(error, ContentRefused) else None
