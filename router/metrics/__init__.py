"""The numbers of this process, for Prometheus; docs/metrics.md lists them.

They count what this process did since it started, and are fed where it becomes known: what a batch became, what an
attempt became. Nothing is computed when they are asked for. Labels are names of profiles and words of our own, never
addresses: ten thousand mailboxes make no more series than one.

tokens  logins by access token
"""

import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from router import __version__
from router.health import Part, parts, parts_at_fault
from router.metrics import tokens
from router.model import Copy, Decision, Disposition, Result, failure

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_ATTEMPT_OUTCOMES: Final = {"sent": "sent", "failed": "failed", "unknown": "unknown", "pending_send": "deferred"}
_RECIPIENT_OUTCOMES: Final = ("accepted", "deferred", "refused", "unknown")
RELAY_STATES: Final = ("working", "paused", "login_refused")
_AUDIT_OUTCOMES: Final = ("well", "missing", "failed")

PieceOutcome = Literal["answered", "failed", "given_up"]

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it without types

_registry: Final = CollectorRegistry()

# --- Incoming --------------------------------------------------------------------------------------------------------

_copies: Final = Counter(
    "email_router_copies_total",
    "Copies of messages that were decided, by disposition.",
    ["profile", "disposition"],
    registry=_registry,
)
_copy_bytes: Final = Counter(
    "email_router_copy_bytes_total",
    "Size of the copies that were decided, as fetched or received.",
    ["profile"],
    registry=_registry,
)
_arrival_to_commit: Final = Histogram(
    "email_router_arrival_to_commit_seconds",
    "From a copy's arrival on the mail server, which many servers tell in whole seconds, to the commit of its "
    "disposition; without duplicates, which may have been read before.",
    ["profile"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86400),
    registry=_registry,
)
_batch_copies: Final = Histogram(
    "email_router_batch_copies",
    "Copies in one batch, which is one transaction if nothing is wrong with it.",
    buckets=(1, 2, 5, 10, 25, 50, 100),
    registry=_registry,
)
_batch_seconds: Final = Histogram(
    "email_router_batch_seconds",
    "From the beginning of a batch's transaction to its commit, halving included where a message is at fault.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=_registry,
)

_audits: Final = Counter(
    "email_router_audits_total",
    "Audits of a mailbox that ended, by outcome: well (every message accounted for), missing, failed (not to the end).",
    ["profile", "outcome"],
    registry=_registry,
)
_audited: Final = Counter(
    "email_router_audited_messages_total",
    "Messages that these audits found on the mail servers.",
    ["profile"],
    registry=_registry,
)
_missing: Final = Gauge(
    "email_router_missing_messages",
    "Messages on the mail servers that nothing accounted for when the mailboxes that this process reads were last "
    "audited.",
    ["profile"],
    registry=_registry,
)

_brought_in: Final = Counter(
    "email_router_brought_in_messages_total",
    "Messages that an audit by itself found missing and brought in, with EMAIL_ROUTER_AUDIT_REPAIR.",
    ["profile"],
    registry=_registry,
)
_overdue: Final = Gauge(
    "email_router_overdue_audits",
    "Mailboxes that this process reads and that no audit has been through to the end for twice EMAIL_ROUTER_AUDIT.",
    ["profile"],
    registry=_registry,
)

# --- Outgoing --------------------------------------------------------------------------------------------------------

