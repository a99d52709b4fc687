r"""Functions of the angle between two inputs, exact at every angle, with derivatives that stay finite.

With ``gap = 1 - c`` and ``rest = 1 + c`` the angle is ``theta = 2 atan2(sqrt(gap), sqrt(rest))``. One layer of ReLU
makes of a correlation c

    c' = (sin theta + (pi - theta) c) / pi,    1 - c' = gap (1 - theta / pi) + (theta - sin theta) / pi

(Cho and Saul, 2009), of which the second form does not cancel; its derivative in the gap is 1 - theta / pi.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from widthwise.activations.closed_forms import root

__all__ = ["rectified"]


def rectified(gap: Tensor, rest: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return 1 - c' after a layer of ReLU, and 1 - theta / pi, for inputs of correlation c.

    Args:
        gap: 1 - c, at least 0.
        rest: 1 + c, where it is known better than as ``2 - gap``; gradients flow through ``gap`` alone.

    Returns:
        Both of the shape of ``gap``. The derivative of the second is 0, by convention, at angles 0 and pi.
    """
    rest = 2 - gap if rest is None else rest
    if not (gap.requires_grad and torch.is_grad_enabled()):
        return _forward(gap, rest)
    found: tuple[Tensor, Tensor] = _Rectified.apply(gap, rest.detach())  # type: ignore[no-untyped-call]
    return found


def _forward(gap: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    theta = torch.atan2(gap.sqrt(), rest.sqrt()).mul_(2)
    opening = 1 - theta / math.pi
    bulge = theta.sub_((gap * rest).sqrt_()).clamp_(min=0)
    return torch.addcmul(bulge.mul_(1 / math.pi), gap, opening), opening


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(gap: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        return _forward(gap, rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        gap, rest = ctx.saved_tensors
        sine = root(gap * (rest if not gap.requires_grad else rest + (2 - gap) - (2 - gap).detach()))
        positive = sine > 0
        steepness = torch.where(positive, -1 / (math.pi * torch.where(positive, sine, 1.0)), 0.0)
        return grads[0] * rectified(gap, rest)[1] + grads[1] * steepness, None
