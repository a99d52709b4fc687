"""The formulas that judge a width, from the paper's closed form to kernels of networks that are drawn."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.kernels import distance, distance_approx, distance_gaussian, random_pairs, sampled_distance
from widthwise.kernels._check import check_data
from widthwise.models import mlp
from widthwise.widening import sparsify_randomly
from widthwise.width.initial import condition
from widthwise.width.sizes import divided

__all__ = ["FORMULAS", "Question"]

_ROWS = 48  # of the sample on which tangent kernels are measured


@dataclass(frozen=True)
class Question:
    """What is asked, and of which networks; see :func:`widthwise.best_width`."""

    d: int
    n_outputs: int
    depth: int
    budget: int
    last_layer: str
    x: Tensor | None
    pairs: int
    draws: int
    seed: int

    @property
    def data(self) -> Tensor:
        """The data set, checked.

        Raises:
            InputError: if there is none, or it does not fit.
        """
        if self.x is None:
            raise InputError(f"x: got None, allowed for this formula is a data set of shape (rows, {self.d})")
        return check_data(self.x, self.d)


def _heuristic(q: Question, n: int, first: int, last: int) -> tuple[float, float]:
    return distance_approx(q.d, last / q.n_outputs, first / (n * q.d)), 0.0


def _gaussian(q: Question, n: int, first: int, last: int) -> tuple[float, float]:
    return distance_gaussian(q.d, n, first / (n * q.d), p_last=last / (n * q.n_outputs)), 0.0


def _exact(q: Question, n: int, first: int, last: int) -> tuple[float, float]:
    i, j = (index.to(q.data.device) for index in random_pairs(len(q.data), q.pairs, q.seed))
    p, p_last = first / (n * q.d), last / (n * q.n_outputs)
    found = distance(q.data[i], q.data[j], n, p, p_last=p_last, seed=q.seed)
    return float(found.value.mean()), float(found.error.mean())


def _measured(q: Question, n: int, first: int, last: int) -> tuple[float, float]:
    found = sampled_distance(
        q.data, n, weights=first, outputs=q.n_outputs, last_weights=last, pairs=q.pairs, draws=q.draws, seed=q.seed
    )
    return found.value, found.error


def _condition(q: Question, n: int, first: int, last: int) -> tuple[float, float]:
    sample = torch.unique(q.data, dim=0)
    rows = torch.randperm(len(sample), generator=torch.Generator().manual_seed(q.seed))[:_ROWS]
    found = [
        _condition_of(q, n, seed, sample[rows.to(sample.device)].cpu()) for seed in range(q.seed, q.seed + q.draws)
    ]
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0
    return statistics.fmean(found), error


def _condition_of(q: Question, n: int, seed: int, sample: Tensor) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mlp(q.d, q.n_outputs, width=n, depth=q.depth).to(sample.dtype)
    shares = {name: p.numel() for name, p in model.named_parameters() if p.dim() > 1}
    counts = divided(shares, q.budget, q.last_layer)
    return condition(model, sparsify_randomly(model, q.budget, distribution=lambda *_: counts, seed=seed), sample)


FORMULAS: dict[str, tuple[Callable[[Question, int, int, int], tuple[float, float]], int]] = {
    "heuristic": (_heuristic, 256),
    "gaussian": (_gaussian, 256),
    "exact": (_exact, 16),
    "measured": (_measured, 16),
    "condition": (_condition, 5),
}
"""By name: a judge from the width and the live weights of the first and last layer to a distance and its error, and how
many widths it judges by default."""
