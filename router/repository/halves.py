"""Writing many things together, so that one which the database refuses keeps none of the others from being written."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from router.errors import DatabaseError
from router.repository.faults import is_late, may_be_of_one

Item = TypeVar("Item")


async def by_halves(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], Awaitable[object]],
    is_of_one: Callable[[DatabaseError], bool] = may_be_of_one,
) -> list[DatabaseError | None]:
    """Write all at once; where that fails, perhaps by one of them, each half. Returns the error of each, or None.

    `is_of_one` tells whether an error may be that of one of several.
    """
    if not items:
        return []
    try:
        await write(items)
    except DatabaseError as error:
        if len(items) == 1 or not is_of_one(error):
            return [error] * len(items)
        middle = len(items) // 2
        return [*await by_halves(items[:middle], write, is_of_one), *await by_halves(items[middle:], write, is_of_one)]
    return [None] * len(items)


async def by_halves_beside(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], Awaitable[object]],
    set_aside: Callable[[Item, DatabaseError], Awaitable[object]],
    most: int,
) -> DatabaseError | None:
    """Write by halves, and set aside what is refused alone, or takes too long alone.

    After `most` of these the fault is hardly that of single ones: returns why the rest has to wait, or None.
    """
    refused: list[DatabaseError] = []

    async def write_some(some: Sequence[Item]) -> None:
        if len(refused) >= most:
            raise refused[-1]
        try:
            await write(some)
        except DatabaseError as error:
            if len(some) > 1 or not _may_be_of_one_or_late(error):
                raise
            refused.append(error)
            await set_aside(some[0], error)

    errors = await by_halves(items, write_some, _may_be_of_one_or_late)
    return refused[-1] if len(refused) >= most else next((error for error in errors if error is not None), None)


def _may_be_of_one_or_late(error: DatabaseError) -> bool:
    return may_be_of_one(error) or is_late(error)
