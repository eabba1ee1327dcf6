"""The log: one line for each thing that happened, to stderr, for people or for collectors.

What the router says and what its libraries say goes the same way. Contents of mail and passwords never do.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, Processor

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


def _last(for_people: bool) -> list[Processor]:
    if for_people:
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        # Not the default: it prints the variables of each frame, and they hold mail and passwords.
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _in_order,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]


def _in_order(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Put first what every line has."""
    return {**{name: event[name] for name in ("timestamp", "level", "message", "logger")}, **event}
