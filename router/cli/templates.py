"""Templates of answers."""

from typing import Annotated

import typer

from router.cli.base import Json, group

template = group("template", "Templates of answers that the router writes by itself.")


@template.command("list")
def template_list(as_json: Json = False) -> None:
    """List the templates, and what is wrong with any of them.

    With the owners whose mail is acknowledged by each, and how many acknowledgements wait. The CRM writes templates
    (crm.template), and says by which one a queue acknowledges its mail (crm.owner.acknowledgement).
    """
    from router.commands import templates as commands

    commands.show(as_json=as_json)


@template.command("preview")
def template_preview(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The template's name.", show_default=False)],
    email: Annotated[
        str | None,
        typer.Option(metavar="MESSAGE-ID", help="The email to answer; by default a sample.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a template makes of an email, or of a sample.

    Nothing is stored or sent. Where nothing can be made of it, the status is 1, and stderr says why.
    """
    from router.commands import templates as commands

    commands.preview(name, email, as_json=as_json)
