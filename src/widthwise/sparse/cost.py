"""When sparse wins: what dense and sparse layers take, as rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CostModel", "Pair", "Rates"]


@dataclass(frozen=True)
class Rates:
    """Seconds at each of a few batch sizes.

    Attributes:
        weight: per weight that is multiplied, example and place of a picture.
        number: per feature that goes in or comes out, likewise: few outputs make a layer slow for its weights.
        call: per call, however little there is to do.
    """

    weight: tuple[float, ...]
    number: tuple[float, ...]
    call: tuple[float, ...]

    def seconds(self, at: float, weights: int, numbers: int, uses: float) -> float:
        """Of one call that uses each weight so often, at a fractional index of the batch sizes."""
        weight, number, call = (_between(rate, at) for rate in (self.weight, self.number, self.call))
        return call + (weight * weights + number * numbers) * uses


@dataclass(frozen=True)
class Pair:
    """Rates of dense layers and of sparse ones."""

    dense: Rates
    sparse: Rates


@dataclass(frozen=True)
class CostModel:
    """What layers of one kind cost here.

    Attributes:
        batches: the sizes of batches that were timed, ascending.
        forward: rates of the forward pass.
        step: rates of the forward and the backward pass together.
    """

    batches: tuple[int, ...]
    forward: Pair
    step: Pair

    def seconds(
        self, weights: int, kept: int, batch: int, numbers: int, *, training: bool, places: float = 1
    ) -> tuple[float, float]:
        """Estimated seconds of a dense layer, and of a sparse one.

        Args:
            weights: of the dense layer.
            kept: how many of them live.
            batch: examples.
            numbers: features that go in and come out, at each place.
            training: whether the backward pass counts.
            places: of a picture, at which a convolution uses each weight.
        """
        rates, at, uses = self.step if training else self.forward, self._place(batch), batch * places
        return rates.dense.seconds(at, weights, numbers, uses), rates.sparse.seconds(at, kept, numbers, uses)

    def break_even(self, weights: int, batch: int, numbers: int, *, training: bool, places: float = 1) -> float:
        """The sparsity from which on a sparse layer is the faster one; 1 if it never is."""
        dense, none = self.seconds(weights, 0, batch, numbers, training=training, places=places)
        _, full = self.seconds(weights, weights, batch, numbers, training=training, places=places)
        return min(1.0, max(0.0, 1 - (dense - none) / (full - none)))

    def _place(self, batch: int) -> float:
        """Where ``batch`` stands among those timed, as a fractional index; beyond the ends rates stay as they are."""
        logs = [math.log(size) for size in self.batches]
        at = min(max(math.log(max(batch, 1)), logs[0]), logs[-1])
        low = max(i for i, log in enumerate(logs[:-1]) if log <= at)
        return low + (at - logs[low]) / (logs[low + 1] - logs[low])


def _between(rates: Sequence[float], place: float) -> float:
    low = min(int(place), len(rates) - 2)
    return rates[low] + (rates[low + 1] - rates[low]) * (place - low)
