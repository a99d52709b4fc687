"""The operator of sparse convolutions, registered with PyTorch as that of :mod:`widthwise.sparse.ops` is."""

from __future__ import annotations

import typing
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from widthwise.sparse import _convolution, _fallback_conv
from widthwise.sparse._geometry import Geometry
from widthwise.sparse._operator import operator, traceable
from widthwise.sparse._types import is_native

__all__ = ["sparse_conv2d"]

_geometry = lru_cache(maxsize=256)(Geometry.of)


def sparse_conv2d(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, entries: Tensor, line_starts: Tensor,
    order: Tensor, clip: bool, geometry: list[int],
) -> Tensor:  # fmt: skip
    """The convolution of pictures with a sparse weight, and with ``clip`` its ReLU.

    Differentiable once in ``x``, ``values`` and ``bias``.

    Args:
        x: shape (N, C, H, W).
        values: the weights, row by row, shape (nnz,), of ``x``'s type.
        bias: shape (rows,).
        columns: ``(channel * kernel height + line) * kernel width + column`` of each value.
        starts: of the rows, see :class:`~widthwise.sparse.pattern.Pattern`, as for all that follow.
        entries: of each value, channels and phases first.
        line_starts: of the channels and phases.
        order: of the values, channels and phases first.
        clip: whether to set to zero what is below.
        geometry: of both axes in turn: taps, strides, zeros before, zeros after, dilations; and the groups.

    Returns:
        Shape (N, rows, H', W'), *batch last* in memory, without gaps.
    """
    result: Tensor = _call(x, values, bias, columns, starts, entries, line_starts, order, clip, geometry)
    return result


# The schema is made of the annotations; PyTorch 2.6 knows typing.Sequence there, not yet list.
def _forward(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, entries: Tensor, line_starts: Tensor,
    order: Tensor, clip: bool, geometry: typing.Sequence[int],
) -> Tensor:  # fmt: skip
    if x.shape[0] and is_native(x.device, x.dtype, columns.dtype, order.dtype):
        axes = _geometry((x.shape[2], x.shape[3]), tuple(geometry))
        return _convolution.product(x, values, bias, columns, starts, clip, axes)
    return _fallback_conv.product(x, values, bias, columns, entries, order, clip, list(geometry))


def _backward(
    dy: Tensor, x: Tensor, gate: Tensor | None, values: Tensor, columns: Tensor, entries: Tensor, line_starts: Tensor,
    order: Tensor, wants_input: bool, wants_bias: bool, geometry: typing.Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    if x.shape[0] and is_native(x.device, x.dtype, entries.dtype, order.dtype):
        axes = _geometry((x.shape[2], x.shape[3]), tuple(geometry))
        return _convolution.gradients(dy, x, gate, values, entries, line_starts, order, wants_input, wants_bias, axes)
    dx, change, total = _fallback_conv.gradients(dy, x, gate, values, columns, entries, order, list(geometry))
    return dx if wants_input else dx.new_empty(0), change, total if wants_bias else total.new_empty(0)


def _fake_forward(x: Tensor, values: Tensor, bias: Tensor, *rest: Any) -> Tensor:
    axes = Geometry.of((x.shape[2], x.shape[3]), rest[-1])
    return x.new_empty((bias.shape[0], *axes.size, x.shape[0])).permute(3, 0, 1, 2)


def _fake_backward(
    dy: Tensor, x: Tensor, gate: Any, values: Tensor, columns: Any, entries: Any, line_starts: Any, order: Any,
    wants_input: bool, wants_bias: bool, geometry: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dx = x.new_empty((*x.shape[1:], x.shape[0])).permute(3, 0, 1, 2) if wants_input else x.new_empty(0)
    return dx, torch.empty_like(values), dy.new_empty(dy.shape[1] if wants_bias else 0)


_gradients = traceable("widthwise::sparse_conv2d_backward", _backward, fake=_fake_backward)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, values, _, columns, _, entries, line_starts, order, clip, geometry = inputs
    ctx.save_for_backward(x, output if clip else None, values, columns, entries, line_starts, order)
    ctx.geometry = geometry


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    wants_input, _, wants_bias = ctx.needs_input_grad[:3]
    dx, change, total = _gradients(dy, *ctx.saved_tensors, wants_input, wants_bias, ctx.geometry)
    return (dx if wants_input else None, change, total if wants_bias else None, *[None] * 7)


_, _call = operator("widthwise::sparse_conv2d", _forward, fake=_fake_forward, keep=_keep, differentiate=_differentiate)
