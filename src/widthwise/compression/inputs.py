"""From a layer under Gaussian inputs of any mean and covariance to one under standard normal inputs, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.errors import InputError

__all__ = ["Whitening"]

_NULL = 1e-10  # of the largest variance: directions below it are taken not to vary


@dataclass(frozen=True)
class Whitening:
    """X = mean + root Z with Z standard normal, in as many dimensions as X really varies in.

    A neuron phi(w.X + beta) is the row (root' w, w.mean + beta): its bias is an extra coordinate, on which the input
    is always 1.

    Attributes:
        mean: shape (d,).
        root: shape (d, r), full column rank.
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> Whitening:
        """Return the whitening for a mean (d,) and a covariance (d, d), which may be singular.

        Raises:
            InputError: if the covariance is not symmetric and positive semi-definite, or is zero.
        """
        if not torch.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6 * float(covariance.abs().max())):
            raise InputError("covariance: got a matrix that is not symmetric, allowed is a symmetric one")
        variances, axes = torch.linalg.eigh(0.5 * (covariance + covariance.T))
        largest = float(variances[-1])
        if float(variances[0]) < -1e-6 * abs(largest) or largest <= 0:
            raise InputError(
                f"covariance: got eigenvalues from {float(variances[0]):.3g} to {largest:.3g}, allowed is a positive "
                "semi-definite matrix other than 0 (a singular one is fine)"
            )
        live = variances > _NULL * largest
        return cls(mean, axes[:, live] * variances[live].sqrt())

    def rows(self, W: Tensor, bias: Tensor) -> Tensor:
        """Return the rows (N, r + 1) of neurons with weights W (N, d) and biases (N,)."""
        return torch.cat([W @ self.root, (W @ self.mean + bias).unsqueeze(1)], dim=1)

    def weights(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (M, d) of least norm and the biases (M,) of neurons with these rows."""
        inverse = self.root / self.root.square().sum(0)
        W = rows[:, :-1] @ inverse.T
        return W, rows[:, -1] - W @ self.mean
