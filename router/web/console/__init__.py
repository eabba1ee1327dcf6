"""The pages: what the staff and administrators see in a browser, made on the server, with htmx.

    pages       which there are, in the order of the header: another page is another line there
    start       where one begins
    sign_in     signing in and out; light and dark
    passkey     signing in with a passkey
    provider    signing in by the organization's provider
    link        one-time links, by which a password is chosen
    account     a person's own password, passkeys and sessions
    people      who may use the console
    well        where an administrator begins: whether all is well
    outbox      relays, and what waits, failed or is unknown
    dead_letters  what could not be read or stored
    sources     each mailbox: who reads it, what is wrong, and its ledger
    plots       small plots, drawn as SVG
    mail_html   the HTML of a message, in a frame in which it can do nothing
    attachments the files and pictures of a message
    raw         the source of a message, for administrators
    why         why a message is in the CRM or is not: every copy, every step
    owners      whose mail is read and sent, by which rule; simulate tries another one
    profiles    as they are served, with what is wrong; answer_templates with previews
    rulings     who senders were said to be, and undoing it; audit_log: who did what
    wording     what the router's own words mean, for those who work with mail
    guard       sessions, roles, forms, time, faults and headers, before and around every request
    frame       what pages are made with: who looks, what was sent, templates
    assets      style sheet and scripts, under names that change with their content
    templates/  HTML, a file a page; base.html is what all stand in
    static/     style sheet and scripts are ours, htmx.min.js comes from `make vendor`

Nothing here knows the database: what is asked or done is an operation, handed `backing.database`, and told for whom.
"""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from router.operations.backing import Backing
from router.web.console import attachments, link, passkey, raw, sign_in, start
from router.web.console.assets import ASSETS
from router.web.console.frame import on_http_error
from router.web.console.guard import HEADERS, Guard, signed
from router.web.console.pages import PAGES
from router.web.headed import Headed


def make_console(backing: Backing) -> ASGIApp:
    """Make the application that serves the pages."""
    router = Router(
        [
            Route("/static/{name}", ASSETS.serve),
            *_provider_routes(backing),
            *sign_in.routes(backing),
            *passkey.routes(backing),
            *link.routes(backing),
            *start.routes(PAGES),
            *(signed(route, page) for page in PAGES for route in page.routes(backing)),
        ]
    )
    # No Starlette around them: it would answer itself where a page fails, before the guard can say what happened.
    inner = GZipMiddleware(
        ExceptionMiddleware(router, {HTTPException: on_http_error}),
        minimum_size=1024,
        compresslevel=5,
        # Files go as they are: packing them again would hide how long they are.
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *attachments.TYPES, raw.TYPE),
    )
    return Headed(Guard(inner, backing, PAGES), HEADERS)


def _provider_routes(backing: Backing) -> Sequence[Route]:
    """Sign people in by a provider; who has none does without its libraries."""
    if backing.settings.oidc_issuer is None:
        return []
    from router.web.console import provider  # noqa: PLC0415

    return provider.routes(backing)
