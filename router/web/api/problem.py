"""What went wrong, as RFC 9457 has it: never more than words for the client's developer."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

MEDIA_TYPE: Final = "application/problem+json"

_WORDS: Final = {
    400: "The body cannot be read, as where it is not UTF-8.",
    401: "There is no valid token.",
    403: "The token does not allow it.",
    404: "There is no such thing.",
    409: "Something else was quicker, or it is not in a state for this.",
    412: "Somebody was quicker: it is not as it was read.",
    413: "The request is too large.",
    422: "Something in the request is wrong; `detail` says what.",
    428: "`If-Match` is missing.",
    503: "The database cannot be used now: try again after the seconds of `Retry-After`.",
}
ALWAYS: Final = (401, 403, 422, 503)
"""What every operation may answer."""


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="The place in the request, such as body.to.0.")
    what: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = Field(default=None, description="Each thing that is wrong with the request.")


def problem(
    status: int, detail: str, *, errors: Sequence[Fault] = (), headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Answer with what went wrong."""
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=_plain(detail), errors=list(errors) or None
    ).model_dump(exclude_none=True)
    always = {"Cache-Control": "no-store"}
    if status == HTTPStatus.UNAUTHORIZED:
        always["WWW-Authenticate"] = 'Bearer realm="email-router"'
    return JSONResponse(body, status, headers=always | dict(headers or {}), media_type=MEDIA_TYPE)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document that an operation may answer with these problems, and those that every operation has."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {one: {"description": _WORDS[one], "content": content} for one in sorted({*ALWAYS, *statuses})}


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
