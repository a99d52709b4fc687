"""One-dimensional Gaussian integrals to machine precision, kinks included."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widthwise.activations.closed_forms import root
from widthwise.errors import InputError

__all__ = ["Grid", "Integrand", "hermite", "hermite_up_to", "resolve"]

ORDER = 16
"""Gauss-Legendre points a panel."""
REACHES = (16.0, 38.0)
"""Half-widths tried, in standard deviations: beyond 38 the normal density underflows."""
WIDTH = 1.0
"""Of a panel at first, in standard deviations; cut in two it resolves Hermite polynomials of degree 2000."""
REFINEMENTS = (1, 2, 4, 8, 16)
"""How many parts each panel is cut into, in turn."""
CONVERGED = 1e-14
ROUGH = 1e-3


@dataclass(frozen=True)
class Integrand:
    """A function and the points where it must not be integrated across.

    Attributes:
        name: what to call it in messages.
        function: elementwise, from tensor to tensor.
        kinks: where it is not smooth.
        floor: the least standard deviation: a derivative that jumps at 0 has a limit, not a value, at variance 0.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    floor: float = 0.0

    def points(self, q: Tensor, nodes: Tensor) -> Tensor:
        """Return sqrt(q) times the nodes, ``(*q.shape, N)``."""
        return root(q).clamp(min=self.floor).unsqueeze(-1) * nodes


@dataclass(frozen=True)
class Grid:
    """Nodes and weights with sum(weights * f(nodes)) = E[f(Z)], over the last dimension.

    Attributes:
        nodes: ``(N,)``, or ``(*q.shape, N)`` where the kinks fall differently for each variance.
        weights: of the same shape.
        error: relative error of E[phi^2] as seen by doubling the panels.
    """

    nodes: Tensor
    weights: Tensor
    error: float


def hermite(values: Tensor, grid: Grid, degree: int) -> Tensor:
    """Return E[f h_k] for k = 0..degree, with h_k the normalised probabilists' Hermite polynomials.

    Args:
        values: f on the nodes, ``(..., *q.shape, N)``.
        grid: where they were taken.
        degree: the highest k.

    Returns:
        Coefficients of shape ``(degree + 1, ..., *q.shape)``.
    """
    return next(hermite_up_to(values, grid, (degree,)))


def hermite_up_to(values: Tensor, grid: Grid, degrees: Sequence[int]) -> Iterator[Tensor]:
    """Yield the coefficients of :func:`hermite` up to each of some rising degrees, at no more cost than the last."""
    half = root(grid.weights)  # shared between f and h_k, so that h_k never overflows
    scaled, basis = values * half, _basis(_quick(grid.nodes), _quick(half), degrees[-1])
    found = values.new_empty(0, *values.shape[:-1])
    for degree in degrees:
        found = torch.cat([found, _products(list(islice(basis, degree + 1 - len(found))), scaled)])
        yield found


def _quick(values: Tensor) -> Any:
    """The same for many short steps: NumPy's take less time to begin."""
    return values.numpy() if values.ndim == 1 and values.device.type == "cpu" and not values.requires_grad else values


def _products(basis: list[Any], scaled: Tensor) -> Tensor:
    """What each function of the basis makes of the values."""
    if basis[0].ndim == 1:
        rows = torch.stack(basis) if isinstance(basis[0], Tensor) else torch.from_numpy(np.stack(basis))
        return torch.einsum("kn,...n->k...", rows, scaled)
    return torch.stack([(scaled * h).sum(-1) for h in basis])


def _basis(nodes: Any, half: Any, degree: int) -> Iterator[Any]:
    """sqrt(weight) h_k on the nodes, k = 0..degree, by the three-term recurrence."""
    before, now = 0 * half, half
    for k in range(1, degree + 2):
        yield now
        before, now = now, (nodes * now - math.sqrt(k - 1) * before) / math.sqrt(k)


