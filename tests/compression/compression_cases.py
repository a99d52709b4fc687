"""Networks and naive formulas that several tests share."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from widthwise.activations import get

ACTIVATIONS = ("relu", "leaky_relu(0.2)", "gelu", "erf", "tanh", "silu", "softplus")


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1)


def uniform(*shape: int, seed: int = 1) -> Tensor:
    """Coefficients with mean 1."""
    return 2 * torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def relu_dual(c: float) -> float:
    """(9), by hand."""
    return (math.sqrt(max(0.0, 1 - c * c)) + c * (math.pi - math.acos(max(-1.0, min(1.0, c))))) / (2 * math.pi)


def naive_gram(U: Tensor, V: Tensor) -> Tensor:
    """ReLU's Gram matrix entry by entry."""
    G = torch.empty(len(U), len(V), dtype=torch.float64)
    for i, j in itertools.product(range(len(U)), range(len(V))):
        G[i, j] = relu_dual(float(U[i] @ V[j]))
    return G


def double_integral(activation: str, u: Tensor, m: float, v: Tensor, n: float, nodes: int = 2001) -> float:
    """E[phi(u.Z + m) phi(v.Z + n)] by the trapezoidal rule over the plane that u and v span."""
    x = np.linspace(-9, 9, nodes)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    su, sv = float(u.norm()), float(v.norm())
    rho = float(u @ v) / (su * sv)
    phi = get(activation)
    first = phi(torch.from_numpy(m + su * x)).numpy()
    second = phi(torch.from_numpy(n + sv * (rho * x[:, None] + math.sqrt(1 - rho * rho) * x[None, :]))).numpy()
    return float(((first * density)[:, None] * second * density[None, :]).sum())