_attempts: Final = Counter(
    "email_router_attempts_total",
    "Attempts to send an email that ended, by outcome: sent, deferred (tried again), failed, unknown.",
    ["profile", "outcome"],
    registry=_registry,
)
_recipients: Final = Counter(
    "email_router_recipients_total",
    "Recipients in these attempts, by the relay's answer: accepted, deferred, refused, unknown.",
    ["profile", "outcome"],
    registry=_registry,
)
_relay_connections: Final = Gauge(
    "email_router_relay_connections_in_use",
    "Connections to the relay that carry an email now.",
    ["profile"],
    registry=_registry,
)
_relay_limit: Final = Gauge(
    "email_router_relay_connections_limit",
    "The most connections to the relay that this process uses.",
    ["profile"],
    registry=_registry,
)
_failed: Final = Counter(
    "email_router_failed_total",
    "Emails that failed, by class of the reason: mailbox unknown, size, policy and others; not composed: no relay was "
    "asked.",
    ["profile", "reason"],
    registry=_registry,
)
_outbox: Final = Gauge(
    "email_router_outbox",
    "Emails that wait, by what they wait for: turn (nothing else), admin (sending is stopped), approval, profile (none "
    "carries them), relay (it is paused), login (it refuses ours), send_after, retry. Each is counted up to 10000; "
    "this and what follows of outbox and sent copies is the same in every process, and renewed every 15 seconds.",
    ["profile", "lane", "cause"],
    registry=_registry,
)
_relay_state: Final = Gauge(
    "email_router_relay_state",
    "1 for the state that a relay is in, for all processes: working, paused (it could not be used), login_refused.",
    ["profile", "state"],
    registry=_registry,
)
_outbox_unknown: Final = Gauge(
    "email_router_outbox_unknown",
    "Emails that wait for a person, since nobody knows whether they were sent.",
    registry=_registry,
)
_sent_copies: Final = Gauge(
    "email_router_sent_copies_waiting",
    "Copies for Sent folders that could not be put there yet (waiting), or never will (given_up, within a day), each "
    "counted up to 10000.",
    ["state"],
    registry=_registry,
)
_creations: Final = Gauge(
    "email_router_records_open",
    "Records that rules want of emails: tried again after a fault (retried), given up (failed), until a sender is "
    "resolved (waiting), asked of the CRM (asked); each counted up to 10000.",
    ["state"],
    registry=_registry,
)
_rulings: Final = Gauge(
    "email_router_rulings_at_fault",
    "Senders of whom some mail could not be changed as ruled, by a fault of the CRM's SQL, a lock, or the database; it "
    "is tried again. Counted up to 10000.",
    registry=_registry,
)
_outbox_due: Final = Gauge(
    "email_router_outbox_due",
    "Emails of approved owners that an outgoing profile carries, that are due and that no process is sending; of each "
    "profile, lane and cause counted up to 10000.",
    registry=_registry,
)
_outbox_oldest: Final = Gauge(
    "email_router_outbox_oldest_due_seconds",
    "How long the first of these emails has been due; 0 where there is none.",
    registry=_registry,
)

# --- Logins by access token ------------------------------------------------------------------------------------------

for _metric in tokens.METRICS:
    _registry.register(_metric)

# --- This process ----------------------------------------------------------------------------------------------------

_pieces: Final = Counter(
    "email_router_worker_pieces_total",
    "Messages that the worker processes read, by outcome: answered, failed (by a mistake of the router's), given_up.",
    ["outcome"],
    registry=_registry,
)
_workers_lost: Final = Counter(
    "email_router_workers_lost_total",
    "Worker processes that ended in the middle of their work, and were replaced.",
    registry=_registry,
)
_workers_busy: Final = Gauge("email_router_workers_busy", "Worker processes that are reading now.", registry=_registry)
_workers_limit: Final = Gauge("email_router_workers_limit", "The most worker processes there are.", registry=_registry)
_database_connections: Final = Gauge(
    "email_router_database_connections_in_use", "Connections to the database in use now.", registry=_registry
)
_database_limit: Final = Gauge(
    "email_router_database_connections_limit", "The most connections to the database.", registry=_registry
)
_database_wait: Final = Histogram(
    "email_router_database_connection_wait_seconds",
    "Wait for a free connection to the database.",
    buckets=(0.001, 0.01, 0.1, 1, 10),
    registry=_registry,
)
_sending: Final = Gauge(
    "email_router_sending",
    "1 where the router may send; 0 where an admin has stopped it, or in a copy.",
    registry=_registry,
)
_copied: Final = Gauge(
    "email_router_database_is_copy",
    "1 where the database is a copy, so that nothing is sent or read before an admin starts it.",
    registry=_registry,
)
for _state in ("waiting", "given_up"):
    _sent_copies.labels(_state)
