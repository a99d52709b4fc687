"""The two pieces of linear algebra that every loss here comes down to."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["explained", "pseudo_solve"]


def pseudo_solve(G: Tensor, s: Tensor, rcond: float | None = None) -> Tensor:
    """Return ``G^+ s`` for a symmetric positive semi-definite G; equal or nearly equal neurons are allowed.

    Eigenvalues below ``rcond`` times the largest count as zero.

    Args:
        G: shape (..., M, M).
        s: shape (..., M, k).
        rcond: relative cut, M times the machine epsilon by default.

    Example:
        >>> twins = torch.ones(2, 2)
        >>> pseudo_solve(twins, torch.ones(2, 1)).flatten()
        tensor([0.5000, 0.5000])
    """
    values, vectors = torch.linalg.eigh(G)
    cut = (G.shape[-1] * torch.finfo(G.dtype).eps if rcond is None else rcond) * values[..., -1:].clamp_min(0)
    inverse = torch.where(values > cut, 1 / values.where(values > cut, torch.ones_like(values)), 0)
    solution: Tensor = vectors @ (inverse.unsqueeze(-1) * (vectors.mT @ s))
    return solution


def explained(G: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``tr(s' G^+ s)``, the power that neurons with Gram matrix G explain, and ``G^+ s``.

    The first is computed as ``max_b 2 b's - b'Gb``. A solver's error in b therefore enters only squared and never
    flatters, and the gradient is that of the bracket at fixed b: nothing is differentiated through a factorisation,
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
    """Solve by Cholesky; where a matrix of the batch is not numerically positive definite, by eigenvalues."""
    L, info = torch.linalg.cholesky_ex(G)
    if not info.any():
        return torch.cholesky_solve(s, L)
    failed = (info != 0)[..., None, None]
    identity = torch.eye(G.shape[-1], dtype=G.dtype, device=G.device)
    return torch.where(failed, pseudo_solve(G, s), torch.cholesky_solve(s, torch.where(failed, identity, L)))
