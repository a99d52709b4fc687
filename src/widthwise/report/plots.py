"""The figures of a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import matplotlib as mpl
from matplotlib.ticker import MaxNLocator

from widthwise.comparison import Comparison, Row
from widthwise.errors import InputError
from widthwise.report.chart import WIDE, Chart, Line, Point, canvas, draw, log_axis, ring, title, width_axis
from widthwise.report.style import FAINT, INK, LIGHT, RC, Style, styles
from widthwise.report.summary import Metric, Summary, baseline, best, clean, compact, finite
from widthwise.report.table import ranked

__all__ = ["accuracy", "curves", "distance", "layers", "with_curve", "with_distance", "with_layers"]


@mpl.rc_context(RC)
def accuracy(comparison: Comparison, width: int = 680) -> Chart:
    """The test metric against width, one line a method, bands of one standard deviation over seeds.

    Every method starts from the dense baseline. The dense line is dashed: its weights grow with its width.

    Args:
        comparison: what to show.
        width: of the figure, in CSS pixels.
    """
    metric = Metric.of(comparison)
    lines = _methods(comparison, metric, long=width >= WIDE)
    chart, (axes,) = canvas(width, [_height(width)], labels=[one.label for one in lines])
    width_axis(axes, [r.width for r in _some(comparison.rows, "rows")])
    draw(axes, lines, metric.sane)
    title(axes, f"test {metric.name}", metric.unit)
    winner = best(comparison)
    if winner is not None and (mean := Summary.of(winner).mean) is not None:
        ring(axes, winner.width, metric.scale * mean, text="best")
    return chart


@mpl.rc_context(RC)
def distance(comparison: Comparison, width: int = 680) -> Chart:
    """The test error of the sparse family above, its kernel distance below, against width.

    Minima are circled, and a dotted line carries the width of least error from one panel to the other. The two
    distances are in units of their own, so their minima compare, not their heights.

    Args:
        comparison: what to show.
        width: of the figure, in CSS pixels.

    Raises:
        InputError: if no kernel distance is known.
    """
    metric, rows = Metric.of(comparison), _some(with_distance(comparison), "kernel distances")
    blue, tall = LIGHT["series-1"], round(0.55 * _height(width))
    errors = Line(f"test {metric.loss}", [_error(r, metric) for r in rows], Style(blue, "s"))
    kernels = [
        Line("formula (4)", [_kernel(r, r.predicted, "by formula (4)") for r in rows], Style(INK, "o", dashed=True)),
        Line("measured", [_kernel(r, r.measured, "measured") for r in rows], Style(blue, "D")),
    ]
    chart, (top, foot) = canvas(width, [tall, tall], labels=["formula (4)", errors.label], left=58)
    for axes in (top, foot):
        width_axis(axes, [r.width for r in rows], label=axes is foot)
    if all(p.y > 0 for one in kernels for p in one.known):
        log_axis(foot)
    draw(top, [errors], metric.sane_loss)
    draw(foot, kernels, (0.0, math.inf))
    title(top, f"test {metric.loss} of the sparse family", metric.unit)
    title(foot, "distance to the infinite-width kernel", foot.get_yscale() + " scale")
    for axes, lines in ((top, [errors]), (foot, kernels)):
        for lowest in (min(one.known, key=lambda p: p.y) for one in lines if len(one.known) > 1):
            ring(axes, lowest.x, lowest.y)
        if errors.known:
            least = min(errors.known, key=lambda p: p.y).x
            axes.axvline(least, color=FAINT, linestyle=(0, (1, 3)), linewidth=1.5, zorder=1)
    return chart


@mpl.rc_context(RC)
def curves(comparison: Comparison, width: int = 680) -> Chart:
    """The validation metric against epochs: the best network of each method and the baseline.

    Args:
        comparison: what to show.
        width: of the figure, in CSS pixels.

    Raises:
        InputError: if no training curve was recorded.
    """
    metric, look = Metric.of(comparison), styles(comparison)
    chosen = _some(with_curve(comparison), "training curves")
    lines = [
        Line(
            clean(r.label),
            [Point(epoch, metric.scale * value) for epoch, value in r.curve],
            Style(look[r.method].colour, "", dashed=not r.within_budget),
        )
        for r in chosen
    ]
    chart, (axes,) = canvas(width, [_height(width)], labels=[one.label for one in lines])
    last = max(r.curve[-1][0] for r in chosen)
    axes.set_xlim(min(0, last - 1), last)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("epoch")
    draw(axes, lines, metric.sane)
    title(axes, f"validation {metric.name}, mean over seeds", metric.unit)
    return chart


@mpl.rc_context(RC)
def layers(comparison: Comparison, width: int = 680) -> Chart:
    """The connectivity of each layer, for every method within the budget at one width (:func:`with_layers`).

    Args:
        comparison: what to show.
        width: of the figure, in CSS pixels.

    Raises:
        InputError: if no wide network tells the connectivity of its layers.
    """
    look, chosen = styles(comparison), _some(with_layers(comparison), "layers of sparse networks")
    lines = [Line(clean(r.label), _layers(r), look[r.method]) for r in chosen]
    chart, (axes,) = canvas(width, [round(0.7 * _height(width))], labels=[one.label for one in lines])
    depth = max(len(r.layer_connectivity) for r in chosen)
    axes.set_xlim(0.7, depth + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(min(depth, 12), integer=True))
    axes.set_xlabel("layer, first to last")
    values = [p.y for one in lines for p in one.known]
    if 0 < 20 * min(values) < max(values):
        log_axis(axes)
    draw(axes, lines, (0.0, 100.0), from_zero=True)
    title(axes, "weights that live", "% of the layer")
    return chart


def with_distance(comparison: Comparison) -> list[Row]:
    """The sparse family's rows of which a kernel distance is known, if there are several to compare."""
    rows = [r for r in _family(comparison, "sparse") if finite(r.predicted) or finite(r.measured)]
    return rows if len(rows) > 1 else []


