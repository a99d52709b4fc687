"""The network of the paper, u(x) = phi(x W') a, trained by full-batch descent, in as few operations as it takes.

The weights move only in the directions of the training inputs, so that descent can be followed on pre-activations
Z = X W': a step adds ``rate * G (phi'(Z) a r)``, G = X X'. The linearized difference network has a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise import data as datasets
from widthwise import duals
from widthwise.activations import Activation
from widthwise.errors import InputError
from widthwise.experiments.common import seeded

__all__ = ["Problem", "Start", "descend", "limit_prediction", "linearized_prediction", "start", "zeros_and_ones"]


_CACHED = 1 << 16
"""Pre-activations taken through a step while they lie in the processor's cache."""


@dataclass(frozen=True)
class Problem:
    """Training inputs of unit norm with targets 0 and 1, and test inputs of unit norm, float64."""

    x: Tensor
    y: Tensor
    test: Tensor


@dataclass(frozen=True)
class Start:
    """Initial weights ``(m, d)``, entries N(0, 1), and signs ``(m,)`` over sqrt(m), float64."""

    weights: Tensor
    signs: Tensor


def zeros_and_ones(data: str, each: int) -> Problem:
    """The first ``each`` examples of the first two classes, and for a test the next.

    Inputs are turned into the space that they span, which changes nothing: initial weights have no direction.
    """
    found = datasets.load(data)
    index = [torch.nonzero(found.y == label)[:, 0] for label in (0, 1)]
    if min(map(len, index)) < 2 * each:
        raise InputError(f"data: got {min(map(len, index))} examples of a class, allowed are at least {2 * each}")
    train, test = (torch.cat([i[part] for i in index]) for part in (slice(each), slice(each, 2 * each)))
    rows = found.x[torch.cat([train, test])].flatten(1).double()
    rows = torch.linalg.qr((rows / rows.norm(dim=1, keepdim=True)).mT)[1].mT.contiguous()
    return Problem(rows[: len(train)], found.y[train].double(), rows[len(train) :])


def start(problem: Problem, width: int, seed: int) -> Start:
    """A network at initialization."""
    source = seeded(seed)
    weights = torch.randn(width, problem.x.shape[1], dtype=torch.float64, generator=source)
    signs = 2.0 * torch.randint(2, (width,), generator=source).double() - 1
    return Start(weights, signs / width**0.5)


def limit_prediction(problem: Problem, phi: Activation) -> Tensor:
    """(21): what the infinite ensemble of infinitely wide networks predicts, u = H_z H^-1 y."""
    rows = torch.cat([problem.x, problem.test])
    kernel = duals.f(phi, (rows @ problem.x.mT).clamp(-1, 1))
    n = len(problem.x)
    kernel[:n].diagonal().fill_(float(duals.f(phi, 1.0)))
    prediction: Tensor = kernel[n:] @ torch.linalg.solve(kernel[:n], problem.y)
    return prediction


def linearized_prediction(problem: Problem, first: Start, phi: Activation, rate: float, steps: int) -> Tensor:
    """J dtheta on the test inputs after ``steps`` of descent, which only depends on the kernel of the network."""
    slopes, gram = _slopes(problem, first, phi)
    n = len(problem.x)
    kernel = (slopes @ slopes[:n].mT) * gram
    values, vectors = torch.linalg.eigh(kernel[:n])
    done = 1 - (1 - rate * values.clamp_min(0)) ** steps
    weights = vectors @ (torch.where(values > 1e-13 * values[-1], done / values, 0) * (vectors.mT @ problem.y))
    prediction: Tensor = kernel[n:] @ weights
    return prediction


def descend(
    problem: Problem, first: Start, phi: Activation, scales: Tensor, rate: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Outputs on the test inputs of the network trained on targets times each of ``scales``, and of the untrained one.

    Single precision, as one trains.

    Returns:
        ``(scales, test)`` and ``(test,)``.
    """
    x, test, w, a = (t.float() for t in (problem.x, problem.test, first.weights, first.signs))
    before, across = w @ test.mT, rate * (x @ test.mT)
    outputs = [
        a @ phi(before + _pushed(x, y, w, a, phi, rate, steps) @ across) for y in (scales[:, None] * problem.y).float()
    ]
    return torch.stack(outputs), a @ phi(before)


def _pushed(x: Tensor, y: Tensor, w: Tensor, a: Tensor, phi: Activation, rate: float, steps: int) -> Tensor:
    """What ``steps`` have added to Z, ``(m, n)``, divided by ``rate`` and by G."""
    gram, size = x @ x.mT, max(1, _CACHED // len(x))
    blocks = [(s, part @ x.mT) for s, part in zip(a.split(size), w.split(size), strict=True)]  # type: ignore[no-untyped-call]
    totals = [torch.zeros_like(z) for _, z in blocks]
    u = sum(s @ phi(z) for s, z in blocks)
    for _ in range(steps):
        residual, u = y - u, torch.zeros_like(y)
        for (s, z), total in zip(blocks, totals, strict=True):
            push = phi.derivative(z).mul_(s[:, None]).mul_(residual)
            total += push
            z.addmm_(push, gram, alpha=rate)
            u += s @ phi(z)
    return torch.cat(totals)


def _slopes(problem: Problem, first: Start, phi: Activation) -> tuple[Tensor, Tensor]:
    rows = torch.cat([problem.x, problem.test])
    return phi.derivative(rows @ first.weights.mT) * first.signs, rows @ problem.x.mT
