"""What a listener is told while the database is away."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from router.errors import DatabaseAway
from router.incoming.budget import Budget
from router.incoming.listener import ListenerIntake
from router.profile import load
from router.read import read
from router.repository.database import Database
from router.workers.pool import Workers
from transports import ListenerSettings
from transports.base import Place, Received
from transports.errors import Temporary

PROFILE = """
[incoming.copies]
transport = "smtp"
listen = "127.0.0.1:2525"
owners = ["*@in.test"]
copy = true
"""


class Away(Database):
    def connection(self) -> None:  # type: ignore[override]  # nobody gets one
        raise DatabaseAway("the disk is full")


@pytest.fixture
def intake(tmp_path: Path) -> ListenerIntake:
    (tmp_path / "a.toml").write_text(PROFILE)
    profiles = load(tmp_path)
    (profile,) = profiles.incoming
    assert isinstance(profile.settings, ListenerSettings)
    return ListenerIntake(
        Away(""), Workers(read, limit=30, size=1), lambda: profiles, profile, profile.settings, Budget()
    )


async def test_the_mail_server_is_to_try_later(intake: ListenerIntake) -> None:
    with pytest.raises(Temporary, match="the disk is full"):
        await intake.admit("ann@in.test")
    with pytest.raises(Temporary, match="the disk is full"):
        await intake.accept(Received(Place("", "1"), b"", datetime.now(UTC), "", ("ann@in.test",)))
