"""The kernels of ReLU and erf perceptrons in 60 digits, and rows on which float arithmetic fails first."""

from __future__ import annotations

import math

import mpmath
import torch
from torch import Tensor

ANGLES = [10.0**-k for k in range(1, 13)]
NORMS = [1e-3, 1e-1, 1.0, 30.0, 1e3]


def adversarial_rows(dtype: torch.dtype, d: int = 40) -> Tensor:
    """A row, others at ever smaller angles to it, opposite, scaled, equal and zero rows, and an independent one."""
    generator = torch.Generator().manual_seed(7)
    base, other = torch.linalg.qr(torch.randn(d, 2, generator=generator, dtype=torch.float64)).Q.T
    length = math.sqrt(d)
    rows = [base, base, -base, other, torch.zeros_like(base)]
    rows += [math.cos(angle) * base + math.sin(angle) * other for angle in ANGLES]
    rows += [-(math.cos(angle) * base + math.sin(angle) * other) for angle in (1e-2, 1e-6, 1e-10)]
    rows += [norm * base for norm in NORMS] + [norm * (0.6 * base + 0.8 * other) for norm in NORMS]
    return (length * torch.stack(rows)).to(dtype)


def exact(
    x: Tensor, activation: str, depth: int, sigma_w: float, sigma_b: float
) -> list[tuple[list[list[mpmath.mpf]], list[list[mpmath.mpf]]]]:
    """NNGP and NTK of each number of hidden layers from 1 to ``depth``, of the very numbers in ``x``."""
    with mpmath.workdps(60):
        sw, sb = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(sigma_b) ** 2
        data = [[mpmath.mpf(value) for value in row] for row in x.tolist()]
        n, d = x.shape
        K = [[mpmath.fdot(data[i], data[j]) / d * sw + sb for j in range(i + 1)] for i in range(n)]
        T = [list(row) for row in K]
        found = []
        for _ in range(depth):
            q = [K[i][i] for i in range(n)]
            layer = {"relu": _relu, "erf": _erf}[activation]
            for i in range(n):
                for j in range(i + 1):
                    value, slope = layer(q[i], q[j], K[i][j])
                    K[i][j] = sw * value + sb
                    T[i][j] = K[i][j] + sw * slope * T[i][j]
            found.append(([list(row) for row in K], [list(row) for row in T]))
        return found


def _relu(q1: mpmath.mpf, q2: mpmath.mpf, k: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    scale = mpmath.sqrt(q1 * q2)
    if scale == 0:
        return mpmath.mpf(0), mpmath.mpf(0)
    sine = mpmath.sqrt(max(mpmath.mpf(0), q1 * q2 - k * k))
    opening = mpmath.atan2(sine, -k)  # pi - theta
    return (sine + opening * k) / (2 * mpmath.pi), opening / (2 * mpmath.pi)


def _erf(q1: mpmath.mpf, q2: mpmath.mpf, k: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    width = mpmath.sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * k * k)
    return 2 / mpmath.pi * mpmath.atan2(2 * k, width), 4 / (mpmath.pi * width)


def worst(got: Tensor, exact: list[list[mpmath.mpf]]) -> float:
    """The largest error relative to the root of the product of the two diagonal entries."""
    most = mpmath.mpf(0)
    values = got.tolist()
    for i, row in enumerate(exact):
        for j, value in enumerate(row):
            scale = mpmath.sqrt(exact[i][i] * exact[j][j])
            error = max(abs(mpmath.mpf(values[i][j]) - value), abs(mpmath.mpf(values[j][i]) - value))
            if scale == 0:
                assert error == 0
            else:
                most = max(most, error / scale)
    return float(most)
