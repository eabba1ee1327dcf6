"""Who takes care of a sender, until when one is put off, and which emails are threads of their own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError, UnknownName
from router.operations import people, split
from router.operations.backing import Backing, Refused
from router.operations.queue import care, ruling
from router.web.console.frame import form_of, viewer_of, zone_of
from router.web.console.queue import until
from router.web.console.queue.asked import uuid_of
from router.web.console.queue.done import Done, answer, decided_by, refuse


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def snooze(request: Request) -> Response:
        form, name = form_of(request), viewer_of(request).name
        address, zone = form.get("subject", ""), zone_of(request)
        at = until.chosen(form, datetime.now(UTC), zone)
        try:
            await care.snooze(backing.database, decided_by(request), address, at, name)
        except RouterError as error:
            return await refuse(backing, request, error, address)
        if at is None:
            return await answer(backing, request, Done(f"{address} waits again."), "undone", address)
        words = f"{address} is put off until {until.in_words(at, zone)}."
        done = Done(words, "/queue/snooze", {"subject": address})
        return await answer(backing, request, done, "ruled", address)

    async def assign(request: Request) -> Response:
        form, name = form_of(request), viewer_of(request).name
        address, to, before = form.get("subject", ""), form.get("to") or None, form.get("expected") or None
        try:
            if to is not None and to not in await people.names(backing.database):
                raise Refused(f"there is nobody of the name {to[:64]} here")
            await care.assign(backing.database, decided_by(request), address, to, name, before)
        except RouterError as error:
            return await refuse(backing, request, error, address)
        fields = {"subject": address, "to": before or "", "expected": to or ""}
        words = f"{address} is with {to} now." if to else f"{address} is with nobody now."
        return await answer(backing, request, Done(words, "/queue/assign", fields), "cared", address)

    async def split_off(request: Request) -> Response:
        form = form_of(request)
        address, back = form.get("subject", ""), form.get("back") == "1"
        try:
            email_id = await _split(backing, request, back=back)
        except RouterError as error:
            return await refuse(backing, request, error, address)
        if back:
            return await answer(backing, request, Done("The email is on its thread again."), "cared", address)
        fields = {"subject": address, "email": str(email_id), "back": "1"}
        done = Done("The email is a thread of its own now.", "/queue/split", fields)
        return await answer(backing, request, done, "cared", address)

    return [
        Route("/queue/snooze", snooze, methods=["POST"]),
        Route("/queue/assign", assign, methods=["POST"]),
        Route("/queue/split", split_off, methods=["POST"]),
    ]


async def _split(backing: Backing, request: Request, *, back: bool) -> UUID:
    """Split an email off its thread, or put it back; both take who decides on that mail."""
    email_id, by = uuid_of(form_of(request).get("email", "")), viewer_of(request).name
    if email_id is None:
        raise UnknownName("there is no such email")
    if back:
        await ruling.may_split(backing.database, decided_by(request), email_id)
        await split.undo(backing.database, email_id, by)
    else:
        await ruling.split(backing.database, decided_by(request), email_id, by)
    return email_id
