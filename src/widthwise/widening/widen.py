"""Widen a network at a constant number of weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from widthwise.errors import check_integer
from widthwise.masks import Mask
from widthwise.models.registry import Recipe, builder, builtin, forget, recipe_of, remember
from widthwise.widening.counting import Factory
from widthwise.widening.distribution import Distribution
from widthwise.widening.linear import factorise
from widthwise.widening.nonlinear import shrink
from widthwise.widening.pairs import Pair, pairs
from widthwise.widening.planning import plan
from widthwise.widening.sparse import sparsify_randomly

__all__ = ["narrowed", "widen"]


def widen(
    build: Factory,
    base_width: int,
    factor: float,
    method: str = "sparse",
    *,
    granularity: str = "weight",
    distribution: Distribution = "balanced",
    whole: Collection[str] = (),
    budget: int | None = None,
    seed: int = 0,
) -> tuple[nn.Module, Mask | None]:
    """Build the network of ``round(factor * base_width)`` that has as many weights as the one of ``base_width``.

    Biases and normalisation parameters are neither counted nor removed. :func:`widthwise.widening.plan` tells, for the
    same arguments, what each layer spends and how closely a bottleneck meets the number of weights.

    ``"sparse"`` keeps exactly so many weights at random, fixed from the start, and scales them to the fan-in that is
    left. ``"linear_bottleneck"`` splits every layer in two without an activation between: dense W1 W2; a convolution,
    then one of 1 x 1. The number kept is that of the narrow network so split at full rank, which is what ``factor=1``
    gives; the readout stays whole. ``"nonlinear_bottleneck"`` takes consecutive layers in pairs and leaves fewer
    units between them, while all others become more. Bottlenecks miss the number by at most half of what one inner
    unit needs.

    Args:
        build: from a width to a freshly initialised module.
        base_width: width of the network whose number of weights is kept.
        factor: widening factor, at least 1.
        method: ``"sparse"``, ``"linear_bottleneck"`` or ``"nonlinear_bottleneck"``.
        granularity: for sparsity, ``"weight"``, or ``"io"``: the kernel from one channel to another stays or goes as a
            whole.
        distribution: for sparsity, how the weights are shared out among layers: ``"balanced"`` (the largest are cut
            first), ``"uniform"``, ``"erk"``, or a function from the layers' shapes and the number of weights to how
            many each keeps.
        whole: for the linear bottleneck, names of layers to leave as they are.
        budget: another number of weights to keep.
        seed: draws the initialization and the mask.

    Returns:
        The wide module, and the mask in force on it, ``None`` for a bottleneck.

    Raises:
        InputError: for an argument out of range or of another method; a factory whose number of weights does not grow
            with width; layers that the method cannot split, by name; or a factor at which some unit would have less
            than one weight: the largest possible one is named.

    Source: Golubeva, Neyshabur, Gur-Ari, "Are wider nets better given the same number of parameters?", 2.2, 2.3 and C.

    Example:
        >>> from widthwise.models import mlp
        >>> model, mask = widen(lambda width: mlp(64, 10, width=width), base_width=3, factor=4)
        >>> model.hidden1.out_features, mask.kept
        (12, 222)
    """
    check_integer("seed", seed, 0, 2**63 - 1)
    found = plan(
        build,
        base_width,
        factor,
        method,
        granularity=granularity,
        distribution=distribution,
        whole=whole,
        budget=budget,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(found.width)
        if method == "sparse":
            return model, sparsify_randomly(
                model, found.budget, granularity=granularity, distribution=distribution, seed=seed
            )
        return narrowed(model, found.inner, found.pairs), None


def narrowed(model: nn.Module, inner: Mapping[str, int], chosen: Sequence[Pair] = ()) -> nn.Module:
    """Put bottlenecks into a wide network, in place; of a built-in network a file can rebuild the result.

    Args:
        model: the wide network.
        inner: the size of each bottleneck, by the name of the weight that is split or that makes its units.
        chosen: for non-linear ones, the pairs of layers.
    """
    recipe = recipe_of(model)
    if chosen:
        shrink(model, chosen, inner)
    else:
        factorise(model, inner)
    forget(model)
    if recipe is not None:
        given = {"network": recipe.name, "arguments": dict(recipe.arguments)}
        remember(model, Recipe("_bottlenecks", {**given, "inner": dict(inner), "nonlinear": bool(chosen)}))
    return model


@builtin
def _bottlenecks(network: str, arguments: dict[str, Any], inner: dict[str, int], nonlinear: bool) -> nn.Module:
    """A built-in network with bottlenecks, as a file describes it."""
    model = builder(network)(**arguments)
    return narrowed(model, inner, [p for p in pairs(model) if f"{p.first}.weight" in inner] if nonlinear else ())
