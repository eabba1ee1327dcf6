"""Who a sender is, as a person decides, and takes back."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError, UnknownName
from router.model.viewer import StaffRole, Viewer
from router.operations import unresolved
from router.operations.backing import Backing
from router.operations.queue import Seen, ruling
from router.operations.queue.ruling import Asked, NewRecord, RecordKind, Refused, Ruling
from router.operations.words import count
from router.web.console.frame import form_of, viewer_of
from router.web.console.queue.asked import number_of, uuid_of
from router.web.console.queue.done import Done, answer, decided_by, in_words, part, refuse
from router.web.console.queue.sender import KINDS


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def rule(request: Request) -> Response:
        form, seen = form_of(request), decided_by(request)
        what = form.get("do", "")
        subject = unresolved.subject_of(form.get("subject", ""))
        try:
            asked = await ruling.ask(backing.database, seen, subject)
        except UnknownName:
            asked = None  # the ruling itself says who was first
        if asked is not None and asked.confirm and form.get("confirmed") != "1":
            return part(
                request,
                "queue_confirm.html",
                "#confirm",
                asked=asked,
                form=form,
                words=_asked(form),
                named=unresolved.named,
            )
        try:
            done = await _rule(backing, request, what, subject, seen)
        except RouterError as error:
            return await refuse(backing, request, error, subject)
        if asked is not None:
            done = replace(done, words=f"{done.words}: {_numbers(asked)}, and all to come.")
        return await answer(backing, request, done, "ruled", subject)

    async def undo(request: Request) -> Response:
        form, viewer = form_of(request), viewer_of(request)
        try:
            undone = await _undo(backing, viewer, number_of(form.get("ruling", "")) or 0)
        except RouterError as error:
            return await refuse(backing, request, error, form.get("subject", ""))
        kept = f", but {undone.kept}" if undone.kept else ""
        done = Done(f"Undone: {unresolved.named(undone.subject)} is as it was before{kept}.")
        return await answer(backing, request, done, "undone", undone.subject)

    return [
        Route("/queue/rule", rule, methods=["POST"]),
        Route("/queue/undo", undo, methods=["POST"]),
    ]


async def _undo(backing: Backing, viewer: Viewer, number: int) -> Ruling:
    found = await unresolved.find(backing.database, number)
    if not viewer.administers and not (found.by == viewer.name and viewer.has_anywhere(StaffRole.DECIDE)):
        # In the words of one that is none: how others rule, and how often, is not told.
        raise UnknownName(f"there is no ruling {number}")
    return await ruling.undo(backing.database, found.id, viewer.name)


async def done_before(backing: Backing, request: Request) -> Done | None:
    """What a form without scripts did, for the page that comes next."""
    number = number_of(request.query_params.get("done", ""))
    with suppress(UnknownName):
        found = await unresolved.find(backing.database, number or 0)
        if found.by == viewer_of(request).name:
            return _of_ruling(found, in_words(found))
    return None


async def _rule(backing: Backing, request: Request, what: str, subject: str, seen: Seen) -> Done:
    """Carry a ruling out."""
    database, form, by = backing.database, form_of(request), viewer_of(request).name
    expected = number_of(form.get("expected", ""))
    action, _, rest = what.partition(" ")
    if action == "link" and (record_id := uuid_of(rest)):
        made = await ruling.link(database, seen, subject, record_id, by, expected)
        return _of_ruling(made, in_words(made))
    if action == "ignore":
        made = await ruling.ignore(database, seen, subject, by, expected)
        return _of_ruling(made, in_words(made))
    if action == "never":
        never = await ruling.never_track(database, seen, subject, None, by, expected)
        assert never.ruling is not None  # there is one for the organization
        return _of_ruling(never.ruling, f"Mail of {never.pattern} is never tracked")
    if action == "create" and form.get("kind") in KINDS:
        kind = cast("RecordKind", form["kind"])
        made = await ruling.create(database, seen, subject, NewRecord(kind, form.get("name", "")), by, expected)
        return _of_ruling(made, f"{subject} is {KINDS[kind]}, {made.record}")
    raise Refused("the page does not say what is to be done: open it anew")


def _numbers(asked: Asked) -> str:
    sent = f", {asked.sent} sent" if asked.sent else ""
    return f"{count(asked.past, 'email')}{sent}"


def _of_ruling(made: Ruling, words: str) -> Done:
    return Done(words, "/queue/undo", {"ruling": str(made.id), "subject": made.subject})


def _asked(form: Mapping[str, str]) -> str:
    """Say what a person is asked to confirm."""
    match form.get("do", "").partition(" ")[0]:
        case "ignore":
            return "Ignore"
        case "never":
            return "Never track"
        case "create":
            return f"Make {KINDS.get(form.get('kind', ''), 'a record')} of"
    return "Link"
