"""What `trace` understands of what is known of a message."""

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from router.cli import app
from router.commands import sought as commands

KARL = "karl@kunde.test"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what is known of the message"),
        (("--email", "1"), "is no id"),
        (("--from", "karl"), "is no address"),
        (("--to", "@"), "is no address"),
        (("--from", KARL, "--since", "someday"), "is no time"),
        (("--from", KARL, "--since", "0d"), "is no time"),
        (("--from", KARL, "--until", "9999-12-31"), "is no time"),
        (("--from", KARL, "--since", "2999-01-01"), "in the future"),
        (("--from", KARL, "--since", "1d", "--until", "2d"), "not after --since"),
    ],
)
def test_what_cannot_be_asked_is_a_mistake_of_usage(arguments: tuple[str, ...], words: str) -> None:
    said = CliRunner().invoke(app, ["trace", *arguments])
    assert said.exit_code == 2
    assert words in " ".join(said.output.split())


@pytest.mark.parametrize(
    ("written", "since", "until"),
    [
        (("2026-11-24", "2026-11-24"), datetime(2026, 11, 24, tzinfo=UTC), datetime(2026, 11, 25, tzinfo=UTC)),
        (("0001-01-01", None), datetime(1970, 1, 1, tzinfo=UTC), None),
        ((None, "0001-01-01"), datetime(1969, 12, 25, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),
        (("2026-11-24T10:00+02:00", None), datetime(2026, 11, 24, 8, tzinfo=UTC), None),
        ((None, "2026-11-24T10:00"), datetime(2026, 11, 17, 10, tzinfo=UTC), datetime(2026, 11, 24, 10, tzinfo=UTC)),
    ],
)
def test_times_are_dates_or_moments(
    written: tuple[str | None, str | None], since: datetime, until: datetime | None
) -> None:
    sought = commands.sought_of(KARL, None, None, None, None, *written, now=datetime(2026, 11, 28, tzinfo=UTC))
    assert (sought.since, sought.until) == (since, until)


def test_times_are_how_long_ago_and_seven_days_where_nothing_is_said() -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    for written, ago in (
        ("30min", timedelta(minutes=30)),
        ("2H", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("2w", timedelta(weeks=2)),
        (None, timedelta(days=7)),
    ):
        assert commands.sought_of(KARL, None, None, None, None, written, None, now=now).since == now - ago
    # A Message-ID is of no time.
    assert commands.sought_of(None, None, None, "<1@x.test>", None, None, None, now=now).since is None


def test_days_have_names() -> None:
    now = datetime(2026, 11, 28, 10, tzinfo=UTC)  # a Saturday
    for since, until, begin, end in (
        ("yesterday", "Today", (11, 27), (11, 29)),
        ("Tuesday", "tuesday", (11, 24), (11, 25)),
        ("saturday", None, (11, 28), None),
        ("sunday", None, (11, 22), None),
    ):
        sought = commands.sought_of(KARL, None, None, None, None, since, until, now=now)
        assert sought.since == datetime(2026, *begin, tzinfo=UTC)
        assert sought.until == (datetime(2026, *end, tzinfo=UTC) if end else None)


def test_addresses_words_and_ids_are_as_they_are_stored() -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    sought = commands.sought_of(
        " Karl@KUNDE.test ", "@XN--MNCHEN-3YA.test", "Your  offer", "<1@x.test>", None, None, None, now=now
    )
    assert (sought.sender, sought.recipient) == (KARL, "@münchen.test")
    assert (sought.words, sought.message_id) == (("Your", "offer"), "1@x.test")