def resolve(integrand: Integrand, q: Tensor) -> Grid:
    """Return a grid on which E[phi(sqrt(q) Z)^2] has converged for every entry of ``q``.

    Raises:
        InputError: if the second moment is infinite or the function too rough to integrate.
    """
    for reach in REACHES:
        with torch.no_grad():
            parts, error, escaped = _refine(integrand, q, reach)
        if not escaped:
            break
    if escaped or not error < ROUGH:
        raise InputError(
            f"activation: E[phi(x)^2] of {integrand.name} does not converge for x normal of variance "
            f"{float(q.detach().max()):.4g}; allowed is an activation with a finite second moment"
        )
    nodes, weights = _grid(integrand.kinks, q, parts, reach)
    return Grid(nodes, weights, error)


def _refine(integrand: Integrand, q: Tensor, reach: float) -> tuple[int, float, bool]:
    """Halve the panels until E[phi^2] stands still; say whether mass escapes at the ends."""
    before, error = None, math.inf
    for parts in REFINEMENTS:
        nodes, weights = _grid(integrand.kinks, q, parts, reach)
        mass = weights * integrand.function(integrand.points(q, nodes)).square()
        total = mass.sum(-1)
        ends = (mass[..., :ORDER].sum(-1) + mass[..., -ORDER:].sum(-1)) / total.clamp(min=1e-300)
        if not bool(torch.isfinite(total).all()) or float(ends.max()) > 1e-18:
            return parts, error, True
        if before is not None:
            error = float(((total - before).abs() / total.clamp(min=1e-300)).max())
            if error < CONVERGED:
                break
        before = total
    return parts, error, False


def _grid(kinks: tuple[float, ...], q: Tensor, parts: int, reach: float) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre panels on [-reach, reach], split where sqrt(q) x crosses a kink."""
    x, w = (torch.tensor(a, dtype=q.dtype, device=q.device) for a in _legendre())
    edges = _edges(q, parts, reach)
    moving = [kink for kink in kinks if kink != 0]
    if moving:
        at = torch.tensor(moving, dtype=q.dtype, device=q.device) / root(q).clamp(min=1e-30).unsqueeze(-1)
        edges = torch.cat([edges.expand(*q.shape, -1), at.clamp(-reach, reach)], dim=-1).sort(dim=-1).values
    middle, half = (edges[..., 1:] + edges[..., :-1]) / 2, (edges[..., 1:] - edges[..., :-1]) / 2
    nodes = (middle.unsqueeze(-1) + half.unsqueeze(-1) * x).flatten(-2)
    density = torch.exp(-nodes.square() / 2) / math.sqrt(2 * math.pi)
    return nodes, (half.unsqueeze(-1) * w).flatten(-2) * density


@cache
def _legendre() -> tuple[tuple[float, ...], tuple[float, ...]]:
    x, w = np.polynomial.legendre.leggauss(ORDER)
    return tuple(x.tolist()), tuple(w.tolist())


def _edges(q: Tensor, parts: int, reach: float) -> Tensor:
    """Even panels, halved again and again towards 0 until the largest variance is resolved there, then cut."""
    steepest = math.sqrt(float(q.detach().max())) if q.numel() else 0.0
    halvings = max(0, math.ceil(math.log2(max(steepest * WIDTH, 1.0)))) + 1
    right = [
        0.0,
        *(WIDTH / 2**j for j in range(halvings, 0, -1)),
        *(WIDTH * (1 + j) for j in range(round(reach / WIDTH))),
    ]
    coarse = torch.tensor([-edge for edge in reversed(right[1:])] + right, dtype=q.dtype, device=q.device)
    shares = torch.arange(parts, dtype=q.dtype, device=q.device) / parts
    fine = coarse[:-1, None] + (coarse[1:] - coarse[:-1])[:, None] * shares
    return torch.cat([fine.flatten(), coarse[-1:]])