for _state in ("retried", "failed", "waiting", "asked"):
    _creations.labels(_state)
for _outcome in get_args(PieceOutcome):
    _pieces.labels(_outcome)
Info("email_router_build", "The version of the router, and of Python.", registry=_registry).info(
    {"version": __version__, "python": platform.python_version()}
)
ProcessCollector(registry=_registry)

# --- What is counted by profile --------------------------------------------------------------------------------------

_OF_INCOMING: Final[tuple[MetricWrapperBase, ...]] = (
    _copies,
    _copy_bytes,
    _arrival_to_commit,
    _audits,
    _audited,
    _missing,
    _brought_in,
    _overdue,
)
_OF_OUTGOING: Final[tuple[MetricWrapperBase, ...]] = (
    _attempts,
    _recipients,
    _failed,
    _outbox,
    _relay_state,
    _relay_connections,
    _relay_limit,
)

_sampled: Final[set[tuple[str, str, str]]] = set()  # labels of _outbox that there are
_incoming: Final[set[str]] = set()
_outgoing: Final[set[str]] = set()
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
    _keep(_incoming, {name for kind, name in parts_of_profiles if kind != "relay"}, _OF_INCOMING)
    _keep(_outgoing, {name for kind, name in parts_of_profiles if kind == "relay"}, _OF_OUTGOING)
    folders: list[Part] = [("folder", name) for kind, name in parts_of_profiles if kind == "mailbox"]
    global _served, _profiles  # noqa: PLW0603  # replaced as a whole, since another thread may be reading it
    _profiles = {name: name in broken for name in sorted({*_incoming, *_outgoing, *broken})}
    _served = [*_OF_THE_PROCESS, *parts_of_profiles, *folders]
    for name in _incoming:
        for disposition in Disposition:
            _copies.labels(name, disposition.value)
        _copy_bytes.labels(name)
        _arrival_to_commit.labels(name)
        for audit_outcome in _AUDIT_OUTCOMES:
            _audits.labels(name, audit_outcome)
        _audited.labels(name)
        _missing.labels(name)
        _brought_in.labels(name)
        _overdue.labels(name)
    for name in _outgoing:
        for outcome in _ATTEMPT_OUTCOMES.values():
            _attempts.labels(name, outcome)
        for state in _RECIPIENT_OUTCOMES:
            _recipients.labels(name, state)
        for reason in failure.CLASSES:
            _failed.labels(name, reason)
        for state in RELAY_STATES:
            _relay_state.labels(name, state)
        _relay_connections.labels(name)


def _keep(served: set[str], wanted: set[str], metrics: Sequence[MetricWrapperBase]) -> None:
    for name in served - wanted:
        for metric in metrics:
            metric.remove_by_labels({"profile": name})
    served.clear()
    served.update(wanted)


# --- What feeds them -------------------------------------------------------------------------------------------------


def batch_ended(profile: str, decided: Sequence[tuple[Copy, Decision]], seconds: float) -> None:
    """Count what became of the copies of an incoming profile's batch, `seconds` until the commit."""
    _batch_copies.observe(len(decided))
    _batch_seconds.observe(seconds)
    if profile not in _incoming:
        return
    for disposition in Disposition:
        if count := sum(decision.disposition is disposition for _, decision in decided):
            _copies.labels(profile, disposition.value).inc(count)
    _copy_bytes.labels(profile).inc(sum(len(copy.content) for copy, _ in decided))
    arrival_to_commit, now = _arrival_to_commit.labels(profile), datetime.now(UTC)
    for copy, decision in decided:
        if decision.disposition is not Disposition.DUPLICATE:
            arrival_to_commit.observe(max(0.0, (now - copy.received_at).total_seconds()))


