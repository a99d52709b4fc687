"""Choose the neurons of the compressed network: every method by its name."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from widthwise.compression._check import is_homogeneous
from widthwise.compression.baselines import BASELINES, greedy, random
from widthwise.compression.etf import best_orientation
from widthwise.compression.lbfgs import lbfgs
from widthwise.compression.manifold import FLAT, SPHERE
from widthwise.compression.neurons import UnitNeurons
from widthwise.compression.objectives import full_objective
from widthwise.compression.target import Target
from widthwise.errors import InputError

__all__ = ["METHODS", "Choice", "choose", "degenerate", "whitened"]

METHODS = (*sorted(BASELINES), "etf", "optimal")
"""Ways to choose V and b: the baselines, the best-turned simplex ETF, and descent from several starts."""

_GREEDY = 8192  # neurons of a target whose whole Gram matrix is held for a greedy start
_ZERO = 1e-12  # of the power


class Choice(NamedTuple):
    """Rows and coefficients, and the loss before the rows were optimised."""

    V: Tensor
    b: Tensor
    start_loss: float


def choose(
    target: Target, M: int, method: str, *, restarts: int, iterations: int, generator: torch.Generator
) -> Choice:
    """Return M neurons by ``method``; arguments as :func:`~widthwise.compression.compress` has them.

    Raises:
        InputError: if the method is ``"etf"`` and there is no simplex or no reason for one.
    """
    exact = target.precise
    if method in BASELINES:
        V, b = BASELINES[method](exact, M, generator)
        return Choice(V, b, float(exact.loss(V, b)))
    if method == "etf":
        V = _simplex(target, M, generator)
        return Choice(V, target.coefficients(V), float(target.least_loss(V)))
    starts = _starts(target, M, restarts, generator)
    start = starts[int(target.least_loss(starts).argmin())]
    start_loss = float(exact.least_loss(start))
    V = _descend(target, starts, iterations)
    if float(exact.least_loss(V)) > start_loss:  # the descent gained less than its objective leaves out
        V = start
    return Choice(V, exact.coefficients(V), start_loss)


def whitened(target: Target) -> bool:
    """Whether rows stand for neurons of any length under inputs of any mean and covariance."""
    return not isinstance(target.neurons, UnitNeurons)


def degenerate(target: Target) -> bool:
    """Whether E[f_W] = 0, so that the limit loss does not depend on V."""
    return bool(target.mean.square().sum() <= _ZERO * target.power)


def _simplex(target: Target, M: int, generator: torch.Generator) -> Tensor:
    if whitened(target):
        raise InputError("method: got 'etf', allowed with bias, mean or covariance is any other")
    if degenerate(target):
        raise InputError(
            "method: got 'etf', allowed is any other: the limit is degenerate, since E[f_W] = 0 (mu_a = 0 or g(0) = 0)"
        )
    return best_orientation(target, M, generator=generator)


def _starts(target: Target, M: int, restarts: int, generator: torch.Generator) -> Tensor:
    """Stack the points to descend from, shape (B, M, D)."""
    simplex = not whitened(target) and not degenerate(target) and target.W.shape[1] + 1 >= M
    starts = [best_orientation(target, M, restarts=2, generator=generator)] if simplex else []
    if len(target.W) <= _GREEDY:
        starts.append(greedy(target, M, generator)[0])
    subsets = restarts if starts else max(restarts, 1)
    return torch.stack([*starts, *(random(target, M, generator)[0] for _ in range(subsets))])


def _descend(target: Target, starts: Tensor, iterations: int) -> Tensor:
    free = whitened(target) and not is_homogeneous(target.neurons.activation)
    manifold = FLAT if free else SPHERE
    return lbfgs(full_objective(target), starts, iterations=iterations, tolerance=1e-7, manifold=manifold).best
