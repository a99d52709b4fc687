"""The public function: arguments checked, place found, stages run one after the other."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widthwise._atomic import atomic_path, write_text
from widthwise._memory import available_memory, gib
from widthwise.activations import ActivationLike, get
from widthwise.errors import DataError, InputError, check_choice, check_integer, check_number
from widthwise.kernels._check import as_float64, check_data
from widthwise.kernels.spectrum.chernoff import chernoff_width
from widthwise.kernels.spectrum.cholesky import factorise, solve
from widthwise.kernels.spectrum.iterate import inverse_lanczos, refine
from widthwise.kernels.spectrum.limit import LimitKernel
from widthwise.kernels.spectrum.tiles import Tiles

__all__ = ["Spectrum", "extreme_eigenvalues"]

Watch = Callable[[float, float, str], None]
_WANTED = 4  # vectors carried, so that close neighbours of the smallest eigenvalue do not slow it down
_SINGULAR = 1e-7  # of the diagonal: equal rows differ by so much in rounding, cosines being near 1


@dataclass(frozen=True)
class Spectrum:
    """The two eigenvalues that decide how wide a network must be.

    Attributes:
        n: number of rows.
        largest: largest eigenvalue of X^T X, which is |X|^2.
        largest_error: bound on its error, the norm of its residual.
        smallest: smallest eigenvalue of H.
        smallest_error: norm of its residual in double precision: an eigenvalue of H lies so near.
        second: the next eigenvalue of H, about.
    """

    n: int
    largest: float
    largest_error: float
    smallest: float
    smallest_error: float
    second: float

    def kappa(self, lipschitz: float = 1.0) -> float:
        """The condition (40), ``B^2 |X|^2 / lambda_min(H)``, for an activation with ``|phi'| <= B = lipschitz``."""
        return check_number("lipschitz", lipschitz, 0, low_open=True) ** 2 * self.largest / self.smallest

    def width(self, *, delta: float = 0.5, failure: float = 0.01, lipschitz: float = 1.0) -> int:
        """The width the matrix Chernoff bound asks for, see :func:`chernoff_width`."""
        return chernoff_width(self.kappa(lipschitz), self.n, delta=delta, failure=failure)


