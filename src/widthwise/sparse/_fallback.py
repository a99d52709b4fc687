"""The operators in plain PyTorch, for devices and types without a kernel: right, but no faster than dense."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from widthwise.sparse._tiles import lies_batch_last

__all__ = ["gradients", "laid", "product"]


def product(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, rows: Tensor, order: Tensor, clip: bool,
    batch_last: bool = True,
) -> Tensor:  # fmt: skip
    """As :func:`widthwise.sparse._product.product`."""
    result = linear(x, _dense(values, _row_of(rows, order), columns, (bias.numel(), x.shape[1])), bias)
    return laid(result.relu() if clip else result, batch_last)


def gradients(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor, columns: Tensor, rows: Tensor, order: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`widthwise.sparse._product.gradients`."""
    slopes = dy if gate is None else torch.where(gate > 0, dy, 0)
    row_of = _row_of(rows, order)
    weight = _dense(values, row_of, columns, (dy.shape[1], x.shape[1]))
    return laid(slopes @ weight, lies_batch_last(x)), (slopes.t() @ x)[row_of, columns.long()], slopes.sum(0)


def _row_of(rows: Tensor, order: Tensor) -> Tensor:
    """The row of each value, rows first, from that of each, columns first."""
    result = torch.empty_like(order, dtype=torch.int64)
    result[order.long()] = rows.long()
    return result


def _dense(values: Tensor, rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    weight = values.new_zeros(shape)
    weight[rows, columns.long()] = values
    return weight


def laid(x: Tensor, batch_last: bool) -> Tensor:
    """``x``, batch last in memory or contiguous."""
    return x.t().contiguous().t() if batch_last else x.contiguous()
