"""What is counted by profile, for those that are served."""

from collections.abc import Sequence

from prometheus_client.metrics import MetricWrapperBase


def keep(served: set[str], wanted: set[str], metrics: Sequence[MetricWrapperBase]) -> None:
    """Remove what was counted for profiles that are `served`, but not `wanted`; the others are served now."""
    for name in served - wanted:
        for metric in metrics:
            metric.remove_by_labels({"profile": name})
    served.clear()
    served.update(wanted)
