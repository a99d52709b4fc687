"""Which width spends a budget of weights best, foretold by the kernel's distance from its infinite-width limit.

The conjecture of the wider-nets paper (section 3): of the networks with one hidden layer and a given number of weights,
the one whose kernel is nearest to the infinite-width kernel at initialization performs best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from widthwise.errors import InputError, check_choice, check_integer, check_type
from widthwise.kernels import distance, distance_approx, distance_gaussian, random_pairs, sampled_distance
from widthwise.kernels._check import check_data
from widthwise.pruning.allocation import balanced

__all__ = ["Candidate", "WidthChoice", "best_width"]


@dataclass(frozen=True)
class Candidate:
    """One way of spending the budget, and what is predicted of it.

    Attributes:
        width: number of hidden units.
        first_weights: live weights of the first layer.
        last_weights: live weights of the last layer.
        distance: mean squared distance of the kernel from its infinite-width limit.
        error: of ``distance``; 0 for a closed form.
    """

    width: int
    first_weights: int
    last_weights: int
    distance: float
    error: float


@dataclass(frozen=True)
class WidthChoice:
    """The width whose kernel is nearest to its limit, and the curve it was read from.

    Attributes:
        width: the best candidate's width; the narrowest of equals.
        formula: which formula gave the distances.
        last_layer: how the budget was divided, ``"dense"`` or ``"balanced"``.
        candidates: the curve, by width.
    """

    width: int
    formula: str
    last_layer: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class _Question:
    d: int
    n_outputs: int
    x: Tensor | None
    pairs: int
    draws: int
    seed: int

    @property
    def data(self) -> Tensor:
        if self.x is None:
            raise InputError(f"x: got None, allowed for this formula is a data set of shape (rows, {self.d})")
        return check_data(self.x, self.d)


def best_width(
    d: int,
    budget: int,
    n_outputs: int,
    x: Tensor | None = None,
    formula: str = "heuristic",
    last_layer: str = "dense",
    candidates: Sequence[int] | None = None,
    *,
    pairs: int = 1_000,
    draws: int = 10,
    seed: int = 0,
) -> WidthChoice:
    """Predict which width of a network with one hidden ReLU layer is best at a given number of weights.

    The formulas disagree: ``"heuristic"`` is the paper's (4); ``"gaussian"`` is what Theorem 1 gives for normal inputs;
    ``"exact"`` averages Theorem 1 over pairs of ``x``; ``"measured"`` draws networks with exactly these weights. The
    documentation on the kernel distance holds them against data. An output of a sparse last layer sees only some of
    the hidden units, which all four count.

    Args:
        d: number of inputs.
        budget: number of weights, biases not counted.
        n_outputs: number of outputs.
        x: the data set, ``(rows, d)``, which ``"exact"`` and ``"measured"`` need and the others ignore.
        formula: ``"heuristic"``, ``"gaussian"``, ``"exact"`` or ``"measured"``.
        last_layer: ``"dense"`` cuts the first layer only; ``"balanced"`` cuts the larger layer to the size of the
            other, then both (the paper's Figure 4).
        candidates: widths to judge. By default a geometric grid from the narrowest network that holds the budget to
            64 times its width, or the widest in which every hidden unit can keep an input and its outputs (one, if
            balanced).
        pairs: number of random pairs of rows.
        draws: number of networks that ``"measured"`` draws at each width.
        seed: of pairs, masks and networks.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if one is out of range, ``x`` is missing or does not fit, or a width cannot hold the budget.

    Example:
        >>> best_width(784, 6352, 10).width, best_width(784, 6352, 10, formula="gaussian").width
        (134, 401)
    """
    d, n_outputs = check_integer("d", d, low=1), check_integer("n_outputs", n_outputs, low=1)
    budget = check_integer("budget", budget, low=2)
    judge, points = _FORMULAS[check_choice("formula", formula, _FORMULAS)]
    check_choice("last_layer", last_layer, ("dense", "balanced"))
    question = _Question(d, n_outputs, x, pairs, draws, seed)
    if candidates is None:
        candidates = _grid(d, budget, n_outputs, last_layer, points)
    curve = []
    for n in sorted(_check_candidates(candidates)):
        first, last = _divide(n, d, budget, n_outputs, last_layer)
        curve.append(Candidate(n, first, last, *judge(question, n, first, last)))
    return WidthChoice(min(curve, key=lambda each: each.distance).width, formula, last_layer, tuple(curve))


def _heuristic(q: _Question, n: int, first: int, last: int) -> tuple[float, float]:
    return distance_approx(q.d, last / q.n_outputs, first / (n * q.d)), 0.0


def _gaussian(q: _Question, n: int, first: int, last: int) -> tuple[float, float]:
    return distance_gaussian(q.d, n, first / (n * q.d), p_last=last / (n * q.n_outputs)), 0.0


def _exact(q: _Question, n: int, first: int, last: int) -> tuple[float, float]:
    i, j = (index.to(q.data.device) for index in random_pairs(len(q.data), q.pairs, q.seed))
    p, p_last = first / (n * q.d), last / (n * q.n_outputs)
    found = distance(q.data[i], q.data[j], n, p, p_last=p_last, seed=q.seed)
    return float(found.value.mean()), float(found.error.mean())


def _measured(q: _Question, n: int, first: int, last: int) -> tuple[float, float]:
    found = sampled_distance(
        q.data, n, weights=first, outputs=q.n_outputs, last_weights=last, pairs=q.pairs, draws=q.draws, seed=q.seed
    )
    return found.value, found.error


_FORMULAS: dict[str, tuple[Callable[[_Question, int, int, int], tuple[float, float]], int]] = {
    "heuristic": (_heuristic, 256),
    "gaussian": (_gaussian, 256),
    "exact": (_exact, 16),
    "measured": (_measured, 16),
}  # and how many widths each judges by default


def _grid(d: int, budget: int, n_outputs: int, last_layer: str, points: int) -> list[int]:
    """Whole widths, nearly geometric, that can hold the budget."""
    narrowest, widest = _range(d, budget, n_outputs, last_layer)
    if narrowest > widest:
        raise InputError(
            f"budget: got {budget}, allowed is what some width can hold: width {narrowest - 1} holds at most "
            f"{(narrowest - 1) * (d + n_outputs)} and width {narrowest} needs more than {narrowest * n_outputs}"
        )
    fed = budget // 2 if last_layer == "balanced" else budget // (n_outputs + 1)
    useful = max(narrowest, min(fed, 64 * narrowest))
    return sorted({round(n) for n in np.geomspace(narrowest, useful, points)})


def _range(d: int, budget: int, n_outputs: int, last_layer: str) -> tuple[int, int]:
    """The narrowest width that has room for the budget, and the widest at which each layer keeps a weight."""
    return -(-budget // (d + n_outputs)), budget if last_layer == "balanced" else (budget - 1) // n_outputs


def _check_candidates(widths: Sequence[int]) -> set[int]:
    check_type("candidates", widths, Sequence)
    if not widths:
        raise InputError("candidates: got none, allowed is at least one width")
    return {check_integer("candidates", n, low=1) for n in widths}


def _divide(n: int, d: int, budget: int, n_outputs: int, last_layer: str) -> tuple[int, int]:
    """Live weights of the first and of the last layer."""
    narrowest, widest = _range(d, budget, n_outputs, last_layer)
    if not narrowest <= n <= widest:
        raise InputError(f"candidates: got width {n}, allowed for {budget} weights is {narrowest} to {widest}")
    if last_layer == "dense":
        return budget - n * n_outputs, n * n_outputs
    counts = balanced({"first": n * d, "last": n * n_outputs}, budget)
    return counts["first"], counts["last"]
