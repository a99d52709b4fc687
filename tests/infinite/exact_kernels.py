"""The kernels of ReLU and erf perceptrons in 60 digits, and rows on which float arithmetic fails first."""

from __future__ import annotations

import math
from functools import cache

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


class Truth:
    """A matrix as the unevaluated sum of two in float64, and the roots of products of its diagonal entries."""

    def __init__(self, rows: list[list[mpmath.mpf]]) -> None:
        n = len(rows)
        self.high, self.low, self.scale = (torch.zeros(n, n, dtype=torch.float64) for _ in range(3))
        roots = [mpmath.sqrt(rows[i][i]) for i in range(n)]
        for i in range(n):
            for j in range(i + 1):
                high = float(rows[i][j])
                for a, b in ((i, j), (j, i)):
                    self.high[a, b], self.low[a, b] = high, float(rows[i][j] - high)
                    self.scale[a, b] = float(roots[i] * roots[j])


@cache
def exact(dtype: torch.dtype, activation: str, sigma_w: float, sigma_b: float) -> list[tuple[Truth, Truth]]:
    """NNGP and NTK of 1 to 10 hidden layers, of the very numbers in the adversarial rows."""
    return kernels(adversarial_rows(dtype), activation, 10, sigma_w, sigma_b)


def kernels(x: Tensor, activation: str, depth: int, sigma_w: float, sigma_b: float) -> list[tuple[Truth, Truth]]:
    """NNGP and NTK of each number of hidden layers up to ``depth``."""
    with mpmath.workdps(60):
        sw, sb = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(sigma_b) ** 2
        data = [[mpmath.mpf(value) for value in row] for row in x.tolist()]
        n, d = x.shape
        K = [[mpmath.fdot(data[i], data[j]) / d * sw + sb for j in range(i + 1)] for i in range(n)]
        T = [list(row) for row in K]
        layer, found = {"relu": _relu, "erf": _erf}[activation], []
        for _ in range(depth):
            q = [K[i][i] for i in range(n)]
            for i in range(n):
                for j in range(i + 1):
                    value, slope = layer(q[i], q[j], K[i][j])
                    K[i][j] = sw * value + sb
                    T[i][j] = K[i][j] + sw * slope * T[i][j]
            found.append((Truth(K), Truth(T)))
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


def worst(got: Tensor, truth: Truth) -> float:
    """The largest error relative to the root of the product of both diagonal entries; where that is 0, none is due."""
    error = ((got.double() - truth.high) - truth.low).abs()
    assert (error[truth.scale == 0] == 0).all()
    return float((error / truth.scale)[truth.scale > 0].max())
