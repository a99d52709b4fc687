"""The operators of sparse layers, registered with PyTorch: autograd, ``torch.compile`` and ``torch.export`` know them.

Each has kernels for float32 and float64 on CPUs, and says the same in plain PyTorch for all else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from widthwise.sparse import _fallback, _product, _tiles
from widthwise.sparse._types import is_native

__all__ = ["batch_first", "sparse_linear"]


def sparse_linear(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, rows: Tensor, row_starts: Tensor,
    order: Tensor, clip: bool,
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

    Returns:
        Shape (B, rows), *batch last* in memory: strides (1, at least B).
    """
    # The registered operator is for those who trace; PyTorch takes three times as long over calling one.
    call: Any = sparse_linear_op if torch.compiler.is_compiling() or type(x) is not Tensor else _SparseLinear.apply
    result: Tensor = call(x, values, bias, columns, starts, rows, row_starts, order, clip)
    return result


def _sparse_linear(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, rows: Tensor, row_starts: Tensor,
    order: Tensor, clip: bool,
) -> Tensor:  # fmt: skip
    if x.shape[0] and is_native(x.device, x.dtype, columns.dtype, order.dtype):
        return _product.product(x, values, bias, columns, starts, clip)
    return _fallback.product(x, values, bias, columns, rows, order, clip)


sparse_linear_op = torch.library.custom_op("widthwise::sparse_linear", _sparse_linear, mutates_args=())


def _sparse_linear_backward(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor, columns: Tensor, rows: Tensor, row_starts: Tensor,
    order: Tensor, wants_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    if x.shape[0] and is_native(x.device, x.dtype, rows.dtype, order.dtype):
        return _product.gradients(dy, x, gate, values, rows, row_starts, order, wants_input)
    dx, change, total = _fallback.gradients(dy, x, gate, values, columns, rows, order)
    return dx if wants_input else dx.new_empty(0), change, total


_sparse_linear_backward_op = torch.library.custom_op(
    "widthwise::sparse_linear_backward", _sparse_linear_backward, mutates_args=()
)


@torch.library.custom_op("widthwise::batch_first", mutates_args=())
def batch_first(x: Tensor) -> Tensor:
    """A contiguous copy of a batch-last ``x`` of shape (B, features)."""
    if x.numel() and x.stride(0) == 1 and is_native(x.device, x.dtype):
        return _tiles.plain(x)
    return x.clone(memory_format=torch.contiguous_format)


@sparse_linear_op.register_fake
def _(x: Tensor, values: Tensor, bias: Tensor, *rest: Any) -> Tensor:
    return _like_batch_last(x, bias.shape[0])


@_sparse_linear_backward_op.register_fake
def _(
    dy: Tensor, x: Tensor, gate: Any, values: Tensor, columns: Any, rows: Any, row_starts: Any, order: Any,
    wants_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dx = _like_batch_last(x, x.shape[1]) if wants_input else x.new_empty(0)
    return dx, torch.empty_like(values), dy.new_empty(dy.shape[1])


@batch_first.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _like_batch_last(x: Tensor, features: int) -> Tensor:
    batch = x.shape[0]
    native = x.device.type == "cpu" and is_native(x.device, x.dtype)
    pitch = _tiles.tiling(batch, x.dtype).examples if native else batch
    return x.new_empty((features, pitch))[:, :batch].t()


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, values, _, columns, _, rows, row_starts, order, clip = inputs
    ctx.save_for_backward(x, output if clip else None, values, columns, rows, row_starts, order)


def _differentiate(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
    (dy,) = slopes
    call: Any = (
        _sparse_linear_backward_op
        if torch.compiler.is_compiling() or type(dy) is not Tensor
        else _sparse_linear_backward
    )
    dx, change, total = call(dy, *ctx.saved_tensors, ctx.needs_input_grad[0])
    return (dx if ctx.needs_input_grad[0] else None, change, total, None, None, None, None, None, None)


class _SparseLinear(torch.autograd.Function):
    forward = staticmethod(_sparse_linear)
    setup_context = staticmethod(_keep)
    backward = staticmethod(torch.autograd.function.once_differentiable(_differentiate))  # type: ignore[assignment]


sparse_linear_op.register_autograd(_differentiate, setup_context=_keep)
batch_first.register_autograd(lambda ctx, dy: dy)