def extreme_eigenvalues(
    x: Tensor,
    activation: ActivationLike = "relu",
    *,
    folder: str | os.PathLike[str] | None = None,
    precision: str = "double",
    tile: int = 3000,
    tolerance: float = 1e-6,
    keep: bool = False,
    progress: Watch | None = None,
) -> Spectrum:
    """The largest eigenvalue of X^T X and the smallest of H = f(X X^T), the limiting kernel of a trained first layer.

    H is factorised tile by tile, never stored itself; its lowest eigenvectors come from Lanczos on its inverse and are
    then corrected against H, recomputed in double precision from the data, until the residual is small. An eigenvalue
    of H lies within the residual's norm; that it is the smallest rests on Lanczos having found it from a random start.

    In a ``folder`` every tile is a file, written once. The same call after a kill goes on where the other was; a folder
    that holds the result returns it at once. The operating system keeps of the files in memory what fits, so that
    n = 60 000 (14.4 GB of tiles, 7.2 in single precision) runs in whatever there is. In the end the tiles are removed.

    Args:
        x: rows of unit norm, ``(n, d)``, as :func:`prepare_rows` gives; on the device to work on.
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        folder: where to keep tiles and result; in memory if omitted.
        precision: of the factor, ``"double"`` or, in half the time and space, ``"single"``, which takes one or two
            corrections more. The result is that of double precision either way.
        tile: rows of a tile.
        tolerance: residual of the smallest eigenvalue, relative to it. The eigenvalue's own error is of the square.
        keep: whether the tiles stay when the result is there.
        progress: called with what is done, of how much, in which stage.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if the rows are not finite or not of unit norm, two are equal, the tiles fit nowhere, or the folder
            is that of another task.

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
    run = _Run(LimitKernel(rows, chosen, tile), place, dtype, progress or (lambda done, total, what: None))
    result = run.spectrum(tolerance)
    if place is not None:
        write_text(place / "result.json", json.dumps(asdict(result), indent=2) + "\n")
        if not keep:
            run.tiles.clear()
    return result


class _Run:
    """The stages of one task.

    Args:
        kernel: H.
        folder: where it is kept, if anywhere.
        dtype: of the factor.
        watch: what to call on the way.
    """

    def __init__(self, kernel: LimitKernel, folder: Path | None, dtype: torch.dtype, watch: Watch) -> None:
        self.kernel, self.folder, self.dtype, self.watch = kernel, folder, dtype, watch
        self.tiles = Tiles(folder, kernel.x.device)

    def spectrum(self, tolerance: float) -> Spectrum:
        """Both ends."""
        largest, largest_error = _largest(self.kernel.x)
        factorise(self.kernel, self.tiles, self.dtype, lambda done: self.watch(done, 1, "factor"))
        vectors = self._vectors(tolerance)
        values, _, residuals = refine(self._apply, self._solve, vectors, tolerance)
        if float(values[0]) <= _SINGULAR * self.kernel.diagonal:
            raise InputError(
                f"x: the smallest eigenvalue of its kernel is {float(values[0]):.3g}, zero to rounding; allowed are "
                "rows of which no two are equal or nearly so"
            )
        second = float(values[1]) if len(values) > 1 else float("inf")
        n = len(self.kernel.x)
        return Spectrum(n, largest, largest_error, float(values[0]), float(residuals[0]), second)

    def _vectors(self, tolerance: float) -> Tensor:
        """The lowest eigenvectors by Lanczos, or as an earlier run left them."""
        device = self.kernel.x.device
        path = None if self.folder is None else self.folder / "vectors.npy"
        if path is not None and path.exists():
            return torch.from_numpy(np.load(path, allow_pickle=False)).to(device)
        n = len(self.kernel.x)
        start = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
        vectors = inverse_lanczos(self._solve, start, min(_WANTED, n), max(tolerance / 10, self._rounding))
        if path is not None:
            with atomic_path(path) as part, part.open("wb") as file:
                np.save(file, vectors.cpu().numpy(), allow_pickle=False)
        return vectors

    @property
    def _rounding(self) -> float:
        return 100 * torch.finfo(self.dtype).eps

    def _solve(self, v: Tensor) -> Tensor:
        self.watch(0, 1, "solve")
        return solve(self.kernel, self.tiles, v)

    def _apply(self, v: Tensor) -> Tensor:
        return self.kernel.apply(v, lambda done: self.watch(done, 1, "residual"))


def _largest(x: Tensor) -> tuple[float, float]:
    gram = x.mT @ x if x.shape[1] <= len(x) else x @ x.mT
    values, vectors = torch.linalg.eigh(gram)
    top = vectors[:, -1]
    return float(values[-1]), float((gram @ top - values[-1] * top).norm())


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
    found = _read(label)
    if found != task:
        differs = sorted(key for key in task if found.get(key) != task[key])
        raise InputError(f"folder: {folder} holds another task ({', '.join(differs)} differ), allowed is a new folder")
    result = folder / "result.json"
    return Spectrum(**_read(result)) if result.exists() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}), allowed is what an earlier run wrote there") from None
    return found


def _check_room(n: int, itemsize: int, folder: Path | None, device: torch.device) -> None:
    need = n * (n + 1) // 2 * itemsize
    if folder is None:
        free = available_memory(device)
        if free is not None and need > 0.9 * free:
            raise InputError(
                f"x: the factor takes {gib(need)} and {gib(free)} are free; allowed is folder=... on a disk"
            )
        return
    have = shutil.disk_usage(folder).free + sum(p.stat().st_size for p in folder.glob("tile-*.npy"))
    if need > have:
        raise InputError(f"folder: the factor takes {gib(need)} and {folder} has {gib(have)} free")
