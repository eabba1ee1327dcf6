"""What is sent: relays, emails that wait, failed or are unknown, and what a person does about each."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urlencode
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model import normalize
from router.model.viewer import StaffRole
from router.operations import audit_log, outbox, sending
from router.operations.backing import Backing
from router.operations.outbox import LISTED, Entry, Listed, Meant, Place, Ruled, Selection
from router.operations.words import count
from router.web.console.frame import Page, client_of, for_a_while, form_of, redirect, render, viewer_of
from router.web.times import time_of

_PAGE: Final = 50
_NOT_DONE: Final = "not done"

_STATES: Final[dict[Listed, str]] = {
    "unknown": "unknown", "failed": "failed", "pending": "waiting", "sending": "being sent", "sent": "sent lately",
}  # fmt: skip

_LATER: Final = {"1": "in an hour", "4": "in 4 hours", "24": "in a day", "72": "in 3 days", "168": "in a week"}


@dataclass(frozen=True, slots=True)
class Action:
    """What may be done to an email: its button, the statuses it is for, and what is said before it is done.

    One that is `sure` asks nothing first when it is done to one email.
    """

    button: str
    old: tuple[str, ...]
    before: str
    done: str
    sure: bool = False


_ACTIONS: Final = {
    "retry": Action(
        "Try now", ("failed", "pending_send"), "It is sent again to all who have not got it.", "It is tried now.", True
    ),
    "later": Action("Send later", ("pending_send",), "It waits until then.", "It waits until then.", True),
    "cancel": Action(
        "Cancel", ("pending_send", "failed"), "It is never sent then. This cannot be undone.", "It is canceled."
    ),
    "sent": Action(
        "It arrived", ("unknown",), "It counts as sent then. This cannot be undone.", "It counts as sent."
    ),
    "failed": Action(
        "It did not arrive", ("unknown",), "It counts as failed then; you can try it again or cancel it.",
        "It counts as failed.",
    ),
    "resend": Action(
        "Send again", ("unknown",),
        "The relay had it and never answered: recipients may get it twice. What lies in the owner's Sent folder is not "
        "sent again.", "It is sent again.",
    ),
    "resend-anyway": Action(
        "Send again, whatever the Sent folder says", ("unknown",),
        "It may lie in the owner's Sent folder already: recipients will probably get it twice.", "It is sent again.",
    ),
}  # fmt: skip
_OF_ALL: Final = {"unknown": (), "failed": ("retry", "cancel"), "pending": ("retry", "cancel")}
"""What may be done to all emails of a list at once."""


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""
    pages = _Outbox(backing)
    return [
        Route("/outbox", pages.show, methods=["GET"]),
        Route("/outbox/all", pages.act_on_all, methods=["POST"]),
        Route("/outbox/sending", pages.switch, methods=["POST"]),
        Route("/outbox/{email}", pages.show_one, methods=["GET"]),
        Route("/outbox/{email}", pages.act, methods=["POST"]),
    ]


class _Outbox:
    """The handlers."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    async def show(self, request: Request) -> Response:
        asked = request.query_params
        unsent = await outbox.count_unsent(self._backing.database)
        listed = cast("Listed", asked.get("state", ""))
        if listed not in LISTED:
            listed = next((one for one in ("unknown", "failed") if unsent[one]), "pending")
        owner, profile = asked.get("owner", "").strip(), asked.get("profile", "").strip()
        selection = _selection(owner, profile)
        found, goes_on = await outbox.list_page(
            self._backing.database, listed, selection, _place(asked.get("after", "")), _PAGE
        )
        place = {"state": listed, "owner": owner, "profile": profile}
        more = goes_on and f"/outbox?{urlencode({**place, 'after': f'{goes_on.at.isoformat()} {goes_on.email_id}'})}"
        state = await sending.read(self._backing.database)
        relays = await outbox.relays(
            self._backing.database, [one.name for one in self._backing.profiles.outgoing], state.queue
        )
        return render(
            request, "outbox.html", found=found, listed=listed, states=_STATES, owner=owner, profile=profile, more=more,
            is_first="after" not in asked, unsent=unsent, waiting=state.queue.count(*outbox.CAUSES),
            sending=state.queue.sending, switch=state.sending, relays=relays, actions=_ACTIONS,
            of_all=_OF_ALL.get(listed, ()), link=lambda name: f"/outbox?{urlencode({'state': name})}",
            did=did_of(asked),
        )  # fmt: skip

    async def show_one(self, request: Request, status: int = 200, **more: Any) -> Response:
        shown = await outbox.show(self._backing.database, str(_id(request.path_params["email"])))
        values = {"done": "", "fault": "", "undo": None} | more
        actions = {name: one for name, one in _ACTIONS.items() if shown.entry.status in one.old}
        return render(
            request, "outbox_email.html", status, shown=shown, entry=shown.entry, actions=actions, replies=_replies,
            later=_LATER, **values,
        )  # fmt: skip

    async def act(self, request: Request) -> Response:
        form = form_of(request)
        name, email_id = form.get("action", ""), _id(request.path_params["email"])
        action = _action(name)
        [entry] = await outbox.find(self._backing.database, [str(email_id)])
        if not action.sure and form.get("sure") != "yes":
            return render(
                request, "sure.html", title=action.button, words=action.before, back=f"/outbox/{email_id}",
                what=f"{entry.subject or '(no subject)'}, from {entry.owner or 'nobody'}, "
                f"to {count(entry.recipients, 'recipient')}", hidden={"action": name}, button=action.button,
            )  # fmt: skip
        until = _until(form) if name == "later" else None
        await audit_log.note(
            self._backing.database, viewer_of(request).name, f"email-{name}", entry.message_id or "", email_id=email_id,
            address=client_of(request).address, details={"old": entry.status},
        )  # fmt: skip
        [ruled] = [one async for one in self._rule(request, name, [entry], until)]
        if ruled.fault:
            words = ruled.fault.replace("--force sends it again", "“Send again, whatever …” does it all the same")
            return await self.show_one(request, 409, fault=f"Nothing was changed: {words}.")
        done = f"{action.done} ({ruled.note})" if ruled.note else action.done
        was = entry.send_after.isoformat() if entry.send_after else ""
        return await self.show_one(
            request, done=done, undo={"action": "later", "until": was} if name == "later" else None
        )

    async def act_on_all(self, request: Request) -> Response:
        form = form_of(request)
        name, listed = form.get("action", ""), form.get("state", "")
        action = _action(name)
        if name not in _OF_ALL.get(listed, ()):
            raise HTTPException(422, "This is not done to all of a list.")
        owner, profile = form.get("owner", ""), form.get("profile", "")
        place = {"state": listed, "owner": owner, "profile": profile}
        meant = Meant(cast("Any", listed), _selection(owner, profile))
        if form.get("sure") != "yes":
            some, number = await outbox.list_all(self._backing.database, meant.state, meant.selection, 1)
            of = " ".join(filter(None, (owner and f"of {owner}", profile and f"by {profile}")))
            return render(
                request, "sure.html", title=f"{action.button}: all", words=action.before.replace("It is", "Each is"),
                what=f"{count(number, 'email')} {of}, the first: {some[0].subject if some else 'none'}",
                back=f"/outbox?{urlencode(place)}", hidden={"action": name, **place},
                button=f"{action.button}: {number:,}",
            )  # fmt: skip
        await audit_log.note(
            self._backing.database, viewer_of(request).name, f"emails-{name}", listed,
            address=client_of(request).address, details={"owner": owner, "profile": profile},
        )  # fmt: skip
        counts, all_done = await _counted(self._rule(request, name, meant, None))
        numbers = {"did": counts.total() - counts[_NOT_DONE], "not": counts[_NOT_DONE], "left": int(not all_done)}
        return redirect(request, f"/outbox?{urlencode({**place, **numbers})}")

    async def switch(self, request: Request) -> Response:
        form = form_of(request)
        on, reason = form.get("on") == "yes", form.get("reason", "").strip()[:500]
        if form.get("sure") != "yes":
            words = (
                "Everything that is due leaves at once. A copy of another database becomes the real one: no router may "
                "work on the other."
                if on
                else "Nothing leaves until somebody starts it again; mail still comes in."
            )
            return render(
                request, "sure.html", title="Start sending" if on else "Stop sending", words=words,
                what="For all processes of the router", back="/outbox", ask="" if on else "Why, for your colleagues",
                hidden={"on": "yes" if on else "no"}, button="Start sending" if on else "Stop sending",
            )  # fmt: skip
        person = viewer_of(request)
        await audit_log.note(
            self._backing.database, person.name, "sending-started" if on else "sending-stopped",
            address=client_of(request).address, details={"reason": reason},
        )  # fmt: skip
        await sending.switch(self._backing.database, on=on, reason=reason or None, by=person.name)
        return redirect(request, "/outbox")

    def _rule(
        self, request: Request, name: str, meant: Meant | Sequence[Entry], until: datetime | None
    ) -> AsyncIterator[Ruled]:
        database, by = self._backing.database, viewer_of(request).name
        if name == "retry":
            return outbox.retry(database, meant)
        if name == "cancel":
            return outbox.cancel(database, by, meant)
        if name == "later":
            assert not isinstance(meant, Meant)
            return outbox.put_off(database, meant, until)
        as_: Any = name if name in ("sent", "failed") else "resend"
        return outbox.release(database, self._backing.profiles, by, as_, meant, force=name == "resend-anyway")


