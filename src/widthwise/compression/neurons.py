r"""What two neurons have in common under standard Gaussian inputs: the Gram matrices G_WW, G_VW and G_VV.

A neuron phi(u.Z + m) has a pre-activation of mean m and deviation s, the length of u. With h_k the normalised Hermite
polynomials,

.. math:: c_k(m, s) = E[\phi(m + s Z) h_k(Z)], \qquad
          E[\phi(u.Z + m) \phi(v.Z + n)] = \sum_k c_k(m, |u|) c_k(n, |v|) \rho^k

where rho is the correlation of u.Z and v.Z (Mehler's formula). For m = 0 and s = 1 this is the dual activation g(rho).
A series is cut at some degree, and the power left beyond it counts as one more order. A Gram matrix so keeps its exact
diagonal and stays positive semi-definite, and a neuron is recognised in its copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation, get
from widthwise.activations.registry import ActivationLike
from widthwise.compression._check import check_unit
from widthwise.compression.mehler import mehler
from widthwise.duals.quadrature import Grid, hermite
from widthwise.errors import InputError

__all__ = [
    "REACH",
    "GaussianLayer",
    "GaussianNeurons",
    "Layer",
    "Neurons",
    "UnitLayer",
    "UnitNeurons",
    "cosines",
    "directed",
    "gram",
    "panels",
    "rest",
]

REACH = 8.5  # standard deviations; 2e-17 of the mass lies beyond
_PANELS = 8
_ORDER = 16  # Gauss-Legendre points a panel


def gram(U: Tensor, V: Tensor | None = None, *, activation: ActivationLike) -> Tensor:
    """Return the Gram matrix E[phi(u_i.X) phi(v_j.X)] for unit rows and standard normal inputs (5).

    Args:
        U: shape (..., m, d).
        V: shape (n, d), or U itself if omitted.
        activation: phi.

    Returns:
        Shape (..., m, n), differentiable.

    Raises:
        InputTypeError: if an argument is no floating tensor.
        InputError: if rows are not unit vectors or have different dimensions.

    Example:
        >>> gram(torch.eye(2, dtype=torch.float64), activation="relu")
        tensor([[0.5000, 0.1592],
                [0.1592, 0.5000]], dtype=torch.float64)
    """
    neurons = UnitNeurons(get(activation))
    layer = neurons(check_unit("U", U))
    if V is None:
        return layer.gram()
    if check_unit("V", V).dim() != 2 or V.shape[1] != U.shape[-1]:
        raise InputError(f"V: got shape {tuple(V.shape)}, allowed is (n, {U.shape[-1]})")
    return layer.gram(neurons(V))


class Layer(Protocol):
    """M neurons, possibly many such sets at once, and their expectations over the input."""

    def gram(self, other: Any = None) -> Tensor:
        """Return E[neuron_i neuron_j] against another layer of its kind or itself, shape (..., M, N)."""

    def mean(self) -> Tensor:
        """Return E[neuron_i], shape (..., M)."""


class Neurons(Protocol):
    """A kind of neuron: what a row of D numbers means."""

    @property
    def activation(self) -> Activation:
        """The elementwise function of every neuron."""

    def __call__(self, rows: Tensor) -> Layer:
        """Return the layer with one neuron a row, rows being (..., M, D)."""


@dataclass(frozen=True)
class UnitNeurons:
    """Neurons phi(u.X) with unit rows u, so that G_ij = g(<u_i, v_j>) (4, 5).

    Attributes:
        activation: phi.
    """

    activation: Activation

    def __call__(self, rows: Tensor) -> UnitLayer:
        """Return the layer with these unit rows."""
        return UnitLayer(rows, self.activation)


@dataclass(frozen=True, eq=False)
class UnitLayer:
    """Neurons with unit rows."""

    rows: Tensor
    activation: Activation

    def gram(self, other: UnitLayer | None = None) -> Tensor:
        """Return g(<u_i, v_j>)."""
        return duals.g(self.activation, cosines(self.rows) if other is None else self.rows @ other.rows.mT)

    def slopes(self) -> Tensor:
        """Return E[phi'_i phi'_j] = g'(<u_i, u_j>), shape (..., M, M)."""
        return duals.dual_derivative(self.activation, 1.0, 1.0, cosines(self.rows))

    def mean(self) -> Tensor:
        """Return E[phi(Z)] for every row."""
        return duals.mean(self.activation, self.rows.new_ones(())).expand(self.rows.shape[:-1])


