"""How families of networks are drawn and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from widthwise.experiments.outcome import Outcome
from widthwise.experiments.wider_nets.resnet import Point, Runs
from widthwise.report.style import LIGHT

__all__ = ["LABELS", "draw_axes", "draw_family", "outcome_of"]

LABELS = {
    "width": "width",
    "connectivity": "connectivity",
    "test": "test accuracy (%)",
    "train": "training accuracy (%)",
}


def draw_family(
    panel: Axes,
    line: Sequence[Point],
    place: int,
    x: str = "width",
    y: str = "test",
    *,
    bars: bool = True,
    label: str = "",
    dashed: bool = False,
) -> None:
    """The means of a family, with one standard deviation over seeds if ``bars``; its first point filled.

    Args:
        panel: to draw on.
        line: the points, the unwidened first.
        place: of the family among others: its colour.
        x: ``"width"`` or ``"connectivity"``.
        y: ``"test"`` or ``"train"``.
        bars: whether to draw the spread.
        label: of the legend; the number of weights if empty.
        dashed: whether to dash the line.
    """
    colour = LIGHT[f"series-{place % 6}"]
    values = [[100 * v for v in getattr(p, y)] for p in line]
    places, means = [getattr(p, x) for p in line], [fmean(v) for v in values]
    spread = [stdev(v) if len(v) > 1 else 0.0 for v in values] if bars else None
    style: dict[str, Any] = {"color": colour, "linewidth": 1.5, "linestyle": "--" if dashed else "-"}
    panel.errorbar(places, means, yerr=spread, label=label or f"{line[0].weights:,} weights", **style)
    panel.plot(places[:1], means[:1], "o", color=colour)
    panel.plot(places[1:], means[1:], "x", color=colour)


def draw_axes(panel: Axes, x: str, y: str) -> None:
    """Name the axes, widths and connectivities on a scale of twos, and show the legend."""
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_locator(LogLocator(base=2))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_xlabel(LABELS[x])
    panel.set_ylabel(LABELS[y])
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize=9)


def _row(point: Point) -> dict[str, Any]:
    """A point as a row of a table."""
    row: dict[str, Any] = asdict(point) | {"test_mean": point.mean, "train_mean": fmean(point.train)}
    return row


def outcome_of(
    name: str,
    scale: str,
    runs: Runs,
    points: Sequence[Point],
    figure: Figure,
    notes: Sequence[str],
    more: Sequence[Mapping[str, Any]] | None = None,
) -> Outcome:
    """What an experiment on these points gives, with ``more`` to each point's row."""
    rows = [_row(point) | dict(extra) for point, extra in zip(points, more or [{}] * len(points), strict=True)]
    settings = asdict(runs.setup) | {"lr": 0.1, "momentum": 0.9, "seeds": list(runs.seeds)}
    return Outcome(name, scale, settings, rows, figure, notes)
