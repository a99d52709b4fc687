"""The pre-activations of one node at initialization: Gaussian over the inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation
from widthwise.errors import check_number
from widthwise.flow.checks import check_inputs

__all__ = ["PreActivations"]


class PreActivations:
    """Z_i = w . x_i / sqrt(d) for w ~ N(0, variance I): Gaussian, with variances q and correlations c, in float64.

    Attributes:
        x: the inputs over sqrt(d), ``(n, d)``.
        kernel: x_i . x_k / d.
        q: variances of the Z_i, ``(n,)``.
        c: their correlations, ``(n, n)``.
    """

    def __init__(self, x: Tensor, variance: float) -> None:
        self.x = x.double().flatten(1) / math.sqrt(x[0].numel())
        self.variance = variance
        self.kernel = self.x @ self.x.mT
        self.q = variance * self.kernel.diagonal()
        norms = self.kernel.diagonal().sqrt()
        self.c = (self.kernel / torch.outer(norms, norms)).clamp(-1, 1).fill_diagonal_(1)

    @classmethod
    def of(cls, X: Tensor, variance: float) -> PreActivations:
        """Check the inputs and the variance first."""
        return cls(check_inputs("X", X), check_number("variance", variance, 0, low_open=True))

    def dual(self, activation: Activation) -> Tensor:
        """E[phi(Z_i) phi(Z_k)], ``(n, n)``."""
        return duals.dual(activation, self.q.unsqueeze(1), self.q.unsqueeze(0), self.c)

    def slopes(self, activation: Activation) -> Tensor:
        """E[phi'(Z_i) phi'(Z_k)], ``(n, n)``."""
        return duals.dual_derivative(activation, self.q.unsqueeze(1), self.q.unsqueeze(0), self.c)

    def sample(self, nodes: int, generator: torch.Generator) -> Tensor:
        """Pre-activations of independent nodes, ``(nodes, n)``."""
        w = torch.randn(nodes, self.x.shape[1], dtype=torch.float64, generator=generator) * math.sqrt(self.variance)
        return w.to(self.x.device) @ self.x.mT
