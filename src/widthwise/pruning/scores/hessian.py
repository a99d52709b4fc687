"""Scores from the curvature of the loss: GraSP and Optimal Brain Damage."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from widthwise.errors import InputError, InputTypeError, check_choice, check_integer, check_number
from widthwise.pruning.batches import Data, repeatable
from widthwise.pruning.gradients import (
    Loss,
    as_found,
    batches_for,
    generator_from_global,
    gradient,
    loss_on,
    mean_gradient,
    mean_over,
    trainable,
)
from widthwise.pruning.scores.registry import register_score

__all__ = ["grasp", "obd"]


@register_score("grasp")
def grasp(
    model: nn.Module,
    data: Data | None = None,
    loss: Loss | None = None,
    *,
    temperature: float = 1.0,
    route: str = "double_backward",
) -> dict[str, Tensor]:
    r"""GraSP: how much the squared norm of the gradient falls when a weight goes, :math:`w \odot Hg`.

    :math:`g` and :math:`H` are the gradient and the Hessian of the mean loss over all batches, in the prunable
    weights. There is no normalising sum: it may cancel or change sign, and does nothing for the ranking.

    Source: Wang, Zhang and Grosse, "Picking winning tickets before training by preserving gradient flow", 2020,
    equation 8; it prunes the largest of minus this score. The temperature is that of its published code, 200 there.

    Args:
        model: whose prunable parameters to score, at the values it has; left exactly as it was found.
        data: ``(x, y)`` or an iterable of such batches, gone through twice.
        loss: ``loss(output, y)``, a mean over the batch.
        temperature: divides the outputs before the loss.
        route: of the Hessian-vector product: ``"double_backward"``, or ``"forward_over_reverse"``, which serves where
            an operation has no second derivative but a forward-mode one.

    Raises:
        InputError: as :func:`widthwise.pruning.scores.snip`, for a temperature that is not above 0, or for a route
            that is unknown or that an operation of the model does not support.
    """
    batches, loss = batches_for("grasp", model, repeatable(data), loss)
    check_number("temperature", temperature, 0, low_open=True)
    check_choice("route", route, ("double_backward", "forward_over_reverse"))

    def cooled(output: Any, y: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise InputTypeError(
                f"model: its output is of type {type(output).__name__}, allowed with 'grasp' is a tensor, which it "
                "divides by the temperature; wrap the model so that it returns what the loss needs"
            )
        return loss(output / temperature, y)

    weights = trainable(model)
    twice = route == "double_backward"
    slope = [] if twice and batches.single else list(mean_gradient(model, batches, cooled).values())

    def product(x: Tensor, y: Any) -> Sequence[Tensor]:
        if not twice:
            return _forward_over_reverse(model, cooled, x, y, weights, slope)
        slopes = gradient(loss_on(model, cooled, x, y), weights, create_graph=True)
        return _times_hessian(slopes, weights, slope or [part.detach() for part in slopes])

    with as_found(model), sdpa_kernel(SDPBackend.MATH):
        mean = mean_over(batches, product)
    return {name: part.mul_(weight.detach()) for (name, weight), part in zip(weights.items(), mean, strict=True)}


@register_score("obd")
def obd(
    model: nn.Module, data: Data | None = None, loss: Loss | None = None, *, samples: int = 64
) -> dict[str, Tensor]:
    r"""Optimal Brain Damage: the rise of the loss when a weight goes from a minimum, :math:`\frac12 h_{ii} w_i^2`.

    The diagonal of the Hessian is estimated without bias as the mean of :math:`v \odot Hv` over random signs
    :math:`v`; its variance for weight i is the sum of :math:`h_{ij}^2` over :math:`j \ne i`, divided by ``samples``.
    Meant for trained networks: see :func:`widthwise.pruning.train_prune_repeat`.

    Source: LeCun, Denker and Solla, "Optimal brain damage", 1990, equation 4; Hutchinson's estimator in place of
    its Levenberg-Marquardt approximation.

    Args:
        model: whose prunable parameters to score, at the values it has; left exactly as it was found.
        data: ``(x, y)`` or an iterable of such batches.
        loss: ``loss(output, y)``, a mean over the batch.
        samples: number of random vectors, drawn on the CPU by torch's generator.

    Raises:
        InputError: as :func:`widthwise.pruning.scores.snip`, or if ``samples`` is below 1.
    """
    batches, loss = batches_for("obd", model, data, loss)
    check_integer("samples", samples, 1)
    weights = trainable(model)
    generator = generator_from_global()

    def diagonal(x: Tensor, y: Any) -> list[Tensor]:
        slopes = gradient(loss_on(model, loss, x, y), weights, create_graph=True)
        total = [torch.zeros_like(weight) for weight in weights.values()]
        for _ in range(samples):
            signs = [_random_signs(weight, generator) for weight in weights.values()]
            for part, sign, product in zip(total, signs, _times_hessian(slopes, weights, signs), strict=True):
                part.addcmul_(sign, product, value=1 / samples)
        return total

    with as_found(model), sdpa_kernel(SDPBackend.MATH):
        mean = mean_over(batches, diagonal)
    return {n: h.mul_(w.detach().square()).div_(2) for (n, w), h in zip(weights.items(), mean, strict=True)}


def _times_hessian(
    slopes: Sequence[Tensor], weights: Mapping[str, Tensor], vectors: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Hessian-vector product from a gradient made with ``create_graph``; its graph is kept."""
    curved = [(slope, vector) for slope, vector in zip(slopes, vectors, strict=True) if slope.requires_grad]
    if not curved:
        return [torch.zeros_like(weight) for weight in weights.values()]
    outputs, directions = zip(*curved, strict=True)
    return torch.autograd.grad(outputs, list(weights.values()), directions, retain_graph=True, materialize_grads=True)


def _forward_over_reverse(
    model: nn.Module, loss: Loss, x: Tensor, y: Any, weights: Mapping[str, Tensor], vectors: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Hessian-vector product as the forward derivative of the gradient along ``vectors``."""
    with _dual_level():
        pairs = zip(weights, weights.values(), vectors, strict=True)
        duals = {name: forward_ad.make_dual(w, v) for name, w, v in pairs}  # type: ignore[no-untyped-call]
        try:
            slopes = gradient(loss_on(model, loss, x, y, duals), duals)
        except NotImplementedError as error:
            raise InputError(
                f"route: got 'forward_over_reverse', allowed is 'double_backward' here: {error}"
            ) from error
        tangents = [forward_ad.unpack_dual(slope).tangent for slope in slopes]  # type: ignore[no-untyped-call]
    return [torch.zeros_like(v) if tangent is None else tangent for tangent, v in zip(tangents, vectors, strict=True)]


@contextmanager
def _dual_level() -> Iterator[None]:
    """``forward_ad.dual_level`` without what torch warns of itself when it is first used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        with forward_ad.dual_level():
            yield


def _random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return (2 * torch.randint(2, like.shape, generator=generator) - 1).to(like)
