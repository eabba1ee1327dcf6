"""The files of a message, handed over and never shown; and its pictures, for the frame of its HTML.

/mail/EMAIL/attachments/NUMBER    a file, to be saved
/mail/EMAIL/cid/NUMBER            a picture that came with the message, by the number of its part
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from router.operations import mail_content
from router.operations.backing import Backing
from router.operations.mail_content import File
from router.web.console.frame import Page, viewer_of
from router.web.files import LOCKED, disposition

_UNKNOWN: Final = "application/octet-stream"
TYPES: Final = (_UNKNOWN, "application/pdf")
"""What a file that is no picture is said to be: what is not listed, the browser should know nothing of."""

_MOST: Final = 2**31 - 1


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def attachment(request: Request) -> Response:
        email_id, number = _asked(request)
        file = await mail_content.attachment(backing.database, viewer_of(request), email_id, number)
        media_type = file.media_type if file.media_type in TYPES or file.media_type.startswith("image/") else _UNKNOWN
        return _handed(file, media_type, disposition("attachment", file.filename))

    async def picture(request: Request) -> Response:
        email_id, number = _asked(request)
        file = await mail_content.picture(backing.database, viewer_of(request), email_id, number)
        return _handed(file, file.media_type, disposition("inline", file.filename))

    return [
        Route("/mail/{email:uuid}/attachments/{number:int}", attachment, methods=["GET"]),
        Route("/mail/{email:uuid}/cid/{number:int}", picture, methods=["GET"]),
    ]


def _asked(request: Request) -> tuple[UUID, int]:
    return request.path_params["email"], min(request.path_params["number"], _MOST)


def _handed(file: File, media_type: str, said: str) -> Response:
    headers = {**LOCKED, "Content-Type": media_type, "Content-Disposition": said}
    if file.size is not None:
        headers["Content-Length"] = str(file.size)
    return StreamingResponse(file.blocks, headers=headers)


PAGE = Page("", "/mail", routes)
