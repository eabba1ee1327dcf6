"""The numbers of logins by access token: what ends when, what is at fault, and how token servers answer."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar, get_args

from prometheus_client import Counter, Gauge
from prometheus_client.metrics import MetricWrapperBase

RequestOutcome = Literal["granted", "refused", "away"]

_Labels = TypeVar("_Labels", bound=tuple[str, ...])

_ends: Final = Gauge(
    "email_router_login_end_timestamp_seconds",
    "When of a profile's logins by access token the first ends that a person has to renew, in Unix time, by what ends: "
    "login, client secret, client certificate; as far as it is known. This and the faults of logins are the same in "
    "every process, and renewed every 15 seconds.",
    ["profile", "what"],
    registry=None,
)
_faults: Final = Gauge(
    "email_router_login_faults",
    "Logins by access token, of approved owners or of a whole profile, for which there is no new token now.",
    ["profile"],
    registry=None,
)
_requests: Final = Counter(
    "email_router_token_requests_total",
    "Requests for access tokens to token servers, by outcome: granted, refused, away (no answer, or out of order).",
    ["outcome"],
    registry=None,
)

METRICS: Final[Sequence[MetricWrapperBase]] = (_ends, _faults, _requests)

for _outcome in get_args(RequestOutcome):
    _requests.labels(_outcome)


def logins_sampled(ends: Mapping[tuple[str, str], float], faults: Mapping[str, int]) -> None:
    """Tell when something ends (Unix time) by profile and what it is, and how many logins have a fault, by profile.

    Profiles that are not in it have no such metrics any more.
    """
    _replace(_ends, ends)
    _replace(_faults, {(profile,): count for profile, count in faults.items()})


def request_ended(outcome: RequestOutcome) -> None:
    """Count a request to a token server."""
    _requests.labels(outcome).inc()


def _replace(gauge: Gauge, values: Mapping[_Labels, float]) -> None:
    told = {tuple(sample.labels.values()) for family in gauge.collect() for sample in family.samples}
    for labels in told - set(values):
        gauge.remove(*labels)
    for labels, number in values.items():
        gauge.labels(*labels).set(number)
