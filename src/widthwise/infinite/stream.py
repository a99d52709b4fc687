"""Gram matrices larger than memory: some rows at a time, to the caller or to a file."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from widthwise._atomic import atomic_path
from widthwise.errors import InputError, check_choice, check_integer
from widthwise.infinite.chain import Chain
from widthwise.infinite.inputs import check_pair
from widthwise.infinite.spread import spread_tiles
from widthwise.infinite.task import Task, Tile, parts

__all__ = ["blocks", "save"]

BLOCK = 1 << 26
"""Bytes of a block of rows by default."""


def blocks(
    network: Chain, x1: Tensor, x2: Tensor | None, kernel: str, rows: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield some rows of a Gram matrix at a time, every row whole."""
    task = _task(network, x1, x2, kernel)
    return _rows(task, _step(rows, task.shape[1] * x1.element_size()), x1)


def _rows(task: Task, step: int, like: Tensor) -> Iterator[tuple[slice, Tensor]]:
    n1, n2 = task.shape
    for start in range(0, n1, step):
        some = slice(start, min(start + step, n1))
        out = like.new_empty(some.stop - some.start, n2)
        with torch.no_grad():
            for tile in task.tiles(some):
                (part,) = parts(tile)
                out[tile.left.start - start : tile.left.stop - start, tile.right] = part
        yield some, out


def save(
    network: Chain,
    path: str | Path,
    x1: Tensor,
    x2: Tensor | None,
    kernel: str,
    watch: Callable[[float, float, str], None] | None,
    jobs: int | None = None,
    ray: str | None = None,
) -> Path:
    """Write a Gram matrix to an .npy file, of which no more than a block is held in memory."""
    task, target = _task(network, x1, x2, kernel), Path(path)
    if target.suffix != ".npy":
        raise InputError(f"path: got {str(path)!r}, allowed is a name that ends in .npy")
    dtype = torch.empty(0, dtype=x1.dtype).numpy().dtype
    with atomic_path(target) as part, part.open("w+b") as file, torch.no_grad():
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": task.shape}
        np.lib.format.write_array_header_1_0(file, header)
        offset, size = file.tell(), task.shape[0] * task.shape[1] * dtype.itemsize
        _reserve(file.fileno(), offset + size)
        with mmap.mmap(file.fileno(), offset + size) as memory:
            whole = torch.frombuffer(memory, dtype=x1.dtype, offset=offset).view(task.shape)
            with _tiles(network, target, x1, x2, kernel, task, jobs, ray) as tiles:
                _fill(whole, task, tiles, memory, watch)
            del whole  # the map cannot close while a tensor looks into it
    return target


def _reserve(handle: int, size: int) -> None:
    """Make a file so large, on the disk too where that can be done: a full disk kills whoever writes to its map."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)


@contextmanager
def _tiles(
    network: Chain,
    target: Path,
    x1: Tensor,
    x2: Tensor | None,
    kernel: str,
    task: Task,
    jobs: int | None,
    ray: str | None,
) -> Iterator[Iterator[Tile]]:
    """The tiles of a matrix, worked out here or by workers."""
    if jobs is None and ray is None:
        yield task.tiles()
        return
    rows = max(1, BLOCK // (task.shape[1] * x1.element_size()))
    with spread_tiles(network, target, x1, x2, kernel, rows, jobs, ray) as tiles:
        yield tiles


def _fill(
    whole: Tensor,
    task: Task,
    tiles: Iterator[Tile],
    memory: mmap.mmap,
    watch: Callable[[float, float, str], None] | None,
) -> None:
    """Write tile by tile and let go of what is written."""
    n1 = task.shape[0]
    held, done = 0, 0
    for tile in tiles:
        (part,) = parts(tile)
        task.put(whole, tile, part.to(whole.device))
        held += part.numel() * part.element_size()
        if held > BLOCK:
            _release(memory)
            held = 0
        if watch is not None and tile.left.start != done:
            done = tile.left.start
            watch(_share(done, n1, task.symmetric), 1, f"row {done} of {n1}")


def _share(done: int, n: int, symmetric: bool) -> float:
    """Of the tiles, how many there are in the rows done."""
    rows = done / n
    return rows * (2 - rows) if symmetric else rows


def _release(memory: mmap.mmap) -> None:
    """Write dirty pages and forget them: they stay in the file."""
    memory.flush()
    if hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)


def _step(rows: int | None, row_bytes: int) -> int:
    if rows is None:
        return max(1, BLOCK // row_bytes)
    return check_integer("rows", rows, low=1)


def _task(network: Chain, x1: Tensor, x2: Tensor | None, kernel: str) -> Task:
    check_choice("kernel", kernel, ("nngp", "ntk"))
    check_pair(x1, x2)
    with torch.no_grad():
        return Task.of(network, x1, x2, nngp=kernel == "nngp", ntk=kernel == "ntk")
