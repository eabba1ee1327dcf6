"""Simulations that pages and programs begin, and look at until they are done: mail is fetched again for them."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog
from pydantic import TypeAdapter

from router.errors import DatabaseError, RouterError, UnknownName, whereabouts
from router.model import Disposition, Rule
from router.model.viewer import Viewer
from router.operations import audit_log, simulate
from router.operations.backing import Backing
from router.operations.passwords import Busy
from router.operations.simulate import Became, Compared, Simulated
from router.profile import read_folder
from router.repository.database import storable
from router.repository.owners import simulations as repository

__all__ = ["MOST", "Change", "Compared", "Simulating", "Simulations"]

MOST: Final = 500
"""Messages that one compares at most."""

_AT_ONCE: Final = 2  # in this process: each has a connection to a mail server
_LONGEST: Final = 300.0  # seconds
_OF_ONE: Final = 2  # that one person has under way, in all processes
_EVERY: Final = 1.0  # seconds from one word on how far it is to the next
_KEPT: Final = 20  # that are done and that this process has at hand
_ENDED: Final = "the router's process that compared has ended before it was done: begin it again"
_FOUND: Final = TypeAdapter(Simulated)

_log = structlog.get_logger(__name__)


class Change(NamedTuple):
    """So many messages that would have become something else, for the same reason."""

    was: Disposition
    becomes: Disposition
    number: int
    reason: str


@dataclass(slots=True)
class Simulating:
    """A simulation: under way, or done; `fault` says why not all messages were compared."""

    id: str
    mailbox: str
    rule: Rule
    by: str
    begun_at: datetime
    done: bool = False
    fault: str | None = None
    found: Simulated | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def compared(self) -> Sequence[Compared]:
        """The messages that were compared so far."""
        return self.found.compared if self.found else ()

    @property
    def changed(self) -> Sequence[Compared]:
        """Those that would have become something else, the newest first."""
        return sorted((one for one in self.compared if one.differs), key=lambda one: one.received_at, reverse=True)

    @property
    def changes(self) -> Sequence[Change]:
        """The same by what they were, would be, and why; the most first."""
        kinds = Counter((one.now.disposition, one.then.disposition, _last(one)) for one in self.changed)
        return [Change(was, becomes, number, why) for (was, becomes, why), number in kinds.most_common()]

    @property
    def numbers(self) -> Mapping[Disposition, tuple[int, int]]:
        """How many messages become what, by the rule that holds and by the other."""
        now = Counter(one.now.disposition for one in self.compared)
        then = Counter(one.then.disposition for one in self.compared)
        return {one: (now[one], then[one]) for one in Disposition if now[one] or then[one]}


class Simulations:
    """Those of pages and API. How far each is stands in the database, where every process finds it for a day."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._all: dict[str, Simulating] = {}  # the latest is last

    async def start(self, viewer: Viewer, mailbox: str, rule: Rule, last: int) -> Simulating:
        """Begin to compare this rule with the one that holds, by the newest messages. Raises Busy."""
        if sum(not one.done for one in self._all.values()) >= _AT_ONCE:
            raise Busy("other simulations are under way; try again when they are done")
        one = Simulating(secrets.token_urlsafe(9), mailbox.strip(), rule, viewer.name, datetime.now(UTC))
        self._all[one.id] = one
        try:
            await self._begin(one)
            last = max(1, min(last, MOST))
            told = {"rule": rule.value, "last": last}
            await audit_log.note(self._backing.database, viewer.name, "rule-simulated", one.mailbox, details=told)
        except BaseException:
            del self._all[one.id]
            raise
        one.task = asyncio.create_task(self._run(one, last))
        for old in [old.id for old in self._all.values() if old.done][:-_KEPT]:
            del self._all[old]
        return one

    async def _begin(self, one: Simulating) -> None:
        begun = await repository.begin(
            self._backing.database, one.id, one.mailbox, one.rule.value, one.by, one.begun_at, _OF_ONE
        )
        if not begun:
            raise Busy("other simulations of yours are under way; try again when they are done")

    async def find(self, id_: str) -> Simulating:
        """Find one, whichever process runs it. Raises UnknownName where it was put away."""
        if id_ in self._all:
            return self._all[id_]
        kept = await repository.find(self._backing.database, id_)
        if kept is None:
            raise UnknownName("this simulation is not kept any more: begin it again")
        return Simulating(
            kept.id,
            kept.mailbox,
            Rule(kept.rule),
            kept.by,
            kept.begun_at,
            kept.done or kept.silent,
            _ENDED if kept.silent else kept.fault,
            _FOUND.validate_json(kept.found) if kept.found else None,
        )

    async def _tell(self, one: Simulating, *, more: bool = True) -> None:
        found = _FOUND.dump_json(_storable(one.found)).decode() if one.found and more else None
        await repository.tell(self._backing.database, one.id, found, done=one.done, fault=one.fault)

    async def _tell_on(self, one: Simulating) -> None:
        told = -1
        while True:
            await asyncio.sleep(_EVERY)
            number = len(one.compared)
            with suppress(DatabaseError):  # the next time
                await self._tell(one, more=number != told)
                told = number

    async def _run(self, one: Simulating, last: int) -> None:
        def tell(found: Simulated) -> None:
            one.found = found

        telling = asyncio.create_task(self._tell_on(one))
        try:
            async with asyncio.timeout(_LONGEST):
                backing = self._backing
                reading = await asyncio.to_thread(read_folder, backing.settings.profiles)
                # Those that are served: they have their access tokens.
                reading = replace(reading, profiles=backing.profiles)
                workers, database = backing.workers, backing.database
                one.found = await simulate.simulate(database, workers, reading, one.mailbox, one.rule, last, tell)
                one.fault = one.found.fault
        except TimeoutError:
            one.fault = f"it took longer than {_LONGEST / 60:g} minutes: what was compared until then is below"
        except RouterError as error:
            one.fault = str(error)
        except Exception as error:  # noqa: BLE001  # a bug: its words may hold those of private mail
            _log.error("a bug of the router's own, in a simulation", reason=whereabouts(error))
            one.fault = "it is a mistake of the router's own, and its log says where"
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            one.done = True
        with suppress(DatabaseError):  # told by this process all the same
            await self._tell(one)


def _storable(found: Simulated) -> Simulated:
    """Leave out what PostgreSQL cannot hold."""
    return replace(
        found,
        fault=storable(found.fault),
        compared=[
            replace(one, folder=storable(one.folder) or "", now=_became(one.now), then=_became(one.then))
            for one in found.compared
        ],
    )


def _became(one: Became) -> Became:
    return one._replace(reasons=tuple(storable(reason) or "" for reason in one.reasons))


def _last(one: Compared) -> str:
    """Why the other rule says so: the last step that decided."""
    return one.then.reasons[-1] if one.then.reasons else ""
