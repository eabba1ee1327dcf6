"""`trace`: where a message is, and what became of it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import typer

from router import app, profile
from router.commands.sought import sought_of
from router.commands.terminal import carry_out, complain, say_json, told_if_slow
from router.commands.traced import document_of, say_traced
from router.errors import ProfileErrors
from router.oauth2.late import LateTokens
from router.operations import trace as operation
from router.operations.trace import Sought, Traced
from router.profile import Profiles
from router.settings import Settings

_ASKED_UNTOLD: Final = 3  # mailboxes that are asked without being told to


def trace(
    sender: str | None,
    recipient: str | None,
    subject: str | None,
    message_id: str | None,
    email: UUID | None,
    since: str | None,
    until: str | None,
    limit: int,
    *,
    ask: bool | None,
    as_json: bool,
) -> None:
    """Say where mail is; status 1: not in the CRM. `ask`: whether mail servers are asked; None: where that helps."""
    sought = sought_of(sender, recipient, subject, message_id, email, since, until, now=datetime.now(UTC))

    async def work(settings: Settings) -> Traced:
        async with app.database_of(settings) as database:
            traced = await look(database, settings, sought, limit, why=bool(ask))
            return await look_further(database, settings, traced, is_to_ask=_is_to_ask(traced, ask))

    traced = carry_out(work)
    if as_json:
        say_json(document_of(traced))
    else:
        say_traced(traced, lately=since is None and sought.since is not None, asked=ask)
    if not traced.in_crm:
        raise typer.Exit(1)


async def look(database: Any, settings: Settings, sought: Sought, limit: int, *, why: bool) -> Traced:
    """Look for mail in the database; with `why`, for what is known of mailboxes in any case."""
    return await operation.trace(
        database,
        timedelta(seconds=settings.lease),
        settings.profiles,
        sought,
        kept_for=timedelta(days=settings.keep_decisions),
        limit=limit,
        why=why,
    )


async def look_further(database: Any, settings: Settings, traced: Traced, *, is_to_ask: bool) -> Traced:
    """Look into what is held or dead in the mailboxes that are concerned, and ask their servers, if that is wanted."""
    if not traced.owners:
        return traced
    async with app.parsers_of(settings) as parsers, LateTokens(settings, database) as tokens:
        traced = await operation.look_into_letters(database, parsers, traced)
        if is_to_ask and (profiles := _usable(settings)) is not None:
            with told_if_slow("waiting for the mail server"):
                traced = await operation.ask(database, parsers, profiles.with_tokens(tokens), traced)
    return traced


def _usable(settings: Settings) -> Profiles | None:
    """Read the profiles that can be used from here, broken ones beside them or not."""
    try:
        return profile.read_folder(settings.profiles).profiles
    except ProfileErrors as error:
        complain(f"the mail servers cannot be asked from here: {error}")
        return None


def _is_to_ask(traced: Traced, ask: bool | None) -> bool:
    if ask is not None or traced.emails:
        return bool(ask)
    sought = traced.sought
    # Of a mailbox as a whole nothing can be asked.
    is_named = sought.message_id or sought.words or (sought.sender and sought.recipient)
    return bool(is_named) and len(traced.owners) <= _ASKED_UNTOLD
