"""Sparse convolution in plain PyTorch, for devices and types without a kernel: right, but no faster than dense."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["blocks", "gradients", "product"]


def product(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, entries: Tensor, order: Tensor, clip: bool,
    geometry: list[int],
) -> Tensor:  # fmt: skip
    """As :func:`widthwise.sparse._convolution.product`."""
    weight = _weight(x, values, columns, _rows(entries, order, geometry), bias.numel(), geometry)
    result = functional.conv2d(_padded(x, geometry), weight, bias, *_steps(geometry))
    return _batch_last(result.relu() if clip else result)


def gradients(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor, columns: Tensor, entries: Tensor, order: Tensor,
    geometry: list[int],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As :func:`widthwise.sparse._convolution.gradients`."""
    slopes = dy if gate is None else torch.where(gate > 0, dy, 0)
    rows = _rows(entries, order, geometry)
    weight = _weight(x, values, columns, rows, dy.shape[1], geometry)
    (stride, padding, dilation, groups), wide = _steps(geometry), _padded(x, geometry)
    dx, dw, total = torch.ops.aten.convolution_backward(
        slopes, wide, weight, [dy.shape[1]], stride, padding, dilation, False, [0, 0], groups, [True, True, True]
    )
    top, left = geometry[4:6]
    dx = dx[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    within = columns.long() % weight[0].numel()
    return _batch_last(dx), dw.flatten(1)[rows, within], total


def blocks(matrix: Tensor, groups: int) -> Tensor:
    """The blocks of a block-diagonal matrix, one below the other."""
    each = torch.arange(groups, device=matrix.device)
    height, width = (size // groups for size in matrix.shape)
    return matrix.view(groups, height, groups, width)[each, :, each].flatten(0, 1)


def _weight(x: Tensor, values: Tensor, columns: Tensor, rows: Tensor, height: int, geometry: list[int]) -> Tensor:
    taps, channels = geometry[0] * geometry[1], x.shape[1] // geometry[-1]
    weight = values.new_zeros((height, channels * taps))
    weight[rows, columns.long() % (channels * taps)] = values
    return weight.view(height, channels, *geometry[:2])


def _rows(entries: Tensor, order: Tensor, geometry: list[int]) -> Tensor:
    """The row of each value, rows first."""
    result = torch.empty_like(order, dtype=torch.int64)
    result[order.long()] = entries.long() // (geometry[0] * geometry[1])
    return result


def _steps(geometry: list[int]) -> tuple[list[int], list[int], list[int], int]:
    """Strides, no zeros, dilations and groups."""
    return geometry[2:4], [0, 0], geometry[8:10], geometry[10]


def _padded(x: Tensor, geometry: list[int]) -> Tensor:
    top, left, bottom, right = geometry[4:8]
    return functional.pad(x, (left, right, top, bottom))


def _batch_last(x: Tensor) -> Tensor:
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
