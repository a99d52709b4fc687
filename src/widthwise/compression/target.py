"""The network to compress, and every loss of a smaller one against it: (6) to (8), (11), (29) and (30)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from widthwise.activations import get
from widthwise.activations.registry import ActivationLike
from widthwise.compression._check import check_network, unit_rows
from widthwise.compression.linalg import explained, pseudo_solve
from widthwise.compression.neurons import GaussianNeurons, Layer, Neurons, UnitNeurons
from widthwise.compression.precise import PreciseNeurons

__all__ = ["Target"]

_ROWS = 2048  # of W in one Gram matrix


@dataclass(frozen=True, eq=False)
class Target:
    """f_W(x) = (1/N) sum_n a_n neuron(w_n)(x), with one or more outputs.

    A compressed network has M rows V of the same kind and coefficients b with factor 1/M in place of 1/N. V may carry
    leading batch dimensions everywhere. The losses are sums over outputs.

    Attributes:
        W: one row a neuron, shape (N, D).
        a: coefficients, shape (N, k).
        neurons: what a row means.
    """

    W: Tensor
    a: Tensor
    neurons: Neurons

    @classmethod
    def unit(cls, W: Tensor, a: Tensor, activation: ActivationLike) -> Target:
        """Return the target with unit rows under standard normal inputs, in float64.

        Args:
            W: shape (N, d); a homogeneous activation takes other lengths than 1 into ``a``.
            a: shape (N,) or (N, k).
            activation: a name, an activation, a module or a function.

        Raises:
            InputTypeError: if a tensor is none, or not floating.
            InputError: for a wrong shape, NaN, or rows of other lengths where the activation is not homogeneous.

        Example:
            >>> target = Target.unit(torch.eye(2), torch.ones(2), "relu")
            >>> round(target.power, 4)  # (g(1) + g(0)) / 2
            0.3296
        """
        rows, coefficients = check_network(W, a)
        known = get(activation)
        return cls(*unit_rows(rows, coefficients, known), UnitNeurons(known))

    @cached_property
    def precise(self) -> Target:
        """The same, with expectations to many digits for what is reported; they have no derivatives."""
        known = isinstance(self.neurons, GaussianNeurons)
        return Target(self.W, self.a, PreciseNeurons(self.neurons.activation)) if known else self

    @cached_property
    def power(self) -> float:
        """E[|f_W(X)|^2] = a'G_WW a / N^2, the loss of the empty network."""
        return float(sum((a * self.correlation_of(layer)).sum() for layer, a in self._blocks)) / len(self.W)

    @cached_property
    def mean(self) -> Tensor:
        """E[f_W(X)], shape (k,)."""
        return torch.stack([layer.mean() @ a for layer, a in self._blocks]).sum(0) / len(self.W)

    def correlation(self, V: Tensor) -> Tensor:
        """Return s = G_VW a / N, shape (..., M, k)."""
        return self.correlation_of(self.neurons(V))

    def limit_correlation(self, V: Tensor) -> Tensor:
        """Return what s tends to as N and d grow: its zeroth Hermite order, mu_a g(0) for unit rows."""
        return self._limit_correlation(self.neurons(V))

    def loss(self, V: Tensor, b: Tensor) -> Tensor:
        """Return E|f_W - f_V|^2 (6)."""
        return self._quadratic(V, b, self.correlation(V))

    def coefficients(self, V: Tensor) -> Tensor:
        """Return the best b for given directions, M G_VV^+ s (7), shape (..., M, k)."""
        layer = self.neurons(V)
        return V.shape[-2] * pseudo_solve(layer.gram(), self.correlation_of(layer))

    def least_loss(self, V: Tensor) -> Tensor:
        """Return the loss at the best b, a'G_WW a / N^2 - s'G_VV^+ s (8); differentiable in V."""
        layer = self.neurons(V)
        return self.power - explained(layer.gram(), self.correlation_of(layer))[0]

    def limit_loss(self, V: Tensor, b: Tensor) -> Tensor:
        """Return the loss with s replaced by its limit (11)."""
        return self._quadratic(V, b, self.limit_correlation(V))

    def limit_coefficients(self, V: Tensor) -> Tensor:
        """Return the b that is best for the limit loss, mu_a g(0) M G_VV^+ 1 (29)."""
        layer = self.neurons(V)
        return V.shape[-2] * pseudo_solve(layer.gram(), self._limit_correlation(layer))

    def least_limit_loss(self, V: Tensor) -> Tensor:
        """Return the limit loss at that b, a'G_WW a / N^2 - (mu_a g(0))^2 1'G_VV^+ 1 (30)."""
        layer = self.neurons(V)
        return self.power - explained(layer.gram(), self._limit_correlation(layer))[0]

    def gap(self, V: Tensor, b: Tensor) -> Tensor:
        """Return abs(loss - limit_loss) = (2/M) abs(b'(s - mu_a g(0) 1)), which Theorem 1 bounds."""
        apart = self.correlation(V) - self.limit_correlation(V)
        return (2 / V.shape[-2] * (b * apart).sum((-1, -2))).abs()

    @cached_property
    def _blocks(self) -> list[tuple[Layer, Tensor]]:
        blocks = zip(torch.split(self.W, _ROWS), torch.split(self.a, _ROWS), strict=True)
        return [(self.neurons(W), a) for W, a in blocks]

    def correlation_of(self, layer: Layer) -> Tensor:
        """Return s for a layer already described."""
        total = sum(layer.gram(block) @ a for block, a in self._blocks)
        assert isinstance(total, Tensor)
        return total / len(self.W)

    def _limit_correlation(self, layer: Layer) -> Tensor:
        return layer.mean().unsqueeze(-1) * self.mean

    def _quadratic(self, V: Tensor, b: Tensor, s: Tensor) -> Tensor:
        M = V.shape[-2]
        power = self.power - 2 / M * (b * s).sum((-1, -2))
        return power + (b * (self.neurons(V).gram() @ b)).sum((-1, -2)) / M**2
