"""Minimise on a manifold, many starts in one computation: what every method shares, and gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.compression.manifold import SPHERE, Manifold
from widthwise.errors import check_integer, check_number

__all__ = ["Descent", "Metric", "Objective", "State", "Trace", "Watch", "evaluate", "gradient_descent"]

Metric = Callable[[], Tensor]
"""Makes B symmetric positive semi-definite matrices (rows, rows): about the second derivative for moving rows."""

Objective = Callable[[Tensor], tuple[Tensor, Metric | None]]
"""From points (B, rows, columns) to the B values to make small, differentiable, and a metric if one is known."""

Watch = Callable[[Tensor], Tensor]
"""From points (B, rows, columns) to B numbers to record."""


@dataclass(frozen=True)
class Descent:
    """Where a minimisation ended, and how it went there.

    Attributes:
        points: the last points, shape (B, rows, columns).
        values: the objective at the start and after every iteration, shape (iterations + 1, B).
        evaluations: number of points at which the objective was computed.
        watched: what ``watch`` returned at the same moments, shape (iterations + 1, B), if it was given.
    """

    points: Tensor
    values: Tensor
    evaluations: int
    watched: Tensor | None = None

    @property
    def best(self) -> Tensor:
        """The point with the least value, shape (rows, columns)."""
        return self.points[int(self.values[-1].argmin())]

    @property
    def value(self) -> float:
        """The least value."""
        return float(self.values[-1].min())


class Trace:
    """The history of one minimisation."""

    def __init__(self, watch: Watch | None) -> None:
        self.watch, self.values, self.watched = watch, list[Tensor](), list[Tensor]()

    def add(self, X: Tensor, values: Tensor) -> None:
        """Record the objective, and what is watched, at the points X."""
        self.values.append(values)
        if self.watch is not None:
            self.watched.append(self.watch(X))

    def finish(self, X: Tensor, evaluations: int) -> Descent:
        """Return what was recorded."""
        watched = torch.stack(self.watched) if self.watched else None
        return Descent(X, torch.stack(self.values), evaluations, watched)


@dataclass(frozen=True)
class State:
    """All starts at one moment."""

    X: Tensor
    values: Tensor
    G: Tensor
    metric: Tensor | None

    def replace(self, where: Tensor, other: State, which: Tensor) -> None:
        """Overwrite the starts ``where`` by those of ``other`` picked out by ``which``."""
        self.X[where], self.values[where], self.G[where] = other.X[which], other.values[which], other.G[which]
        if self.metric is not None and other.metric is not None:
            self.metric[where] = other.metric[which]

    def clone(self) -> State:
        """Return a copy that may be overwritten."""
        metric = None if self.metric is None else self.metric.clone()
        return State(self.X.clone(), self.values.clone(), self.G.clone(), metric)


def gradient_descent(
    objective: Objective,
    start: Tensor,
    *,
    step: float,
    iterations: int = 1000,
    manifold: Manifold = SPHERE,
    watch: Watch | None = None,
) -> Descent:
    """Riemannian gradient descent with a constant step, as the paper's Figures 2 to 4.

    Args:
        objective: what to make small.
        start: points of the manifold, shape (B, rows, columns).
        step: multiplies the Riemannian gradient.
        iterations: number of steps.
        manifold: where the points live.
        watch: anything else to record along the way.

    Raises:
        InputError: if ``step`` is not positive or ``iterations`` is negative.
    """
    check_number("step", step, 0, low_open=True)
    trace, X = Trace(watch), start
    for _ in range(check_integer("iterations", iterations)):
        now = evaluate(objective, X, manifold, metric=False)
        trace.add(X, now.values)
        X = manifold.retract(X, -step * now.G)
    with torch.no_grad():
        trace.add(X, objective(X)[0])
    return trace.finish(X, (iterations + 1) * len(start))


def evaluate(objective: Objective, X: Tensor, manifold: Manifold, *, metric: bool = True) -> State:
    """Return the points with their values, Riemannian gradients and, if wanted and known, metric."""
    with torch.enable_grad():
        leaf = X.detach().requires_grad_()
        values, make = objective(leaf)
        (G,) = torch.autograd.grad(values.sum(), leaf)
    with torch.no_grad():
        return State(X, values.detach(), manifold.tangent(X, G), make() if metric and make is not None else None)
