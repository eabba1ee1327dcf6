"""Templates of answers: which there are, and what one makes of an email, or of a sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from router.errors import UnknownName
from router.model.answer import Rendered, Values
from router.outgoing.answers import render_one, renderers
from router.render import Wrong
from router.repository.answers import templates
from router.repository.answers.templates import Template
from router.repository.database import Database

__all__ = ["SAMPLE", "Preview", "Template", "list_all", "preview"]

SAMPLE: Final = Values(
    record={"id": "0f8fad5b-d9cb-469f-a165-70867728950e", "kind": "contact", "name": "Berta Büro"},
    email={
        "subject": "My order <4711> & the invoice",
        "from_name": "Berta Büro",
        "from_address": "berta@büro.example",
        "message_id": "sample@büro.example",
        "received_at": "2026-01-31 12:00 UTC",
    },
    owner={"name": "Support", "mailbox": "support@example.com"},
    token="k3m9x2p7",  # noqa: S106  # no secret
    signature_text="Kind regards\nSupport",
)
"""What a template is tried out with, where no email is named."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a template makes, or in words why it makes nothing. `of_sample`: of values that are made up."""

    template: str
    of_sample: bool
    made: Rendered | None
    fault: str | None = None


async def list_all(database: Database) -> Sequence[Template]:
    """List all templates, by name."""
    return await templates.list_all(database)


async def preview(database: Database, name: str, message_id: str | None = None) -> Preview:
    """Make an answer of a template and an email, named by its Message-ID, or else of a sample; nothing is stored.

    Raises UnknownName where there is no such template, or no such email.
    """
    text = await templates.find(database, name)
    if text is None:
        names = ", ".join(one.name for one in await templates.list_all(database))
        raise UnknownName(
            f"there is no template {name}; " + (f"there are: {names}" if names else "crm.template is empty")
        )
    values: Values | None = SAMPLE
    if message_id is not None:
        values = await templates.find_values(database, name, message_id.strip().removeprefix("<").removesuffix(">"))
    if values is None:
        raise UnknownName(f"no email of the CRM that came to an owner has the Message-ID {message_id}")
    async with renderers() as workers:
        made = await render_one(workers, text, values)
    of_sample = message_id is None
    return Preview(name, of_sample, None, made.words) if isinstance(made, Wrong) else Preview(name, of_sample, made)
