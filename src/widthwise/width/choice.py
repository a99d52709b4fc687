"""Which width spends a budget of weights best, foretold by the kernel's distance from its infinite-width limit.

The conjecture of the wider-nets paper (section 3): of the networks with one hidden layer and a given number of weights,
the one whose kernel is nearest to the infinite-width kernel at initialization performs best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from widthwise.errors import InputError, check_choice, check_depth, check_integer, check_type
from widthwise.width.formulas import FORMULAS, Question
from widthwise.width.sizes import capacity, divided, narrowest

__all__ = ["MOST_DRAWN", "Candidate", "WidthChoice", "best_width"]

MOST_DRAWN = 2**19  # weights of a network wide and dense whose tangent kernel is measured by default


@dataclass(frozen=True)
class Candidate:
    """One way of spending the budget, and what is predicted of it.

    Attributes:
        width: number of hidden units a layer.
        first_weights: live weights of the first layer.
        last_weights: live weights of the last layer.
        distance: mean squared distance of the kernel from its infinite-width limit; for ``"condition"`` the logarithm
            of the tangent kernel's condition number.
        error: of ``distance``; 0 for a closed form.
    """

    width: int
    first_weights: int
    last_weights: int
    distance: float
    error: float


@dataclass(frozen=True)
class WidthChoice:
    """The width predicted to be best, and the curve it was read from.

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
    depth: int = 1,
    draws: int = 10,
    seed: int = 0,
) -> WidthChoice:
    """Predict which width of a perceptron with ReLU is best at a given number of weights.

    The formulas disagree: ``"heuristic"`` is the paper's (4); ``"gaussian"`` is what Theorem 1 gives for normal inputs;
    ``"exact"`` averages Theorem 1 over pairs of ``x``; ``"measured"`` draws networks with exactly these weights. The
    documentation on the kernel distance holds them against data. An output of a sparse last layer sees only some of
    the hidden units, which all four count. ``"condition"`` draws networks of any depth, in PyTorch's initialization,
    and takes the least condition number of their tangent kernel on a sample of ``x``. It is the only one for deep
    networks, and hits more often than the others that were tried, see the results on wider nets.

    Args:
        d: number of inputs.
        budget: number of weights, biases not counted.
        n_outputs: number of outputs.
        x: the data set, ``(rows, d)``, which ``"exact"``, ``"measured"`` and ``"condition"`` need and the others
            ignore; standardised, for the last.
        formula: ``"heuristic"``, ``"gaussian"``, ``"exact"``, ``"measured"`` or ``"condition"``.
        last_layer: ``"dense"`` cuts the first layer only; ``"balanced"`` cuts the larger layer to the size of the
            other, then both (the paper's Figure 4).
        candidates: widths to judge. By default a geometric grid from the narrowest network that holds the budget to
            64 times its width, or the widest in which every hidden unit can keep an input and its outputs (one, if
            balanced). For ``"condition"`` 1, 2, 4, 8 and 16 times the narrowest, while
            the dense networks of these widths have at most half a million weights.
        pairs: number of random pairs of rows.
        depth: number of hidden layers.
        draws: number of networks that ``"measured"`` and ``"condition"`` draw at each width.
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
    judge, points = FORMULAS[check_choice("formula", formula, FORMULAS)]
    check_choice("last_layer", last_layer, ("dense", "balanced"))
    if check_depth(depth) > 1:
        check_choice("formula", formula, ("condition",))
    question = Question(d, n_outputs, depth, budget, last_layer, x, pairs, check_integer("draws", draws, low=1), seed)
    if candidates is None and formula == "condition":
        candidates = _multiples(question)
    if candidates is None:
        candidates = _grid(d, budget, n_outputs, last_layer, points)
    curve = []
    for n in sorted(_check_candidates(candidates)):
        first, last = _divide(n, question)
        curve.append(Candidate(n, first, last, *judge(question, n, first, last)))
    return WidthChoice(min(curve, key=lambda each: each.distance).width, formula, last_layer, tuple(curve))


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


def _multiples(q: Question) -> list[int]:
    """The narrowest width, and those up to 16 times as wide that can be drawn and leave each layer a weight."""
    first = narrowest(q.d, q.n_outputs, q.depth, q.budget)
    return [first, *(n for n in (first * k for k in (2, 4, 8, 16)) if _may_be_drawn(n, q))]


def _may_be_drawn(n: int, q: Question) -> bool:
    try:
        _divide(n, q)
    except InputError:
        return False
    return capacity(q.d, q.n_outputs, n, q.depth) <= MOST_DRAWN


def _divide(n: int, q: Question) -> tuple[int, int]:
    """Live weights of the first and of the last layer."""
    if q.depth == 1:
        narrowest, widest = _range(q.d, q.budget, q.n_outputs, q.last_layer)
        if not narrowest <= n <= widest:
            raise InputError(f"candidates: got width {n}, allowed for {q.budget} weights is {narrowest} to {widest}")
    sizes = {"first": n * q.d} | {f"hidden{i}": n * n for i in range(1, q.depth)} | {"last": n * q.n_outputs}
    counts = divided(sizes, q.budget, q.last_layer)
    return counts["first"], counts["last"]
