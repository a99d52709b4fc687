"""The plots that a comparison can show, each with its words and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from widthwise.comparison import Comparison
from widthwise.report import plots
from widthwise.report.chart import Chart
from widthwise.report.summary import Metric, Summary
from widthwise.report.table import rows_as_dicts, seeds

__all__ = ["Exhibit", "gallery"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Exhibit:
    """A plot with its words and its numbers.

    Attributes:
        key: a short name, unique in the gallery.
        title: what the plot shows.
        caption: how to read it.
        numbers: every number that it draws.
        draw: the figure, so many CSS pixels wide.
    """

    key: str
    title: str
    caption: str
    numbers: list[Record]
    draw: Callable[[Comparison, int], Chart]


def gallery(comparison: Comparison) -> list[Exhibit]:
    """The plots for which the comparison has numbers, the most important first."""
    metric = Metric.of(comparison)
    every = (
        Exhibit(
            "accuracy", f"Test {metric.name} against width", _accuracy_caption(comparison),
            _accuracy(comparison), plots.accuracy,
        ),
        Exhibit(
            "distance", "Kernel distance, known before training, and test error", _DISTANCE_CAPTION,
            _distance(comparison), plots.distance,
        ),
        Exhibit("curves", "Training curves", _CURVES_CAPTION, _curves(comparison), plots.curves),
        Exhibit("layers", "Where the weights are", _layers_caption(comparison), _layers(comparison), plots.layers),
    )  # fmt: skip
    return [exhibit for exhibit in every if exhibit.numbers]


_DISTANCE_CAPTION = (
    "The sparse family at equal weights. Formula (4) of the wider-nets paper needs no training and no data; the "
    "measured distance is taken at initialization, relative to the squared kernel. The two are in units of their "
    "own: compare where they are least (circled), not how high they are. Dotted: the width of least test error."
)
_CURVES_CAPTION = "The baseline and the best network of each method; dashed where it is over the budget."


def _accuracy_caption(comparison: Comparison) -> str:
    parts = [f"Mean over {seeds(comparison)} at {comparison.budget:,} weights."]
    summaries = [Summary.of(r) for r in comparison.rows]
    if any(s.spread for s in summaries):
        parts.append("Bands: ± one standard deviation over seeds.")
    if any(not r.within_budget for r in comparison.rows):
        parts.append("Dashed: dense networks, whose weights grow with the width, for comparison only.")
    if any(s.diverged for s in summaries):
        parts.append("Hollow: some seeds diverged and are left out. Cross: all seeds diverged.")
    low, high = Metric.of(comparison).sane
    scale = Metric.of(comparison).scale
    if any(s.mean is not None and not low <= scale * s.mean <= high for s in summaries):
        parts.append("Triangle at the edge: the value lies beyond the axis.")
    return " ".join(parts)


def _layers_caption(comparison: Comparison) -> str:
    width = next((row.width for row in plots.with_layers(comparison)), 0)
    return f"Share of each layer's weights that live, for the methods within the budget at width {width:,}."


def _accuracy(comparison: Comparison) -> list[Record]:
    keys = ("label", "method", "width", "weights", "within_budget", "mean", "spread", "seeds", "diverged")
    return [{k: record[k] for k in keys} for record in rows_as_dicts(comparison)]


def _distance(comparison: Comparison) -> list[Record]:
    return [
        {
            "label": row.label,
            "width": row.width,
            "predicted": row.predicted,
            "measured": row.measured,
            "error": None if (mean := Summary.of(row).mean) is None else 1 - mean,
            "spread": Summary.of(row).spread,
        }
        for row in plots.with_distance(comparison)
    ]


def _curves(comparison: Comparison) -> list[Record]:
    return [
        {"label": row.label, "epoch": epoch, "validation": value}
        for row in plots.with_curve(comparison)
        for epoch, value in row.curve
    ]


def _layers(comparison: Comparison) -> list[Record]:
    return [
        {"label": row.label, "layer": i, "connectivity": share}
        for row in plots.with_layers(comparison)
        for i, share in enumerate(row.layer_connectivity, 1)
    ]
