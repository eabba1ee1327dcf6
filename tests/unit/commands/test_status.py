"""How `status` shows the sources: as equations, and of very many only those that somebody has to look after."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from router.commands.status import _say_rest, ending_line
from router.commands.status_sources import _MOST_ROWS, say_audits, say_sources
from router.model import Disposition
from router.operations.status import Ending, OpenRecords, Queue, Sending, SourceStatus, Status, Unknown
from router.repository.overview.status import LastAudit
from router.repository.processes import Process
from router.repository.records.merges import StuckMerges
from router.repository.rulings.rulings import Faulty

AT = datetime(2026, 11, 28, 3, 12, tzinfo=UTC)
NONE = dict.fromkeys(Disposition, 0)
ANN = SourceStatus(
    "staff", "ann@in.test", "INBOX", "Ann", None, served=True, begun=True, fault=None, fault_since=None,
    next_try_at=None, last_at=AT, lag=2.0, seen_at=AT, seen=120,
    dispositions=NONE | {Disposition.PROMOTED: 80, Disposition.IGNORED: 40},
    audit=LastAudit(AT, 120, 0, 0, None, None),
)  # fmt: skip


def shown(capsys: pytest.CaptureFixture[str], *sources: SourceStatus) -> list[str]:
    status = Status(
        AT, Sending(on=True, reason=None, changed_at=AT, copied=False), (), sources, (), Queue((), 0, None, AT),
        Unknown(0, None, ()), (), (), OpenRecords(),
    )  # fmt: skip
    say_sources(status)
    return capsys.readouterr().out.splitlines()


def test_the_ledger_is_an_equation_and_stands_beside_the_last_audit(capsys: pytest.CaptureFixture[str]) -> None:
    never = replace(ANN, mailbox="bob@in.test", seen=0, dispositions=NONE, last_at=None, audit=None)
    failed = replace(never, mailbox="cat@in.test", audit=LastAudit(None, 0, 0, 0, None, "it was away"))
    _, *rows = shown(capsys, ANN, never, failed)
    assert [row.split("INBOX   nobody   ")[1] for row in rows] == [
        "120 = 80 promoted + 40 ignored  2026-11-28 03:12 UTC  2026-11-28 03:12 UTC, 120 there, 0 missing",
        "0                               never                 not yet",
        "0                               never                 not yet; the last try failed",
    ]


def test_why_an_audit_failed_and_that_one_is_overdue_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    process = Process(uuid4(), "here", 1, AT - timedelta(days=9), AT, True, None, (), {})  # alive
    read = replace(ANN, process_id=process.id)
    long_ago = LastAudit(AT - timedelta(days=3), 120, 0, 0, None, None)
    status = Status(
        AT, Sending(on=True, reason=None, changed_at=AT, copied=False), (process,),
        (
            read,
            replace(read, mailbox="bob@in.test", audit=long_ago),
            replace(read, mailbox="cat@in.test", audit=replace(long_ago, fault="it was away")),
            replace(read, mailbox="dan@in.test", audit=None),
            replace(read, mailbox="eve@in.test", audit=long_ago, process_id=None),
        ),
        (), Queue((), 0, None, AT), Unknown(0, None, ()), (), (), OpenRecords(),
    )  # fmt: skip
    say_audits(status, timedelta(days=1))
    assert capsys.readouterr().out.splitlines() == [
        "not audited staff bob@in.test INBOX: its audit is overdue, since 2026-11-25 03:12 UTC (3 days)",
        "not audited staff cat@in.test INBOX: it was away",
        "not audited staff dan@in.test INBOX: its audit is overdue, since 2026-11-19 03:12 UTC (9 days)",
    ]
    say_audits(status, None)
    assert capsys.readouterr().out == "not audited staff cat@in.test INBOX: it was away\n"


def test_what_the_crm_refuses_of_records_and_rulings_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    status = Status(
        AT, Sending(on=True, reason=None, changed_at=AT, copied=False), (), (), (), Queue((), 0, None, AT),
        Unknown(0, None, ()), (), (), OpenRecords(retried=2, error="no cases on Sundays"),
        rulings=Faulty(3, 1, "karl@kunde.test", "party is locked for audit", AT + timedelta(seconds=40)),
        merges=StuckMerges(2, "no", failed=1),
    )  # fmt: skip
    _say_rest(status)
    assert capsys.readouterr().out == (
        "records     2 cannot be made yet: no cases on Sundays\n"
        "merges      2 merges not done (crm.merge): no; 1 failed too often to be tried again: mend it, and "
        "merge again\n"
        "rulings     of 3 senders some mail cannot be changed (crm.ruling, crm.rule_again), 1 failed too often to "
        "be tried again; karl@kunde.test, tried again in 40 s: party is locked for audit\n"
    )


def test_of_very_many_only_those_at_fault_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    many = [replace(ANN, mailbox=f"owner-{number}@in.test") for number in range(2000)]
    many[7] = replace(many[7], fault="the password is wrong")
    many[1900] = replace(many[1900], audit=LastAudit(AT, 120, 0, 3, AT, None))
    head, first, second, rest = shown(capsys, *many)
    assert head.startswith("profile")
    assert "owner-7@in.test" in first
    assert "owner-1900@in.test" in second
    assert rest == "1,998 more sources; --profile and --mailbox show some, --json all"
    assert len(shown(capsys, *many[:_MOST_ROWS])) == _MOST_ROWS + 1


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=9, hours=1), "ends on 2026-12-07 (in 9 days)"),
        (timedelta(days=-9), "ended on 2026-11-19"),
    ],
)
def test_what_ends_is_told_with_its_cure(left: timedelta, words: str) -> None:
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    ending = Ending("[incoming.staff]", "ann@in.test", "login", now + left, "email-router oauth login staff")
    assert ending_line(ending, now) == (
        f"ends soon   [incoming.staff] for ann@in.test: the login {words}: email-router oauth login staff"
    )
