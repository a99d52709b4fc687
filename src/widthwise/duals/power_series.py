"""Polynomials whose coefficients are products, as Hermite series of two variables have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["power_series"]


def power_series(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return sum_k a_k b_k c^k, differentiable any number of times.

    Args:
        a: coefficients, ``(terms, ...)``.
        b: coefficients, ``(terms, ...)``.
        c: the variable; its shape broadcasts with those of ``a[0]`` and ``b[0]``.
    """
    if a.shape[0] == 0:
        return torch.zeros_like(c + a.sum(0) + b.sum(0))
    result: Tensor = _PowerSeries.apply(a, b, c)  # type: ignore[no-untyped-call]
    return result


class _PowerSeries(torch.autograd.Function):
    """sum_k a_k b_k c^k by Horner's rule, without keeping the powers for the backward pass."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        total = torch.addcmul(a[-1] * b[-1], torch.zeros_like(c), c)
        for a_k, b_k in zip(reversed(a[:-1]), reversed(b[:-1]), strict=True):
            torch.addcmul(a_k * b_k, total, c, out=total)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        a, b, c = ctx.saved_tensors
        grad, by_a, by_b, by_c = grads[0], None, None, None
        if ctx.needs_input_grad[2]:
            orders = torch.arange(a.shape[0], dtype=a.dtype, device=a.device)[1:]
            weighted = a[1:] * orders.view(-1, *[1] * (a.ndim - 1))
            by_c = (grad * power_series(weighted, b[1:], c)).sum_to_size(c.shape)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            by_a, by_b = _by_coefficients(a, b, c, grad)
        return by_a, by_b, by_c


def _by_coefficients(a: Tensor, b: Tensor, c: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    by_a, by_b = [], []
    for a_k, b_k in zip(a, b, strict=True):
        by_a.append((grad * b_k).sum_to_size(a_k.shape))
        by_b.append((grad * a_k).sum_to_size(b_k.shape))
        grad = grad * c
    return torch.stack(by_a), torch.stack(by_b)
