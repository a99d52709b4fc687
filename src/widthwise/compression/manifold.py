"""Where neurons live: unit rows, orthonormal rows, or anywhere. Each knows its tangents and its way back."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["FLAT", "FRAMES", "SPHERE", "Manifold"]


class Manifold(Protocol):
    """A set of matrices of shape (..., rows, columns), leading dimensions being a batch."""

    def tangent(self, X: Tensor, G: Tensor) -> Tensor:
        """Return the orthogonal projection of G onto the tangent space at X."""

    def retract(self, X: Tensor, T: Tensor) -> Tensor:
        """Return a point of the set that agrees with X + T to first order, for T tangent at X."""


class _Flat:
    def tangent(self, X: Tensor, G: Tensor) -> Tensor:
        return G

    def retract(self, X: Tensor, T: Tensor) -> Tensor:
        return X + T


class _Sphere:
    def tangent(self, X: Tensor, G: Tensor) -> Tensor:
        return G - (G * X).sum(-1, keepdim=True) * X

    def retract(self, X: Tensor, T: Tensor) -> Tensor:
        return torch.nn.functional.normalize(X + T, dim=-1)


class _Frames:
    def tangent(self, X: Tensor, G: Tensor) -> Tensor:
        A = G @ X.mT
        return G - 0.5 * (A + A.mT) @ X

    def retract(self, X: Tensor, T: Tensor) -> Tensor:
        Y = X + T  # Y Y' = I + T T', which Cholesky factors safely
        frames: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(Y @ Y.mT), Y, upper=False)
        return frames


FLAT: Manifold = _Flat()
"""All matrices."""

SPHERE: Manifold = _Sphere()
"""Matrices with unit rows."""

FRAMES: Manifold = _Frames()
"""Matrices with orthonormal rows (the Stiefel manifold)."""
