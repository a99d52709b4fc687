"""The operators of sparse layers, registered with PyTorch: autograd, ``torch.compile`` and ``torch.export`` know them.

Each has kernels for float32 and float64 on CPUs, and says the same in plain PyTorch for all else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from widthwise.sparse import _fallback, _product, _tiles
from widthwise.sparse._operator import operator, traceable
from widthwise.sparse._types import is_native

__all__ = ["batch_first", "sparse_linear"]


def sparse_linear(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, rows: Tensor, row_starts: Tensor,
    order: Tensor, clip: bool, batch_last: bool = True,
) -> Tensor:  # fmt: skip
    """``x W' + bias`` for a sparse ``W``, and with ``clip`` its ReLU.

    Differentiable once in ``x``, ``values`` and ``bias``.

    Args:
        x: shape (B, columns).
        values: the weights, row by row, shape (nnz,), of ``x``'s type.
        bias: shape (rows,).
        columns: see :class:`~widthwise.sparse.pattern.Pattern`, as for all that follow.
        starts: of the rows.
        rows: of each value, columns first.
        row_starts: of the columns.
        order: of the values, columns first.
        clip: whether to set to zero what is below.
        batch_last: whether the result is to lie *batch last* in memory: strides (1, at least B).

    Returns:
        Shape (B, rows). The gradient of ``x`` lies batch last if ``x`` does.
    """
    result: Tensor = _call(x, values, bias, columns, starts, rows, row_starts, order, clip, batch_last)
    return result


def batch_first(x: Tensor) -> Tensor:
    """A batch-last ``x`` of shape (B, features) made contiguous."""
    result: Tensor = x if x.is_contiguous() else _turn(x)
    return result


def _forward(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, rows: Tensor, row_starts: Tensor,
    order: Tensor, clip: bool, batch_last: bool = True,
) -> Tensor:  # fmt: skip
    if x.shape[0] and is_native(x.device, x.dtype, columns.dtype, order.dtype):
        return _product.product(x, values, bias, columns, starts, clip, batch_last)
    return _fallback.product(x, values, bias, columns, rows, order, clip, batch_last)


def _fake_forward(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, rows: Tensor, row_starts: Tensor,
    order: Tensor, clip: bool, batch_last: bool = True,
) -> Tensor:  # fmt: skip
    return _like(x, bias.shape[0], batch_last)


def _backward(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor, columns: Tensor, rows: Tensor, row_starts: Tensor,
    order: Tensor, wants_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    if x.shape[0] and is_native(x.device, x.dtype, rows.dtype, order.dtype):
        return _product.gradients(dy, x, gate, values, rows, row_starts, order, wants_input)
    dx, change, total = _fallback.gradients(dy, x, gate, values, columns, rows, order)
    return dx if wants_input else dx.new_empty(0), change, total


def _fake_backward(
    dy: Tensor, x: Tensor, gate: Any, values: Tensor, columns: Any, rows: Any, row_starts: Any, order: Any,
    wants_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dx = _like(x, x.shape[1], _tiles.lies_batch_last(x)) if wants_input else x.new_empty(0)
    return dx, torch.empty_like(values), dy.new_empty(dy.shape[1])


_gradients = traceable("widthwise::sparse_linear_backward", _backward, fake=_fake_backward)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, values, _, columns, _, rows, row_starts, order, clip, _ = inputs
    ctx.save_for_backward(x, output if clip else None, values, columns, rows, row_starts, order)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx, change, total = _gradients(dy, *ctx.saved_tensors, ctx.needs_input_grad[0])
    return (dx if ctx.needs_input_grad[0] else None, change, total, *[None] * 7)


def _batch_first(x: Tensor) -> Tensor:
    if x.numel() and x.stride(0) == 1 and is_native(x.device, x.dtype):
        return _tiles.plain(x)
    return x.clone(memory_format=torch.contiguous_format)


def _like(x: Tensor, features: int, batch_last: bool) -> Tensor:
    if is_native(x.device, x.dtype):
        return _product.like(x, features, batch_last)
    return _fallback.laid(x.new_empty((x.shape[0], features)), batch_last)


sparse_linear_op, _call = operator(
    "widthwise::sparse_linear", _forward, fake=_fake_forward, keep=_keep, differentiate=_differentiate
)
_, _turn = operator(
    "widthwise::batch_first",
    _batch_first,
    fake=lambda x: x.new_empty(x.shape),
    keep=lambda ctx, inputs, output: None,
    differentiate=lambda ctx, dy: dy,
)
