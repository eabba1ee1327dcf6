"""Writes acknowledgements: what was promoted to a queue that has a template gets one answer, as an ordinary email.

Templates are rendered in processes of their own, which are given up after `RENDERED_WITHIN`: a bad one delays nothing
but what is made of it. Nothing is rendered on the loop or in a transaction.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Final

import structlog

from router.errors import DatabaseError
from router.health import Health
from router.model.answer import Rendered, TemplateText, Values
from router.render import Wrong, render_apart
from router.repository import answers
from router.repository.answers import Begun, Limits
from router.repository.database import Database
from router.workers.pool import Fault, Workers

_log = structlog.get_logger(__name__)

RENDERED_WITHIN: Final = 2.0
"""Seconds that a template may take for one email."""

_POLL: Final = 1.0  # seconds between looks for what is due
_TOLD: Final = 30.0  # seconds between two looks at what is wrong, where nothing is done
_LEAVING: Final = 1.0  # seconds for the last word of a process that stops


def renderers() -> Workers:
    """Make the processes that render templates, none of them started yet."""
    return Workers(render_apart, limit=RENDERED_WITHIN, size=1, work="template is rendered")


async def write_answers(database: Database, limits: Limits, health: Health) -> None:
    """Write acknowledgements until canceled."""
    clock, told_at = asyncio.get_running_loop().time, -_TOLD
    async with renderers() as workers:
        while True:
            looked_at = 0
            try:
                begun, looked_at = await answers.begin(database)
                await _write_all(database, workers, begun, limits)
                if 0 < looked_at < answers.AT_ONCE or clock() - told_at > _TOLD:
                    told_at = clock()
                    faults = await answers.faults(database)
                    await (health.fails("; ".join(faults)) if faults else health.works())
            except DatabaseError as error:
                told_at = -_TOLD
                await health.fails(str(error), _POLL)
            if looked_at < answers.AT_ONCE:
                await asyncio.sleep(_POLL)


async def _write_all(database: Database, workers: Workers, begun: Sequence[Begun], limits: Limits) -> None:
    open_ones = {one.email_id: one for one in begun}
    try:
        for _, some in groupby(sorted(begun, key=attrgetter("template")), key=attrgetter("template")):
            of_template = list(some)
            await _write_some(database, workers, of_template, limits)
            for one in of_template:
                del open_ones[one.email_id]
    finally:
        if open_ones:  # we are stopped, or the database is away: they would be due again by themselves
            with suppress(DatabaseError, TimeoutError):
                async with asyncio.timeout(_LEAVING):
                    await answers.give_back(database, list(open_ones.values()))


async def _write_some(database: Database, workers: Workers, some: Sequence[Begun], limits: Limits) -> None:
    """Write those of one template, until something is wrong with it: the others then wait with it, untried."""
    for number, one in enumerate(some):
        if one.fault is not None:
            await _fail(database, one, one.fault)
            continue
        try:
            made = await render_one(workers, one.source, one.values)
            if isinstance(made, Wrong):
                await answers.note_wrong(database, one, made.words)
            else:
                await answers.note_right(database, one)
        except DatabaseError as error:
            # The CRM has the template locked, or a trigger on it; or else the database is away, and this says so, too.
            for waiting in some[number:]:
                await _fail(database, waiting, str(error))
            return
        if isinstance(made, Wrong):
            await _fail(database, one, made.words)
            await answers.give_back(database, some[number + 1 :])
            return
        await _write_one(database, one, made, limits)


async def _write_one(database: Database, one: Begun, made: Rendered, limits: Limits) -> None:
    try:
        answer_id = await answers.write(database, one, made, limits)
    except DatabaseError as error:
        # A trigger or a constraint of the CRM's, or a lock, on this email; or all others say so, too.
        await _fail(database, one, str(error))
        return
    if answer_id is not None:
        _log.info("acknowledged", email=str(one.email_id), answer=str(answer_id), template=one.template)


async def render_one(workers: Workers, text: TemplateText, values: Values) -> Rendered | Wrong:
    """Render one, apart. What ends its process is wrong with the template, too."""
    [made] = await workers.map(render_apart, [(text, values)])
    return Wrong(made.words) if isinstance(made, Fault) else made


async def _fail(database: Database, one: Begun, words: str) -> None:
    if one.late:
        _log.warning("no acknowledgement can be written, and it is given up", email=str(one.email_id), reason=words)
        await answers.give_up(database, one, f"template {one.template}: {words}")
    else:
        await answers.put_off(database, one, words)
