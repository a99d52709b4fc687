"""What a row says once its diverged seeds are set aside, and how its numbers are written."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from widthwise.comparison import Comparison, Row

__all__ = ["METRICS", "Metric", "Summary", "baseline", "best", "clean", "compact", "difference", "finite"]

NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Metric:
    """How a metric is written.

    Attributes:
        name: what the reader calls it.
        loss: what the reader calls ``1 - metric``.
        unit: written after a value, empty for a pure number.
        gap_unit: written after a difference of two values.
        scale: the factor from the stored number to the written one.
        decimals: digits after the point.
        sane: the written values that a plot's axis may show; what lies outside is marked at its edge.
    """

    name: str
    loss: str
    unit: str = ""
    gap_unit: str = ""
    scale: float = 1.0
    decimals: int = 3
    sane: tuple[float, float] = (-math.inf, math.inf)

    @property
    def sane_loss(self) -> tuple[float, float]:
        """The same for ``1 - metric``."""
        return self.scale - self.sane[1], self.scale - self.sane[0]

    @classmethod
    def of(cls, comparison: Comparison) -> Metric:
        """The comparison's metric; one that is not known is a pure number under its own name."""
        name = clean(comparison.metric)
        return METRICS.get(name, cls(name, f"1 − {name}"))

    def number(self, value: float) -> str:
        """``value`` without its unit.

        >>> METRICS["accuracy"].number(0.9312), METRICS["R2"].number(-0.25)
        ('93.1', '−0.250')
        """
        rounded = round(value * self.scale, self.decimals) + 0.0  # the sum turns -0.0 into 0.0
        return f"{rounded:.{self.decimals}f}".replace("-", "−")

    def value(self, value: float, spread: float | None = None) -> str:
        """``value`` with its spread, where there is one, and its unit."""
        return self._with_unit(self.pair(value, spread), self.unit)

    def pair(self, value: float, spread: float | None = None) -> str:
        """``value`` and its spread, where there is one, without the unit."""
        return self.number(value) if spread is None else f"{self.number(value)} ± {self.number(spread)}"

    def gap(self, value: float, *, unit: bool = True) -> str:
        """A difference of two values, always with its sign."""
        text = self.number(value)
        signed = text if text.startswith("−") else f"+{text}"
        return self._with_unit(signed, self.gap_unit) if unit else signed

    @staticmethod
    def _with_unit(text: str, unit: str) -> str:
        return f"{text}{NBSP}{unit}" if unit else text


METRICS = {
    "accuracy": Metric("accuracy", "error", "%", "points", 100.0, 1, (0.0, 100.0)),
    "R2": Metric("R²", "1 − R²", sane=(-0.5, 1.0)),
}


@dataclass(frozen=True)
class Summary:
    """The test metric of one row over the seeds that did not diverge.

    A seed has diverged when its test or its validation value is not finite.

    Attributes:
        kept: the test metric of the other seeds.
        diverged: number of seeds left out.
    """

    kept: tuple[float, ...]
    diverged: int

    @classmethod
    def of(cls, row: Row) -> Summary:
        """Set the diverged seeds of ``row`` aside.

        >>> Summary.of(Row("dense", 1, 3, 222, 1.0, (1.0,), True, (0.8, float("nan")), (0.7, 0.7)))
        Summary(kept=(0.8,), diverged=1)
        """
        lost = {i for seen in (row.test, row.validation) for i, v in enumerate(seen) if not math.isfinite(v)}
        return cls(tuple(v for i, v in enumerate(row.test) if i not in lost), len(lost))

    @property
    def mean(self) -> float | None:
        """Mean over the kept seeds, ``None`` if there is none."""
        return statistics.fmean(self.kept) if self.kept else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over the kept seeds, ``None`` for fewer than two."""
        return statistics.stdev(self.kept) if len(self.kept) > 1 else None

    def written(self, metric: Metric) -> str:
        """Mean and spread with their unit, or that there is none."""
        if self.mean is None:
            return "diverged" if self.diverged else "–"
        return metric.value(self.mean, self.spread)


def baseline(comparison: Comparison) -> Row | None:
    """The dense network that meets the budget, ``None`` if an interrupted run has not reached it."""
    return next((r for r in comparison.rows if r.method == "dense" and r.factor == 1), None)


def best(comparison: Comparison) -> Row | None:
    """The row of rank 1, ``None`` if every row diverged."""
    return next((r for r in comparison.rows if r.rank == 1), None)


def difference(row: Row, other: Row | None) -> float | None:
    """Mean of ``row`` minus mean of ``other``; ``None`` where either has no mean, or they are one row."""
    if other is None or row is other:
        return None
    mine, theirs = Summary.of(row).mean, Summary.of(other).mean
    return None if mine is None or theirs is None else mine - theirs


def finite(value: float | None) -> bool:
    """Whether there is a value, and it is finite."""
    return value is not None and math.isfinite(value)


def compact(value: float | None) -> str:
    """A kernel distance in three significant digits; a dash where there is none.

    >>> compact(0.00123456), compact(None)
    ('0.00123', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3g}" if value == 0 or 1e-4 <= abs(value) < 1e4 else f"{value:.2e}"


def clean(text: object, keep: str = " " + NBSP) -> str:
    r"""``text`` without what could spoil a page or a terminal: controls, surrogates, marks that turn the text.

    >>> clean("a\x1b[31m\udc80\u202eb")
    'a�[31m��b'
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in whole)
