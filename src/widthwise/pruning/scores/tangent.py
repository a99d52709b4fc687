"""NTK-SAP: scores that keep the neural tangent kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, check_number
from widthwise.pruning.batches import Batch, Batches, Data
from widthwise.pruning.flow import example_input, leaves
from widthwise.pruning.gradients import as_found, generator_from_global, gradient, mean_over, output_of, trainable
from widthwise.pruning.scores.registry import register_score

__all__ = ["ntk_sap"]

_NOISE_EXAMPLES = 64


@register_score("ntk_sap", rounds=20)
def ntk_sap(
    model: nn.Module, data: Data | None = None, loss: Any = None, *, epsilon: float = 0.01
) -> dict[str, Tensor]:
    r"""NTK-SAP: how much the trace of the neural tangent kernel depends on a weight; needs no labels and no loss.

    For a random step :math:`\delta` of the weights, :math:`\|f(x; w) - f(x; w + \delta)\|^2` has, for small
    steps, the mean :math:`\epsilon^2 \sum_x \mathrm{tr} K(x, x)`. The score is the absolute value of its derivative
    in each entry of a mask that multiplies both sets of weights. A loss says how training starts, the tangent kernel
    how it goes on, which is why this holds at sparsities where SNIP and GraSP lose whole layers.

    Source: Wang, Li and Sun, "NTK-SAP: improving neural network pruning by aligning training dynamics", 2023,
    equation 8; in many rounds, 20 by default in :func:`widthwise.prune`. The paper draws new weights in every round;
    here the model's own are used, and only the step is new.

    Args:
        model: whose prunable parameters to score, at the values it has; left exactly as it was found. Weights that
            are exactly zero count as dead and take no step.
        data: inputs, ``(x, y)`` or an iterable of such batches with any y. By default 64 examples of standard normal
            noise, if the first layer is linear.
        loss: not used.
        epsilon: standard deviation of the step, drawn on the CPU by torch's generator.

    Raises:
        InputError: if there is no data and the shape of an example is not known, if ``epsilon`` is not above 0, or
            if a prunable parameter does not affect the output.
    """
    check_number("epsilon", epsilon, 0, low_open=True)
    weights = trainable(model)
    generator = generator_from_global()
    batches = Batches(_noise(model, generator) if data is None else data, next(iter(weights.values())).device)
    here = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    there = {name: _moved(weight.detach(), epsilon, generator).requires_grad_() for name, weight in weights.items()}

    def slopes(x: Tensor, y: Any) -> list[Tensor]:
        pairs = zip(leaves(output_of(model, x, here)), leaves(output_of(model, x, there)), strict=True)
        change = torch.stack([(a - b).square().sum() for a, b in pairs]).sum() / len(x)
        found = gradient(change, {**here, **{f"{name} moved": weight for name, weight in there.items()}})
        ends = [*here.values(), *there.values()]
        products = [slope.mul_(weight.detach()) for slope, weight in zip(found, ends, strict=True)]
        return [a.add_(b) for a, b in zip(products[: len(here)], products[len(here) :], strict=True)]

    with as_found(model):
        mean = mean_over(batches, slopes)
    return {name: part.abs_() for name, part in zip(weights, mean, strict=True)}


def _moved(weight: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """``weight`` after a random step of its living entries."""
    step = torch.randn(weight.shape, generator=generator).to(weight)
    return torch.where(weight == 0, weight, weight + epsilon * step)


def _noise(model: nn.Module, generator: torch.Generator) -> Batch:
    like = example_input(model, None)
    if like is None:
        raise InputError("data: got None, but method 'ntk_sap' needs inputs or a linear first layer")
    noise = torch.randn(_NOISE_EXAMPLES, *like.shape[1:], generator=generator).to(like)
    return noise, None
