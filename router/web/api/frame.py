"""What all operations of the API share: scopes, JSON that is read beside the loop, and answers in one form."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from router.model.viewer import Grant, StaffRole, Viewer
from router.operations.staff_tokens import StaffToken
from router.web.api.problem import Fault, problem
from router.web.api.text import is_storable
from router.web.times import is_shown_everywhere

_SMALL: Final = 64 << 10  # bytes of JSON that are read at once
MOST_VALUES: Final = 20_000
"""Values of a large document, at most; the largest email has 12,000."""
MOST_LISTED: Final = 1000
"""Rows of a page, at most."""


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("it has a character that cannot be stored: NUL, or half of a pair (surrogate)")
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""Text that the database can hold."""


def _known_everywhere(at: AwareDatetime) -> AwareDatetime:
    if not is_shown_everywhere(at):
        raise ValueError("it is too near to the beginning of the year 1, or to the end of the year 9999")
    return at


Moment = Annotated[AwareDatetime, AfterValidator(_known_everywhere)]
"""A time with its zone."""

Limit = Annotated[int, Field(ge=1, le=MOST_LISTED, description="As many at most.")]


class Document(BaseModel):
    """Something that a client sends: with no more than is known."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """Something that a client is shown."""

    model_config = ConfigDict(from_attributes=True)


class ShownRuling(Shown):
    """What a person ruled; `subject` is an address, or @ and a domain."""

    id: int
    kind: Literal["resolve", "ignore-sender"]
    subject: str
    record_id: UUID | None
    record: str | None = Field(description="The name of its record.")
    by: str
    at: datetime
    undone_by: str | None
    undone_at: datetime | None
    replaced_by: int | None
    in_force: bool
    is_done: bool = Field(description="All mail that waited is in line with it.")
    touched: int = Field(description="Parties of mail that waited, which it resolved.")
    parties: int = Field(description="Parties that are its record's by it now.")
    made_record: bool = Field(description="Its record was made together with it, and goes out of use with its undoing.")
    never_tracked: bool = Field(description="An entry of the never-track list goes with its undoing.")
    kept: str | None = Field(description="What the undoing left of these, since it has been used; in words.")


class _Request(Request):
    async def json(self) -> Any:
        body = await self.body()
        return _small(body) if len(body) < _SMALL else await asyncio.to_thread(_large, body)


def _small(body: bytes) -> Any:
    return json.loads(body.decode())


def _large(body: bytes) -> Any:
    # A thread does not help against many values: json lets nobody else run meanwhile, nor does what checks them later.
    if not _has_few_values(body):
        raise HTTPException(413, f"a request may have {MOST_VALUES:,} values")
    return _small(body)


def _has_few_values(body: bytes) -> bool:
    """Whether there are at most so many, told by what stands between the strings; of what is not JSON, anything."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 4 * MOST_VALUES:  # a name and a value
        return False
    between = b"".join(plain.split(b'"')[::2])
    return sum(map(between.count, (b",", b"[", b"{"))) <= MOST_VALUES


class Route(APIRoute):
    """A route whose large bodies are read beside the loop: mail goes on meanwhile."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand on a request that does so."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return handler


def allowed(scope: str) -> Callable[[Request], StaffToken]:
    """Make a dependency: the token of a request, which has to allow this."""

    def check(request: Request) -> StaffToken:
        staff: StaffToken = request.state.staff
        if scope not in staff.scopes:
            raise HTTPException(403, f"the token {staff.name} does not allow {scope}")
        return staff

    return check


async def on_http_error(_: Request, error: Exception) -> Response:
    """Tell that there is no such path or method, or what an operation raised."""
    assert isinstance(error, HTTPException)
    # Where there is no path, Starlette has but the name of the status.
    words = "there is no such path: /api/v1/openapi.json names those that there are"
    detail = words if (error.status_code, error.detail) == (404, "Not Found") else error.detail
    return problem(error.status_code, detail, headers=error.headers)


async def on_unknown(_: Request, error: Exception) -> Response:
    """Tell that there is no such thing."""
    return problem(404, str(error))


async def on_conflict(_: Request, error: Exception) -> Response:
    """Tell what is so by now."""
    return problem(409, str(error))


async def on_changed(_: Request, error: Exception) -> Response:
    """Tell that somebody was quicker."""
    return problem(412, str(error))


async def on_refused(_: Request, error: Exception) -> Response:
    """Tell why it is refused, in the schema's words."""
    return problem(422, str(error))


async def on_crowded(_: Request, error: Exception) -> Response:
    """Tell that others are served; the connection ends, for they are what is few."""
    return problem(503, str(error), headers={"Retry-After": "5", "Connection": "close"})


async def on_invalid(_: Request, error: Exception) -> Response:
    """Tell each thing that is wrong with a request, without what was sent."""
    assert isinstance(error, RequestValidationError)
    faults = [_fault(one) for one in error.errors()][:_MOST_FAULTS]
    return problem(422, "; ".join(f"{one.where}: {one.what}" for one in faults[:3]), errors=faults)


_MOST_FAULTS: Final = 20


def _fault(error: Mapping[str, Any]) -> Fault:
    """Tell one thing that is wrong; of a body that is no JSON, as where curl sends it as a form, what is needed."""
    place = tuple(map(str, error["loc"]))
    if error["type"] == "json_invalid":
        why = error.get("ctx", {}).get("error", "")
        return Fault(where="body", what=f"it is not JSON, from character {place[-1]} on: {why}")
    if place == ("body",) and error["type"] in ("missing", "model_attributes_type"):
        return Fault(where="body", what="a JSON object is needed, sent with Content-Type: application/json")
    return Fault(where=".".join(place), what=str(error["msg"]).removeprefix("Value error, "))


def as_viewer(staff: StaffToken) -> Viewer:
    """See in a token whoever may see all mail: what it may do, its scopes tell."""
    return Viewer(0, staff.name, (Grant(StaffRole.VIEW),))


AuditRead = Annotated[StaffToken, Depends(allowed("audit:read"))]
EmailsRead = Annotated[StaffToken, Depends(allowed("emails:read"))]
EmailsRaw = Annotated[StaffToken, Depends(allowed("emails:raw"))]
EmailsSend = Annotated[StaffToken, Depends(allowed("emails:send"))]
EventsRead = Annotated[StaffToken, Depends(allowed("events:read"))]
LettersRead = Annotated[StaffToken, Depends(allowed("letters:read"))]
LettersDecide = Annotated[StaffToken, Depends(allowed("letters:decide"))]
OwnersRead = Annotated[StaffToken, Depends(allowed("owners:read"))]
OwnersManage = Annotated[StaffToken, Depends(allowed("owners:manage"))]
RecordsRead = Annotated[StaffToken, Depends(allowed("records:read"))]
RecordsWrite = Annotated[StaffToken, Depends(allowed("records:write"))]
StatusRead = Annotated[StaffToken, Depends(allowed("status:read"))]
UnresolvedRead = Annotated[StaffToken, Depends(allowed("unresolved:read"))]
UnresolvedDecide = Annotated[StaffToken, Depends(allowed("unresolved:decide"))]
WebhooksRead = Annotated[StaffToken, Depends(allowed("webhooks:read"))]
WebhooksManage = Annotated[StaffToken, Depends(allowed("webhooks:manage"))]
