"""Batches of one example or a few, where a call costs as much as its work."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from widthwise.sparse._cuts import bounds, pieces, shape
from widthwise.sparse._scratch import scratch, scratch_address
from widthwise.sparse._team import CHECKS, announce, run, threads
from widthwise.sparse._types import index_dtype, is_native, suffix

if TYPE_CHECKING:
    from widthwise.sparse.linear import SparseLinear

__all__ = ["SMALL", "product", "respond"]

SMALL = 7  # examples at most
_LANES = 8  # in which they lie side by side, or half as many

_CPU = torch.device("cpu")
_PURPOSE = "few examples"
_PLAIN = (Tensor, nn.Parameter)
_learns = torch.is_grad_enabled
_transforms = torch._C._are_functorch_transforms_active


def product(
    x: Tensor, values: Tensor, bias: Tensor, columns: Tensor, starts: Tensor, clip: bool, result: Tensor
) -> None:
    """Fill ``result`` with ``x W' + bias``, or its ReLU.

    Args:
        x: shape (B, columns), B from 1 to ``SMALL``; any strides.
        values: as for :func:`widthwise.sparse._product.product`, as are all but the last.
        bias: shape (rows,).
        columns: of each value.
        starts: of the rows.
        clip: whether to set to zero what is below.
        result: shape (B, rows), any strides; of one example contiguous.
    """
    batch, features = x.shape
    if batch == 1:
        x = x.contiguous()
    team, (stride, blocks), rows = threads(values.numel() * min(batch, 2)), shape(starts), bias.numel()
    if team == 1 and not CHECKS:
        kernel: Any = _kernel(batch == 1, x.dtype, columns.dtype)
        ends = (x.data_ptr(), result.data_ptr(), bias.data_ptr(), int(clip))
        lines = (values.data_ptr(), columns.data_ptr(), starts.data_ptr(), stride * blocks, rows, *ends)
        if batch == 1:
            kernel(*lines, values.numel())
        else:
            room = scratch_address(_PURPOSE, _LANES * features, x.dtype)
            kernel(*lines, *result.stride(), features, batch, *x.stride(), room)
        return
    parts, kind = pieces(team, 1), suffix(x.dtype, columns.dtype)
    work = (values, columns, starts, stride * blocks, bounds(starts, parts), parts)
    if batch == 1:
        run(f"one_{kind}", team, *work, x, result, bias, int(clip), values.numel(), 0, 0)
    else:
        packed = scratch(_PURPOSE, _LANES * features, x.dtype)
        run(f"spread_{suffix(x.dtype)}", 1, x, *x.stride(), batch, features, packed)
        run(f"few_{kind}", team, *work, packed, result, bias, int(clip), batch, *result.stride())


def respond(layer: SparseLinear, x: Tensor) -> Tensor | None:
    """What ``layer`` says to so few examples where nobody learns or traces; None where the usual way is to be taken.

    The numbers are the same. Addresses are asked for anew each time, so that a layer may change in any way.
    """
    if _learns() or type(x) is not Tensor or is_compiling() or _transforms() or CHECKS:
        return None
    (rows, features), size, dtype, count = layer.shape, x.shape, x.dtype, x.numel()
    values: Any = layer._parameters["values"]
    if not 0 < count <= SMALL * features or size[-1] != features or type(values) not in _PLAIN:
        return None
    if values.dtype is not dtype or not values.is_cpu or not x.is_cpu or not x.is_contiguous():
        return None
    batch, weights = count // features, values.numel()
    kernel = _kernel(batch == 1, dtype, index_dtype(features))
    if kernel is None or threads(weights if batch == 1 else 2 * weights) > 1:
        return None
    result = x.new_empty((batch, rows) if len(size) == 2 else (*size[:-1], rows))
    buffers: Any = layer._buffers
    bias = layer._parameters.get("bias")
    shift, clip = 0 if bias is None else bias.data_ptr(), 1 if layer.clip else 0
    places, starts = buffers["column_bytes"].data_ptr(), buffers["pointers"].data_ptr()
    if batch == 1:
        kernel(values.data_ptr(), places, starts, 1, rows, x.data_ptr(), result.data_ptr(), shift, clip, weights)
    else:
        room = scratch_address(_PURPOSE, _LANES * features, dtype)
        kernel(
            values.data_ptr(), places, starts, 1, rows, x.data_ptr(), result.data_ptr(), shift, clip, rows, 1, features,
            batch, features, 1, room,
        )  # fmt: skip
    return result


@lru_cache(maxsize=256)
def _kernel(alone: bool, dtype: torch.dtype, columns: torch.dtype) -> Callable[..., None] | None:
    """What runs at once, for one example or several; None if there is nothing for the types."""
    if not is_native(_CPU, dtype, columns):
        return None
    name = f"{'one' if alone else 'few'}_now_{suffix(dtype, columns)}"
    announce(name)
    from widthwise.sparse._kernels.build import direct  # it takes a while to load

    return direct(name)
