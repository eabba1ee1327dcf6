"""The source of a message, headers and all, for administrators; each look is in the audit log.

/mail/EMAIL/source        its headers, and its text as it came
/mail/EMAIL/source.eml    the file
"""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.model.viewer import StaffRole
from router.operations import mail_content
from router.operations.backing import Backing
from router.operations.mail_content import Original
from router.web.console.frame import Page, client_of, render, say, sentence, viewer_of
from router.web.files import LOCKED, disposition

TYPE: Final = "message/rfc822"
_SHOWN: Final = 256 << 10  # bytes on the page
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def sought(request: Request, action: str) -> Original | Response:
        try:
            return await mail_content.source(
                backing, viewer_of(request), request.path_params["email"], action, client_of(request).address
            )
        except mail_content.NotHad as error:
            return say(request, 404, "The source of this message is not there", sentence(error))
        except mail_content.NotShown as error:
            return say(request, 409, "The source of this message is not shown", sentence(error))

    async def show(request: Request) -> Response:
        found = await sought(request, "source-viewed")
        if isinstance(found, Response):
            return found
        content = found.content[:_SHOWN]
        end = _END_OF_HEADERS.search(content)
        headers, rest = (content[: end.start()], content[end.end() :]) if end else (content, b"")
        return render(
            request, "raw.html", headers=_text(headers), rest=_text(rest), whence=found.whence,
            size=len(found.content), shown=len(content), email_id=found.email_id,
        )  # fmt: skip

    async def save(request: Request) -> Response:
        found = await sought(request, "source-saved")
        if isinstance(found, Response):
            return found
        headers = {**LOCKED, "Content-Type": TYPE, "Content-Disposition": disposition("attachment", "message.eml")}
        return Response(found.content, headers=headers)

    return [
        Route("/mail/{email:uuid}/source", show, methods=["GET"]),
        Route("/mail/{email:uuid}/source.eml", save, methods=["GET"]),
    ]


def _text(content: bytes) -> str:
    """Read bytes as text in which nothing hides: what turns or hides other characters is written out."""
    text = content.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub(lambda found: f"\u2039{ord(found[0]):02X}\u203a", text)


PAGE = Page("", "/mail", routes, StaffRole.ADMINISTER, everywhere=True)
