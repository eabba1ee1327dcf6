"""What could not be read or stored: why, its source, and another try."""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model import Disposition, normalize
from router.model.viewer import StaffRole
from router.operations import audit_log, letters
from router.operations.backing import Backing
from router.operations.letters import Became, Selection
from router.operations.words import count
from router.web.console.frame import Page, client_of, for_a_while, form_of, redirect, render, viewer_of
from router.web.console.outbox import did_of
from router.web.files import LOCKED, disposition

_PAGE: Final = 50
_SHOWN: Final = 64 << 10  # bytes of a source that the page shows; all of it can be saved

_BEFORE: Final = {
    "replay": "It is read and decided on again, by today's rules: it may come into the CRM now.",
    "drop": "It is ignored then, and what is kept of it is deleted. This cannot be undone.",
}
_BUTTONS: Final = {"replay": "Replay", "drop": "Drop"}


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""
    pages = _DeadLetters(backing)
    return [
        Route("/dead-letters", pages.show, methods=["GET"]),
        Route("/dead-letters/all", pages.act_on_all, methods=["POST"]),
        Route("/dead-letters/{number:int}", pages.show_one, methods=["GET"]),
        Route("/dead-letters/{number:int}", pages.act, methods=["POST"]),
        Route("/dead-letters/{number:int}/source", pages.save, methods=["GET"]),
    ]


class _DeadLetters:
    """The handlers."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    async def show(self, request: Request) -> Response:
        asked = request.query_params
        owner, profile, after = (
            asked.get("owner", "").strip(),
            asked.get("profile", "").strip(),
            asked.get("after", "0"),
        )
        which = _selection(owner, profile)
        found, goes_on = await letters.list_page(self._backing.database, Disposition.DEAD, which, _number(after), _PAGE)
        place = {"owner": owner, "profile": profile}
        more = goes_on and f"/dead-letters?{urlencode({**place, 'after': goes_on})}"
        return render(
            request, "dead_letters.html", found=found, owner=owner, profile=profile, more=more,
            is_first=after == "0", did=did_of(asked),
        )  # fmt: skip

    async def show_one(self, request: Request, status: int = 200, fault: str = "") -> Response:
        shown = await letters.find(self._backing.database, Disposition.DEAD, _id(request))
        text = shown.content[:_SHOWN].decode("utf-8", "replace")
        if text and not fault:
            await self._note(request, "raw-viewed", shown.letter.id)
        return render(
            request, "dead_letter.html", status, letter=shown.letter, text=text, size=len(shown.content),
            is_cut=len(shown.content) > _SHOWN, before=_BEFORE, buttons=_BUTTONS, fault=fault,
        )  # fmt: skip

    async def save(self, request: Request) -> Response:
        shown = await letters.find(self._backing.database, Disposition.DEAD, _id(request))
        if not shown.content:
            raise HTTPException(404)
        await self._note(request, "raw-viewed", shown.letter.id)
        headers = {**LOCKED, "Content-Disposition": disposition("attachment", f"dead-letter-{shown.letter.id}.eml")}
        return Response(shown.content, headers=headers, media_type="application/octet-stream")

    async def act(self, request: Request) -> Response:
        form, number = form_of(request), _id(request)
        name = _action(form.get("action", ""))
        if name == "drop" and form.get("sure") != "yes":
            return render(
                request, "sure.html", title=_BUTTONS[name], words=_BEFORE[name], what=f"Dead letter {number}",
                back=f"/dead-letters/{number}", hidden={"action": name}, button=_BUTTONS[name],
            )  # fmt: skip
        await self._note(request, f"dead-letter-{name}", number)
        [became] = [one async for one in self._rule(request, name, [number])]
        if became.waits:
            why = became.fault or "; ".join(reason for one in became.decisions for reason in one.reasons)
            return await self.show_one(request, 409, f"It could not be brought in, and is kept as it was: {why}.")
        told = [f"{one.disposition}: {'; '.join(one.reasons)}" for one in became.decisions]
        return render(
            request, "message.html", title=f"Dead letter {number} is one no more", words=f"It is {', '.join(told)}."
        )

    async def act_on_all(self, request: Request) -> Response:
        form = form_of(request)
        name = _action(form.get("action", ""))
        owner, profile = form.get("owner", ""), form.get("profile", "")
        place, which = {"owner": owner, "profile": profile}, _selection(owner, profile)
        if form.get("sure") != "yes":
            number = await letters.count(self._backing.database, Disposition.DEAD, which)
            of = " ".join(filter(None, (owner and f"of {owner}", profile and f"of profile {profile}")))
            return render(
                request, "sure.html", title=f"{_BUTTONS[name]} all", words=_BEFORE[name].replace("It is", "Each is", 1),
                what=f"{count(number, 'dead letter')} {of}", back=f"/dead-letters?{urlencode(place)}",
                hidden={"action": name, **place}, button=f"{_BUTTONS[name]} {number:,}",
            )  # fmt: skip
        await self._note(request, f"dead-letters-{name}", 0, **place)
        did = not_done = left = 0
        async for one in for_a_while(self._rule(request, name, which)):
            if one is None:
                left = 1
            elif one.waits:
                not_done += 1
            else:
                did += 1
        numbers = {"did": did, "not": not_done, "left": left}
        return redirect(request, f"/dead-letters?{urlencode({**place, **numbers})}")

    def _rule(self, request: Request, name: str, which: Selection | Sequence[int]) -> AsyncIterator[Became]:
        database, profiles, by = self._backing.database, self._backing.profiles, viewer_of(request).name
        if name == "drop":
            return letters.drop(database, profiles, Disposition.DEAD, by, which)
        return letters.replay(database, self._backing.workers, profiles, by, which)

    async def _note(self, request: Request, action: str, number: int, **details: str) -> None:
        subject = f"dead letter {number}" if number else "dead letters"
        await audit_log.note(
            self._backing.database,
            viewer_of(request).name,
            action,
            subject,
            address=client_of(request).address,
            details=details,
        )


def _selection(owner: str, profile: str) -> Selection:
    return Selection(profile or None, normalize(owner) if owner else None)


def _action(name: str) -> str:
    if name not in _BUTTONS:
        raise HTTPException(422, "There is no such action.")
    return name


def _id(request: Request) -> int:
    number: int = request.path_params["number"]
    if number >= 1 << 63:
        raise HTTPException(404)
    return number


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


PAGE = Page("Dead letters", "/dead-letters", routes, StaffRole.ADMINISTER, everywhere=True)
