"""The commands and their help, a file for each kind of them. Exit status: 0, 1 (it did not work), 2 (usage).

    base       the program as a whole, and the options that many commands have
    service    running the router, and its database
    examine    what runs, what is wrong, and what is missing
    mail       what becomes of a message, and where it is
    owners     whose mail is tracked, and whether any is sent
    tracking   what the organization and owners choose about tracking
    outbox     outgoing email that waits, failed or is unknown
    letters    dead letters and held mail
    unresolved  senders who are no record, and who says who they are
    content    what the CRM has of mail, taken away again
    records    records of the CRM
    templates  templates of answers
    oauth      logins by access token
    staff      who may use the API
    webhooks   subscribers who are told of events by HTTP
    profile    help to write profiles

What a command needs is imported when it is run (router/commands/), so that help is there at once.
"""

# In the order of the help.
from router.cli import service, examine, mail, owners, tracking, outbox, letters, unresolved, content, records  # isort: skip
from router.cli import templates, oauth, staff, webhooks, profile  # isort: skip
from router.cli.base import app

__all__ = [
    "app",
    "content",
    "examine",
    "letters",
    "mail",
    "oauth",
    "outbox",
    "owners",
    "profile",
    "records",
    "service",
    "staff",
    "templates",
    "tracking",
    "unresolved",
    "webhooks",
]