def audit_ended(profile: str, messages: int, *, missing: int, failed: bool, brought_in: int = 0) -> None:
    """Count an audit of a mailbox that an incoming profile reads."""
    if profile in _incoming:
        _audits.labels(profile, "missing" if missing else "failed" if failed else "well").inc()
        _audited.labels(profile).inc(messages)
        _brought_in.labels(profile).inc(brought_in)


def audits_sampled(missing: Mapping[str, int], overdue: Mapping[str, int]) -> None:
    """Tell how many messages are missing, and how many mailboxes were not audited for long, by profile."""
    for profile in _incoming:
        _missing.labels(profile).set(missing.get(profile, 0))
        _overdue.labels(profile).set(overdue.get(profile, 0))


def attempt_ended(profile: str, result: Result) -> None:
    """Count what an attempt through an outgoing profile came to, once it is recorded."""
    if profile not in _outgoing:
        return
    _attempts.labels(profile, _ATTEMPT_OUTCOMES[result.status]).inc()
    for outcome in result.outcomes:
        _recipients.labels(profile, outcome.state).inc()
    if result.status == "failed":
        reasons = failure.classes_of(result.outcomes) or [failure.NOT_COMPOSED]
        _failed.labels(profile, reasons[0]).inc()


def relay_opened(profile: str, connections: int) -> None:
    """Tell how many connections an outgoing profile may use."""
    if profile in _outgoing:
        _relay_limit.labels(profile).set(connections)


def relay_in_use(profile: str) -> AbstractContextManager[None]:
    """While it is entered, one more connection of an outgoing profile carries an email."""
    return _relay_connections.labels(profile).track_inprogress() if profile in _outgoing else nullcontext()


def outbox_sampled(waiting: Mapping[tuple[str, str, str], int], due: int, oldest: float, unknown: int) -> None:
    """Tell how many emails wait by profile (empty: none), lane and cause.

    `due` of them are due, the first for `oldest` seconds; of `unknown` more nobody knows whether they were sent.
    """
    for profile, lane, cause in _sampled - set(waiting):
        _outbox.remove_by_labels({"profile": profile, "lane": lane, "cause": cause})
    _sampled.clear()
    _sampled.update(waiting)
    for labels, count in waiting.items():
        _outbox.labels(*labels).set(count)
    _outbox_due.set(due)
    _outbox_oldest.set(oldest)
    _outbox_unknown.set(unknown)


def relays_sampled(states: Mapping[str, str]) -> None:
    """Tell the state of each relay that does not work, by profile."""
    for profile in _outgoing:
        for state in RELAY_STATES:
            _relay_state.labels(profile, state).set(states.get(profile, "working") == state)


def sent_copies_sampled(waiting: int, given_up: int) -> None:
    """Tell how many copies wait for a Sent folder after a fault, and how many were given up."""
    _sent_copies.labels("waiting").set(waiting)
    _sent_copies.labels("given_up").set(given_up)


def records_sampled(states: Mapping[str, int]) -> None:
    """Tell how many records are not made yet that rules want of emails, by state."""
    for state, number in states.items():
        _creations.labels(state).set(number)


def rulings_sampled(at_fault: int) -> None:
    """Tell of how many senders some mail could not be changed as ruled."""
    _rulings.set(at_fault)


def sending_sampled(*, on: bool, copied: bool) -> None:
    """Tell whether the router may send, and whether the database is a copy."""
    _sending.set(on)
    _copied.set(copied)


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


def exposition() -> bytes:
    """All metrics, in Prometheus' text format 0.0.4 (CONTENT_TYPE). Takes milliseconds: call it in a thread."""
    return generate_latest(_registry)
