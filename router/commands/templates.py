"""`template list` and `template preview`."""

import typer

from router import app
from router.commands.terminal import carry_out, complain, say, say_json, say_table
from router.operations import templates as operation
from router.operations.templates import Preview, Template
from router.settings import Settings


def show(*, as_json: bool) -> None:
    """List the templates."""

    async def work(settings: Settings) -> list[Template]:
        async with app.database_of(settings) as database:
            return list(await operation.list_all(database))

    found = carry_out(work)
    if as_json:
        say_json({"templates": [{field: getattr(one, field) for field in Template.__slots__} for one in found]})
    elif found:
        say_table(["template", "acknowledges", "waiting", "fault"], map(_row, found))
    else:
        say("there are no templates: the CRM writes them, by rows in crm.template")


def preview(name: str, message_id: str | None, *, as_json: bool) -> None:
    """Show what a template makes of an email; status 1 where it makes nothing."""

    async def work(settings: Settings) -> Preview:
        async with app.database_of(settings) as database:
            return await operation.preview(database, name, message_id)

    found = carry_out(work)
    if as_json:
        made = found.made._asdict() if found.made else None
        say_json({"template": found.template, "of_sample": found.of_sample, "made": made, "fault": found.fault})
    elif found.made is not None:
        say(f"Subject: {found.made.subject}")
        for what, body in (("text", found.made.text), ("HTML", found.made.html)):
            if body is not None:
                say(f"\n--- {what}\n{body}")
    if found.fault is not None:
        complain(f"nothing can be made of the template {found.template}: {found.fault}")
        raise typer.Exit(1)


def _row(one: Template) -> tuple[str, ...]:
    return one.name, ", ".join(one.owners) or "nobody", str(one.waiting), one.fault or ""
