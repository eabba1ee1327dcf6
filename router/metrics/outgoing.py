"""The numbers of outgoing mail: attempts, relays, and what waits."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from prometheus_client import Counter, Gauge
from prometheus_client.metrics import MetricWrapperBase

from router.metrics.by_profile import keep
from router.model import Result, failure

RELAY_STATES: Final = ("working", "paused", "login_refused")

_ATTEMPT_OUTCOMES: Final = {"sent": "sent", "failed": "failed", "unknown": "unknown", "pending_send": "deferred"}
_RECIPIENT_OUTCOMES: Final = ("accepted", "deferred", "refused", "unknown")

_attempts: Final = Counter(
    "email_router_attempts_total",
    "Attempts to send an email that ended, by outcome: sent, deferred (tried again), failed, unknown.",
    ["profile", "outcome"],
    registry=None,
)
_recipients: Final = Counter(
    "email_router_recipients_total",
    "Recipients in these attempts, by the relay's answer: accepted, deferred, refused, unknown.",
    ["profile", "outcome"],
    registry=None,
)
_relay_connections: Final = Gauge(
    "email_router_relay_connections_in_use",
    "Connections to the relay that carry an email now.",
    ["profile"],
    registry=None,
)
_relay_limit: Final = Gauge(
    "email_router_relay_connections_limit",
    "The most connections to the relay that this process uses.",
    ["profile"],
    registry=None,
)
_failed: Final = Counter(
    "email_router_failed_total",
    "Emails that failed, by class of the reason: mailbox unknown, size, policy and others; not composed: no relay was "
    "asked.",
    ["profile", "reason"],
    registry=None,
)
_outbox: Final = Gauge(
    "email_router_outbox",
    "Emails that wait, by what they wait for: turn (nothing else), admin (sending is stopped), approval, profile (none "
    "carries them), relay (it is paused), login (it refuses ours), send_after, retry. Each is counted up to 10000; "
    "this and what follows of outbox and sent copies is the same in every process, and renewed every 15 seconds.",
    ["profile", "lane", "cause"],
    registry=None,
)
_relay_state: Final = Gauge(
    "email_router_relay_state",
    "1 for the state that a relay is in, for all processes: working, paused (it could not be used), login_refused.",
    ["profile", "state"],
    registry=None,
)
_outbox_unknown: Final = Gauge(
    "email_router_outbox_unknown",
    "Emails that wait for a person, since nobody knows whether they were sent.",
    registry=None,
)
_sent_copies: Final = Gauge(
    "email_router_sent_copies_waiting",
    "Copies for Sent folders that could not be put there yet (waiting), or never will (given_up, within a day), each "
    "counted up to 10000.",
    ["state"],
    registry=None,
)
_outbox_due: Final = Gauge(
    "email_router_outbox_due",
    "Emails of approved owners that an outgoing profile carries, that are due and that no process is sending; of each "
    "profile, lane and cause counted up to 10000.",
    registry=None,
)
_outbox_oldest: Final = Gauge(
    "email_router_outbox_oldest_due_seconds",
    "How long the first of these emails has been due; 0 where there is none.",
    registry=None,
)
_sending: Final = Gauge(
    "email_router_sending",
    "1 where the router may send; 0 where an admin has stopped it, or in a copy.",
    registry=None,
)
_copied: Final = Gauge(
    "email_router_database_is_copy",
    "1 where the database is a copy, so that nothing is sent or read before an admin starts it.",
    registry=None,
)

for _state in ("waiting", "given_up"):
    _sent_copies.labels(_state)

METRICS: Final[Sequence[MetricWrapperBase]] = (
    _attempts,
    _recipients,
    _relay_connections,
    _relay_limit,
    _failed,
    _outbox,
    _relay_state,
    _outbox_unknown,
    _sent_copies,
    _outbox_due,
    _outbox_oldest,
    _sending,
    _copied,
)
_OF_PROFILES: Final[Sequence[MetricWrapperBase]] = (
    _attempts,
    _recipients,
    _failed,
    _outbox,
    _relay_state,
    _relay_connections,
    _relay_limit,
)


_served: Final[set[str]] = set()
_sampled: Final[set[tuple[str, str, str]]] = set()  # labels of _outbox that there are


def serve(profiles: Collection[str]) -> None:
    """Count for these profiles from now on, each from zero, and for no other."""
    keep(_served, set(profiles), _OF_PROFILES)
    for name in _served:
        for outcome in _ATTEMPT_OUTCOMES.values():
            _attempts.labels(name, outcome)
        for state in _RECIPIENT_OUTCOMES:
            _recipients.labels(name, state)
        for reason in failure.CLASSES:
            _failed.labels(name, reason)
        for state in RELAY_STATES:
            _relay_state.labels(name, state)
        _relay_connections.labels(name)


def attempt_ended(profile: str, result: Result) -> None:
    """Count what an attempt through an outgoing profile came to, once it is recorded."""
    if profile not in _served:
        return
    _attempts.labels(profile, _ATTEMPT_OUTCOMES[result.status]).inc()
    for outcome in result.outcomes:
        _recipients.labels(profile, outcome.state).inc()
    if result.status == "failed":
        reasons = failure.classes_of(result.outcomes) or [failure.NOT_COMPOSED]
        _failed.labels(profile, reasons[0]).inc()


def relay_opened(profile: str, connections: int) -> None:
    """Tell how many connections an outgoing profile may use."""
    if profile in _served:
        _relay_limit.labels(profile).set(connections)


def relay_in_use(profile: str) -> AbstractContextManager[None]:
    """While it is entered, one more connection of an outgoing profile carries an email."""
    return _relay_connections.labels(profile).track_inprogress() if profile in _served else nullcontext()


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
    for profile in _served:
        for state in RELAY_STATES:
            _relay_state.labels(profile, state).set(states.get(profile, "working") == state)


def sent_copies_sampled(waiting: int, given_up: int) -> None:
    """Tell how many copies wait for a Sent folder after a fault, and how many were given up."""
    _sent_copies.labels("waiting").set(waiting)
    _sent_copies.labels("given_up").set(given_up)


def sending_sampled(*, on: bool, copied: bool) -> None:
    """Tell whether the router may send, and whether the database is a copy."""
    _sending.set(on)
    _copied.set(copied)
