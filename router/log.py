"""The log: one line for each thing that happened, to stderr, for people or for collectors.

What the router says and what its libraries say goes the same way. Contents of mail and passwords never do.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from io import StringIO
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

_NUMBERS: Final[Mapping[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# They tell addresses at INFO, contents and logins at DEBUG; what failed we say ourselves.
_LIBRARIES: Final = {
    "aioimaplib": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "asyncpg": logging.CRITICAL,
    "mail.debug": logging.CRITICAL,
    "mail.log": logging.CRITICAL,
    "watchfiles": logging.WARNING,
    "uvicorn.error": logging.ERROR,  # below are its start and end, and requests that are none
}


def configure(level: Level, form: Format = "auto") -> None:
    """Say from now on what is at least as grave as `level`; `auto` is for people where stderr is a terminal."""
    for_people = form == "console" or (form == "auto" and sys.stderr.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper("iso" if not for_people else "%H:%M:%S", utc=not for_people),
    ]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_last(for_people)],
            foreign_pre_chain=common,
        )
    )
    logging.basicConfig(handlers=[handler], level=_NUMBERS[level], force=True)
    logging.captureWarnings(True)
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(least)
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def harmless(text: str) -> str:
    """Write as JSON's escapes what would steer a terminal; line breaks stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )


def _last(for_people: bool) -> list[Processor]:
    if for_people:
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        # Not the default: it prints the variables of each frame, and they hold mail and passwords.
        return [_harmless, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_traceback)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _in_order,
        structlog.processors.JSONRenderer(_document, ensure_ascii=False, default=str),
    ]


def _harmless(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Let no stranger's words steer the terminal, or begin a line as if it were ours."""
    shown = {name: harmless(value) if isinstance(value, str) else value for name, value in event.items()}
    return {**shown, "event": str(shown["event"]).replace("\n", "\\n")}


def _traceback(out: TextIO, error: ExcInfo) -> None:
    written = StringIO()
    structlog.dev.plain_traceback(written, error)
    out.write(harmless(written.getvalue()))


def _document(event: EventDict, **options: Any) -> str:
    return harmless(json.dumps(event, **options))


def _in_order(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Put first what every line has."""
    return {**{name: event[name] for name in ("timestamp", "level", "message", "logger")}, **event}
