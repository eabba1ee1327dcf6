"""What a search in the Sent folder tells, whatever the server makes of it."""

from datetime import UTC, datetime

import pytest

from router.outgoing.sent_folder import lies_in
from tests.support.answering_imap import LOGIN, opened
from transports.base import Candidates, Place, Received, Wanted
from transports.imap.mailbox import ImapMailbox

OURS, OTHER = b"Subject: x\r\nmessage-ID:\t<ours@in.test>\r\n\r\n", b"Message-ID: <other@in.test>\r\n\r\n"


def found(*headers: bytes, certain: bool = False) -> Candidates:
    return Candidates(tuple(Received(Place("1", "1"), one, datetime.now(UTC)) for one in headers), certain)


@pytest.mark.parametrize(
    ("candidates", "lies"),
    [
        (found(OURS), True),
        (found(OTHER, OURS), True),
        (found(), False),
        (found(OTHER, certain=True), False),
        # The server has shown something else: it may not have understood what was asked.
        (found(OTHER), None),
        (found(b"In-Reply-To: <ours@in.test>\r\n\r\n"), None),
        (found(b"Message-ID: <xours@in.test>\r\n\r\n"), None),
    ],
)
async def test_only_the_id_itself_is_it(
    candidates: Candidates, lies: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAP_TEST_PASSWORD", "secret")

    async def search(_: ImapMailbox, wanted: Wanted, limit: int) -> Candidates:
        assert wanted == Wanted(message_id="ours@in.test")
        assert limit > 1
        return candidates

    monkeypatch.setattr(ImapMailbox, "search", search)
    async with opened(LOGIN) as (account, _):
        assert await lies_in(account.folder("Sent"), "ours@in.test") is lies
