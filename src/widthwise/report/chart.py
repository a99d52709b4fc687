"""The parts every plot is made of: a canvas of exact size, an axis of widths, lines, bands and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from widthwise.report.labels import LONGEST, label_ends
from widthwise.report.style import INK, SURFACE, Style

__all__ = ["WIDE", "Chart", "Line", "Point", "canvas", "draw", "log_axis", "ring", "title", "width_axis"]

WIDE = 520  # from this width on there is room for long labels


class Chart(Figure):
    """A figure that also knows what to say about its points: for an artist's gid, one text a point."""

    tips: dict[str, list[str]]


@dataclass(frozen=True)
class Point:
    """One point of a line.

    Attributes:
        x: place on the horizontal axis.
        y: place on the vertical axis; NaN where nothing is known because every seed diverged.
        tip: what to say about it when the pointer rests on it.
        spread: half the height of its band.
        partial: whether seeds had to be left out.
        marked: whether it gets a mark of its own.
    """

    x: float
    y: float
    tip: str = ""
    spread: float = 0.0
    partial: bool = False
    marked: bool = True


@dataclass(frozen=True)
class Line:
    """Points in order, how they are drawn, and the name at their end; no name, no label."""

    label: str
    points: Sequence[Point]
    style: Style

    @property
    def known(self) -> list[Point]:
        """The points that have a finite value."""
        return [p for p in self.points if math.isfinite(p.y)]


def canvas(
    width: int, heights: Sequence[int], *, labels: Sequence[str] = (), left: int = 46
) -> tuple[Chart, list[Axes]]:
    """A chart ``width`` units wide with panels of the given heights below each other.

    Args:
        width: in units of the SVG; 1 unit is 1 CSS pixel at full size.
        heights: height of each panel, without titles and axes.
        labels: texts that will stand right of the panels; room is left for the longest.
        left: room for the labels of the vertical axis.
    """
    top, gap, bottom = 34, 44, 46
    right = 16 + max((7 * min(len(t), LONGEST) for t in labels), default=0)
    height = top + sum(heights) + gap * (len(heights) - 1) + bottom
    chart = Chart(figsize=(width / 72, height / 72), dpi=72)
    chart.tips = {}
    panels: list[Axes] = []
    edge = height - top
    for tall in heights:
        box = (left / width, (edge - tall) / height, (width - left - right) / width, tall / height)
        panels.append(chart.add_axes(box, gid=f"panel-{len(panels)}"))
        edge -= tall + gap
    return chart, panels


def width_axis(axes: Axes, widths: Sequence[float], *, label: bool = True) -> None:
    """Make the horizontal axis one of widths: logarithmic to base 2, ticks at the widths there are."""
    distinct = sorted(set(widths))
    axes.set_xscale("log", base=2)
    axes.set_xlim(distinct[0] / 1.25, distinct[-1] * 1.25)
    close = any(b / a < 1.45 for a, b in pairwise(distinct))
    axes.xaxis.set_major_locator(LogLocator(base=2) if close or len(distinct) > 10 else FixedLocator(distinct))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if label:
        axes.set_xlabel("width (hidden units, log₂ scale)")


def log_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers and no minor ticks."""
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw(axes: Axes, lines: Sequence[Line], sane: tuple[float, float], *, from_zero: bool = False) -> None:
    """Fit the vertical axis to the lines, draw them, and name each at its end.

    Args:
        axes: made by :func:`canvas`, with its horizontal axis set.
        lines: what to draw, the last on top.
        sane: the axis never goes beyond these, if that leaves anything to see.
        from_zero: whether a linear axis starts at zero.
    """
    _fit(axes, [p for one in lines for p in one.known], sane, from_zero)
    for i, one in enumerate(lines):
        _line(axes, one, f"{axes.get_gid()}-{i}", order=2 + 0.01 * i)
    named = [one for one in lines if one.label and one.known]
    label_ends(axes, [(one.known[-1].x, one.known[-1].y, one.label, one.style.colour) for one in named])


def title(axes: Axes, what: str, unit: str) -> None:
    """Say above the panel what its vertical axis shows."""
    axes.set_title(f"{what} ({unit})" if unit else what, x=0, ha="left")


def _fit(axes: Axes, points: Sequence[Point], sane: tuple[float, float], from_zero: bool) -> None:
    """Set the vertical limits by the points that are sane, or by all if none is."""
    if not points:
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        return
    shown = [p for p in points if sane[0] <= p.y <= sane[1]]
    first, last = sane if shown else (-math.inf, math.inf)
    low, high = (min(p.y - p.spread for p in shown or points), max(p.y + p.spread for p in shown or points))
    if axes.get_yscale() == "log":
        axes.set_ylim(low / 1.3, high * 1.3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
        return
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(0.0 if from_zero else max(low - pad, first), min(high + pad, last))


def _line(axes: Axes, one: Line, gid: str, order: float) -> None:
    """Draw the line, the band around it and its marks, on axes that have their limits.

    A hollow mark says that seeds were left out, a cross at the foot that all diverged, a triangle at the edge
    that the point lies beyond it.
    """
    style, known = one.style, one.known
    xs, ys = [p.x for p in known], [p.y for p in known]
    low, high = axes.get_ylim()
    spread = [p for p in known if p.spread and p.marked and style.named and low <= p.y <= high]
    band = [p.x for p in spread], [p.y - p.spread for p in spread], [p.y + p.spread for p in spread]
    if len(spread) == 1:
        axes.vlines(*band, color=style.colour, alpha=0.4, linewidth=5, zorder=order - 1)
    elif spread:
        axes.fill_between(*band, color=style.colour, alpha=0.14, linewidth=0, zorder=order - 1)
    dash = (0, (5, 3)) if style.dashed else "solid"
    axes.plot(xs, ys, color=style.colour, linestyle=dash, linewidth=2 if style.named else 0.8, zorder=order)
    if not style.marker:
        return
    marked = [p for p in one.points if p.marked]
    groups = (
        (style.marker, [p for p in marked if low <= p.y <= high]),
        ("v", [replace(p, y=low, partial=False) for p in marked if p.y < low]),
        ("^", [replace(p, y=high, partial=False) for p in marked if p.y > high]),
        ("x", [replace(p, y=low, partial=False) for p in marked if math.isnan(p.y)]),
    )
    for i, (marker, group) in enumerate(groups):
        if group:
            _marks(axes, group, marker, style.colour, f"{gid}-{i}")


def _marks(axes: Axes, points: Sequence[Point], marker: str, colour: str, gid: str) -> None:
    """Put a mark at each point, whole even on the edge, and leave the points' tips with the chart."""
    faces = [SURFACE if p.partial else colour for p in points]
    edges = None if marker == "x" else colour
    options: dict[str, Any] = {"linewidths": 1.5, "clip_on": False, "gid": gid, "zorder": 4}
    xs, ys = [p.x for p in points], [p.y for p in points]
    axes.scatter(xs, ys, s=34, marker=marker, c=faces, edgecolors=edges, **options)
    if isinstance(axes.figure, Chart):
        axes.figure.tips[gid] = [p.tip for p in points]


def ring(axes: Axes, x: float, y: float, text: str = "") -> None:
    """Circle the point that matters, and say why in ``text`` above it."""
    axes.plot([x], [y], "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.6, zorder=6)
    if text:
        box = {"facecolor": SURFACE, "alpha": 0.75, "edgecolor": "none", "pad": 1}
        above: dict[str, Any] = {"xytext": (0, 11), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        axes.annotate(text, (x, y), color=INK, fontweight="bold", zorder=7, bbox=box, **above)
