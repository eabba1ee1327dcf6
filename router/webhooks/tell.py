"""One webhook's turn: it is told event by event, until none is left, it fails, or others had no look for a while."""

import asyncio
import json
import time
from datetime import UTC, timedelta
from http import HTTPStatus
from typing import Final

import structlog
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from router.http import Answer, Line, line, server_of
from router.names import Names
from router.repository.api import webhooks
from router.repository.api.events import Event, as_of_now, list_after
from router.repository.api.webhooks import Taken
from router.repository.database import Database
from router.webhooks import target
from router.webhooks.sign import signed
from transports.errors import Permanent, Temporary, TransportError

_log = structlog.get_logger(__name__)

TIMEOUT: Final = 15.0
"""Seconds that an answer may take."""

MOST_BYTES: Final = 256 << 10
"""Bytes of a request at most; beyond, an event comes without its details."""

LADDER: Final = tuple(timedelta(minutes=minutes) for minutes in (0.2, 1, 5, 15, 60, 120, 300, 480, 480, 720, 720, 1440))
"""The pauses after one failure, two, … of the same event; after the last one, in three days, the webhook is paused."""

_TURN: Final = 30.0  # seconds: then it is seen whether it is still ours
_PAGE: Final = 200  # events that are read at once
_TRIES: Final = 3  # of one event, one after the other: a connection that was lost, a server that restarts


class Gone(Permanent):
    """The subscriber says that it wants nothing any more."""


async def tell(database: Database, taken: Taken, secret: str, names: Names) -> None:
    """Tell a webhook what comes next, as long as it is ours; and note what became of it. Raises DatabaseError."""
    log = _log.bind(webhook=taken.name)
    until = asyncio.get_running_loop().time() + _TURN
    place, failures = taken.place, taken.failures
    try:
        try:
            target.check(taken.url)
        except ValueError as error:
            raise Permanent(str(error)) from None
        async with line(target.Allowed(names)) as connection:
            while events := await list_after(database, place, _PAGE):
                for event in events:
                    if not taken.kinds or event.kind in taken.kinds:
                        await _send(database, connection, taken, secret, event)
                        failures = 0
                        if not await webhooks.note_told(database, taken, event.place, 1):
                            return
                        if asyncio.get_running_loop().time() > until:
                            await webhooks.let_go(database, taken)
                            return
                place = events[-1].place
                if not await webhooks.note_told(database, taken, place, 0):
                    return
    except TransportError as error:
        await _fail(database, taken, failures, error, log)
    else:
        await webhooks.let_go(database, taken)


async def fail(database: Database, taken: Taken, words: str) -> None:
    """Note a failure that is not the subscriber's; it goes down the same ladder, since it may last as long."""
    await _fail(database, taken, taken.failures, Temporary(words), _log.bind(webhook=taken.name))


async def _fail(
    database: Database, taken: Taken, failures: int, error: TransportError, log: structlog.BoundLogger
) -> None:
    ends = failures >= len(LADDER) or isinstance(error, Gone)
    pause = None if ends else LADDER[failures]
    if pause is not None and isinstance(error, Temporary) and error.retry_after:
        pause = max(pause, timedelta(seconds=error.retry_after))
    if await webhooks.note_failed(database, taken, str(error), pause):
        if pause is None:
            log.warning("a webhook is paused: resume it once its server works", reason=str(error))
        else:
            log.info("a webhook failed, and is tried again", reason=str(error), pause=round(pause.total_seconds()))


def body_of(event: Event) -> bytes:
    """Write what a request says: type, timestamp and data, as Standard Webhooks has it."""
    data = {
        "cursor": str(event.place),
        "email_id": str(event.email_id) if event.email_id else None,
        "details": event.details,
    }
    at = event.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    document = {"type": event.kind, "timestamp": at, "data": data}
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    if len(body) > MOST_BYTES:
        document["data"] = {**data, "details": {}, "truncated": True}
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return body


async def _send(database: Database, connection: Line, taken: Taken, secret: str, event: Event) -> None:
    """Send one event. Raises TransportError where its subscriber has not taken it, or DatabaseError."""

    async def once() -> None:
        # Those before it, and its own tries, may have taken a minute: meanwhile its email may have become private.
        body = body_of(await as_of_now(database, event))
        headers = signed(secret, str(event.place), int(time.time()), body)
        headers["Content-Type"] = "application/json"
        _judge(taken.url, await connection.post(taken.url, body, headers, TIMEOUT))

    retrying = AsyncRetrying(
        stop=stop_after_attempt(_TRIES),
        wait=wait_exponential(multiplier=0.25, max=2),
        retry=retry_if_exception(lambda error: isinstance(error, Temporary) and not error.retry_after),
        reraise=True,
    )
    await retrying(once)


def _judge(url: str, answer: Answer) -> None:
    """Raise what an answer means; of its words nothing is told, since they may be anything."""
    status = answer.status
    if 200 <= status < 300:
        return
    words = f"{server_of(url)} answers {status}"
    if status in HTTPStatus._value2member_map_:
        words += f" ({HTTPStatus(status).phrase})"
    if status == HTTPStatus.GONE:
        raise Gone(f"{words}: it wants no more of this")
    if 300 <= status < 400:
        raise Permanent(f"{words}: redirects are not followed, so give the URL where it leads")
    if status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
        raise Temporary(words, answer.retry_after)
    raise Permanent(words)
