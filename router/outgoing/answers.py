"""Writes acknowledgements: what was promoted to a queue that has a template gets one answer, as an ordinary email.

    quick   templates that are proven: something was made of each, as its texts are, the last time
    slow    all others, one email of each at a time; new and changed ones before those that failed

Each lane has a process of its own that renders, and gives an email up after `RENDERED_WITHIN`: a bad template delays
what is made of it, and others that are not proven. Nothing is rendered on the loop or in a transaction.
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
from router.repository.answers import answer_lanes, answers, template_proofs
from router.repository.answers.answer_lanes import Begun
from router.repository.answers.answers import Limits
from router.repository.database import Database
from router.workers.pool import Fault, Workers

_log = structlog.get_logger(__name__)

RENDERED_WITHIN: Final = 2.0
"""Seconds that a template may take for one email."""

_POLL: Final = 1.0  # seconds between looks for what is due
_TOLD: Final = 30.0  # seconds between two looks at what is wrong, where nothing is done
_TURNS: Final = 4  # of the slow lane, the last of which is for what failed before: nothing waits there without end
_LEAVING: Final = 1.0  # seconds for the last word of a process that stops


def renderers() -> Workers:
    """Make the processes that render templates, none of them started yet."""
    return Workers(render_apart, limit=RENDERED_WITHIN, size=1, work="template is rendered", uncounted=[render_apart])


async def write_answers(database: Database, limits: Limits, health: Health) -> None:
    """Write acknowledgements of templates that are proven, until canceled: the quick lane."""
    telling = _Telling(database, health, slow=False)
    async with renderers() as workers:
        while True:
            looked_at = 0
            try:
                begun, looked_at = await answer_lanes.begin(database)
                await _write_all(database, workers, begun, limits)
                await telling.tell(changed=looked_at > 0)
            except DatabaseError as error:
                await telling.fails(error)
            if looked_at < answer_lanes.AT_ONCE:
                await asyncio.sleep(_POLL)


async def try_templates(database: Database, limits: Limits, health: Health) -> None:
    """Try templates that are not proven, one at a time by one email, until canceled: the slow lane."""
    telling, turn = _Telling(database, health, slow=True), 0
    async with renderers() as workers:
        while True:
            one, moved = None, 0
            try:
                moved = await answer_lanes.put_back(database)
                one = await answer_lanes.begin_trial(database, failed_first=turn % _TURNS == _TURNS - 1)
                if one is not None:
                    turn += 1
                    await _write_all(database, workers, [one], limits)
                await telling.tell(changed=one is not None or moved > 0)
            except DatabaseError as error:
                await telling.fails(error)
            if one is None and moved < answer_lanes.PIECE:
                await asyncio.sleep(_POLL)


class _Telling:
    """Tells what is wrong in one lane: soon after something happened in it, and else once in a while."""

    def __init__(self, database: Database, health: Health, *, slow: bool) -> None:
        self._database = database
        self._health = health
        self._slow = slow
        self._told_at = -_TOLD
        self._changed = False

    async def tell(self, *, changed: bool) -> None:
        self._changed |= changed
        now = asyncio.get_running_loop().time()
        if now - self._told_at < (_POLL if self._changed else _TOLD):
            return
        faults = await answer_lanes.faults(self._database, slow=self._slow)
        self._told_at, self._changed = now, False
        await (self._health.fails("; ".join(faults)) if faults else self._health.works())

    async def fails(self, error: DatabaseError) -> None:
        self._told_at = -_TOLD
        await self._health.fails(str(error), _POLL)


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
                    await answer_lanes.give_back(database, list(open_ones.values()))


async def _write_some(database: Database, workers: Workers, some: Sequence[Begun], limits: Limits) -> None:
    """Write those of one template, until it fails for one: the others are then parked, untried."""
    for number, one in enumerate(some):
        if one.fault is not None:
            await _fail(database, one, one.fault, slow=True)
            continue
        made = await render_one(workers, one.source, one.values)
        if isinstance(made, Wrong):
            await _fail(database, one, await _blame(database, one, made.words), slow=True)
            await answer_lanes.give_back(database, some[number + 1 :])
            return
        try:
            if one.blamed or not one.proven:
                await template_proofs.note_right(database, one.template, one.changed_at)
            answer_id = await answers.write(database, one, made, limits)
        except DatabaseError as error:
            # A trigger or a constraint of the CRM's, or a lock, on this email; or all others say so, too.
            await _fail(database, one, str(error), slow=False)
            continue
        if answer_id is not None:
            _log.info("acknowledged", email=str(one.email_id), answer=str(answer_id), template=one.template)


async def _blame(database: Database, one: Begun, words: str) -> str:
    """Note that a template is at fault, unless it is proven and fails again for one email; return what is wrong."""
    if one.proven and one.failed:
        return words
    try:
        await template_proofs.note_wrong(database, one.template, one.changed_at, words)
    except DatabaseError as error:
        return f"{words}; and it cannot be noted: {error}"
    return words


async def render_one(workers: Workers, text: TemplateText, values: Values) -> Rendered | Wrong:
    """Render one, apart. What ends its process is wrong with the template, too."""
    [made] = await workers.map(render_apart, [(text, values)])
    return Wrong(made.words) if isinstance(made, Fault) else made


async def _fail(database: Database, one: Begun, words: str, *, slow: bool) -> None:
    if one.late:
        _log.warning("no acknowledgement can be written, and it is given up", email=str(one.email_id), reason=words)
        await answers.give_up(database, one, f"template {one.template}: {words}")
    else:
        await answer_lanes.put_off(database, one, words, slow=slow)
