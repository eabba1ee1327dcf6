"""Which pages there are, in the order of the header. Another page is another line here."""

from collections.abc import Sequence
from typing import Final

from router.web.console import (
    account,
    answer_templates,
    attachments,
    audit_log,
    dead_letters,
    held,
    mail_html,
    outbox,
    owners,
    people,
    profiles,
    queue,
    raw,
    rulings,
    simulate,
    sources,
    well,
    why,
)
from router.web.console.frame import Page

PAGES: Final[Sequence[Page]] = (
    well.PAGE,
    queue.PAGE,
    held.PAGE,
    outbox.PAGE,
    dead_letters.PAGE,
    sources.PAGE,
    owners.PAGE,
    simulate.PAGE,
    profiles.PAGE,
    answer_templates.PAGE,
    rulings.PAGE,
    audit_log.PAGE,
    why.PAGE,
    people.PAGE,
    account.PAGE,
    mail_html.PAGE,
    attachments.PAGE,
    raw.PAGE,
)
"""A person begins at the first that is for the person. What has no name is not in the header."""