@dataclass(frozen=True)
class GaussianNeurons:
    """Neurons phi(u.Z + m) of any norm and offset, each a row (u, m).

    Attributes:
        activation: phi, continuous.
        degree: where the series ends; at 32 the rest of a ReLU neuron without offset is 5e-4 of its power. Quick and
            smooth, as descent wants it; what is reported comes from :class:`~.precise.PreciseNeurons`.
    """

    activation: Activation
    degree: int = 32

    def __call__(self, rows: Tensor) -> GaussianLayer:
        """Return the layer with these rows."""
        (directions, deviation), mean = directed(rows), rows[..., -1]
        grid = panels(self.activation.kinks, mean.detach(), deviation.detach())
        values = self.activation(mean.unsqueeze(-1) + deviation.unsqueeze(-1) * grid.nodes)
        series = hermite(values, grid, self.degree)
        power = (values.square() * grid.weights).sum(-1)
        return GaussianLayer(directions, deviation, torch.cat([series, rest(power, series)]))


@dataclass(frozen=True, eq=False)
class GaussianLayer:
    """Neurons of any norm and offset.

    Attributes:
        directions: unit vectors, shape (..., M, D - 1).
        deviation: of the pre-activations, shape (..., M).
        series: Hermite coefficients, the last standing for all that follow, shape (degree + 2, ..., M).
    """

    directions: Tensor
    deviation: Tensor
    series: Tensor

    def gram(self, other: GaussianLayer | None = None) -> Tensor:
        """Return E[neuron_i neuron_j]."""
        if other is None:
            return mehler(cosines(self.directions), self.series, self.series)
        return mehler(self.directions @ other.directions.mT, self.series, other.series)

    def slopes(self) -> Tensor:
        """Return E[phi'_i phi'_j], by E[phi' h_k] = sqrt(k + 1) c_(k+1) / s."""
        order = torch.arange(1, len(self.series), dtype=self.series.dtype, device=self.series.device)
        deviation = self.deviation.clamp_min(1e-8 * float(self.deviation.max()))  # a constant neuron has no slope
        series = self.series[1:] * order.sqrt().view(-1, *[1] * deviation.dim()) / deviation
        return mehler(cosines(self.directions), series, series)

    def mean(self) -> Tensor:
        """Return E[neuron_i]."""
        return self.series[0]


def cosines(rows: Tensor) -> Tensor:
    """Inner products of unit rows; that of a row with itself is not left to rounding."""
    same = torch.eye(rows.shape[-2], dtype=torch.bool, device=rows.device)
    return torch.where(same, 1.0, rows @ rows.mT)


def rest(power: Tensor, series: Tensor) -> Tensor:
    """Root of the power beyond the series, shape (1, ..., M); 0 where that is rounding."""
    left = power - series.square().sum(0)
    real = left > 1e-14 * power
    return torch.where(real, left.where(real, torch.ones_like(left)).sqrt(), 0).unsqueeze(0)


def directed(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The directions and lengths of u in rows (u, m)."""
    u = rows[..., :-1]
    deviation = (u.square().sum(-1) + torch.finfo(rows.dtype).tiny).sqrt()
    return u / deviation.unsqueeze(-1), deviation


def panels(kinks: tuple[float, ...], mean: Tensor, deviation: Tensor, count: int = _PANELS) -> Grid:
    """Panels for every neuron of its own, split where its pre-activation crosses a kink."""
    x, w = (torch.from_numpy(part).to(mean) for part in np.polynomial.legendre.leggauss(_ORDER))
    edges = torch.linspace(-REACH, REACH, count + 1, dtype=mean.dtype, device=mean.device)
    crossings = torch.tensor(kinks, dtype=mean.dtype, device=mean.device) - mean.unsqueeze(-1)
    moving = (crossings / deviation.unsqueeze(-1)).clamp(-REACH, REACH)
    edges = torch.cat([edges.expand(*mean.shape, -1), moving], -1).sort(-1).values
    middle, half = (edges[..., 1:] + edges[..., :-1]) / 2, (edges[..., 1:] - edges[..., :-1]) / 2
    nodes = (middle.unsqueeze(-1) + half.unsqueeze(-1) * x).flatten(-2)
    density = torch.exp(-nodes.square() / 2) / (2 * torch.pi) ** 0.5
    return Grid(nodes, (half.unsqueeze(-1) * w).flatten(-2) * density, error=0.0)
