"""What follows from the rows, in sentences, each beside its numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit

from widthwise.comparison.result import Comparison, Row
from widthwise.comparison.ways import DENSE, SPARSE

__all__ = ["findings", "paired_difference"]


def findings(found: Comparison) -> tuple[str, ...]:
    """Sentences on what is best, how sure that is, what width alone did, and what theory had foretold."""
    said = [_best(found), _runner_up(found), _share_of_width(found), _foretold(found), *_troubles(found)]
    return tuple(sentence for sentence in said if sentence)


def paired_difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Mean difference over seeds and the half-width of its 95 % confidence interval (Student's t).

    The half-width is NaN for fewer than two seeds.
    """
    pairs = [x - y for x, y in zip(a, b, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if len(pairs) < 2:
        return (pairs[0] if pairs else math.nan), math.nan
    half = float(stdtrit(len(pairs) - 1, 0.975)) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return statistics.fmean(pairs), half


def _best(found: Comparison) -> str:
    best, base = found.best, found.baseline
    if best is base:
        return (
            f"The dense network of width {base.width} spends {found.budget} weights best: "
            f"{_value(found, base)}; nothing wider beat it on the validation set."
        )
    gain, half = paired_difference(best.test, base.test)
    return (
        f"{_name(best)} spends {found.budget} weights best: {_value(found, best)}, against {_value(found, base)} of "
        f"the dense network of width {base.width} ({_gain(found, gain, half)})."
    )


def _runner_up(found: Comparison) -> str:
    second = next((r for r in found.rows if r.rank == 2), None)
    if second is None:
        return ""
    gain, half = paired_difference(found.best.test, second.test)
    sure = math.isfinite(half) and abs(gain) > half
    verdict = "" if sure else "; with these seeds the two cannot be told apart"
    return f"Next is {_name(second)} with {_value(found, second)} ({_gain(found, gain, half)} for the best{verdict})."


def _share_of_width(found: Comparison) -> str:
    """(sparse - base) / (dense - base) at the best sparse width: Figure 7 of the wider-nets paper."""
    sparse = [r for r in found.rows if r.method == SPARSE and math.isfinite(r.mean)]
    if not sparse:
        return ""
    top = max(sparse, key=lambda r: r.mean)
    dense = next((r for r in found.rows if r.method == DENSE and r.width == top.width), None)
    if dense is None or not dense.mean > found.baseline.mean:
        return ""
    share = (top.mean - found.baseline.mean) / (dense.mean - found.baseline.mean)
    return (
        f"Width alone: at width {top.width} the dense network, with {dense.weights / found.budget:.3g} times the "
        f"weights, reaches {_value(found, dense)}; the sparse one, with none added, gets {share:.0%} of that gain."
    )


def _foretold(found: Comparison) -> str:
    family = [r for r in found.family(SPARSE) if math.isfinite(r.mean)]
    said = []
    for what, attribute in (("formula (4)", "predicted"), ("the measured kernel distance", "measured")):
        rows = [r for r in family if getattr(r, attribute) is not None]
        if len(rows) > 1:
            width = min(rows, key=lambda r: float(getattr(r, attribute))).width
            said.append(f"{what} is least at width {width}")
    if not said:
        return ""
    actual = max(family, key=lambda r: r.mean).width
    return f"Before training, {' and '.join(said)}; the sparse family tests best at width {actual}."


def _troubles(found: Comparison) -> list[str]:
    said = []
    for row in found.rows:
        lost = sum(not math.isfinite(v) for v in row.test)
        if lost:
            said.append(f"{_name(row)}: {lost} of {len(row.test)} networks diverged; a smaller learning rate may help.")
        if row.notes:
            said.append(f"{_name(row)}: {row.notes[0]}")
    return said


def _name(row: Row) -> str:
    return f"{row.label} (width {row.width})"


def _value(found: Comparison, row: Row) -> str:
    spread = f" ± {_number(found, row.spread)}" if len(row.test) > 1 else ""
    return f"{_number(found, row.mean)}{spread} {_unit(found)}"


def _gain(found: Comparison, gain: float, half: float) -> str:
    interval = f" ± {_number(found, half)}, 95 % interval over seeds" if math.isfinite(half) else ", one seed"
    points = "points" if found.task == "classification" else "R2"
    return f"{'+' if gain >= 0 else '−'}{_number(found, abs(gain))} {points}{interval}"


def _number(found: Comparison, value: float) -> str:
    return f"{100 * value:.1f}" if found.task == "classification" else f"{value:.3f}"


def _unit(found: Comparison) -> str:
    return "% accuracy" if found.task == "classification" else "R2"
