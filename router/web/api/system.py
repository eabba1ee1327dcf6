"""`/sources`, `/relays` and `/audit`: how the router is, and who did what."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from router.operations import audit_log, sources
from router.operations import status as operation
from router.operations.backing import Backing
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import AuditRead, Limit, Route, Shown, StatusRead
from router.web.api.problem import answers


class ShownSource(Shown):
    """One folder of a mailbox, or a listener; what it has seen is the sum of its `dispositions`."""

    profile: str
    mailbox: str
    folder: str
    owner: str | None
    served: bool
    fault: str | None
    fault_since: datetime | None
    next_try_at: datetime | None
    success_at: datetime | None = Field(description="When it worked last: now, or until it was at fault.")
    last_at: datetime | None = Field(description="When its last copy was decided on.")
    lag: float | None = Field(description="Seconds from the arrival of its newest mail to its decision.")
    seen: int
    dispositions: dict[str, int]
    audited_at: datetime | None = Field(description="When it was last compared with what lies on its server.")
    missing: int | None = Field(description="Messages of which nothing accounts, as that found.")


class SourcePage(Shown):
    """Sources, by profile, mailbox and folder."""

    sources: list[ShownSource]
    cursor: Next


class ShownRelay(Shown):
    """An outgoing profile, and how its relay is."""

    profile: str
    state: Literal["working", "paused", "login_refused"]
    fault: str | None
    fault_since: datetime | None
    next_try_at: datetime | None
    waiting: int = Field(description="Emails that are due and wait for a relay at fault; up to 10,000 are counted.")


class RelayList(Shown):
    """All relays, by profile."""

    relays: list[ShownRelay]


class ShownEntry(Shown):
    """Something that a person, or a program in its name, did or looked at."""

    id: int
    at: datetime
    by: str
    action: str
    subject: str
    email_id: UUID | None
    address: str | None
    details: dict[str, Any]


class AuditPage(Shown):
    """What was done, the latest first."""

    entries: list[ShownEntry]
    cursor: Next


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(route_class=Route)

    @router.get("/sources", tags=["sources"], name="list", summary="List sources", responses=answers())
    async def list_sources(_: StatusRead, cursor: Cursor = None, limit: Limit = 100) -> SourcePage:
        """Scope `status:read`. How each is, and what became of all that it has seen."""
        profile, mailbox, folder = cursors.words(cursor, 3)
        found = await sources.list_after(backing, (profile, mailbox, folder), limit)
        last = found[-1] if len(found) == limit else None
        return SourcePage(
            sources=list(map(_source, found)),
            cursor=cursors.write(last.profile, last.mailbox, last.folder) if last else None,
        )

    @router.get("/relays", tags=["relays"], name="list", summary="List relays", responses=answers())
    async def list_relays(_: StatusRead) -> RelayList:
        """Scope `status:read`. Whether each can be used."""
        report = await operation.read(backing.database, backing.lease, backing.folder)
        faulty = {one.profile: one for one in report.status.relays}
        names = {one.profile.name for one in report.profiles if one.profile.direction == "outgoing"} | set(faulty)
        return RelayList(relays=[_relay(name, faulty.get(name)) for name in sorted(names)])

    @router.get("/audit", tags=["audit"], name="list", summary="List what was done", responses=answers())
    async def list_audit(_: AuditRead, cursor: Cursor = None, limit: Limit = 100) -> AuditPage:
        """Scope `audit:read`. Who did what, when, and to which email; the latest first."""
        before = cursors.number(cursor)
        found = await audit_log.list_before(backing.database, before, limit)
        goes_on = cursors.write(found[-1].id) if len(found) == limit else None
        return AuditPage(entries=[ShownEntry.model_validate(one) for one in found], cursor=goes_on)

    return router


def _source(one: sources.SourceStatus) -> ShownSource:
    columns = {
        name: getattr(one, name)
        for name in ShownSource.model_fields
        if name not in ("dispositions", "audited_at", "missing")
    }
    return ShownSource(
        **columns,
        dispositions={disposition.value: number for disposition, number in one.dispositions.items()},
        audited_at=one.audit.at if one.audit else None,
        missing=one.audit.missing if one.audit and one.audit.at else None,
    )


def _relay(name: str, faulty: operation.FaultyRelay | None) -> ShownRelay:
    return ShownRelay(
        profile=name,
        state="working" if faulty is None else "paused" if faulty.state == "paused" else "login_refused",
        fault=faulty.fault if faulty else None,
        fault_since=faulty.fault_since if faulty else None,
        next_try_at=faulty.next_try_at if faulty else None,
        waiting=faulty.waiting if faulty else 0,
    )
