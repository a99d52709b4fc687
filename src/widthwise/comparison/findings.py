"""What follows from the rows, in sentences, each beside its numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import scipy  # whose parts load when first used

from widthwise.comparison.result import Comparison, Finding, Row
from widthwise.comparison.ways import DENSE, SPARSE

__all__ = ["findings", "paired_difference"]


def findings(found: Comparison) -> tuple[Finding, ...]:
    """Sentences on what is best, how sure that is, what width alone did, and what theory had foretold."""
    said = [_best(found), _runner_up(found), _share_of_width(found), _foretold(found), *_troubles(found)]
    return tuple(sentence for sentence in said if sentence is not None)


def paired_difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Mean difference over seeds and the half-width of its 95 % confidence interval (Student's t).

    The half-width is NaN for fewer than two seeds.
    """
    pairs = [x - y for x, y in zip(a, b, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if len(pairs) < 2:
        return (pairs[0] if pairs else math.nan), math.nan
    half = float(scipy.special.stdtrit(len(pairs) - 1, 0.975)) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return statistics.fmean(pairs), half


def _best(found: Comparison) -> Finding:
    best, base = found.best, found.baseline
    if best is base:
        text = (
            f"The dense network of width {base.width} spends {found.budget} weights best: "
            f"{_value(found, base)}; nothing wider beat it on the validation set."
        )
        return Finding(text, rows=[base.label])
    gain, half = paired_difference(best.test, base.test)
    text = (
        f"{_name(best)} spends {found.budget} weights best: {_value(found, best)}, against {_value(found, base)} of "
        f"the dense network of width {base.width} ({_gain(found, gain, half)}{_doubt(gain, half)})."
    )
    return Finding(text, rows=[best.label, base.label])


def _runner_up(found: Comparison) -> Finding | None:
    second = next((r for r in found.rows if r.rank == 2), None)
    if second is None:
        return None
    gain, half = paired_difference(found.best.test, second.test)
    gained = f"{_gain(found, gain, half)} for the best{_doubt(gain, half)}"
    text = f"Next is {_name(second)} with {_value(found, second)} ({gained})."
    return Finding(text, rows=[found.best.label, second.label])


def _share_of_width(found: Comparison) -> Finding | None:
    """(sparse - base) / (dense - base) at the best sparse width: Figure 7 of the wider-nets paper.

    Nothing is said where the seeds do not show that width gains anything.
    """
    sparse = [r for r in found.rows if r.method == SPARSE and math.isfinite(r.mean)]
    if not sparse:
        return None
    top = max(sparse, key=lambda r: r.mean)
    dense = next((r for r in found.rows if r.method == DENSE and r.width == top.width), None)
    if dense is None:
        return None
    gain, half = paired_difference(dense.test, found.baseline.test)
    if not gain > (half if math.isfinite(half) else 0):
        return None
    share = (top.mean - found.baseline.mean) / (dense.mean - found.baseline.mean)
    part = "none" if share <= 0 else "all" if share >= 1 else f"{100 * share:.0f} %"
    text = (
        f"Width alone: at width {top.width} the dense network, with {dense.weights / found.budget:.3g} times the "
        f"weights, reaches {_value(found, dense)}; the sparse one, with none added, gets {part} of that gain."
    )
    return Finding(text, rows=[top.label, dense.label, found.baseline.label])


def _foretold(found: Comparison) -> Finding | None:
    family = [r for r in found.family(SPARSE) if math.isfinite(r.mean)]
    said, shown = [], []
    for what, attribute in (("formula (4)", "predicted"), ("the measured kernel distance", "measured")):
        rows = [r for r in family if getattr(r, attribute) is not None]
        if len(rows) > 1:
            least = min(rows, key=lambda r: float(getattr(r, attribute)))
            said.append(f"{what} is least at width {least.width}")
            shown.append(least.label)
    if not said:
        return None
    actual = max(family, key=lambda r: r.mean)
    text = f"Before training, {' and '.join(said)}; the sparse family tests best at width {actual.width}."
    return Finding(text, "distance", dict.fromkeys([*shown, actual.label]))


def _troubles(found: Comparison) -> list[Finding]:
    said = []
    for row in found.rows:
        lost = sum(not math.isfinite(v) for v in row.test)
        if lost:
            advice = f"{lost} of {len(row.test)} networks diverged; a smaller learning rate may help."
            said.append(Finding(f"{_name(row)}: {advice}", rows=[row.label]))
        if row.notes:
            said.append(Finding(f"{_name(row)}: {row.notes[0]}", "layers", [row.label]))
    return said


def _name(row: Row) -> str:
    return f"{row.label} (width {row.width})"


def _value(found: Comparison, row: Row) -> str:
    spread = f" ± {_number(found, row.spread)}" if len(row.test) > 1 else ""
    return f"{_number(found, row.mean)}{spread} {_unit(found)}"


def _gain(found: Comparison, gain: float, half: float) -> str:
    interval = f" ± {_number(found, half)}, 95 % interval over seeds" if math.isfinite(half) else ", one seed"
    points = "points" if found.task == "classification" else "R²"
    return f"{'+' if gain >= 0 else '−'}{_number(found, abs(gain))} {points}{interval}"


def _doubt(gain: float, half: float) -> str:
    sure = math.isfinite(half) and abs(gain) > half
    return "" if sure else "; with these seeds the two cannot be told apart"


def _number(found: Comparison, value: float) -> str:
    return f"{100 * value:.1f}" if found.task == "classification" else f"{value:.3f}"


def _unit(found: Comparison) -> str:
    return "% accuracy" if found.task == "classification" else "R²"
