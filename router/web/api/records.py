"""`/records`: records of the CRM and their addresses, found and written as the CRM does it by SQL."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field, StringConstraints
from starlette.exceptions import HTTPException

from router.operations import crm_records as operation
from router.operations.backing import Backing
from router.operations.crm_records import CrmRecord, RecordChange
from router.operations.staff_tokens import StaffToken
from router.web.api import cursor as cursors
from router.web.api.cursor import Cursor, Next
from router.web.api.frame import Document, Limit, RecordsRead, RecordsWrite, Route, Shown, Text
from router.web.api.problem import answers

Kind = Annotated[
    Text, Field(min_length=1, max_length=100, description="account, contact, lead, case, or a kind of the CRM's own.")
]
Name = Annotated[Text, Field(max_length=1000)]
Address = Annotated[
    Text,
    StringConstraints(strip_whitespace=True, max_length=320, pattern=r"^[^<>]+@[^@<>\s]+$"),
    Field(description="`berta@kunde.example`; it is kept normalized."),
]
Search = Annotated[
    Text | None,
    Query(max_length=300, description="Beginnings of words in a name or an address: the likeliest, on one page."),
]
OfKind = Annotated[Text | None, Query(max_length=100, description="Only records of this kind.")]
OfAddress = Annotated[Text | None, Query(max_length=320, description="Only records with this address.")]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=4000, description="`ETag` of the record as it was read; `*`: whatever it is."),
]
_TAG: Final = re.compile(r'"([^"]*)"')
_ETAG: Final = {"ETag": {"description": "For `If-Match`.", "required": True, "schema": {"type": "string"}}}


class PostedRecord(Document):
    """A record to be made."""

    kind: Kind
    name: Name = ""
    owner_id: UUID | None = Field(default=None, description="The user or queue that it belongs to.")
    active: bool = True
    attributes: dict[Text, Any] = Field(default={}, description="Whatever else the CRM keeps of it.")
    addresses: list[Address] = Field(default=[], max_length=1000)


class PatchedRecord(Document):
    """What is to be changed of a record; what is not there stays."""

    kind: Kind = Field(default="")
    name: Name = Field(default="")
    owner_id: UUID | None = None
    active: bool = Field(default=True, description="false: it is retired, and mail is linked to others first.")
    attributes: dict[Text, Any] = Field(default={}, description="All of them.")
    add_addresses: list[Address] = Field(default=[], max_length=1000)
    remove_addresses: list[Address] = Field(default=[], max_length=1000)


class ShownRecord(Shown):
    """A record with its addresses; in a list with the first hundred."""

    id: UUID
    kind: str
    name: str
    owner_id: UUID | None
    active: bool
    attributes: dict[str, Any]
    created_at: datetime
    addresses: list[str]


class RecordPage(Shown):
    """Records, by id; what was searched, the likeliest first."""

    records: list[ShownRecord]
    cursor: Next


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/records", tags=["records"], route_class=Route)
    written = {**answers(400, 404, 412, 413, 428), 200: {"headers": _ETAG}}

    @router.get("", name="list", summary="List records, or search them", responses=answers())
    async def list_records(
        _: RecordsRead,
        search: Search = None,
        kind: OfKind = None,
        address: OfAddress = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> RecordPage:
        """Scope `records:read`. A page of one kind can be short, also where another follows."""
        if search is not None:
            if address is not None or cursor is not None:
                raise HTTPException(422, "with search there is neither address nor cursor: say more of the name")
            return _page(await operation.search_all(backing.database, search, kind, min(limit, operation.MOST_FOUND)))
        return _page(*await operation.list_page(backing.database, kind, address, cursors.row_id(cursor), limit))

    @router.post("", status_code=201, summary="Make a record", responses={**answers(400, 413), 201: {"headers": _ETAG}})
    async def make(body: PostedRecord, staff: RecordsWrite, response: Response) -> ShownRecord:
        """Scope `records:write`. It is inserted as the CRM does by SQL, with its addresses."""
        wanted = RecordChange(body.model_dump(exclude={"addresses"}), add=body.addresses)
        return _shown(await operation.make(backing.database, wanted, staff.name), response)

    @router.get("/{record_id}", summary="Read a record", responses={**answers(404), 200: {"headers": _ETAG}})
    async def read(record_id: UUID, _: RecordsRead, response: Response) -> ShownRecord:
        """Scope `records:read`. With its addresses, and an `ETag` by which it can be changed."""
        return _shown(await operation.read(backing.database, record_id), response)

    @router.patch("/{record_id}", summary="Change a record, or its addresses", responses=written)
    async def change(
        record_id: UUID, body: PatchedRecord, staff: RecordsWrite, response: Response, if_match: IfMatch = None
    ) -> ShownRecord:
        """Scope `records:write`. What came with the request alone; 412 where somebody else was quicker."""
        columns = body.model_dump(exclude_unset=True, exclude={"add_addresses", "remove_addresses"})
        wanted = RecordChange(columns, body.add_addresses, body.remove_addresses)
        return await _changed(backing, record_id, if_match, wanted, staff, response)

    @router.put("/{record_id}/addresses/{address:path}", summary="Add an address to a record", responses=written)
    async def add_address(
        record_id: UUID, address: Address, staff: RecordsWrite, response: Response, if_match: IfMatch = None
    ) -> ShownRecord:
        """Scope `records:write`. One that the record has already stays."""
        return await _changed(backing, record_id, if_match, RecordChange({}, add=[address]), staff, response)

    @router.delete("/{record_id}/addresses/{address:path}", summary="Remove an address of a record", responses=written)
    async def remove_address(
        record_id: UUID, address: Address, staff: RecordsWrite, response: Response, if_match: IfMatch = None
    ) -> ShownRecord:
        """Scope `records:write`. Mail that has it stays with the record; later mail does not come to it."""
        return await _changed(backing, record_id, if_match, RecordChange({}, remove=[address]), staff, response)

    return router


async def _changed(
    backing: Backing, record_id: UUID, if_match: str | None, wanted: RecordChange, staff: StaffToken, response: Response
) -> ShownRecord:
    changed = await operation.change(backing.database, record_id, _versions(if_match), wanted, staff.name)
    return _shown(changed, response)


def _versions(if_match: str | None) -> list[str] | None:
    """Read which versions may be changed; None: any."""
    if if_match is None:
        raise HTTPException(428, "say by If-Match which version you change: the ETag of the record as you read it")
    return None if if_match.strip() == "*" else _TAG.findall(if_match)


def _page(found: Sequence[CrmRecord], goes_on: UUID | None = None) -> RecordPage:
    cursor = cursors.write(goes_on) if goes_on else None
    return RecordPage(records=[ShownRecord.model_validate(one) for one in found], cursor=cursor)


def _shown(one: CrmRecord, response: Response) -> ShownRecord:
    response.headers["ETag"] = f'"{one.version}"'
    return ShownRecord.model_validate(one)
