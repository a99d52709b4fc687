"""Mehler's formula as matrix products: power series of correlations with coefficients of rows and columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["mehler"]


def mehler(rho: Tensor, c: Tensor, e: Tensor) -> Tensor:
    """Return sum_k c_k[i] e_k[j] rho_ij^k, keeping no powers for the backward pass.

    Args:
        rho: correlations, shape (..., m, n).
        c: coefficients of the rows, shape (K, m) or (K, ..., m).
        e: coefficients of the columns, shape (K, n) or (K, ..., n).
    """
    c, e = (_between(part, rho.shape[:-2]) for part in (c, e))
    total: Tensor = _Mehler.apply(rho, c, e)  # type: ignore[no-untyped-call]
    return total


class _Mehler(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rho: Tensor, c: Tensor, e: Tensor) -> Tensor:
        ctx.save_for_backward(rho, c, e)
        return _horner(rho, c, e)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        rho, c, e = ctx.saved_tensors
        _, rows, columns = ctx.needs_input_grad
        by_c, by_e = list[Tensor](), list[Tensor]()
        power = grads[0].clone()
        for ck, ek in zip(c, e, strict=True) if rows or columns else ():
            by_c += [(power @ ek.unsqueeze(-1)).squeeze(-1)] if rows else []
            by_e += [(power.mT @ ck.unsqueeze(-1)).squeeze(-1)] if columns else []
            power *= rho
        order = torch.arange(1, len(c), dtype=c.dtype, device=c.device).view(-1, *[1] * (c.dim() - 1))
        slope = _horner(rho, c[1:] * order, e[1:])
        return slope * grads[0], torch.stack(by_c) if rows else None, torch.stack(by_e) if columns else None


def _horner(rho: Tensor, c: Tensor, e: Tensor) -> Tensor:
    total = torch.zeros_like(rho)
    for ck, ek in zip(reversed(c), reversed(e), strict=True):
        total.mul_(rho).addcmul_(ck.unsqueeze(-1), ek.unsqueeze(-2))
    return total


def _between(c: Tensor, batch: torch.Size) -> Tensor:
    """Give coefficients the batch dimensions of the correlations."""
    middle = c.shape[1:-1] or (1,) * len(batch)
    return c.reshape(c.shape[0], *middle, c.shape[-1]).expand(c.shape[0], *batch, c.shape[-1])
