"""What is known of a message that somebody asks for, as a person types it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import typer

from router.model import normalize
from router.operations.trace import Sought

LATELY: Final = timedelta(days=7)
"""How far back is looked where nothing tells when it was."""

_AGO: Final = re.compile(r"([1-9][0-9]{0,4})(min|h|d|w)", re.ASCII)
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # there is no older mail
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def sought_of(
    sender: str | None,
    recipient: str | None,
    subject: str | None,
    message_id: str | None,
    email: UUID | None,
    since: str | None,
    until: str | None,
    *,
    now: datetime,
) -> Sought:
    """Read what is known of a message, as a person types it. Raises typer.BadParameter."""
    if not any((sender, recipient, subject, message_id, email, since, until)):
        raise typer.BadParameter("say what is known of the message: --from, --to, --subject, --message-id or --since")
    begin = _moment(since, "--since", now) if since else None
    end = _moment(until, "--until", now, ends=True) if until else None
    if begin is None and not message_id and not email:
        begin = (end or now) - LATELY
    if begin is not None and begin > now:
        raise typer.BadParameter("that is in the future", param_hint="--since")
    if begin is not None and end is not None and end <= begin:
        raise typer.BadParameter("that is not after --since", param_hint="--until")
    return Sought(
        _address(sender, "--from") if sender else "",
        _address(recipient, "--to") if recipient else "",
        tuple((subject or "").split()),
        (message_id or "").strip().removeprefix("<").removesuffix(">"),
        email,
        begin,
        end,
    )


def _address(text: str, option: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    if not at or not domain or " " in local:
        raise typer.BadParameter(f"{text!r} is no address: write ann@example.com, or @example.com", param_hint=option)
    return normalize(text)


def _moment(text: str, option: str, now: datetime, *, ends: bool = False) -> datetime:
    """Read a date, a moment (in UTC unless it says otherwise) or "2h"; a date that `ends` ends with its last moment."""
    text = text.strip()
    try:
        if ago := _AGO.fullmatch(text.lower()):
            return max(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}), _FIRST)
        if (day := _named_day(text.lower(), now)) is not None:
            return day + timedelta(days=ends)
        when = datetime.fromisoformat(text)
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
        return max(when + timedelta(days=ends and _DAY.fullmatch(text) is not None), _FIRST)
    except (ValueError, OverflowError):
        ways = "2026-11-28, 2026-11-28T10:00, yesterday, tuesday, or how long ago: 30min, 2h, 3d, 1w"
        raise typer.BadParameter(f"{text!r} is no time: write {ways}", param_hint=option) from None


def _named_day(name: str, now: datetime) -> datetime | None:
    """Find the beginning of the last day of this name, in UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if name in _WEEKDAYS:
        return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(name)) % 7)
    return {"today": today, "yesterday": today - timedelta(days=1)}.get(name)
