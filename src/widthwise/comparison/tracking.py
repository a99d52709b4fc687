"""A comparison told to a tracker."""

from __future__ import annotations

from widthwise.comparison.result import Comparison
from widthwise.tracking import Tracker

__all__ = ["tell"]


def tell(tracker: Tracker, found: Comparison) -> None:
    """Tell of every row: a run each, with its mean training curve and its results.

    Args:
        tracker: whom to tell.
        found: the comparison.
    """
    shared = {"data": found.data, "budget": found.budget, **found.settings}
    for row in found.rows:
        own = {"method": row.method, "factor": row.factor, "width": row.width, "weights": row.weights}
        with tracker.run(row.label, {**shared, **own, "connectivity": row.connectivity}) as run:
            for epoch, value in row.curve:
                run.log(epoch, {f"validation {found.metric}": value})
            run.conclude({f"test {found.metric}": row.mean, "spread over seeds": row.spread, "seeds": len(row.test)})
