"""How long the certificate lasts that we show a server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.tls import make_tls
from transports._net.probe import found_ours


@pytest.mark.parametrize(
    ("left", "state", "words"),
    [
        (timedelta(days=31), "ok", ""),
        (timedelta(days=29, hours=1), "warning", ", 29 days from now"),
        (timedelta(days=1, hours=1), "warning", ", 1 day from now"),
        (timedelta(hours=3), "warning", ", less than a day from now"),
    ],
)
async def test_a_certificate_that_ends_within_30_days_is_a_warning(
    tmp_path: Path, left: timedelta, state: str, words: str
) -> None:
    tls = make_tls(tmp_path, days=60)
    until = datetime.now(UTC) + timedelta(days=60)
    (found,) = await found_ours(tls.certificate, now=until - left)
    assert (found.step, found.state) == ("certificate", state)
    assert found.words == f"we show {tls.certificate}, valid until {until:%Y-%m-%d}{words}"


async def test_where_nothing_can_be_told_nothing_is(tmp_path: Path) -> None:
    assert await found_ours(None) == []
    assert await found_ours(tmp_path / "none.pem") == []
