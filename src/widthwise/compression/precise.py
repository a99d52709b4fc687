r"""Gram matrices of neurons of any norm and offset to many digits, for what is reported.

A small loss is a small difference of large powers, so what the series of :class:`GaussianNeurons` leaves out, 5e-4 of
the power of a ReLU neuron, may be larger than the loss. Here the ramps that an activation's kinks are made of are taken
out of the neurons, and their products put back in closed form; the series of the rest is longer. This is what
:mod:`widthwise.duals.series` does for neurons without offset. No part of it is differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.activations import Activation
from widthwise.compression._check import is_homogeneous
from widthwise.compression.mehler import mehler
from widthwise.compression.neurons import REACH, cosines, directed, panels, rest
from widthwise.duals.orthant import moments
from widthwise.duals.quadrature import hermite_up_to
from widthwise.duals.splines import kinks_of

__all__ = ["PreciseLayer", "PreciseNeurons"]

_DEGREES = (32, 64, 128, 256, 512)
_KINKED = 256  # where a series falls as a power, products of any two layers need the same degree
_PANELS = 32  # narrow enough for the highest degree
_TOLERANCE = 1e-10  # of a neuron's power
_ROWS = 256  # neurons described, or rows of a Gram matrix, at a time


@dataclass(frozen=True)
class PreciseNeurons:
    """Neurons phi(u.Z + m) of any norm and offset, each a row (u, m).

    Attributes:
        activation: phi, continuous.
    """

    activation: Activation

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> PreciseLayer:
        """Return the layer with these rows, shape (M, D)."""
        found = [self._described(part) for part in torch.split(rows, _ROWS)]
        series, ramps = (torch.cat(_padded([part[i] for part in found]), 1) for i in (0, 1))
        shape = torch.cat([part[2] for part in found], -1)
        return PreciseLayer(directed(rows)[0], series, ramps, *shape)

    def _described(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hermite coefficients of the neurons and of their ramps, and the ramps' thresholds and slopes."""
        deviation, mean = directed(rows)[1], rows[:, -1]
        grid = panels(self.activation.kinks, mean, deviation, _PANELS)
        values = self.activation(mean.unsqueeze(-1) + deviation.unsqueeze(-1) * grid.nodes)
        thresholds, slopes = self._ramps(mean, deviation)
        beyond = (grid.nodes - thresholds.unsqueeze(-1)).clamp(min=0)
        both = torch.stack([values, (slopes.unsqueeze(-1) * beyond).sum(0)]) if len(slopes) else values.unsqueeze(0)
        power = (values.square() * grid.weights).sum(-1)
        for coefficients in hermite_up_to(both, grid, self._degrees()):
            series, ramps = coefficients[:, 0], coefficients[:, -1]
            last = series[-(len(series) // 8) :].square().sum(0)
            if bool((last <= _TOLERANCE * power).all()):
                break
        if len(series) > _DEGREES[-1]:  # very steep neurons: what is left is theirs alone, and counts as one more order
            series, ramps = torch.cat([series, rest(power, series)]), torch.cat([ramps, torch.zeros_like(ramps[:1])])
        return series, ramps, torch.stack([thresholds, slopes])

    def _ramps(self, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """Where ramps slope (z - threshold)_+ begin and how they rise, shape (kinks, M)."""
        knots = [(knot, jumps[1]) for knot, jumps in kinks_of(self.activation).knots if len(jumps) > 1]
        at, jump = torch.tensor(knots, dtype=mean.dtype, device=mean.device).view(-1, 2, 1).unbind(1)
        threshold = (at - mean) / deviation
        near = threshold.abs() < REACH  # beyond it the neuron has no kink to speak of
        return threshold.where(near, 0.0), (jump * deviation).where(near, 0.0)

    def _degrees(self) -> tuple[int, ...]:
        if not self.activation.kinks:
            return _DEGREES
        return _DEGREES[:1] if is_homogeneous(self.activation) else (_KINKED,)


@dataclass(frozen=True, eq=False)
class PreciseLayer:
    """Neurons of any norm and offset.

    Attributes:
        directions: unit vectors, shape (M, D - 1).
        series: Hermite coefficients, shape (degree + 1, M).
        ramps: those of the neurons' ramps alone, of the same shape.
        thresholds: where the ramps begin, shape (kinks, M).
        slopes: how steep they are, shape (kinks, M).
    """

    directions: Tensor
    series: Tensor
    ramps: Tensor
    thresholds: Tensor
    slopes: Tensor

    @torch.no_grad()
    def gram(self, other: PreciseLayer | None = None) -> Tensor:
        """Return E[neuron_i neuron_j] against another layer or itself, shape (M, N)."""
        rho = (cosines(self.directions) if other is None else self.directions @ other.directions.mT).clamp(-1, 1)
        other = self if other is None else other
        series, others = _padded([self.series, other.series])
        ramps, other_ramps = _padded([self.ramps, other.ramps])
        total = mehler(rho, series, others)
        if len(self.slopes):
            total -= mehler(rho, ramps, other_ramps)
        for at in range(0, len(rho), _ROWS):
            part = slice(at, at + _ROWS)
            for h, slope in zip(self.thresholds[:, part], self.slopes[:, part], strict=True):
                for k, rise in zip(other.thresholds, other.slopes, strict=True):
                    ramp = moments(h.unsqueeze(-1), k, rho[part], 1, 1)[1, 1]
                    total[part] += slope.unsqueeze(-1) * rise * ramp
        return total

    def mean(self) -> Tensor:
        """Return E[neuron_i]."""
        return self.series[0]


def _padded(series: list[Tensor]) -> list[Tensor]:
    """The same with zeros up to the longest."""
    most = max(map(len, series))
    return [torch.cat([part, part.new_zeros(most - len(part), part.shape[1])]) for part in series]
