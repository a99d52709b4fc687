"""SynFlow: scores from the paths of the network alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, check_finite, told
from widthwise.masks import Mask
from widthwise.pruning.batches import Data
from widthwise.pruning.collapse import cut_at
from widthwise.pruning.flow import PathCount, example_input, flow
from widthwise.pruning.gradients import real
from widthwise.pruning.scores.registry import register_score

__all__ = ["synflow"]

_FAR = 2.0**900  # a power of two, by which scaling is exact; float64 ends at 2**1024


@register_score("synflow", rounds=100)
def synflow(model: nn.Module, data: Data | None = None, loss: Any = None) -> dict[str, Tensor]:
    r"""SynFlow: the share of each weight in the paths from input to output.

    With :math:`R` the sum of the outputs for one example of ones, all weights replaced by their absolute values,
    the score is :math:`|w| \, \partial R / \partial |w| \, / \, R`. Activations, normalisations and biases have no
    part in it (:mod:`widthwise.pruning.flow`). Computed in float64 and relative to :math:`R`, with the input
    scaled where :math:`R` would leave the range of float64, so depth does no harm. Every input-output cut of a
    network without biases sums to 1.

    Source: Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", 2020, algorithm 1; meant for many rounds, 100 by default in :func:`widthwise.prune`.

    Args:
        model: whose prunable parameters to score; left exactly as it was found.
        data: only tells the shape of an example; not needed if the first layer is linear. Whole numbers, such as
            tokens, are used as they are.
        loss: not used.

    Returns:
        By parameter name, a float64 tensor of the parameter's shape.

    Raises:
        InputError: if the shape of an example is not known or the model fails on it, a weight is NaN or infinite, or
            the paths leave the range of float64 all the same.
    """
    x = example_input(model, data)
    if x is None:
        raise InputError("data: got None, but method 'synflow' needs the shape of an example; pass any (x, y)")
    weights = {
        name: check_finite(f"model: {name!r}", w.detach()).double().abs().requires_grad_()
        for name, w in real(model).items()
    }
    with torch.enable_grad():
        total = _path_sum(model, weights, x)
    if not total:
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}
    slopes = torch.autograd.grad(total, list(weights.values()), 1 / total.detach(), materialize_grads=True)
    return {name: slope.mul_(w.detach()) for (name, w), slope in zip(weights.items(), slopes, strict=True)}


def _path_sum(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The sum over all paths, for an input scaled so that it can be represented; zero if there is no path."""
    x = x.double() if x.is_floating_point() else x
    with told(lambda: f"model: fails on one example of ones, of shape {tuple(x.shape)}"):
        total = flow(model, weights, x, PathCount())
    if x.is_floating_point() and not 1 / _FAR < total < _FAR:
        total = flow(model, weights, x * (_FAR if total < 1 else 1 / _FAR), PathCount())
    connected = total > 0 or cut_at(model, Mask({name: weight > 0 for name, weight in weights.items()}), x) is None
    if not total.isfinite() or (connected and not total):
        bound = "below" if total < 1 else "above"
        raise InputError(
            f"model: its sum over paths is {bound} the range of float64, allowed is one within; rescale it"
        )
    return total