async def _counted(ruled: AsyncIterator[Ruled]) -> tuple[Counter[str], bool]:
    """Do what there is time for; returns what became of how many, and whether that was all."""
    counts: Counter[str] = Counter()
    async for one in for_a_while(ruled):
        if one is None:
            return counts, False
        counts[_NOT_DONE if one.fault else one.status] += 1
    return counts, True


def _selection(owner: str, profile: str) -> Selection:
    return Selection(normalize(owner) if owner else None, profile or None)


def did_of(asked: Mapping[str, str]) -> str:
    """Say what was done to all of a list, by the numbers in the address: no words come from there."""
    did, not_done = (int(found) if (found := asked.get(one, "0")[:9]).isdecimal() else 0 for one in ("did", "not"))
    if "did" not in asked:
        return ""
    words = f"Done: {did:,}" + (f"; not done: {not_done:,}, which tell why" if not_done else "")
    return words + (". More are left: do it again for them." if asked.get("left") == "1" else ".")


def _action(name: str) -> Action:
    action = _ACTIONS.get(name)
    if action is None:
        raise HTTPException(422, "There is no such action.")
    return action


def _until(form: Mapping[str, str]) -> datetime | None:
    """Read when an email is to be sent: in so many hours, or at a moment, by which a change is undone; None: now."""
    hours = form.get("hours", "")
    if hours in _LATER:
        return datetime.now(UTC) + timedelta(hours=int(hours))
    return time_of(form.get("until", ""))


def _id(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        raise HTTPException(404) from None


def _place(text: str) -> Place | None:
    written, _, email_id = text.partition(" ")
    at = time_of(written)
    try:
        return None if at is None else Place(at, UUID(email_id))
    except ValueError:
        return None


def _replies(attempt: outbox.Attempt) -> Sequence[dict[str, Any]]:
    replies = attempt.replies
    return (json.loads(replies) if isinstance(replies, str) else replies) or []


PAGE = Page("Sent & outbox", "/outbox", routes, StaffRole.ADMINISTER, everywhere=True)
