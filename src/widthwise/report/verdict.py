"""The answer in words: which way of spending the weights is best, by how much, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from widthwise.comparison import Comparison, Finding, Row
from widthwise.comparison.findings import paired_difference
from widthwise.report.summary import Metric, Summary, baseline, best, clean, difference
from widthwise.report.table import ranked

__all__ = ["Answer", "Claim", "answer", "claims"]


@dataclass(frozen=True)
class Claim:
    """A sentence and where its evidence lies: the rows it speaks of and the plot that shows them."""

    text: str
    rows: tuple[Row, ...] = ()
    plot: str = "accuracy"


@dataclass(frozen=True)
class Answer:
    """The answer at a glance.

    Attributes:
        headline: which way is best.
        lead: by how much, and how sure that is.
        why: what explains it.
        numbers: what the numbers of the answer are called, and their values.
    """

    headline: str
    lead: str
    why: tuple[str, ...] = ()
    numbers: tuple[tuple[str, str], ...] = ()


def answer(comparison: Comparison) -> Answer:
    """Answer the comparison's question from its rows.

    Differences are of test means; the winner was chosen by validation, so the test set is used once.
    """
    winner, reference, metric = best(comparison), baseline(comparison), Metric.of(comparison)
    if winner is None or not Summary.of(winner).kept:
        return Answer("No winner", "No network within the budget could be ranked.")
    numbers = [(clean(winner.label), Summary.of(winner).written(metric))]
    if winner is reference:
        return _baseline_won(comparison, winner, tuple(numbers))
    headline = f"{clean(winner.label)} spends {comparison.budget:,} weights best"
    gap = difference(winner, reference)
    if reference is None or gap is None:
        return Answer(headline, "There is no dense baseline to compare it with.", numbers=tuple(numbers))
    by = f"{metric.gap(gap)[1:]} {'below' if gap < 0 else 'above'}"
    sure = _how_sure(winner, reference, metric)
    lead = f"Its test {metric.name} is {by} that of the dense baseline with as many weights; {sure}."
    numbers.append((f"{clean(reference.label)}, the baseline", Summary.of(reference).written(metric)))
    numbers.append(("difference", metric.gap(gap)))
    return Answer(headline, lead, tuple(_reasons(comparison, winner, reference, metric)), tuple(numbers))


def _baseline_won(comparison: Comparison, winner: Row, numbers: tuple[tuple[str, str], ...]) -> Answer:
    budget = f"{comparison.budget:,} weights"
    if all(row is winner for row in comparison.rows if row.within_budget):
        return Answer(
            f"Only the dense baseline was run at {budget}", "There is nothing to compare it with.", (), numbers
        )
    lead = "No wider network beat it on the validation set."
    return Answer(f"The dense baseline spends {budget} best", lead, (), numbers)


def claims(comparison: Comparison) -> tuple[Claim, ...]:
    """The comparison's own findings, each with the rows it speaks of, by rank, and the plot that bears it out."""
    rows = ranked(comparison)
    return tuple(_claim(finding, rows) for finding in comparison.findings)


def _claim(finding: str, rows: Sequence[Row]) -> Claim:
    if not isinstance(finding, Finding):
        return Claim(clean(finding))
    return Claim(clean(finding), tuple(r for r in rows if r.label in finding.rows), finding.evidence)


def _how_sure(winner: Row, reference: Row, metric: Metric) -> str:
    if Summary.of(winner).diverged or Summary.of(reference).diverged or len(winner.test) != len(reference.test):
        return "its seeds and the baseline's do not pair up, so no interval is given"
    gap, half = paired_difference(winner.test, reference.test)
    if math.isnan(half):
        return "with one seed this may be chance"
    low, high = (metric.gap(end, unit=False) for end in (gap - half, gap + half))
    doubt = ", which includes zero: these seeds do not settle it" if abs(gap) <= half else ""
    return f"the 95 % interval over seeds is {low} to {high}{doubt}"


def _reasons(comparison: Comparison, winner: Row, reference: Row, metric: Metric) -> Iterator[str]:
    """What width gives, what choosing the weights adds, and whether the test set would have chosen otherwise."""
    alike = (r for r in comparison.rows if r.method == "sparse" and r.factor == winner.factor)
    twin = next(alike, None)
    width, choice = (None, None) if twin is None else (difference(twin, reference), difference(winner, twin))
    if twin is winner:
        yield "All of it is the width: the mask is random, and the weights are as many."
    elif width is not None and choice is not None:
        yield (
            f"Width alone, with a random mask, accounts for {metric.gap(width)} of it; "
            f"choosing the weights by {clean(winner.method)} for {metric.gap(choice)}."
        )
    scored = [(mean, r.label) for r in comparison.rows if r.within_budget and (mean := Summary.of(r).mean) is not None]
    mean, ahead = max(scored)
    if mean != Summary.of(winner).mean:
        yield f"{clean(ahead)} is ahead on the test set; the ranking asks the validation set only."
