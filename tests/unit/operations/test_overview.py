"""Whether all is well: how many mailboxes and listeners that is said of."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from router.model import Disposition
from router.operations.overview import Overview, overview_of
from router.operations.status import OpenRecords, Queue, Report, Sending, SourceStatus, Status, Unknown

AT = datetime(2026, 11, 28, 3, 12, tzinfo=UTC)
ANN = SourceStatus(
    "staff", "ann@in.test", "INBOX", "Ann", None, served=True, begun=True, fault=None, fault_since=None,
    next_try_at=None, last_at=AT, lag=2.0, seen_at=AT, seen=0, dispositions=dict.fromkeys(Disposition, 0),
)  # fmt: skip
SENT = replace(ANN, folder="Sent")
BEN = replace(ANN, mailbox="ben@in.test")
COPIES = replace(ANN, profile="copies", mailbox="", folder="", owner=None)
DROP = replace(COPIES, profile="drop")


def found(*sources: SourceStatus) -> Overview:
    status = Status(
        AT, Sending(on=True, reason=None, changed_at=AT, copied=False), (), sources, (), Queue((), 0, None, AT),
        Unknown(0, None, ()), (), (), OpenRecords(),
    )  # fmt: skip
    return overview_of(Report(status, 0, (), (), ()), [])


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ((), "0 mailboxes"),
        ((ANN, SENT), "1 mailbox"),
        ((COPIES,), "1 listener"),
        ((ANN, SENT, BEN, COPIES, DROP), "2 mailboxes, 2 listeners"),
        ((replace(ANN, served=False), COPIES), "1 listener"),
    ],
)
def test_mailboxes_and_listeners_are_each_counted_once(sources: tuple[SourceStatus, ...], words: str) -> None:
    assert found(*sources).served == words
