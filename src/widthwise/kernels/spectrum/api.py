"""The public function: arguments checked, place found, stages run one after the other."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import Tensor

from widthwise._atomic import write_text
from widthwise._jsonfile import read_json
from widthwise._memory import check_room, gib
from widthwise.activations import Activation, ActivationLike, get
from widthwise.errors import (
    DataError,
    InputError,
    InputTypeError,
    check_choice,
    check_integer,
    check_number,
    check_type,
)
from widthwise.executor import executing
from widthwise.kernels._check import as_float64, check_data
from widthwise.kernels.spectrum.limit import LimitKernel
from widthwise.kernels.spectrum.spread import Spread
from widthwise.kernels.spectrum.stages import Spectrum, Stages, Watch

__all__ = ["Spectrum", "extreme_eigenvalues"]


def extreme_eigenvalues(
    x: Tensor,
    activation: ActivationLike = "relu",
    *,
    folder: str | os.PathLike[str] | None = None,
    precision: str = "double",
    tile: int = 3000,
    tolerance: float = 1e-6,
    keep: bool = False,
    jobs: int | None = None,
    ray: str | None = None,
    progress: Watch | None = None,
) -> Spectrum:
    """The largest eigenvalue of X^T X and the smallest of H = f(X X^T), the limiting kernel of a trained first layer.

    H is factorised tile by tile, never stored itself; its lowest eigenvectors come from Lanczos on its inverse and are
    then corrected against H, recomputed in double precision from the data, until the residual is small. An eigenvalue
    of H lies within the residual's norm; that it is the smallest rests on Lanczos having found it from a random start.

    In a ``folder`` every tile is a file, written once, and so is each sum over a column of tiles as corrections go. The
    same call after a kill goes on where the other was; a folder that holds the result returns it at once. The operating
    system keeps of the files in memory what fits, so that n = 60 000 (14.4 GB of tiles, 7.2 in single precision) runs
    in whatever there is. In the end the tiles are removed.

    With ``jobs`` or ``ray`` tiles are worked out by several workers, to the same result bit for bit where they have
    processors of one kind; each has as many threads as PyTorch has here.

    Args:
        x: rows of unit norm, ``(n, d)``, as :func:`prepare_rows` gives; on the device to work on.
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        folder: where to keep tiles and result; in memory if omitted.
        precision: of the factor, ``"double"`` or, in half the time and space, ``"single"``, which takes one or two
            corrections more. The result is that of double precision either way.
        tile: rows of a tile.
        tolerance: residual of the smallest eigenvalue, relative to it. The eigenvalue's own error is of the square.
        keep: whether the tiles stay when the result is there.
        jobs: processes that work out tiles; this one alone if omitted.
        ray: address of a Ray cluster to do so, or ``"local"``; all its nodes must see the folder.
        progress: called with what is done, of how much, in which stage.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if the rows are not finite or not of unit norm, two are equal, the tiles fit nowhere, the folder
            is that of another task, or workers are asked for without a folder or on a GPU.
        OSError: if the cluster cannot be reached, or a worker fails.

    Example:
        >>> rows = torch.eye(3, dtype=torch.float64)
        >>> found = extreme_eigenvalues(rows)
        >>> round(found.largest, 12), round(found.smallest, 12), round(found.kappa(), 12)
        (1.0, 0.5, 2.0)
    """
    chosen = get(activation)
    rows = _unit(as_float64(check_data(x)))
    check_choice("precision", precision, ("double", "single"))
    check_integer("tile", tile, 1)
    check_number("tolerance", tolerance, 0, 1, low_open=True)
    dtype = torch.float64 if precision == "double" else torch.float32
    place = None if folder is None else Path(folder)
    done = None if place is None else _opened(place, rows, chosen.name, tile, precision)
    if done is not None:
        return done
    _check_room(len(rows), dtype.itemsize, place, rows.device)
    kernel = LimitKernel(rows, chosen, tile)
    if not 0 < kernel.diagonal < math.inf:
        raise InputError(
            f"activation: got {chosen.name}, with {kernel.diagonal:g} on the diagonal of its kernel; allowed is one "
            "without jumps, and with a slope"
        )
    with _workers(kernel, chosen, place, dtype, jobs, ray) as spread:
        stages = Stages(kernel, place, dtype, progress or (lambda done, total, what: None), spread)
        result = stages.spectrum(tolerance)
    if place is not None:
        write_text(place / "result.json", json.dumps(asdict(result), indent=2) + "\n")
        stages.kept.clear()
        if not keep:
            stages.tiles.clear()
    return result


@contextmanager
def _workers(
    kernel: LimitKernel,
    activation: Activation,
    folder: Path | None,
    dtype: torch.dtype,
    jobs: int | None,
    ray: str | None,
) -> Iterator[Spread | None]:
    """Those asked for, or none."""
    if jobs is None and ray is None:
        yield None
        return
    if folder is None or kernel.x.device.type != "cpu":
        raise InputError(
            "folder: workers share tiles through a folder and work on CPUs; allowed is folder=..., x on the CPU"
        )
    with executing(jobs, ray, threads=torch.get_num_threads(), log=folder / "workers.log") as executor:
        spread = Spread(kernel, activation, folder, dtype, executor)
        try:
            yield spread
        finally:
            spread.clear()


def _unit(x: Tensor) -> Tensor:
    norms = x.norm(dim=1)
    off = (norms - 1).abs()
    if float(off.max()) > 1e-5:
        i = int(off.argmax())
        raise InputError(f"x: row {i} has norm {float(norms[i]):.6g}, allowed are rows of norm 1 (see prepare_rows)")
    unit: Tensor = x / norms[:, None]
    return unit


def _opened(folder: Path, x: Tensor, activation: str, tile: int, precision: str) -> Spectrum | None:
    """The result a folder holds, if any; a new folder is marked as that of this task."""
    digest = hashlib.sha256(x.cpu().numpy().tobytes()).hexdigest()
    task = {"rows": digest, "n": len(x), "activation": activation, "tile": tile, "precision": precision}
    folder.mkdir(parents=True, exist_ok=True)
    label = folder / "task.json"
    if not label.exists():
        write_text(label, json.dumps(task, indent=2) + "\n")
    found = read_json(label)
    if found != task:
        differs = sorted(key for key in task if found.get(key) != task[key])
        raise InputError(f"folder: {folder} holds another task ({', '.join(differs)} differ), allowed is a new folder")
    result = folder / "result.json"
    return _result(result, len(x)) if result.exists() else None


def _result(path: Path, n: int) -> Spectrum:
    """The result in a file of this very task."""
    found = read_json(path)
    names = [field.name for field in fields(Spectrum) if field.name != "n"]
    try:
        if found.get("n") == n and found.keys() == {"n", *names}:
            return Spectrum(n, *(float(check_type(name, found[name], float)) for name in names))
    except InputTypeError:
        pass
    raise DataError(f"{path}: is not the spectrum of {n} rows, allowed is what an earlier run wrote there; remove it")


def _check_room(n: int, itemsize: int, folder: Path | None, device: torch.device) -> None:
    need = n * (n + 1) // 2 * itemsize
    if folder is None:
        check_room("x: the factor", need, "is folder=... on a disk", device, share=0.9)
        return
    have = shutil.disk_usage(folder).free + sum(p.stat().st_size for p in folder.glob("tile-*.npy"))
    if need > have:
        raise InputError(f"folder: the factor takes {gib(need)} and {folder} has {gib(have)} free")
