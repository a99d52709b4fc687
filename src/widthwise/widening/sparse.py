"""Static sparsity: a wide network of which exactly the budget lives, drawn at random at initialization."""

from __future__ import annotations

import torch
from torch import nn

from widthwise.errors import check_integer
from widthwise.masks import Mask
from widthwise.pruning.selection import random_masks
from widthwise.weights import prunable
from widthwise.widening.distribution import Distribution, Shapes, counts_of, kernel_size

__all__ = ["shapes_of", "sparsify_randomly"]


def sparsify_randomly(
    model: nn.Module,
    budget: int,
    *,
    granularity: str = "weight",
    distribution: Distribution = "balanced",
    seed: int = 0,
) -> Mask:
    """Keep ``budget`` weights at random, in place, and initialise for the fan-in that is left.

    By default the largest layers are cut first, down to the size of the next, until the budget is met (the
    wider-nets paper, Figure 4); within a layer every weight is equally likely to stay. What stays is multiplied by
    ``connectivity**-0.5`` of its layer, so that an initialization of scale ``fan_in**-0.5`` becomes one of scale
    ``(fan_in * connectivity)**-0.5``.

    Args:
        model: a freshly initialised module.
        budget: number of weights that stay, exactly.
        granularity: ``"weight"``, or ``"io"``: the kernel from one channel to another stays or goes as a whole (the
            paper's appendix C).
        distribution: how the budget is shared out among layers: ``"balanced"``, ``"uniform"``, ``"erk"``, or a function
            from the layers' shapes and the budget to the number of weights that each keeps.
        seed: draws the mask; the same on any machine.

    Raises:
        InputError: if the budget is above the number of weights, is less than one a layer, or cannot be shared out.
    """
    shapes = shapes_of(model)
    sizes = {name: w.numel() for name, w in prunable(model).items()}
    check_integer("budget", budget, len(sizes), sum(sizes.values()))
    counts = counts_of(shapes, budget, distribution, granularity)
    mask = _drawn(shapes, counts, granularity, seed)
    mask.apply(model)
    with torch.no_grad():
        for name, weight in prunable(model).items():
            if counts[name]:
                weight.mul_((sizes[name] / counts[name]) ** 0.5)
    return mask


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of each weight by name."""
    return {name: tuple(w.shape) for name, w in prunable(model).items()}


def _drawn(shapes: Shapes, counts: dict[str, int], granularity: str, seed: int) -> Mask:
    if granularity == "weight":
        return Mask(random_masks(shapes, counts, seed=seed))
    kernels = {name: kernel_size(shape) for name, shape in shapes.items()}
    drawn = random_masks(
        {name: shape[:2] for name, shape in shapes.items()},
        {name: counts[name] // kernels[name] for name in shapes},
        seed=seed,
    )
    return Mask({n: m.view(*m.shape, *[1] * (len(shapes[n]) - 2)).expand(shapes[n]) for n, m in drawn.items()})
