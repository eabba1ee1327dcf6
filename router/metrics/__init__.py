"""The numbers of this process, for Prometheus; docs/metrics.md lists them.

They count what this process did since it started, and are fed where it becomes known: what a batch became, what an
attempt became. Nothing is computed when they are asked for. Labels are names of profiles and words of our own, never
addresses: ten thousand mailboxes make no more series than one.

incoming  batches, audits, records
outgoing  attempts, relays, what waits
tokens    logins by access token
process   workers, connections to the database
"""

import platform
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from router import __version__
from router.health import Part, parts, parts_at_fault
from router.metrics import incoming, outgoing, process, tokens
from router.metrics.incoming import audit_ended, audits_sampled, batch_ended, records_sampled, rulings_sampled
from router.metrics.outgoing import (
    RELAY_STATES,
    attempt_ended,
    outbox_sampled,
    relay_in_use,
    relay_opened,
    relays_sampled,
    sending_sampled,
    sent_copies_sampled,
)
from router.metrics.process import (
    PieceOutcome,
    database_connections,
    database_in_use,
    database_waited,
    piece_ended,
    worker_busy,
    worker_lost,
    workers_opened,
)

__all__ = [
    "CONTENT_TYPE",
    "RELAY_STATES",
    "PieceOutcome",
    "attempt_ended",
    "audit_ended",
    "audits_sampled",
    "batch_ended",
    "database_connections",
    "database_in_use",
    "database_waited",
    "exposition",
    "outbox_sampled",
    "piece_ended",
    "records_sampled",
    "relay_in_use",
    "relay_opened",
    "relays_sampled",
    "rulings_sampled",
    "sending_sampled",
    "sent_copies_sampled",
    "serve",
    "tokens",
    "worker_busy",
    "worker_lost",
    "workers_opened",
]

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types

_registry: Final = CollectorRegistry()
for _metric in (*incoming.METRICS, *outgoing.METRICS, *tokens.METRICS, *process.METRICS):
    _registry.register(_metric)
Info("email_router_build", "The version of the router, and of Python.", registry=_registry).info(
    {"version": __version__, "python": platform.python_version()}
)
ProcessCollector(registry=_registry)

_OF_THE_PROCESS: Final[Sequence[Part]] = [("console", ""), ("job", "")]
_served = _OF_THE_PROCESS
_profiles: dict[str, bool] = {}  # by name, and whether it is broken


class _Health(Collector):
    """What router.health counts, for the profiles that are served."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield both families; of every part, so that there is a zero where all is well."""
        mailboxes = GaugeMetricFamily(
            "email_router_mailboxes", "Mailboxes that this process reads.", labels=["profile"]
        )
        faults = GaugeMetricFamily(
            "email_router_faults",
            "Parts of this process that do not work now, by kind: mailbox, folder, listener, relay, console, job (of "
            "the router's own, by a bug), and profile (broken, or a file whose mistake is of no profile).",
            labels=["kind", "profile"],
        )
        counted, at_fault = parts(), parts_at_fault()
        for kind, profile in _served:
            faults.add_metric([kind, profile], at_fault.get((kind, profile), 0))
            if kind == "mailbox":
                mailboxes.add_metric([profile], counted.get((kind, profile), 0))
        for profile, broken in _profiles.items():
            faults.add_metric(["profile", profile], broken)
        yield from (mailboxes, faults)


_registry.register(_Health())


def serve(parts_of_profiles: Sequence[Part], broken: Collection[str] = ()) -> None:
    """Tell the mailbox, listener and relay profiles that are served from now on, whenever they change.

    `broken` names profiles that are at fault as a whole, served or not. Each begins with zeros. What was counted for
    any other is removed, and what still comes of it is not counted.
    """
    reading = {name for kind, name in parts_of_profiles if kind != "relay"}
    relaying = {name for kind, name in parts_of_profiles if kind == "relay"}
    folders: list[Part] = [("folder", name) for kind, name in parts_of_profiles if kind == "mailbox"]
    global _served, _profiles  # noqa: PLW0603  # replaced as a whole, since another thread may be reading it
    _profiles = {name: name in broken for name in sorted({*reading, *relaying, *broken})}
    _served = [*_OF_THE_PROCESS, *parts_of_profiles, *folders]
    incoming.serve(reading)
    outgoing.serve(relaying)


def exposition() -> bytes:
    """All metrics, in Prometheus' text format 0.0.4 (CONTENT_TYPE). Takes milliseconds: call it in a thread."""
    return generate_latest(_registry)
