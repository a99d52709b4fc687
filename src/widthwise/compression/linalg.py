"""The two pieces of linear algebra that every loss here comes down to.

Neurons that nearly meet make a Gram matrix nearly singular, and the best coefficients large and of opposite signs, of
size |b| = 1/distance. The rounding of b'Gb, about |b|^2 machine epsilons, could then pass for power explained. So
directions with less than ``_CUT`` of the largest eigenvalue are left out: that costs what neurons nearer than about
3e-5 could do beyond one of them, and bounds the rounding by 2e-7 of the power.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["explained", "pseudo_solve"]

_CUT = 1e-9


def pseudo_solve(G: Tensor, s: Tensor) -> Tensor:
    """Return ``G^+ s`` for a symmetric positive semi-definite G; equal or nearly equal neurons are allowed.

    Args:
        G: shape (..., M, M).
        s: shape (..., M, k).

    Example:
        >>> twins = torch.ones(2, 2)
        >>> pseudo_solve(twins, torch.ones(2, 1)).flatten()
        tensor([0.5000, 0.5000])
    """
    values, vectors = torch.linalg.eigh(G)
    kept = values > _CUT * values[..., -1:].clamp_min(0)
    inverse = torch.where(kept, 1 / values.where(kept, torch.ones_like(values)), 0)
    solution: Tensor = vectors @ (inverse.unsqueeze(-1) * (vectors.mT @ s))
    return solution


def explained(G: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``tr(s' G^+ s)``, the power that neurons with Gram matrix G explain, and ``G^+ s``.

    The first is computed as ``max_b 2 b's - b'Gb``. A solver's error in b therefore enters only squared and does not
    flatter, and the gradient is that of the bracket at fixed b: nothing is differentiated through a factorisation,
    so neurons that meet do no harm. The second carries no gradient.

    Args:
        G: shape (..., M, M).
        s: shape (..., M, k).

    Returns:
        Tensors of shape (...) and (..., M, k).
    """
    with torch.no_grad():
        b = _solve(G, s)
    return (b * (2 * s - G @ b)).sum((-1, -2)), b


def _solve(G: Tensor, s: Tensor) -> Tensor:
    """Solve by Cholesky; where a pivot of the batch's matrix is small, by eigenvalues."""
    L, info = torch.linalg.cholesky_ex(G)
    pivots = L.diagonal(dim1=-2, dim2=-1).square()
    failed = (info != 0) | (pivots.amin(-1) < 10 * _CUT * pivots.amax(-1))
    if not failed.any():
        return torch.cholesky_solve(s, L)
    failed = failed[..., None, None]
    identity = torch.eye(G.shape[-1], dtype=G.dtype, device=G.device)
    return torch.where(failed, pseudo_solve(G, s), torch.cholesky_solve(s, torch.where(failed, identity, L)))
