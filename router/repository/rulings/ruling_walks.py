"""Brings the mail that waits into line with what persons ruled on its senders, a piece at a time.

Nothing is remembered of what is to be changed. A walk has two phases: it goes through the parties that have a record by
a ruling which is not in force any more, and then through those that are unresolved. It gives each what is in force by
then: the record of its address's own ruling, or else of its domain's, or none. So rulings, their undoing, and whoever
carries them out come in any order, and the end is the same; who is killed is followed by another.

Mail that comes meanwhile may have been decided on before the ruling was known. So a walk is the last only if, when it
began, all transactions had ended that were open when the first walk since that ruling began.

Nobody waits for this: what somebody else has locked is passed over, and a walk that passed something over is followed
by another; after ever longer pauses, where it was the CRM's SQL that refused it, and about a day later by none, until a
person wants it (`crm.rule_again`, or another ruling). Each piece locks the work, then the
parties in their order with a share of their emails, then the rulings.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from asyncpg import Record

from router.errors import DatabaseError
from router.repository.database import Connection, Database, storable
from router.repository.faults import is_late, is_locked, may_be_of_one
from router.repository.rulings.ruling_pieces import NO_EMAIL, Walk, rule_again, rule_waiting

PIECE: Final = 300
"""Parties that one transaction changes, but for those of its last email."""

_LOCK_TIMEOUT: Final = "200ms"  # for what the CRM has locked, as by a ruling in a transaction that is still open
_STATEMENT_TIMEOUT: Final = "5s"  # for a statement of one piece, with what triggers of the CRM's do in it
_FIRST_PAUSE: Final = timedelta(seconds=5)  # until what was passed over, or could not be done, is tried again
_LONGEST_PAUSE: Final = timedelta(hours=1)  # the same, where it fails again and again
_TRIES: Final = 30  # in a row that fail, in about a day, until it is not tried any more
_LOST: Final = "the router, or PostgreSQL, ended while it was carried out, again and again"
_SINGLY: Final = 2.0  # seconds for going on email by email, while other work waits
_MOST_REFUSED: Final = 3  # emails of a piece that the CRM's SQL may refuse, until the rest has to wait


async def is_due(database: Database, subject: str) -> bool:
    """Whether something is to be carried out for a subject now, or is being carried out by another process.

    Not where all is done, or the rest is put off.
    """
    async with database.connection() as connection:
        due: bool = await connection.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM router.ruling_work
                WHERE subject = $1 AND (try_at <= now() OR begun > 0 AND fault IS NULL)
            )
            """,
            subject,
        )
    return due


async def carry_out(database: Database, subject: str | None = None) -> bool:
    """Carry out a piece of what is due, of any subject or of this one; and say whether there was something to do now.

    What fails, as where the CRM has locked the ruling, is put off, and lets the others pass. So is an email alone that
    a trigger of the CRM's does not let be changed. It is put off before it begins, ever longer, for what may end the
    router or PostgreSQL.
    """
    due = await _claim(database, subject)
    if due is None:
        return False
    try:
        await _carry_out_due(database, due["subject"], due["begun"])
    except DatabaseError as error:
        await _put_off(database, due["subject"], due["begun"], error)
    return True


async def _claim(database: Database, subject: str | None) -> Record | None:
    """Find a subject that is due, count a try, and put it off, the last time for good; `begun` says who has it."""
    async with database.connection() as connection:
        return await connection.fetchrow(
            """
            UPDATE router.ruling_work AS w
            SET begun = w.begun + 1, try_at = CASE WHEN w.begun + 1 < $4
                THEN now() + least($2::interval * 2 ^ least(w.begun, 20), $3::interval) ELSE 'infinity' END,
                fault = CASE WHEN w.begun + 1 < $4 THEN w.fault ELSE coalesce(w.fault, $5) END
            WHERE w.subject = (
                SELECT subject FROM router.ruling_work
                WHERE try_at <= now() AND ($1::text IS NULL OR subject = $1) ORDER BY try_at LIMIT 1
                FOR UPDATE SKIP LOCKED
            )
            RETURNING w.subject, w.begun
            """,
            subject,
            _FIRST_PAUSE,
            _LONGEST_PAUSE,
            _TRIES,
            _LOST,
        )


