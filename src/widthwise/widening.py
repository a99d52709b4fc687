"""Widen a network at a constant number of weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from widthwise.errors import InputError, check_choice, check_integer, check_number
from widthwise.masks import Mask, prunable
from widthwise.pruning.allocation import balanced
from widthwise.pruning.selection import random_masks

__all__ = ["sparsify_randomly", "weights_at", "widen", "width_for"]

Factory = Callable[[int], nn.Module]
_METHODS = ("sparse",)


def widen(
    build: Factory, base_width: int, factor: float, method: str = "sparse", *, seed: int = 0
) -> tuple[nn.Module, Mask]:
    """Build the network of ``round(factor * base_width)`` that has as many weights as the one of ``base_width``.

    Biases and normalisation parameters are neither counted nor removed.

    Args:
        build: from a width to a freshly initialised module.
        base_width: width of the network whose number of weights is kept.
        factor: widening factor, at least 1.
        method: ``"sparse"``: a random static mask (:func:`sparsify_randomly`).
        seed: draws the initialization and the mask.

    Returns:
        The wide module, and the mask in force on it.

    Raises:
        InputError: for an argument out of range, or a factory whose number of weights does not grow with width.

    Source: Golubeva, Neyshabur, Gur-Ari, "Are wider nets better given the same number of parameters?", 2.3.

    Example:
        >>> from widthwise.models import mlp
        >>> model, mask = widen(lambda width: mlp(64, 10, width=width), base_width=3, factor=4)
        >>> model.hidden1.out_features, mask.kept
        (12, 222)
    """
    check_choice("method", method, _METHODS)
    check_integer("base_width", base_width, 1)
    check_number("factor", factor, 1)
    budget = weights_at(build, base_width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(round(factor * base_width))
    return model, sparsify_randomly(model, budget, seed=seed)


def sparsify_randomly(model: nn.Module, budget: int, *, seed: int = 0) -> Mask:
    """Keep ``budget`` weights at random, in place, and initialise for the fan-in that is left.

    The largest layers are cut first, down to the size of the next, until the budget is met (the wider-nets
    paper, Figure 4); within a layer every weight is equally likely to stay. What stays is multiplied by
    ``connectivity**-0.5`` of its layer, so that an initialization of scale ``fan_in**-0.5`` becomes one of scale
    ``(fan_in * connectivity)**-0.5``.

    Args:
        model: a freshly initialised module.
        budget: number of weights that stay, exactly.
        seed: draws the mask; the same on any machine.

    Raises:
        InputError: if the budget is above the number of weights, or leaves some layer none.
    """
    weights = prunable(model)
    sizes = {name: w.numel() for name, w in weights.items()}
    check_integer("budget", budget, len(sizes), sum(sizes.values()))
    counts = balanced(sizes, budget)
    mask = Mask(random_masks({n: tuple(w.shape) for n, w in weights.items()}, counts, seed=seed))
    mask.apply(model)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_((sizes[name] / counts[name]) ** 0.5)
    return mask


def weights_at(build: Factory, width: int) -> int:
    """Number of weights of the network of a width; biases and normalisation parameters are not counted."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                model = build(width)
        except (RuntimeError, NotImplementedError):
            model = build(width)
    return sum(w.numel() for w in prunable(model).values())


def width_for(build: Factory, budget: int) -> int:
    """The width at which a network has exactly ``budget`` weights.

    Raises:
        InputError: if none has, naming the two nearest; if one unit already needs more; or if the number of
            weights does not grow with width.

    Example:
        >>> from widthwise.models import mlp
        >>> width_for(lambda width: mlp(64, 10, width=width), 222)
        3
    """
    least = weights_at(build, 1)
    if budget < least:
        raise InputError(f"budget: got {budget}, allowed is at least {least}, what a network of width 1 needs")
    low, high = 1, 2
    while weights_at(build, high) <= budget:
        if weights_at(build, high) <= weights_at(build, low):
            raise InputError(
                f"build: the network has {weights_at(build, high)} weights at widths {low} and {high}; "
                "its number of weights must grow with width"
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if weights_at(build, middle) <= budget else (low, middle)
    below, above = weights_at(build, low), weights_at(build, high)
    if below != budget:
        raise InputError(
            f"budget: no width has exactly {budget} weights; the nearest are {below} (width {low}) "
            f"and {above} (width {high})"
        )
    return low
