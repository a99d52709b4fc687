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
from widthwise.sparse._team import CHECKS, run, threads
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
    team, (stride, blocks), rows = _team(batch, values), shape(starts), bias.numel()
    if team == 1 and not CHECKS:
        lines = (values.data_ptr(), columns.data_ptr(), starts.data_ptr(), stride * blocks, rows)
        ends = (result.data_ptr(), *result.stride(), bias.data_ptr(), int(clip))
        _fill(x, (batch, *x.stride()), lines, ends, values.numel())
        return
    parts, kind = pieces(team, 1), suffix(x.dtype, columns.dtype)
    work = (values, columns, starts, stride * blocks, bounds(starts, parts), parts)
    if batch == 1:
        run(f"one_{kind}", team, *work, x, result, bias, int(clip), values.numel())
    else:
        packed = scratch(_PURPOSE, _LANES * features, x.dtype)
        run(f"spread_{suffix(x.dtype)}", 1, x, *x.stride(), batch, features, packed)
        run(f"few_{kind}", team, *work, packed, batch, result, *result.stride(), bias, int(clip))


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
    if _team(batch, values) > 1 or _kernel(batch == 1, dtype, features) is None:
        return None
    result = x.new_empty((batch, rows) if len(size) == 2 else (*size[:-1], rows))
    buffers: Any = layer._buffers
    columns, starts, bias = buffers["column_bytes"], buffers["pointers"], layer._parameters.get("bias")
    lines = (values.data_ptr(), columns.data_ptr(), starts.data_ptr(), 1, rows)
    ends = (result.data_ptr(), rows, 1, 0 if bias is None else bias.data_ptr(), int(layer.clip))
    _fill(x, (batch, features, 1), lines, ends, weights)
    return result


def _fill(x: Tensor, sizes: tuple[int, ...], lines: tuple[int, ...], ends: tuple[int, ...], weights: int) -> None:
    """Calls the kernel: ``sizes`` are the number of examples and their strides, ``ends`` what follows ``x``."""
    batch, features = sizes[0], x.shape[-1]
    kernel: Any = _kernel(batch == 1, x.dtype, features)
    if batch == 1:
        kernel(*lines, x.data_ptr(), *ends, weights)
    else:
        kernel(*lines, x.data_ptr(), *ends, features, *sizes, scratch_address(_PURPOSE, _LANES * features, x.dtype))


def _team(batch: int, values: Tensor) -> int:
    return threads(values.numel() * min(batch, 2))


@lru_cache(maxsize=256)
def _kernel(alone: bool, dtype: torch.dtype, features: int) -> Callable[..., None] | None:
    """What runs at once, for one example or several; None if there is nothing for the type."""
    columns = index_dtype(features)
    if not is_native(_CPU, dtype, columns):
        return None
    from widthwise.sparse._native import direct  # it takes a while to load

    return direct(f"{'one' if alone else 'few'}_now_{suffix(dtype, columns)}")
