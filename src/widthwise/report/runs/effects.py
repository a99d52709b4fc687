"""What matters in a sweep: how much of a result's variance each varied field accounts for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

from widthwise.report.chart import Chart, Line, Point, canvas, draw, title
from widthwise.report.runs.values import is_number, written
from widthwise.report.style import LIGHT, RC, Style
from widthwise.report.summary import clean

__all__ = ["Effect", "Level", "effects", "effects_chart"]

_LEVELS = 12  # more values of a field are put into as many classes


@dataclass(frozen=True)
class Level:
    """One value of a field: its name, and the mean, deviation and number of the results that it has."""

    name: str
    mean: float
    spread: float
    count: int


@dataclass(frozen=True)
class Effect:
    """What one field does to a result.

    Attributes:
        field: its name.
        share: of the result's variance that the field accounts for, between 0 and 1.
        levels: the field's values in order.
    """

    field: str
    share: float
    levels: tuple[Level, ...]


def effects(records: Sequence[Mapping[str, Any]], varied: Sequence[str], result: str) -> list[Effect]:
    r"""The effect of every field on a result, the largest first.

    The share is :math:`\epsilon^2 = 1 - \frac{SS_w / (n - k)}{SS_t / (n - 1)}` of a one-way analysis of variance
    with k levels, cut off at 0: unlike :math:`\eta^2` it does not grow with the number of levels by chance. Fields
    with one level, or with a level of its own for nearly every run, are left out.

    Args:
        records: one a run; those whose result is no number, or beyond 1e150, are left out.
        varied: names of the fields.
        result: name of the result.

    Example:
        >>> runs = [{"lr": lr, "seed": s, "loss": 10 * lr + 0.01 * s} for lr in (1, 2) for s in (0, 1, 2)]
        >>> [(e.field, round(e.share, 2)) for e in effects(runs, ["lr", "seed"], "loss")]
        [('lr', 1.0), ('seed', 0.0)]
    """
    known = [record for record in records if _drawable(record.get(result))]
    found = []
    for field in varied:
        groups = _groups([(record.get(field), float(record[result])) for record in known])
        if len(groups) > 1 and 2 * len(groups) <= len(known):
            levels = tuple(_level(name, values) for name, values in groups)
            found.append(Effect(field, _share([values for _, values in groups]), levels))
    return sorted(found, key=lambda effect: -effect.share)


@mpl.rc_context(RC)
def effects_chart(found: Sequence[Effect], result: str, width: int = 680) -> Chart:
    """A panel a field: the mean of the result at each of its values, with one standard deviation."""
    chart, panels = canvas(width, [110] * len(found), left=64)
    for axes, effect in zip(panels, found, strict=True):
        points = [
            Point(
                i,
                level.mean,
                f"{effect.field} {level.name}: {level.mean:.4g} ± {level.spread:.2g}, {level.count} runs",
                level.spread,
            )
            for i, level in enumerate(effect.levels)
        ]
        axes.set_xlim(-0.4, len(points) - 0.6)
        step = -(-len(points) // (12 if width > 400 else 5))
        axes.set_xticks(range(0, len(points), step), [_short(level.name) for level in effect.levels[::step]])
        draw(axes, [Line("", points, Style(LIGHT["series-1"], "o"))], (-math.inf, math.inf))
        title(axes, f"{clean(result)} against {clean(effect.field)}", f"{effect.share:.0%} of the variance")
    low, high = min(a.get_ylim()[0] for a in panels), max(a.get_ylim()[1] for a in panels)
    for axes in panels:
        axes.set_ylim(low, high)
    return chart


def _level(name: str, values: Sequence[float]) -> Level:
    return Level(name, statistics.fmean(values), math.sqrt(_squares(values) / max(1, len(values) - 1)), len(values))


def _drawable(value: Any) -> bool:
    """Whether it is a number, finite, and its square is."""
    return is_number(value) and abs(value) < 1e150


def _groups(pairs: Sequence[tuple[object, float]]) -> list[tuple[str, list[float]]]:
    """Results by value in order; numbers of more than a dozen values in classes of about equal counts."""
    by_value: dict[Any, list[float]] = {}
    for value, result in pairs:
        by_value.setdefault(value if is_number(value) else written(value), []).append(result)
    if not all(is_number(value) for value in by_value):
        return [(str(value), by_value[value]) for value in sorted(by_value, key=str)]
    ordered = sorted(by_value)
    if len(ordered) <= _LEVELS:
        return [(written(value), by_value[value]) for value in ordered]
    cuts = [ordered[i * len(ordered) // _LEVELS : (i + 1) * len(ordered) // _LEVELS] for i in range(_LEVELS)]
    return [
        (f"{written(cut[0])} to {written(cut[-1])}", [result for value in cut for result in by_value[value]])
        for cut in cuts
    ]


def _share(groups: Sequence[Sequence[float]]) -> float:
    every = [value for group in groups for value in group]
    total, within = _squares(every), math.fsum(map(_squares, groups))
    if total == 0:
        return 0.0
    return max(0.0, 1 - (within / (len(every) - len(groups))) / (total / (len(every) - 1)))


def _squares(values: Sequence[float]) -> float:
    """Sum of squared distances from the mean."""
    centre = statistics.fmean(values)
    return math.fsum((value - centre) ** 2 for value in values)


def _short(name: str) -> str:
    return name if len(name) <= 10 else f"{name[:9]}…"
