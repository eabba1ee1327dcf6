"""The numbers of this process: its workers, and its connections to the database."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, get_args

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

PieceOutcome = Literal["answered", "failed", "given_up"]

_pieces: Final = Counter(
    "email_router_worker_pieces_total",
    "Messages that the worker processes read, by outcome: answered, failed (by a mistake of the router's), given_up.",
    ["outcome"],
    registry=None,
)
_workers_lost: Final = Counter(
    "email_router_workers_lost_total",
    "Worker processes that ended in the middle of their work, and were replaced.",
    registry=None,
)
_workers_busy: Final = Gauge("email_router_workers_busy", "Worker processes that are reading now.", registry=None)
_workers_limit: Final = Gauge("email_router_workers_limit", "The most worker processes there are.", registry=None)
_database_connections: Final = Gauge(
    "email_router_database_connections_in_use", "Connections to the database in use now.", registry=None
)
_database_limit: Final = Gauge(
    "email_router_database_connections_limit", "The most connections to the database.", registry=None
)
_database_wait: Final = Histogram(
    "email_router_database_connection_wait_seconds",
    "Wait for a free connection to the database.",
    buckets=(0.001, 0.01, 0.1, 1, 10),
    registry=None,
)

for _outcome in get_args(PieceOutcome):
    _pieces.labels(_outcome)

METRICS: Final[Sequence[MetricWrapperBase]] = (
    _pieces,
    _workers_lost,
    _workers_busy,
    _workers_limit,
    _database_connections,
    _database_limit,
    _database_wait,
)


def workers_opened(size: int) -> None:
    """Tell how many worker processes there may be."""
    _workers_limit.set(size)


def worker_busy() -> AbstractContextManager[None]:
    """While it is entered, one more worker process is busy."""
    return _workers_busy.track_inprogress()


def piece_ended(outcome: PieceOutcome) -> None:
    """Count what became of a message that a worker process was to read."""
    _pieces.labels(outcome).inc()


def worker_lost() -> None:
    """Count a worker process that ended in the middle of its work."""
    _workers_lost.inc()


def database_connections(change: int) -> None:
    """Tell how many more, or fewer, connections to the database there may be."""
    _database_limit.inc(change)


def database_waited(seconds: float) -> None:
    """Count a wait for a free connection to the database."""
    _database_wait.observe(seconds)


def database_in_use() -> AbstractContextManager[None]:
    """While it is entered, one more connection to the database is in use."""
    return _database_connections.track_inprogress()
