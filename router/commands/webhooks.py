"""`webhooks add|list|pause|resume|replay|remove`."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from router import app
from router.commands.terminal import carry_out, say, say_json, say_table, who
from router.operations import webhooks as operation
from router.operations.webhooks import Webhook
from router.operations.words import moment
from router.settings import Settings


def add(url: str, kinds: Sequence[str], name: str | None) -> None:
    """Add a webhook."""

    async def work(settings: Settings) -> tuple[str, str]:
        async with app.database_of(settings) as database:
            return await operation.add(database, app.vault_of(settings), url, kinds, name, who(), here=True)

    added, secret = carry_out(work)
    # Alone, and as it is: it goes into a file or a variable.
    sys.stdout.write(secret + "\n")
    sys.stderr.write(f"the webhook {added} is told what happens from now on\n")


def show(*, as_json: bool) -> None:
    """List webhooks."""

    async def work(settings: Settings) -> Sequence[Webhook]:
        async with app.database_of(settings) as database:
            return await operation.list_all(database)

    found = carry_out(work)
    if as_json:
        say_json({"webhooks": [{**asdict(one), "place": str(one.place), "state": one.state} for one in found]})
        return
    if not found:
        say("there is no webhook")
        return
    say_table(["name", "URL", "kinds", "told", "last", "after", "state"], map(_row, found))
    for one in found:
        if one.fault:
            say(f"{one.name}: {one.fault}")
        if one.missed:
            say(f"{one.name}: {operation.missed_words(one)}")


def pause(name: str) -> None:
    """Pause a webhook."""

    async def work(settings: Settings) -> None:
        async with app.database_of(settings) as database:
            await operation.pause(database, name, who())

    carry_out(work)
    say(f"the webhook {name} is paused")


def resume(name: str) -> None:
    """Go on telling a webhook."""

    async def work(settings: Settings) -> Webhook:
        async with app.database_of(settings) as database:
            return await operation.resume(database, name, who())

    say(f"the webhook {name} is told what came after {carry_out(work).place}")


def replay(name: str, cursor: str) -> None:
    """Tell a webhook again what came after an event."""

    async def work(settings: Settings) -> Webhook:
        async with app.database_of(settings) as database:
            return await operation.replay(database, name, operation.place_of(cursor), who())

    say(f"the webhook {name} is told what came after {carry_out(work).place}")


def remove(name: str) -> None:
    """Remove a webhook."""

    async def work(settings: Settings) -> None:
        async with app.database_of(settings) as database:
            await operation.remove(database, name, who())

    carry_out(work)
    say(f"the webhook {name} is removed")


def _row(one: Webhook) -> Sequence[object]:
    return (
        one.name,
        one.url,
        " ".join(one.kinds) or "all",
        f"{one.delivered:,}",
        moment(one.delivered_at) if one.delivered_at else "never",
        f"{one.place}{' (more waits)' if one.waiting else ''}",
        _state(one),
    )


def _state(one: Webhook) -> str:
    if one.paused_at is not None:
        return f"paused by {one.paused_by} {moment(one.paused_at)}"
    if one.fault is not None:
        again = f", next try {moment(one.next_try_at)}" if one.next_try_at else ""
        return f"failing since {moment(one.fault_since)}{again}" if one.fault_since else "failing"
    return "working"
