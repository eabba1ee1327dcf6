"""Simulations that pages and programs begin, and look at until they are done: mail is fetched again for them."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog

from router.errors import RouterError, UnknownName, whereabouts
from router.model import Disposition, Rule
from router.model.viewer import Viewer
from router.operations import audit_log, simulate
from router.operations.backing import Backing
from router.operations.passwords import Busy
from router.operations.simulate import Compared, Simulated
from router.profile import read_folder

__all__ = ["MOST", "Change", "Compared", "Simulating", "Simulations"]

MOST: Final = 500
"""Messages that one compares at most."""

_AT_ONCE: Final = 2  # in this process: each has a connection to a mail server
_LONGEST: Final = 300.0  # seconds
_KEPT: Final = 20  # that are done and can still be looked at

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
    """Those of this process, of pages and API: one that is started again knows nothing of them."""

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

    def find(self, id_: str) -> Simulating:
        """Find one. Raises UnknownName where it was put away."""
        if id_ not in self._all:
            raise UnknownName("this simulation is not kept any more: begin it again")
        return self._all[id_]

    async def _run(self, one: Simulating, last: int) -> None:
        def tell(found: Simulated) -> None:
            one.found = found

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
            one.done = True


def _last(one: Compared) -> str:
    """Why the other rule says so: the last step that decided."""
    return one.then.reasons[-1] if one.then.reasons else ""
