"""Tiles of a Gram matrix worked out by processes or by a Ray cluster: the same tiles, each by one worker.

A worker reads the inputs from a file beside the matrix and takes each of them through the network once; tiles travel
back to the process that writes the matrix. It does what one process would, so on processors of one kind the matrix is
the same to the last bit.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.executor import executing
from widthwise.executor.gather import gather
from widthwise.infinite.chain import Chain
from widthwise.infinite.task import Task, Tile, parts

__all__ = ["spread_tiles"]

_NAMES = ("x1.npy", "x2.npy")


@dataclass(frozen=True)
class _Job:
    """What a worker must know to work out any tile.

    Attributes:
        folder: of the inputs; no two jobs share one.
        kernel: ``"nngp"`` or ``"ntk"``.
        network: of infinite width.
    """

    folder: str
    kernel: str
    network: Chain = field(compare=False)


@contextmanager
def spread_tiles(
    network: Chain,
    beside: Path,
    x1: Tensor,
    x2: Tensor | None,
    kernel: str,
    rows: int,
    jobs: int | None,
    ray: str | None,
) -> Iterator[Iterator[Tile]]:
    """The tiles of a matrix, in the order of :meth:`Task.tiles`, made by workers.

    Args:
        network: of infinite width.
        beside: a file in whose folder the inputs are put meanwhile.
        x1: inputs, on the CPU.
        x2: further inputs, if any.
        kernel: ``"nngp"`` or ``"ntk"``.
        rows: of the matrix that a worker returns at a time, about.
        jobs: how many workers.
        ray: address of a cluster.

    Raises:
        InputError: if the inputs are on another device.
        OSError: if a worker fails.
    """
    if x1.device.type != "cpu":
        raise InputError(f"x1: got inputs on {x1.device}, allowed with workers are inputs on the CPU")
    with tempfile.TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent) as folder:
        for name, x in zip(_NAMES, (x1, x2), strict=True):
            if x is not None:
                np.save(Path(folder, name), x.detach().numpy(), allow_pickle=False)
        job = _Job(str(Path(folder).absolute()), kernel, network)
        with executing(jobs, ray, threads=torch.get_num_threads()) as executor:
            bands = [(job, start, start + rows) for start in range(0, len(x1), rows)]
            yield (_tile(kernel, *found) for made in gather(executor, _work, bands) for found in made)


def _tile(kernel: str, left: slice, right: slice, part: Any) -> Tile:
    values = torch.from_numpy(np.array(part))
    return Tile(left, right, *((values, None) if kernel == "nngp" else (None, values)))


@functools.lru_cache(maxsize=1)
def _opened(job: _Job) -> Task:
    pair = [_read(Path(job.folder, name)) for name in _NAMES]
    if pair[0] is None:
        raise FileNotFoundError(f"{job.folder} is not there on this node; write to a folder that all nodes share")
    with torch.no_grad():
        return Task.of(job.network, pair[0], pair[1], nngp=job.kernel == "nngp", ntk=job.kernel == "ntk")


def _read(path: Path) -> Tensor | None:
    return torch.from_numpy(np.load(path, allow_pickle=False)) if path.is_file() else None


def _work(job: _Job, start: int, stop: int) -> list[tuple[slice, slice, Any]]:
    with torch.no_grad():
        tiles = _opened(job).tiles(band=slice(start, stop))
        return [(tile.left, tile.right, parts(tile)[0].numpy().copy()) for tile in tiles]
