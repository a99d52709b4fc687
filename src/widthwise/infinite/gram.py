"""Gram matrices that fit into memory, and their diagonals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from widthwise.infinite.chain import Chain
from widthwise.infinite.inputs import check_inputs, check_pair
from widthwise.infinite.memory import check_fits
from widthwise.infinite.task import Task, parts
from widthwise.infinite.tracing import check_flat, chunks, opened

__all__ = ["diagonal", "gram"]


def gram(network: Chain, x1: Tensor, x2: Tensor | None, *, nngp: bool, ntk: bool) -> tuple[Tensor, ...]:
    """Return the wanted kernels of two sets of inputs, or of one with itself."""
    check_pair(x1, x2)
    if torch.is_grad_enabled() and (x1.requires_grad or (x2 is not None and x2.requires_grad)):
        return _differentiable(Task.of(network, x1, x2, nngp=nngp, ntk=ntk))
    with torch.no_grad():
        n1, n2 = len(x1), len(x1 if x2 is None else x2)
        check_fits(n1, n2, x1, nngp + ntk)
        task = Task.of(network, x1, x2, nngp=nngp, ntk=ntk)
        out = tuple(_empty(n1, n2, x1) for _ in range(nngp + ntk))
        for tile in task.tiles():
            for whole, part in zip(out, parts(tile), strict=True):
                task.put(whole, tile, part)
        return out


def _empty(n1: int, n2: int, like: Tensor) -> Tensor:
    """A matrix for results; on a CPU NumPy's, whose large arrays lie on huge pages, which are had sooner."""
    if like.device.type != "cpu":
        return like.new_empty(n1, n2)
    return torch.from_numpy(np.empty((n1, n2), np.float64 if like.dtype == torch.float64 else np.float32))


def diagonal(network: Chain, x: Tensor, *, ntk: bool = True) -> tuple[Tensor, ...]:
    """Return the NNGP and, if wanted, the NTK of each input with itself, ``(n,)``."""
    start = opened(network, check_inputs("x", x))
    pieces = []
    for rows in chunks(start):
        some = start[rows]
        trace, after = network.trace(some.rows(ntk))
        pair = network.pairs(some.own(ntk), trace, trace)
        check_flat(pair)
        found = [after.r.square()] if pair.ntk is None else [after.r.square(), pair.ntk.expand_as(after.r)]
        pieces.append([kernel.to(x.dtype) for kernel in found])
    return tuple(torch.cat(kernel) for kernel in zip(*pieces, strict=True))


def _differentiable(task: Task) -> tuple[Tensor, ...]:
    """All in one tile, as part of autograd's graph."""
    n1, n2 = task.shape
    found = parts(task.tile(slice(0, n1), slice(0, n2)))
    return tuple(part.triu() + part.triu(1).mT for part in found) if task.symmetric else found
