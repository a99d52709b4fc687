"""The simplex equiangular tight frame: M unit vectors as far apart as M unit vectors can be."""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation, get
from widthwise.compression.lbfgs import lbfgs
from widthwise.compression.manifold import FRAMES
from widthwise.compression.target import Target
from widthwise.errors import InputError, check_integer, check_type

__all__ = ["best_orientation", "etf_objective", "random_frames", "simplex_etf"]


def simplex_etf(
    M: int,
    d: int,
    *,
    rotation: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return M unit rows in R^d with inner products -1/(M - 1).

    Args:
        M: number of vectors, at most d + 1.
        d: dimension.
        rotation: orthogonal matrix (d, d) that turns them; the first M - 1 axes hold them otherwise.
        dtype: of the result.
        device: of the result.

    Raises:
        InputError: if M > d + 1, where no such frame exists, or ``rotation`` is not orthogonal.

    Example:
        >>> V = simplex_etf(4, 3)
        >>> torch.allclose(V @ V.T, torch.eye(4, dtype=V.dtype) * 4 / 3 - 1 / 3)
        True
    """
    check_integer("d", d, 1)
    frame = torch.zeros(_count(M, d), d, dtype=dtype, device=device)
    vertices = _vertices(M).to(frame)
    frame[:, : vertices.shape[1]] = vertices
    return frame if rotation is None else frame @ _orthogonal(rotation, d).to(frame)


def etf_objective(M: int, activation: str | Activation) -> float:
    """Return R_ETF = M / (g(1) + (M - 1) g(-1/(M - 1))), the limit objective of a simplex ETF (32); it may be infinite.

    Raises:
        InputError: if ``M`` is below 1, or for an unknown activation.
        InputTypeError: if ``M`` is no whole number.

    Example:
        >>> round(etf_objective(5, "relu"), 6)
        5.514991
    """
    check_integer("M", M, 1)
    at = torch.tensor([1.0, -1 / max(M - 1, 1)], dtype=torch.float64)
    same, apart = duals.g(get(activation), at).tolist()
    energy = same + (M - 1) * apart
    return M / energy if energy > 1e-15 * same else float("inf")


def best_orientation(target: Target, M: int, *, restarts: int = 8, generator: torch.Generator | None = None) -> Tensor:
    """Return the simplex ETF turned so that the loss (8) against ``target`` is least, shape (M, D).

    Args:
        target: network with unit rows.
        M: number of vectors, at most D + 1.
        restarts: number of random orientations to descend from, all at once.
        generator: source of the orientations.

    Raises:
        InputError: if M > D + 1.
    """
    D = target.W.shape[1]
    vertices = _vertices(_count(M, D)).to(target.W)
    start = random_frames(check_integer("restarts", restarts, 1), vertices.shape[1], D, generator=generator)

    def relative_loss(frames: Tensor) -> tuple[Tensor, None]:
        return target.least_loss(vertices @ frames) / target.power, None

    return vertices @ lbfgs(relative_loss, start.to(target.W), manifold=FRAMES, tolerance=1e-6).best


def random_frames(count: int, rows: int, d: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Return ``count`` uniformly distributed sets of orthonormal rows, shape (count, rows, d), float64 on the CPU.

    Args:
        count: number of sets.
        rows: in each, at most ``d``.
        d: length of a row.
        generator: draws them.
    """
    gaussian = torch.randn(count, d, rows, dtype=torch.float64, generator=generator)
    Q, R = torch.linalg.qr(gaussian)
    frames: Tensor = (Q * R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)).mT
    return frames


def _count(M: int, d: int) -> int:
    check_integer("M", M, 1)
    if d + 1 < M:
        raise InputError(f"M: got {M}, allowed is at most d + 1 = {d + 1}: no simplex has more vertices in R^{d}")
    return M


def _vertices(M: int) -> Tensor:
    """The simplex in as few dimensions as it needs, shape (M, max(M - 1, 1))."""
    if M == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    helmert = torch.ones(M, M - 1, dtype=torch.float64).triu()
    helmert.diagonal(offset=-1).copy_(-torch.arange(1, M))
    return torch.nn.functional.normalize(helmert / helmert.norm(dim=0), dim=-1)


def _orthogonal(rotation: Tensor, d: int) -> Tensor:
    check_type("rotation", rotation, Tensor)
    Q = rotation.to(torch.float64)
    if Q.shape != (d, d) or not torch.allclose(Q @ Q.T, torch.eye(d, dtype=Q.dtype, device=Q.device), atol=1e-5):
        raise InputError(f"rotation: got shape {tuple(rotation.shape)}, allowed is an orthogonal matrix ({d}, {d})")
    return Q
