"""Where an administrator begins: whether all is well, what is not, and the last day in four plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.group import Group
from router.model import Disposition
from router.model.viewer import StaffRole
from router.operations import overview
from router.operations.backing import Backing
from router.operations.overview import Finding, Overview, Quarter
from router.web.console.frame import Page, render
from router.web.console.plots import Plot, Series, lines, stacked

_HOUR: Final = 4  # quarters

_COPIES: Final = {
    Disposition.PROMOTED: "plot-1", Disposition.DUPLICATE: "plot-2", Disposition.IGNORED: "plot-3",
    Disposition.HELD: "plot-held", Disposition.DEAD: "plot-broken",
}  # fmt: skip
_OUTCOMES: Final = {"sent": "plot-1", "failed": "plot-broken", "unknown": "plot-held"}


@dataclass(frozen=True, slots=True)
class _More:
    name: str
    path: str


_SOURCES: Final = _More("Sources", "/sources")
_OUTBOX: Final = _More("Sent & outbox", "/outbox")
_DEAD: Final = _More("Dead letters", "/dead-letters")
_HELD: Final = _More("Held", "/held")


def routes(backing: Backing) -> Sequence[Route]:
    """Serve it."""

    async def look(askers: Sequence[None]) -> Sequence[Overview]:
        return [await overview.read(backing)] * len(askers)

    asked: Group[None, Overview] = Group(look)  # whoever asks at once looks once: it reads of each mailbox

    async def show(request: Request) -> Response:
        found = await asked.add(None)
        day = await overview.read_day(backing.database)
        return render(request, "well.html", found=found, plots=plots_of(day), more_of=_more_of, cure_of=_cure_of)

    return [Route("/well", show, methods=["GET"])]


def _more_of(finding: Finding) -> _More | None:
    """Where in the console more is said of what was found."""
    first = finding.words.partition(" ")[0]
    match finding.step, first:
        case ("faults", "source") | ("owners", _):
            return _SOURCES
        case ("faults", "relay") | ("sending", _):
            return _OUTBOX
        case ("waiting", "dead:"):
            return _DEAD
        case ("waiting", "held:"):
            return _HELD
        case ("waiting", first) if first != "what":
            return _OUTBOX
    return None


def _cure_of(finding: Finding) -> str:
    """What to do about it: `doctor` names a command or a column where the console has a page that does it."""
    first = finding.words.partition(" ")[0]
    match finding.step, first:
        case ("waiting", "dead:"):
            return "They could not be read or stored: each has its reason there, and is replayed or dropped"
        case ("waiting", "held:"):
            return "Each waits there until somebody releases or drops it"
        case ("waiting", _) if " failed within the last day " in finding.words:
            return "Each has its reason there"
        case ("waiting", "the") if " is unknown: " in finding.words:
            return "Look whether they arrived, and say so there"
    begun = finding.advice.partition(" ")[0]
    is_name = begun == "email-router" or "." in begun
    return finding.advice if is_name else finding.advice[:1].upper() + finding.advice[1:]


def plots_of(day: Sequence[Quarter]) -> Sequence[Plot]:
    """Draw the day."""
    copies = [
        _hourly(one.value, css, [None if quarter.copies is None else quarter.copies[one] for quarter in day])
        for one, css in _COPIES.items()
    ]
    outcomes = [
        _hourly(one, css, [None if quarter.outcomes is None else quarter.outcomes[one] for quarter in day])
        for one, css in _OUTCOMES.items()
    ]
    lags = [one.lag for one in day]
    longest = max((one for one in lags if one is not None), default=None)
    waiting = [
        Series("to be sent", "plot-1", [one.to_send for one in day], _now([one.to_send for one in day])),
        Series("sender not known", "plot-held", [one.unresolved for one in day], _now([one.unresolved for one in day])),
    ]
    most = max((value or 0 for one in waiting for value in one.values), default=0)
    worst = "" if longest is None else seconds(longest)
    return [
        stacked("In, by the hour", _told("Copies of mail that came in", copies), copies),
        stacked("Out, by the hour", _told("Emails that went out", outcomes), outcomes),
        lines(
            "Lag",
            f"From a mail's arrival to the CRM: at most {worst} for 95 of 100." if worst else "No mail came.",
            [Series("95 of 100 within", "plot-1", lags, worst)],
            worst,
        ),
        lines("Waiting", _told("Emails that wait", waiting), waiting, f"{most:,}" if most else ""),
    ]


def seconds(value: float) -> str:
    """Put a short time: 0.4 s, 12 s, 3 min, 2 h; the shortest is 0.1 s, as nothing takes none."""
    value = max(value, 0.1)
    for limit, unit, name in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min")):
        if value < limit:
            return f"{value / unit:.1f} {name}" if limit == 10 else f"{value / unit:.0f} {name}"
    return f"{value / 3600:.0f} h"


def _hourly(name: str, css: str, quarters: Sequence[int | None]) -> Series:
    values = [_sum(quarters[start : start + _HOUR]) for start in range(0, len(quarters), _HOUR)]
    return Series(name, css, values, f"{_sum(values) or 0:,}")


def _sum(values: Sequence[int | None]) -> int | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None


def _now(values: Sequence[int | None]) -> str:
    known = [one for one in values if one is not None]
    return f"{known[-1]:,}" if known else ""


def _told(what: str, series: Sequence[Series]) -> str:
    told = ", ".join(f"{one.total} {one.name}" for one in series if one.total)
    return f"{what}: {told}." if told else f"{what}: nothing was noted yet."


PAGE = Page("All well?", "/well", routes, StaffRole.ADMINISTER, everywhere=True)
