"""Values and derivatives that PyTorch has no function for."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as nnf

__all__ = [
    "abrelu",
    "abrelu_derivative",
    "erf_derivative",
    "gaussian",
    "gaussian_derivative",
    "gelu_derivative",
    "gelu_tanh",
    "identity",
    "minus_sin",
    "power_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "silu_derivative",
    "sincos",
    "sincos_derivative",
    "softplus",
    "step",
    "tanh_derivative",
]


def identity(x: Tensor) -> Tensor:
    """Return x."""
    return x


def step(x: Tensor) -> Tensor:
    """Return 1 for x > 0, else 0."""
    return (x > 0).to(x.dtype)


def abrelu(x: Tensor, a: float, b: float) -> Tensor:
    """Return b x for x > 0, else a x."""
    return torch.where(x > 0, b * x, a * x)


def abrelu_derivative(x: Tensor, a: float, b: float) -> Tensor:
    """Return b for x > 0, else a."""
    return torch.where(x > 0, torch.full_like(x, b), torch.full_like(x, a))


def gelu_tanh(x: Tensor) -> Tensor:
    """Return GELU by its tanh approximation."""
    return nnf.gelu(x, approximate="tanh")


def softplus(x: Tensor, beta: float) -> Tensor:
    """Return log(1 + exp(beta x)) / beta, smooth everywhere."""
    # PyTorch's own switches to x beyond a threshold, a kink of 2e-9 / beta.
    return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta


def gelu_derivative(x: Tensor) -> Tensor:
    """Return Phi(x) + x Phi'(x)."""
    below: Tensor = torch.special.ndtr(x)
    return below + x * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def silu_derivative(x: Tensor) -> Tensor:
    """Return s (1 + x (1 - s)) with s the sigmoid of x."""
    return torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))


def tanh_derivative(x: Tensor) -> Tensor:
    """Return 1 - tanh(x)^2."""
    return 1 - torch.tanh(x).square()


def sigmoid_derivative(x: Tensor) -> Tensor:
    """Return s (1 - s) with s the sigmoid of x."""
    return torch.sigmoid(x) * torch.sigmoid(-x)


def sigmoid(x: Tensor, beta: float) -> Tensor:
    """Return the sigmoid of beta x."""
    return torch.sigmoid(beta * x)


def erf_derivative(x: Tensor) -> Tensor:
    """Return 2 exp(-x^2) / sqrt(pi)."""
    return 2 / math.sqrt(math.pi) * torch.exp(-x.square())


def minus_sin(x: Tensor) -> Tensor:
    """Return -sin(x)."""
    return -torch.sin(x)


def sincos(x: Tensor) -> Tensor:
    """Return sin(x) + cos(x)."""
    return torch.sin(x) + torch.cos(x)


def sincos_derivative(x: Tensor) -> Tensor:
    """Return cos(x) - sin(x)."""
    return torch.cos(x) - torch.sin(x)


def gaussian(x: Tensor) -> Tensor:
    """Return exp(-x^2)."""
    return torch.exp(-x.square())


def gaussian_derivative(x: Tensor) -> Tensor:
    """Return -2 x exp(-x^2)."""
    return -2 * x * torch.exp(-x.square())


def power_derivative(x: Tensor, k: int) -> Tensor:
    """Return k x^(k - 1)."""
    return k * torch.pow(x, k - 1) if k else torch.zeros_like(x)
