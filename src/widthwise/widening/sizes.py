"""Inner sizes of bottlenecks: whole numbers that spend a budget of weights as closely as possible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Inner", "solve"]

_HALVINGS = 100


@dataclass(frozen=True)
class Inner:
    """A bottleneck whose size is to be found.

    Attributes:
        reference: its size in the network that is not widened; sizes are in proportion to it.
        spends: weights that one inner unit needs, by the layer that they belong to.
        most: the largest size that makes sense.
    """

    reference: int
    spends: Mapping[str, int]
    most: int

    @property
    def cost(self) -> int:
        """Weights that one inner unit needs."""
        return sum(self.spends.values())

    def at(self, ratio: float) -> int:
        """The size at a ratio to the reference, rounded down, 1 at least."""
        return max(1, min(self.most, math.floor(ratio * self.reference + 1e-9)))


def solve(inner: Mapping[str, Inner], weights: int) -> dict[str, int]:
    """The sizes, in proportion to their references, whose weights add up as closely as possible to ``weights``.

    Each size is the proportional one rounded down or up; which way is chosen for all together, so that the sum is the
    closest of all such choices. It misses by at most half of the costliest unit, if ``weights`` lies between what
    sizes of 1 and sizes of ``most`` need.

    Args:
        inner: the bottlenecks by name.
        weights: to be spent on them.

    Example:
        >>> solve({"a": Inner(8, {"a": 30}, 64), "b": Inner(16, {"b": 50}, 128)}, 700)
        {'a': 5, 'b': 11}
    """
    ratio = _ratio(inner, weights)
    low = {name: one.at(ratio) for name, one in inner.items()}
    free = {name: one.cost for name, one in inner.items() if low[name] < one.most}
    up = _closest(free, weights - sum(low[name] * one.cost for name, one in inner.items()))
    return {name: size + (name in up) for name, size in low.items()}


def _ratio(inner: Mapping[str, Inner], weights: int) -> float:
    """The largest ratio whose sizes, rounded down, need at most ``weights``."""
    low, high = 0.0, max((one.most / one.reference for one in inner.values()), default=1.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if sum(one.at(middle) * one.cost for one in inner.values()) <= weights:
            low = middle
        else:
            high = middle
    return low


def _closest(costs: Mapping[str, int], target: int) -> set[str]:
    """The names whose costs add up as closely as possible to ``target``: sums kept as the bits of one number."""
    reachable = [1]
    for cost in costs.values():
        reachable.append(reachable[-1] | reachable[-1] << cost)
    total = sum(costs.values())
    gaps = (s for gap in range(max(abs(target), abs(total - target)) + 1) for s in (target - gap, target + gap))
    left = next(s for s in gaps if 0 <= s <= total and reachable[-1] >> s & 1)
    chosen = set()
    for (name, cost), before in zip(reversed(list(costs.items())), reversed(reachable[:-1]), strict=True):
        if not before >> left & 1:
            chosen.add(name)
            left -= cost
    return chosen
