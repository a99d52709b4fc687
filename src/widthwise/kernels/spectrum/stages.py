"""The stages of one task, and what they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from widthwise._arrayfile import read_array, write_array
from widthwise.errors import DataError, InputError, check_finite, check_number
from widthwise.kernels.spectrum.chernoff import chernoff_width
from widthwise.kernels.spectrum.cholesky import factorise, solve
from widthwise.kernels.spectrum.iterate import inverse_lanczos, refine
from widthwise.kernels.spectrum.kept import Kept
from widthwise.kernels.spectrum.limit import LimitKernel
from widthwise.kernels.spectrum.spread import Spread
from widthwise.kernels.spectrum.tiles import Tiles

__all__ = ["Spectrum", "Stages", "Watch"]

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
        """The condition (40), ``B^2 |X|^2 / lambda_min(H)``, for an activation with ``|phi'| <= B = lipschitz``.

        Raises:
            InputError: if ``lipschitz`` is not above 0.
        """
        return check_number("lipschitz", lipschitz, 0, low_open=True) ** 2 * self.largest / self.smallest

    def width(self, *, delta: float = 0.5, failure: float = 0.01, lipschitz: float = 1.0) -> int:
        """The width the matrix Chernoff bound asks for, see :func:`chernoff_width`.

        Args:
            delta: how far from 1 the kernel's ratio to its limit may be, in (0, 1).
            failure: probability that it is farther.
            lipschitz: a bound on ``|phi'|``.

        Raises:
            InputError: for a number out of range.
        """
        return chernoff_width(self.kappa(lipschitz), self.n, delta=delta, failure=failure)


class Stages:
    """The stages of one task.

    Args:
        kernel: H.
        folder: where it is kept, if anywhere.
        dtype: of the factor.
        watch: what to call on the way.
        spread: the workers, if any.
    """

    def __init__(
        self, kernel: LimitKernel, folder: Path | None, dtype: torch.dtype, watch: Watch, spread: Spread | None
    ) -> None:
        self.kernel, self.folder, self.dtype, self.watch, self.spread = kernel, folder, dtype, watch, spread
        self.tiles = Tiles(folder, kernel.x.device, kernel.sizes, dtype)
        self.kept = Kept(folder, len(kernel.x), len(kernel.rows), kernel.x.device)

    def spectrum(self, tolerance: float) -> Spectrum:
        """Both ends."""
        largest, largest_error = _largest(self.kernel.x)
        self._factorise(lambda done: self.watch(done, 1, "factor"))
        values, residuals = self._lowest(tolerance)
        if self.folder is not None and float(values[0]) < -_SINGULAR * self.kernel.diagonal:
            raise self._damaged("an eigenvalue of what was factorised is negative")
        if float(values[0]) <= _SINGULAR * self.kernel.diagonal:
            raise InputError(
                f"x: the smallest eigenvalue of its kernel is {float(values[0]):.3g}, zero to rounding; allowed are "
                "rows of which no two are equal or nearly so"
            )
        second = float(values[1]) if len(values) > 1 else float("inf")
        n = len(self.kernel.x)
        return Spectrum(n, largest, largest_error, float(values[0]), float(residuals[0]), second)

    def _factorise(self, watch: Callable[[float], None]) -> None:
        if self.spread is None:
            factorise(self.kernel, self.tiles, self.dtype, watch)
        else:
            self.spread.factorise(self.tiles, watch)

    def _lowest(self, tolerance: float) -> tuple[Tensor, Tensor]:
        """The lowest eigenvalues and their residuals."""
        try:
            vectors = self._vectors(tolerance)
            values, _, residuals = refine(self._apply, self._solve, vectors, tolerance, kept=self.kept)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # documented, yet not exported
            if self.folder is None:
                raise
            raise self._damaged("numbers leave float64") from error
        return values, residuals

    def _damaged(self, how: str) -> DataError:
        return DataError(f"{self.folder}: what it keeps is damaged, {how}; remove it")

    def _vectors(self, tolerance: float) -> Tensor:
        """The lowest eigenvectors by Lanczos, or as an earlier run left them."""
        device = self.kernel.x.device
        path, n = None if self.folder is None else self.folder / "vectors.npy", len(self.kernel.x)
        if path is not None and path.exists():
            found = torch.from_numpy(read_array(path, (n, None), np.float64))
            if not 1 <= found.shape[1] <= min(_WANTED, n):
                raise DataError(f"{path}: got {found.shape[1]} vectors, allowed are 1 to {min(_WANTED, n)}; remove it")
            return check_finite(str(path), found).to(device)
        start = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
        vectors = inverse_lanczos(self._solve, start, min(_WANTED, n), max(tolerance / 10, self._rounding))
        if path is not None:
            write_array(path, vectors.cpu().numpy())
        return vectors

    @property
    def _rounding(self) -> float:
        return 100 * torch.finfo(self.dtype).eps

    def _solve(self, v: Tensor) -> Tensor:
        self.watch(0, 1, "solve")
        return solve(self.kernel, self.tiles, v)

    def _apply(self, v: Tensor) -> Tensor:
        return (self.spread or self.kernel).apply(v, lambda done: self.watch(done, 1, "residual"), self.kept)


def _largest(x: Tensor) -> tuple[float, float]:
    gram = x.mT @ x if x.shape[1] <= len(x) else x @ x.mT
    values, vectors = torch.linalg.eigh(gram)
    top = vectors[:, -1]
    return float(values[-1]), float((gram @ top - values[-1] * top).norm())
