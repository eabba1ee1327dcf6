"""The numbers of incoming mail: batches, audits, and the records that rules want of emails."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from router.metrics.by_profile import keep
from router.model import Copy, Decision, Disposition

_AUDIT_OUTCOMES: Final = ("well", "missing", "failed")

_copies: Final = Counter(
    "email_router_copies_total",
    "Copies of messages that were decided, by disposition.",
    ["profile", "disposition"],
    registry=None,
)
_copy_bytes: Final = Counter(
    "email_router_copy_bytes_total",
    "Size of the copies that were decided, as fetched or received.",
    ["profile"],
    registry=None,
)
_arrival_to_commit: Final = Histogram(
    "email_router_arrival_to_commit_seconds",
    "From a copy's arrival on the mail server, which many servers tell in whole seconds, to the commit of its "
    "disposition; without duplicates, which may have been read before.",
    ["profile"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86400),
    registry=None,
)
_batch_copies: Final = Histogram(
    "email_router_batch_copies",
    "Copies in one batch, which is one transaction if nothing is wrong with it.",
    buckets=(1, 2, 5, 10, 25, 50, 100),
    registry=None,
)
_batch_seconds: Final = Histogram(
    "email_router_batch_seconds",
    "From the beginning of a batch's transaction to its commit, halving included where a message is at fault.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=None,
)

_audits: Final = Counter(
    "email_router_audits_total",
    "Audits of a mailbox that ended, by outcome: well (every message accounted for), missing, failed (not to the end).",
    ["profile", "outcome"],
    registry=None,
)
_audited: Final = Counter(
    "email_router_audited_messages_total",
    "Messages that these audits found on the mail servers.",
    ["profile"],
    registry=None,
)
_missing: Final = Gauge(
    "email_router_missing_messages",
    "Messages on the mail servers that nothing accounted for when the mailboxes that this process reads were last "
    "audited.",
    ["profile"],
    registry=None,
)

_brought_in: Final = Counter(
    "email_router_brought_in_messages_total",
    "Messages that an audit by itself found missing and brought in, with EMAIL_ROUTER_AUDIT_REPAIR.",
    ["profile"],
    registry=None,
)
_overdue: Final = Gauge(
    "email_router_overdue_audits",
    "Mailboxes that this process reads and that no audit has been through to the end for twice EMAIL_ROUTER_AUDIT.",
    ["profile"],
    registry=None,
)
_creations: Final = Gauge(
    "email_router_records_open",
    "Records that rules want of emails: tried again after a fault (retried), given up (failed), until a sender is "
    "resolved (waiting), asked of the CRM (asked); each counted up to 10000.",
    ["state"],
    registry=None,
)
_rulings: Final = Gauge(
    "email_router_rulings_at_fault",
    "Senders of whom some mail could not be changed as ruled, by a fault of the CRM's SQL, a lock, or the database; it "
    "is tried again. Counted up to 10000.",
    registry=None,
)

for _state in ("retried", "failed", "waiting", "asked"):
    _creations.labels(_state)

METRICS: Final[Sequence[MetricWrapperBase]] = (
    _copies,
    _copy_bytes,
    _arrival_to_commit,
    _batch_copies,
    _batch_seconds,
    _audits,
    _audited,
    _missing,
    _brought_in,
    _overdue,
    _creations,
    _rulings,
)
_OF_PROFILES: Final[Sequence[MetricWrapperBase]] = (
    _copies,
    _copy_bytes,
    _arrival_to_commit,
    _audits,
    _audited,
    _missing,
    _brought_in,
    _overdue,
)

_served: Final[set[str]] = set()


def serve(profiles: Collection[str]) -> None:
    """Count for these profiles from now on, each from zero, and for no other."""
    keep(_served, set(profiles), _OF_PROFILES)
    for name in _served:
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


def batch_ended(profile: str, decided: Sequence[tuple[Copy, Decision]], seconds: float) -> None:
    """Count what became of the copies of an incoming profile's batch, `seconds` until the commit."""
    _batch_copies.observe(len(decided))
    _batch_seconds.observe(seconds)
    if profile not in _served:
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
    if profile in _served:
        _audits.labels(profile, "missing" if missing else "failed" if failed else "well").inc()
        _audited.labels(profile).inc(messages)
        _brought_in.labels(profile).inc(brought_in)


def audits_sampled(missing: Mapping[str, int], overdue: Mapping[str, int]) -> None:
    """Tell how many messages are missing, and how many mailboxes were not audited for long, by profile."""
    for profile in _served:
        _missing.labels(profile).set(missing.get(profile, 0))
        _overdue.labels(profile).set(overdue.get(profile, 0))


def records_sampled(states: Mapping[str, int]) -> None:
    """Tell how many records are not made yet that rules want of emails, by state."""
    for state, number in states.items():
        _creations.labels(state).set(number)


def rulings_sampled(at_fault: int) -> None:
    """Tell of how many senders some mail could not be changed as ruled."""
    _rulings.set(at_fault)
