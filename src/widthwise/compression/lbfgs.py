"""L-BFGS on a manifold, many starts in one computation."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from widthwise.compression.descent import Descent, Objective, State, Trace, Watch, evaluate
from widthwise.compression.manifold import SPHERE, Manifold
from widthwise.errors import check_integer, check_number

__all__ = ["lbfgs"]

_SUFFICIENT = 1e-4  # of the decrease promised by the slope (Armijo)
_SHRINK = 0.4
_TRIALS = 25
_DAMPING = 0.2  # of the mean diagonal, added to a metric

_Pair = tuple[Tensor, Tensor, Tensor]


def lbfgs(
    objective: Objective,
    start: Tensor,
    *,
    iterations: int = 200,
    tolerance: float = 1e-8,
    memory: int = 8,
    manifold: Manifold = SPHERE,
    watch: Watch | None = None,
) -> Descent:
    """L-BFGS on a manifold; every start has its own curvature pairs and step length.

    Pairs are kept as differences in the surrounding space and the direction is projected onto the tangent space:
    without transport this is L-BFGS on the objective extended off the manifold along its normals. The recursion starts
    from the inverse of the objective's metric, if it has one.

    Args:
        objective: what to make small.
        start: points of the manifold, shape (B, rows, columns).
        iterations: at most so many.
        tolerance: a start is done when the norm of its gradient is below this times max(1, abs(value)).
        memory: number of curvature pairs kept.
        manifold: where the points live.
        watch: anything else to record along the way.

    Raises:
        InputError: if ``iterations``, ``tolerance`` or ``memory`` is out of range.
        InputTypeError: if one of them is no number.

    Example:
        The eigenvector of the largest eigenvalue minimises -x'Ax on the sphere:

        >>> A = torch.diag(torch.tensor([1.0, 2.0, 5.0]))
        >>> start = torch.nn.functional.normalize(torch.ones(1, 1, 3), dim=-1)
        >>> abs(lbfgs(lambda X: (-((X @ A) * X).sum((-1, -2)), None), start, tolerance=1e-4).value + 5) < 1e-5
        True
    """
    check_integer("iterations", iterations)
    check_number("tolerance", tolerance, 0)
    pairs = deque[_Pair](maxlen=check_integer("memory", memory, 1))
    trace, now = Trace(watch), evaluate(objective, start, manifold)
    trace.add(now.X, now.values)
    stuck, evaluations = torch.zeros_like(now.values, dtype=torch.bool), len(start)
    for _ in range(iterations):
        stuck = stuck | (_norm(now.G) <= tolerance * now.values.abs().clamp_min(1))
        if stuck.all():
            break
        T = _direction(now, pairs, manifold)
        before, (now, failed, spent) = now, _search(objective, now, T, (~stuck).nonzero().flatten(), manifold)
        evaluations += spent
        pairs.append(_pair(now.X - before.X, now.G - before.G))
        stuck[failed] = True
        trace.add(now.X, now.values)
    return trace.finish(now.X, evaluations)


def _dot(A: Tensor, B: Tensor) -> Tensor:
    return (A * B).sum((-1, -2), keepdim=True)


def _norm(A: Tensor) -> Tensor:
    return _dot(A, A).flatten().sqrt()


def _pair(S: Tensor, Y: Tensor) -> _Pair:
    """A step, its change of gradient and 1 / <s, y>, which is 0 (no effect) where the curvature is not positive."""
    sy = _dot(S, Y)
    good = sy > 1e-10 * (_dot(S, S) * _dot(Y, Y)).sqrt()
    return S, Y, torch.where(good, 1 / sy.where(good, torch.ones_like(sy)), 0)


def _direction(now: State, pairs: deque[_Pair], manifold: Manifold) -> Tensor:
    """The two-loop recursion; steepest descent where it does not descend."""
    Q, weights = now.G, list[Tensor]()
    for S, Y, rho in reversed(pairs):
        weights.append(rho * _dot(S, Q))
        Q = Q - weights[-1] * Y
    Q = _scaled(Q, pairs) if now.metric is None else torch.cholesky_solve(Q, _damped_factor(now.metric))
    for (S, Y, rho), weight in zip(pairs, reversed(weights), strict=True):
        Q = Q + S * (weight - rho * _dot(Y, Q))
    T = manifold.tangent(now.X, -Q)
    return torch.where(_dot(T, now.G) < 0, T, _scaled(-now.G, pairs))


def _scaled(Q: Tensor, pairs: deque[_Pair]) -> Tensor:
    """Multiply by the newest pair's <s, y> / <y, y>; without one make it short."""
    short = 0.3 / _norm(Q).clamp_min(torch.finfo(Q.dtype).tiny)[:, None, None]
    if not pairs:
        return Q * short
    _, Y, rho = pairs[-1]
    curved = rho > 0
    return Q * torch.where(curved, 1 / (rho * _dot(Y, Y)).where(curved, torch.ones_like(rho)), short)


def _damped_factor(metric: Tensor) -> Tensor:
    """Cholesky factor of the metric plus a part of its mean diagonal."""
    mean = metric.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    identity = torch.eye(metric.shape[-1], dtype=metric.dtype, device=metric.device)
    damped = metric + (_DAMPING * mean + torch.finfo(metric.dtype).tiny ** 0.5) * identity
    factor: Tensor = torch.linalg.cholesky(damped)
    return factor


class _Search(NamedTuple):
    state: State
    failed: Tensor
    evaluations: int


def _search(objective: Objective, state: State, T: Tensor, pending: Tensor, manifold: Manifold) -> _Search:
    """Shorten the steps of the pending starts until each decreases enough; one that cannot stays where it is."""
    new, slope, length, evaluations = state.clone(), _dot(T, state.G).flatten(), 1.0, 0
    rounding = 8 * torch.finfo(state.values.dtype).eps * state.values.abs()
    for _ in range(_TRIALS):
        X = manifold.retract(state.X[pending], length * T[pending])
        trial = evaluate(objective, X, manifold)
        evaluations += len(pending)
        allowed = state.values + _SUFFICIENT * length * slope + rounding
        enough = trial.values <= allowed[pending]
        if len(enough) == len(state.values) and enough.all():
            return _Search(trial, pending[:0], evaluations)
        new.replace(pending[enough], trial, enough)
        pending = pending[~enough]
        if not len(pending):
            break
        length *= _SHRINK
    return _Search(new, pending, evaluations)
