"""What a comparison found: plain data, read by the report, the table and the user."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import nn

__all__ = ["Comparison", "Finding", "Row"]


@dataclass(frozen=True)
class Row:
    """One way of spending the weights, trained with several seeds.

    Attributes:
        method: ``"dense"``, ``"sparse"``, ``"magnitude"``, ``"snip"`` or another score's name.
        factor: widening factor over the baseline.
        width: number of hidden units, ``round(factor * base width)``.
        weights: number of weights that live (biases not counted).
        connectivity: live weights over all weights of that shape.
        layer_connectivity: the same for each layer, first to last.
        within_budget: whether the row keeps to the budget; the dense nets of the wide shapes do not.
        test: the metric on the test set, one value a seed.
        validation: the metric on the validation set, one value a seed; rows are ranked by its mean.
        predicted: kernel distance by formula (4) of the wider-nets paper, known before training.
        measured: kernel distance measured at initialization, mean over seeds, relative to the squared kernel.
        rank: 1 for the best row within the budget, ``None`` outside it.
        curve: mean validation metric after each recorded epoch, as ``(epoch, value)``.
        notes: what a reader should know, such as a layer that died.
    """

    method: str
    factor: float
    width: int
    weights: int
    connectivity: float
    layer_connectivity: tuple[float, ...]
    within_budget: bool
    test: tuple[float, ...]
    validation: tuple[float, ...]
    predicted: float | None = None
    measured: float | None = None
    rank: int | None = None
    curve: tuple[tuple[int, float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """A short name, such as ``sparse x4``."""
        return f"{self.method} x{self.factor:g}"

    @property
    def mean(self) -> float:
        """Mean of the test metric over the seeds that did not diverge; NaN if all did."""
        return _mean(self.test)

    @property
    def validation_mean(self) -> float:
        """Mean of the validation metric over the seeds that did not diverge; NaN if all did."""
        return _mean(self.validation)

    @property
    def spread(self) -> float:
        """Sample standard deviation of the test metric over the same seeds; 0 for a single one."""
        finite = [v for v in self.test if math.isfinite(v)]
        return statistics.stdev(finite) if len(finite) > 1 else 0.0


class Finding(str):
    """A sentence that says what was found, and where the evidence for it lies.

    Args:
        text: the sentence.
        evidence: the plot that bears it out: ``"accuracy"`` or ``"distance"`` against width, the training ``"curves"``,
            or the ``"layers"``.
        rows: labels of the rows that it speaks of.
    """

    evidence: str
    rows: tuple[str, ...]

    def __new__(cls, text: str, evidence: str = "accuracy", rows: Iterable[str] = ()) -> Finding:
        """A string, so that a finding is printed and compared as its sentence."""
        made = super().__new__(cls, text)
        made.evidence, made.rows = evidence, tuple(rows)
        return made


def _mean(values: tuple[float, ...]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return statistics.fmean(finite) if finite else math.nan


@dataclass(frozen=True)
class Comparison:
    """All rows of one run of the main job, and what follows from them.

    Attributes:
        data: name of the data set.
        task: ``"classification"`` or ``"regression"``.
        metric: ``"accuracy"`` (fraction correct) or ``"R2"`` (coefficient of determination); larger is better.
        budget: number of weights every ranked row has.
        rows: baseline first, then by method and width.
        findings: sentences that say what was found, each beside its numbers; those of ours know their evidence
            (:class:`Finding`).
        settings: every choice that shaped the run, by name.
        machine: versions and hardware.
        seconds: wall time of the training.
        model: the best network, trained, taking raw inputs where it is a built-in one.
    """

    data: str
    task: str
    metric: str
    budget: int
    rows: tuple[Row, ...]
    findings: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    machine: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    model: nn.Module | None = field(default=None, compare=False, repr=False)

    @property
    def baseline(self) -> Row:
        """The dense network whose width meets the budget."""
        return next(r for r in self.rows if r.method == "dense" and r.factor == 1)

    @property
    def best(self) -> Row:
        """The row of rank 1."""
        return next(r for r in self.rows if r.rank == 1)

    def family(self, method: str) -> tuple[Row, ...]:
        """Rows of one method in order of width, the dense baseline first: a curve over width at constant weights.

        For ``method="dense"`` this is the dense family, whose weights grow with the width.
        """
        mine = [r for r in self.rows if r.method == method and r.factor != 1]
        return (self.baseline, *sorted(mine, key=lambda r: r.width))
