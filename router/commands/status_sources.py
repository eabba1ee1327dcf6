"""How `status` shows the sources: as equations of what became of each copy, and their audits."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from router.commands.terminal import say, say_table
from router.commands.words import moment, since
from router.model import Disposition
from router.operations.status import SourceStatus, Status, overdue_since

_MOST_ROWS = 100  # sources that are shown each in a line
_SOME = 5  # audits that failed that are named


def sources_words(sources: Iterable[SourceStatus]) -> str:
    """Put into words how many are served, and what became of all copies."""
    sources = list(sources)
    served = [one for one in sources if one.served]
    faulty = sum(one.fault is not None for one in served)
    total = Counter[Disposition]()
    for one in sources:
        total.update(one.dispositions)
    copies = ", ".join(f"{total[disposition]} {disposition}" for disposition in Disposition)
    words = f"{len(served)}" + (f", {faulty} at fault" if faulty else "")
    if others := len(sources) - len(served):
        words += f"; {others} not to be read now, told by --json"
    return f"{words}; copies seen: {copies}"


def say_sources(status: Status) -> None:
    """Say of each source that is served who reads it, and what it has brought."""
    readers = {one.id: one.title for one in status.processes if one.alive}
    served = [one for one in status.sources if one.served]
    # Of very many, those that somebody has to look after.
    shown = served if len(served) <= _MOST_ROWS else [one for one in served if _is_wrong(one)][:_MOST_ROWS]
    if shown:
        say_table(
            ["profile", "mailbox", "folder", "read by", "copies seen", "last mail", "audited"],
            [
                (
                    one.profile,
                    one.place,
                    one.folder,
                    _reader(one, readers),
                    _ledger(one),
                    moment(one.last_at) if one.last_at else "never",
                    _audited(one),
                )
                for one in shown
            ],
        )
    if others := len(served) - len(shown):
        say(f"{others:,} more sources; --profile and --mailbox show some, --json all")


def say_audits(status: Status, every: timedelta | None) -> None:
    """Say why audits failed, and which are overdue: `every` is how often each mailbox is audited; None: never."""
    told: list[str] = []
    for one in status.sources:
        if one.served and one.audit and one.audit.fault:
            told.append(f"not audited {one.title}: {one.audit.fault}")
        elif every and (last := overdue_since(status, one, every)):
            told.append(f"not audited {one.title}: its audit is overdue, {since(last, status.now)}")
    for words in told[:_SOME]:
        say(words)
    if len(told) > _SOME:
        say(f"{len(told) - _SOME:,} more could not be audited; --json tells all")


def _is_wrong(source: SourceStatus) -> bool:
    return source.fault is not None or (source.audit is not None and bool(source.audit.missing or source.audit.fault))


def _ledger(source: SourceStatus) -> str:
    """Put what became of the copies as an equation: each has one disposition."""
    parts = [f"{number} {one}" for one, number in source.dispositions.items() if number]
    return f"{source.seen} = {' + '.join(parts)}" if parts else "0"


def _audited(source: SourceStatus) -> str:
    audit = source.audit
    if audit is None:
        return "not yet" if source.folder else ""
    words = f"{moment(audit.at)}, {audit.messages} there, {audit.missing} missing" if audit.at else "not yet"
    return words + ("; the last try failed" if audit.fault else "")


def _reader(source: SourceStatus, readers: dict[UUID, str]) -> str:
    if source.process_id is not None:
        return readers[source.process_id]
    return "nobody" if source.folder else ""
