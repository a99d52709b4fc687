"""From stored results to ranked rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from widthwise.comparison.foretell import formula_distance
from widthwise.comparison.plan import Plan, Run
from widthwise.comparison.result import Row
from widthwise.comparison.ways import is_drawn
from widthwise.errors import DataError
from widthwise.widening import weights_at

__all__ = ["check_result", "rows_of"]

Result = dict[str, Any]


def check_result(path: Path, result: Result | None) -> Result:
    """Return a run's stored result if it is one.

    Raises:
        DataError: if the store at ``path`` was written by somebody else.
    """
    fits = result is not None and (
        all(_is_value(result.get(name, "")) for name in ("test", "validation", "measured"))
        and _is_list(result.get("layers"), _is_number)
        and _is_list(result.get("notes"), lambda note: isinstance(note, str))
        and _is_list(result.get("curve"), _is_point)
    )
    if result is None or not fits:
        raise DataError(f"{path}: got {result!r:.80} as a network's result; remove the store to train again")
    return result


def _is_list(found: object, fits: Callable[[Any], bool]) -> bool:
    return isinstance(found, list) and all(map(fits, found))


def _is_number(found: object) -> bool:
    return isinstance(found, float | int)


def _is_value(found: object) -> bool:
    return found is None or _is_number(found)


def _is_point(found: object) -> bool:
    return isinstance(found, list) and len(found) == 2 and type(found[0]) is int and _is_value(found[1])


def rows_of(plan: Plan, results: Sequence[tuple[Run, Result]], features: int) -> tuple[Row, ...]:
    """One row for each method and width, seeds gathered, ranked by the validation mean within the budget.

    Args:
        plan: the comparison.
        results: every run with its stored result.
        features: size of a flattened input, for the predicted distance.
    """
    kinds = dict.fromkeys((run.method, run.width) for run, _ in results)
    rows = [_row(plan, [(u, r) for u, r in results if (u.method, u.width) == kind], features) for kind in kinds]
    return _ranked(rows)


def _row(plan: Plan, seeds: Sequence[tuple[Run, Result]], features: int) -> Row:
    run = seeds[0][0]
    layers = tuple(statistics.fmean(values) for values in zip(*(r["layers"] for _, r in seeds), strict=True))
    measured = [r["measured"] for _, r in seeds if r["measured"] is not None]
    factor = dict(zip(plan.widths, plan.factors, strict=True)).get(run.width, 1.0)
    return Row(
        method=run.method,
        factor=1.0 if run.width == plan.base_width else factor,
        width=run.width,
        weights=run.weights,
        connectivity=run.weights / weights_at(plan.architecture.build, run.width),
        layer_connectivity=layers,
        within_budget=plan.within(run),
        test=tuple(_value(r["test"]) for _, r in seeds),
        validation=tuple(_value(r["validation"]) for _, r in seeds),
        predicted=formula_distance(plan.architecture, features, run.width, layers) if is_drawn(run.method) else None,
        measured=statistics.fmean(measured) if measured else None,
        curve=_mean_curve([r["curve"] for _, r in seeds]),
        notes=tuple(dict.fromkeys(note for _, r in seeds for note in r["notes"])),
    )


def _ranked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Ties keep the narrower network first; a row whose every seed diverged comes last."""
    candidates = [i for i, row in enumerate(rows) if row.within_budget]

    def worst_last(i: int) -> tuple[float, int]:
        mean = rows[i].validation_mean
        return (math.inf if math.isnan(mean) else -mean), rows[i].width

    order = {i: rank for rank, i in enumerate(sorted(candidates, key=worst_last), start=1)}
    return tuple(replace(row, rank=order.get(i)) for i, row in enumerate(rows))


def _mean_curve(curves: Sequence[Sequence[tuple[int, float | None]]]) -> tuple[tuple[int, float], ...]:
    points: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, value in curve:
            points.setdefault(epoch, []).append(_value(value))
    return tuple((epoch, statistics.fmean(values)) for epoch, values in sorted(points.items()))


def _value(stored: float | None) -> float:
    return math.nan if stored is None else float(stored)