async def _put_off(database: Database, subject: str, begun: int, fault: DatabaseError) -> None:
    """Note why the work on a subject does not go on; where it is locked, only until whoever holds it lets it go."""
    async with database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.ruling_work SET fault = $3, begun = CASE WHEN $4 THEN 0 ELSE begun END,
                try_at = CASE WHEN $4 THEN now() + $5 ELSE greatest(try_at, now() + $5) END
            WHERE subject = $1 AND begun = $2
            """,
            subject,
            begun,
            storable(str(fault)),
            is_locked(fault),
            _FIRST_PAUSE,
        )


async def _carry_out_due(database: Database, subject: str, begun: int) -> None:
    """Carry out one piece; where that is refused, as much of it as can be done email by email."""
    try:
        await _carry_out_piece(database, subject, begun, PIECE)
    except DatabaseError as error:
        if not _is_refusal(error):
            raise
        is_enough = await _carry_out_singly(database, subject, begun)
        async with database.connection() as connection:
            await connection.execute(
                """
                UPDATE router.ruling_work SET begun = 0, try_at = CASE WHEN $3 THEN now() + $4 ELSE now() END
                WHERE subject = $1 AND begun = $2
                """,
                subject,
                begun,
                is_enough,
                _FIRST_PAUSE,
            )


def _is_refusal(error: DatabaseError) -> bool:
    """Whether it may be the fault of one email among several: the CRM refuses it, or takes too long with it."""
    return not is_locked(error) and (may_be_of_one(error) or is_late(error))


async def _carry_out_piece(
    database: Database, subject: str, begun: int, size: int, *, refused: str | None = None
) -> bool:
    """Carry out `size` parties in a transaction, or pass them over, since they are `refused`.

    Returns False where another process has the work.
    """
    async with database.transaction() as connection:
        await connection.execute(
            f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'; SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'"
        )
        is_ours = await _walk_on(connection, subject, begun, size, refused=refused)
        # What a trigger of the CRM's leaves for the end has no limit there.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return is_ours


async def _carry_out_singly(database: Database, subject: str, begun: int) -> bool:
    """Carry out a piece email by email, as far as there is time, and pass over what is refused.

    Returns whether so much was refused that the others have to have their turn first.
    """
    refused = 0
    until = asyncio.get_running_loop().time() + _SINGLY
    for _ in range(PIECE):
        try:
            is_ours = await _carry_out_piece(database, subject, begun, 1)
        except DatabaseError as error:
            if not _is_refusal(error):
                raise
            refused += 1
            is_ours = await _carry_out_piece(database, subject, begun, 1, refused=str(error))
        if refused == _MOST_REFUSED:
            return True
        if not is_ours or asyncio.get_running_loop().time() > until:
            break
    return False


async def _walk_on(connection: Connection, subject: str, begun: int, size: int, *, refused: str | None) -> bool:
    """Go on with the walk by a piece, as `_carry_out_piece` says, in the transaction of the caller's."""
    row = await connection.fetchrow(
        """
        UPDATE router.ruling_work AS w SET boundary = coalesce(w.boundary, pg_current_xact_id()),
            refused = w.refused OR $3::text IS NOT NULL, fault = coalesce($3, w.fault)
        WHERE w.subject = (
            SELECT subject FROM router.ruling_work WHERE subject = $1 AND begun = $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING w.phase, w.after_address, w.after_email
        """,
        subject,
        begun,
        storable(refused),
    )
    if row is None:
        return False  # another process has it, or there is another ruling
    walk = Walk(subject, **row, size=size, passes_over=refused is not None)
    if walk.begins and not await _may_begin(connection, subject):
        return True
    found = await (rule_again(connection, walk) if walk.phase == "ruled" else rule_waiting(connection, walk))
    await _count(connection, found["touched"])
    await _advance(connection, walk, found)
    if size == PIECE:
        await connection.execute("UPDATE router.ruling_work SET begun = 0 WHERE subject = $1", subject)
    return True


async def _may_begin(connection: Connection, subject: str) -> bool:
    """Tell whether a walk is to begin now, and note whether it is the last."""
    row = await connection.fetchrow(
        # Another statement than the one that set the boundary, so that it sees who had begun by then.
        """
        UPDATE router.ruling_work SET is_last = pg_snapshot_xmin(pg_current_snapshot()) >= boundary
        WHERE subject = $1 RETURNING is_last, is_walked
        """,
        subject,
    )
    assert row is not None
    if row["is_last"] or not row["is_walked"]:
        return True
    await connection.execute(
        "UPDATE router.ruling_work SET try_at = now() + $2, begun = 0 WHERE subject = $1", subject, _FIRST_PAUSE
    )
    return False


async def _count(connection: Connection, touched: Sequence[tuple[int, int]]) -> None:
    for ruling_id, number in sorted(touched):
        await connection.execute("UPDATE router.ruling SET touched = touched + $2 WHERE id = $1", ruling_id, number)


async def _advance(connection: Connection, walk: Walk, found: Record) -> None:
    """Note how far a walk has come; at its end, begin another, or take the work away."""
    if found["number"] >= walk.size:
        await connection.execute(
            """
            UPDATE router.ruling_work
            -- The other subjects that are due have their turn now.
            SET after_address = $2, after_email = $3, passed_over = passed_over OR $4, try_at = now() WHERE subject = $1
            """,
            walk.subject,
            found["address"],
            found["email_id"],
            found["missed"],
        )
    elif walk.phase == "ruled":
        await connection.execute(
            """
            UPDATE router.ruling_work SET phase = 'waiting', after_address = '', after_email = $2,
                passed_over = passed_over OR $3, try_at = now()
            WHERE subject = $1
            """,
            walk.subject,
            NO_EMAIL,
            found["missed"],
        )
    else:
        await connection.execute(
            """
            WITH ended AS (
                DELETE FROM router.ruling_work WHERE subject = $1 AND is_last AND NOT passed_over AND NOT $4 RETURNING 1
            )
            UPDATE router.ruling_work SET phase = 'ruled', after_address = '', after_email = $2,
                is_walked = NOT (passed_over OR $4), passed_over = false,
                -- What the CRM refuses, it most often refuses again.
                begun = 0, refused = false, failures = CASE WHEN refused THEN failures + 1 ELSE 0 END,
                fault = CASE WHEN refused THEN fault END,
                try_at = CASE WHEN NOT refused THEN now() + $3
                    WHEN failures + 1 < $6 THEN now() + least($3::interval * 2 ^ least(failures, 20), $5)
                    ELSE 'infinity' END
            WHERE subject = $1 AND NOT EXISTS (SELECT FROM ended)
            """,
            walk.subject,
            NO_EMAIL,
            _FIRST_PAUSE,
            found["missed"],
            _LONGEST_PAUSE,
            _TRIES,
        )