def with_curve(comparison: Comparison) -> list[Row]:
    """The rows whose training curves are worth comparing: the baseline and each method's best, six at most."""
    chosen = [baseline(comparison), *_leaders(ranked(comparison))]
    return [r for r in dict.fromkeys(chosen) if r is not None and any(finite(v) for _, v in r.curve)][:6]


def with_layers(comparison: Comparison) -> list[Row]:
    """The rows whose layers are worth comparing: every method within the budget at one width, six at most.

    That width is the winner's, or the best wider network's if the baseline won.
    """
    wide = [r for r in ranked(comparison) if r.within_budget and r.factor != 1 and len(r.layer_connectivity) > 1]
    return _leaders(r for r in wide if r.factor == wide[0].factor)[:6]


def _leaders(rows: Iterable[Row]) -> list[Row]:
    """The first row of each method."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.method, row)
    return list(first.values())


def _family(comparison: Comparison, method: str) -> list[Row]:
    """One method's rows by width, the dense baseline first where there is one."""
    start = baseline(comparison)
    mine = (r for r in comparison.rows if r.method == method and r is not start)
    return [*([] if start is None else [start]), *sorted(mine, key=lambda r: r.width)]


def _methods(comparison: Comparison, metric: Metric, *, long: bool) -> list[Line]:
    """One line a method; those too many to tell apart share one label."""
    look, start = styles(comparison), baseline(comparison)
    rest = [m for m, style in look.items() if not style.named]
    over = long and any(not r.within_budget for r in comparison.rows)
    labels = {m: clean(m) for m in look if m not in rest} | {m: f"{len(rest)} others" for m in rest[:1]}
    labels |= {"dense": "dense, over budget"} if over else {}
    return [
        Line(
            labels.get(method, ""),
            [_shared(_result(r, metric)) if r is start and method != "dense" else _result(r, metric) for r in family],
            style,
        )
        for method, style in look.items()
        for family in [_family(comparison, method)]
    ]


def _shared(point: Point) -> Point:
    """The baseline as the start of another method's line: it is marked once, as dense."""
    return replace(point, marked=False)


def _result(row: Row, metric: Metric) -> Point:
    summary = Summary.of(row)
    if summary.mean is None:
        return Point(row.width, math.nan, f"{clean(row.label)}: diverged", marked=summary.diverged > 0)
    spread = summary.spread
    lost = f", {summary.diverged} of {len(row.test)} seeds diverged" if summary.diverged else ""
    tip = (
        f"{clean(row.label)}, width {row.width:,}, {row.weights:,} weights: {metric.value(summary.mean, spread)}{lost}"
    )
    return Point(row.width, metric.scale * summary.mean, tip, metric.scale * (spread or 0.0), bool(lost))


def _error(row: Row, metric: Metric) -> Point:
    point = _result(row, metric)
    if math.isnan(point.y):
        return point
    error = metric.scale - point.y
    written = metric.value(error / metric.scale, Summary.of(row).spread)
    return replace(point, y=error, tip=f"{clean(row.label)}, width {row.width:,}: {written} {metric.loss}")


def _kernel(row: Row, value: float | None, how: str) -> Point:
    known = math.nan if value is None else value
    return Point(
        row.width, known, f"{clean(row.label)}, width {row.width:,}: {compact(value)} {how}", marked=finite(value)
    )


def _layers(row: Row) -> list[Point]:
    shares = [100 * p for p in row.layer_connectivity]
    return [Point(i, p, f"{clean(row.label)}, layer {i}: {p:.3g} %") for i, p in enumerate(shares, 1)]


def _height(width: int) -> int:
    return round(min(330, 120 + 0.4 * width))


def _some(rows: Sequence[Row], what: str) -> Sequence[Row]:
    if not rows:
        raise InputError(f"comparison: got one without {what}, allowed is one that has some")
    return rows
