"""Scores from the weights, their gradient, or chance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from widthwise.pruning.batches import Data
from widthwise.pruning.gradients import Loss, batches_for, mean_gradient
from widthwise.pruning.scores.registry import register_score
from widthwise.weights import prunable

__all__ = ["magnitude", "random", "snip"]


@register_score("random")
def random(model: nn.Module, data: Any = None, loss: Any = None) -> dict[str, Tensor]:
    """Independent uniform numbers in [0, 1), drawn on the CPU by torch's generator.

    The same on any machine after ``torch.manual_seed``; :func:`widthwise.prune` seeds by its ``seed``.

    Args:
        model: whose prunable parameters to score.
        data: not used.
        loss: not used.
    """
    return {name: torch.rand(weight.shape).to(weight.device) for name, weight in prunable(model).items()}


@register_score("magnitude")
def magnitude(model: nn.Module, data: Any = None, loss: Any = None) -> dict[str, Tensor]:
    """The absolute value of each weight.

    Args:
        model: whose prunable parameters to score.
        data: not used.
        loss: not used.
    """
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


@register_score("snip")
def snip(model: nn.Module, data: Data | None = None, loss: Loss | None = None) -> dict[str, Tensor]:
    """SNIP, the sensitivity of the loss to each weight: the absolute value of w dL/dw.

    The gradient is of the mean loss over all batches, one at a time in memory. The original divides by the sum
    over all weights, which changes no ranking and is left out.

    Source: Lee, Ajanthan and Torr, "SNIP: single-shot network pruning based on connection sensitivity", 2019,
    equation 6.

    Args:
        model: whose prunable parameters to score, at the values it has; left exactly as it was found.
        data: ``(x, y)`` or an iterable of such batches.
        loss: ``loss(output, y)``, a mean over the batch.

    Returns:
        By parameter name, a tensor of the parameter's shape, dtype and device; larger means keep.

    Raises:
        InputError: if data or loss is missing, the loss is not a finite scalar, a batch is empty or on another
            device, or a prunable parameter gets no gradient.
    """
    batches, loss = batches_for("snip", model, data, loss)
    gradients = mean_gradient(model, batches, loss)
    return {name: gradients[name].mul_(weight.detach()).abs_() for name, weight in prunable(model).items()}
