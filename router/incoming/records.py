"""Makes the records that rules want of mail, once the mail is in: nothing a CRM does to them keeps mail waiting.

quick   one after the other, each within a second
slow    what took longer, or was lost, and the others of its owner: owners take turns, and each may take longer
"""

import asyncio
from typing import Final

import structlog

from router.errors import DatabaseError
from router.health import Health
from router.repository.database import Database
from router.repository.records import creation, creation_states
from router.repository.records.creation import Carried
from router.repository.records.creation_states import OpenRecords

_log = structlog.get_logger(__name__)

_POLL: Final = 1.0  # seconds between looks for what is wanted
_TOLD: Final = 30.0  # seconds between two looks at what could not be made
_TURNS: Final = 4  # of the slow lane, the last of which is for what failed before: nothing waits there without end


async def make_records(database: Database, health: Health) -> None:
    """Make records until canceled, and tell what could not be made: the quick lane."""
    told_at = -_TOLD
    while True:
        more = False
        try:
            carried, more = await creation.carry_out(database)
            _tell(carried)
            now = asyncio.get_running_loop().time()
            if now - told_at >= _TOLD or (carried is not None and carried.is_final):
                told_at = now
                found = await creation_states.read_open(database)
                await (health.fails(_words(found)) if found.failed else health.works())
        except DatabaseError as error:
            told_at, more = -_TOLD, False
            await health.fails(str(error), _POLL)
        if not more:
            await asyncio.sleep(_POLL)


async def make_slow_records(database: Database, health: Health) -> None:
    """Make what waits apart, until canceled: the slow lane."""
    last, turn = None, 0
    while True:
        carried = None
        try:
            failed_first = turn % _TURNS == _TURNS - 1
            carried = await creation.carry_out_apart(database, last, failed_first=failed_first)
            _tell(carried)
            await health.works()
        except DatabaseError as error:
            await health.fails(str(error), _POLL)
        if carried is None:
            await asyncio.sleep(_POLL)
        else:
            last, turn = carried, turn + 1


def _tell(carried: Carried | None) -> None:
    if carried is None:
        return
    if carried.fault is not None:
        _log.warning(
            "a record cannot be made of a mail", creation=carried.id, rule=carried.rule, reason=carried.fault,
            given_up=carried.is_final,
        )  # fmt: skip
    elif carried.outcome not in ("later", "waiting"):
        _log.info("record", creation=carried.id, rule=carried.rule, outcome=carried.outcome)


def _words(found: OpenRecords) -> str:
    many = "1 record" if found.failed == 1 else f"{found.failed:,} records"
    return f"{many} could not be made of mail (crm.creation, crm.make_again); the last: {found.error}"
