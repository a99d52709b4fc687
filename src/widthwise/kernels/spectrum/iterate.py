"""From a factor to eigenvectors: Lanczos on the inverse, then corrections against the kernel itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from widthwise.kernels.spectrum.kept import Kept

__all__ = ["inverse_lanczos", "refine"]

Operator = Callable[[Tensor], Tensor]


def inverse_lanczos(solve: Operator, start: Tensor, wanted: int, tolerance: float, most: int = 300) -> Tensor:
    """Vectors of the largest eigenvalues of a symmetric operator, by Lanczos with full reorthogonalisation.

    Args:
        solve: the operator, ``(n, 1)`` to ``(n, 1)``.
        start: ``(n,)``.
        wanted: how many vectors.
        tolerance: residual of the first, relative to its eigenvalue, at which to stop.
        most: steps at most.

    Returns:
        ``(n, wanted)``, orthonormal, that of the largest eigenvalue first.
    """
    basis = [start / start.norm()]
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    while True:
        w = solve(basis[-1][:, None])[:, 0]
        alphas.append(w @ basis[-1])
        span = torch.stack(basis)
        for _ in range(2):  # once is not enough
            w = w - span.mT @ (span @ w)
        betas.append(w.norm())
        values, vectors = _ritz(alphas, betas[:-1])
        residual = betas[-1] * vectors[-1, -1].abs()
        last = len(basis) in (most, len(start)) or betas[-1] <= 1e-14 * values[-1]
        if last or (residual <= tolerance * values[-1] and len(basis) >= 2 * wanted):
            return span.mT @ vectors.flip(1)[:, :wanted]
        basis.append(w / betas[-1])


def _ritz(alphas: list[Tensor], betas: list[Tensor]) -> tuple[Tensor, Tensor]:
    matrix = torch.diag(torch.stack(alphas))
    if betas:
        off = torch.stack(betas)
        matrix = matrix + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


def refine(
    apply: Operator,
    precondition: Operator,
    vectors: Tensor,
    tolerance: float,
    most: int = 20,
    depth: int = 8,
    kept: Kept | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenpairs at the lower end, corrected until the first's residual is small: Davidson's method.

    A product with the matrix takes far longer than one with its inverse, and hardly longer for many vectors than for
    one. So the basis does not grow by the preconditioned residuals alone, which near a cluster of eigenvalues point
    the wrong way, but by a Krylov space of the inverse that starts from them.

    Args:
        apply: the matrix, ``(n, k)`` to ``(n, k)``.
        precondition: its inverse, about.
        vectors: where to start, ``(n, k)``.
        tolerance: residual of the first, relative to its eigenvalue.
        most: how often the basis grows at most.
        depth: products with the inverse each time.
        kept: where basis and products are kept, and those of an earlier run taken from.

    Returns:
        Eigenvalues ``(k,)``, increasing, vectors ``(n, k)``, and norms of the residuals ``(k,)``.
    """
    k, kept = vectors.shape[1], kept or Kept()
    if (found := kept.found()) is None:
        basis = torch.linalg.qr(vectors)[0].contiguous()
        found = basis, basis[:, :0]
        kept.keep(*found)
    basis, image = found
    while True:
        if image.shape[1] < basis.shape[1]:
            image = torch.cat([image, apply(basis[:, image.shape[1] :])], 1)
            kept.keep(basis, image)
        values, small = torch.linalg.eigh(basis.mT @ image)
        small, values = small[:, :k], values[:k]
        lowest = basis @ small
        residual = image @ small - lowest * values
        norms = residual.norm(dim=0)
        room = min(most * depth * k, len(basis)) - basis.shape[1]
        if norms[0] <= tolerance * values[0].abs() or room < k:
            return values, lowest, norms
        for _ in range(min(depth, room // k)):
            residual = _orthogonal(precondition(residual), basis)
            basis = torch.cat([basis, residual], 1)
        kept.keep(basis, image)


def _orthogonal(new: Tensor, to: Tensor) -> Tensor:
    new = new / new.norm(dim=0).clamp_min(torch.finfo(new.dtype).tiny)
    for _ in range(3):  # twice is enough, unless nothing new is left but rounding
        new = torch.linalg.qr(new - to @ (to.mT @ new))[0]
    return new
