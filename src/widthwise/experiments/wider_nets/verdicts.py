"""What follows from the accuracies of networks over the same seeds, and whether it can be told at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from widthwise.comparison.findings import paired_difference
from widthwise.experiments.wider_nets.resnet import DENSE, Point

__all__ = ["Share", "compared", "gain_of_widening", "shares_of_width"]


@dataclass(frozen=True)
class Share:
    """How much of what a wide dense network gains a sparse one of that width gains with no more weights.

    Attributes:
        base: width of the narrow network.
        width: width of the two wide ones.
        mean: (sparse - base) / (dense - base), of the accuracies' means over seeds.
        half: half-width of its 95 % interval over seeds; NaN for one seed.
        sure: whether the dense network's gain is itself beyond its interval, so that a share of it means something.
    """

    base: int
    width: int
    mean: float
    half: float
    sure: bool

    @property
    def note(self) -> str:
        """The share in words."""
        what = f"Width {self.base} to {self.width}"
        if not self.sure:
            return f"{what}: undetermined, the dense network's own gain is within its interval."
        return f"{what}: {self.mean:.0%} ± {self.half:.0%} of the dense network's gain comes with width alone."


def shares_of_width(family: Sequence[Point], points: Sequence[Point]) -> list[Share]:
    """The share at each width of a sparse family; the interval is that of a ratio of means to first order.

    Args:
        family: the narrow dense network, then the sparse ones.
        points: where the dense networks of their widths are.
    """
    base, *sparse = family
    dense = {p.width: p for p in points if p.method == DENSE}
    found = []
    for one in sparse:
        gain, half = paired_difference(dense[one.width].test, base.test)
        ratio = paired_difference(one.test, base.test)[0] / gain if gain else float("nan")
        scaled = [b + ratio * (d - b) for b, d in zip(base.test, dense[one.width].test, strict=True)]
        spread = paired_difference(one.test, scaled)[1] / abs(gain) if gain else float("nan")
        found.append(Share(base.base, one.width, ratio, spread, gain > half))
    return found


def gain_of_widening(line: Sequence[Point], y: str = "test") -> str:
    """The best width of a family against its narrowest, and whether the seeds tell the two apart."""
    base = line[0]
    if len(line) == 1:
        return f"{base.method}, {base.weights:,} weights: no wider network can be made."
    best = max(line[1:], key=lambda p: sum(getattr(p, y)))
    return compared(f"{base.weights:,} weights, width {best.width} against {base.width}", best, base, y)


def compared(what: str, a: Point, b: Point, y: str = "test") -> str:
    """One sentence: what the one has over the other, with its 95 % interval over seeds."""
    gain, half = paired_difference(getattr(a, y), getattr(b, y))
    verdict = "" if abs(gain) > half else "undetermined, "
    interval = f" ± {100 * half:.1f}" if math.isfinite(half) else ""
    mean = 100 * sum(getattr(a, y)) / len(getattr(a, y))
    kind = {"test": "test", "train": "training"}[y]
    return f"{a.method}, {what}: {verdict}{100 * gain:+.1f}{interval} points, to {mean:.1f} % {kind} accuracy."
