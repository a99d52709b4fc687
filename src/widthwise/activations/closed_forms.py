r"""Gaussian expectations known in closed form, one :class:`ClosedForm` a family.

Throughout ``x`` and ``y`` are jointly normal with variances ``q1``, ``q2`` and correlation ``c``, and
``k = c sqrt(q1 q2)`` is their covariance. Expressions are arranged so that nothing cancels or overflows when
``c`` nears +-1, a variance is 0 or huge, and so that every gradient is finite: an infinite one (the angle at
``c = +-1``, a square root at 0) is 0 by convention.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from widthwise.activations.base import Bound, ClosedForm

__all__ = [
    "COS",
    "ERF",
    "EXP",
    "GAUSSIAN",
    "GELU",
    "LINEAR",
    "SIGN",
    "SIN",
    "SINCOS",
    "STEP",
    "abrelu",
    "monomial",
    "quadrant",
    "rectified",
    "root",
]


def root(q: Tensor) -> Tensor:
    """Return the square root, whose gradient at 0 is taken to be 0."""
    positive = q > 0
    return torch.where(positive, torch.where(positive, q, 1.0).sqrt(), 0.0)


class _Known(torch.autograd.Function):
    """A function of one tensor with a derivative that autograd could not find without cancellation."""

    generate_vmap_rule = True

    @staticmethod
    def forward(c: Tensor, value: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]) -> Tensor:
        return value(c)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        c, _, ctx.derivative = inputs
        ctx.save_for_backward(c)
        ctx.save_for_forward(c)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (c,) = ctx.saved_tensors
        return grads[0] * ctx.derivative(c), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (c,) = ctx.saved_tensors
        result: Tensor = tangents[0] * ctx.derivative(c)
        return result


def _known(c: Tensor, value: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]) -> Tensor:
    result: Tensor = _Known.apply(c, value, derivative)  # type: ignore[no-untyped-call]
    return result


def _sine(c: Tensor) -> Tensor:
    return root((1 - c) * (1 + c))


def quadrant(c: Tensor) -> Tensor:
    """P(u > 0, v > 0) = 1/4 + arcsin(c) / 2 pi, for unit variances."""
    return _known(c, lambda c: torch.atan2(_sine(c), -c) / (2 * math.pi), _inverse_sine)


def _inverse_sine(c: Tensor) -> Tensor:
    sine = _sine(c)
    return torch.where(sine > 0, 1 / (2 * math.pi * torch.where(sine > 0, sine, 1.0)), 0.0)


def rectified(c: Tensor) -> Tensor:
    """E[relu(u) relu(v)] for unit variances: (sqrt(1 - c^2) + c (pi - arccos c)) / 2 pi."""
    return _known(c, lambda c: (_sine(c) + c * torch.atan2(_sine(c), -c)) / (2 * math.pi), quadrant)


def _spread(q1: Tensor, q2: Tensor, c: Tensor, w: float) -> Tensor:
    """Determinant of I + w times the covariance, free of cancellation."""
    return 1 + w * (q1 + q2) + w * w * q1 * q2 * (1 - c) * (1 + c)


def _covariance(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return c * root(q1) * root(q2)


def _nothing(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    """A zero of the broadcast shape that keeps all three in autograd's graph."""
    return 0 * (q1 + q2 + c)


def _zero(q: Tensor) -> Tensor:
    return torch.zeros_like(q)


def _linear_derivative(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return 1 + _nothing(q1, q2, c)


LINEAR = ClosedForm(dual=_covariance, derivative=_linear_derivative, mean=_zero)


def abrelu(a: float, b: float) -> ClosedForm:
    """A min(x, 0) + b max(x, 0): Cho and Saul's arc-cosine kernels of order 1 and 0, and a line."""
    return ClosedForm(
        dual=Bound(_abrelu_dual, (a, b)),
        derivative=Bound(_abrelu_derivative, (a, b)),
        mean=Bound(_abrelu_mean, (a, b)),
    )


def _abrelu_dual(q1: Tensor, q2: Tensor, c: Tensor, a: float, b: float) -> Tensor:
    return root(q1) * root(q2) * ((b - a) ** 2 * rectified(c) + a * b * c)


def _abrelu_derivative(q1: Tensor, q2: Tensor, c: Tensor, a: float, b: float) -> Tensor:
    return (b - a) ** 2 * quadrant(c) + a * b + _nothing(q1, q2, c)


def _abrelu_mean(q: Tensor, a: float, b: float) -> Tensor:
    return (b - a) / math.sqrt(2 * math.pi) * root(q)


def _both(q1: Tensor, q2: Tensor) -> Tensor:
    return (q1 > 0) & (q2 > 0)


def _jump_density(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    """E[delta(x) delta(y)]: the density at the origin, infinite at c = +-1."""
    return 1 / (2 * math.pi * root(q1) * root(q2) * _sine(c))


def _step_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return torch.where(_both(q1, q2), quadrant(c), 0.0) + _nothing(q1, q2, c)


def _step_mean(q: Tensor) -> Tensor:
    return 0.5 * (q > 0).to(q.dtype)


STEP = ClosedForm(dual=_step_dual, derivative=_jump_density, mean=_step_mean)


def _sign_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return torch.where(_both(q1, q2), 4 * quadrant(c) - 1, 0.0) + _nothing(q1, q2, c)


def _sign_derivative(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return 4 * _jump_density(q1, q2, c)


SIGN = ClosedForm(dual=_sign_dual, derivative=_sign_derivative, mean=_zero)


def _erf_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return 2 / math.pi * torch.atan2(2 * _covariance(q1, q2, c), _spread(q1, q2, c, 2.0).sqrt())


def _erf_derivative(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return 4 / math.pi * _spread(q1, q2, c, 2.0).rsqrt()


ERF = ClosedForm(dual=_erf_dual, derivative=_erf_derivative, mean=_zero)


def _wave(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    """E[cos(x - y)] = exp(k - (q1 + q2) / 2), arranged so that equal variances at c = 1 give exactly 1."""
    r1, r2 = root(q1), root(q2)
    return torch.exp(-0.5 * (r1 - r2).square() - (1 - c) * r1 * r2)


def _sin_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    k = _covariance(q1, q2, c)
    small = torch.exp(-0.5 * (q1 + q2)) * torch.sinh(k.clamp(-1, 1))
    return torch.where(k.abs() < 1, small, 0.5 * (_wave(q1, q2, c) - _wave(q1, q2, -c)))


def _cos_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return 0.5 * (_wave(q1, q2, c) + _wave(q1, q2, -c))


def _wave_mean(q: Tensor) -> Tensor:
    return torch.exp(-0.5 * q)


SIN = ClosedForm(dual=_sin_dual, derivative=_cos_dual, mean=_zero)
COS = ClosedForm(dual=_cos_dual, derivative=_sin_dual, mean=_wave_mean)
SINCOS = ClosedForm(dual=_wave, derivative=_wave, mean=_wave_mean)


def _exp_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return torch.exp(0.5 * (q1 + q2) + _covariance(q1, q2, c))


def _exp_mean(q: Tensor) -> Tensor:
    return torch.exp(0.5 * q)


EXP = ClosedForm(dual=_exp_dual, derivative=_exp_dual, mean=_exp_mean)


def _gaussian_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return _spread(q1, q2, c, 2.0).rsqrt()


def _gaussian_derivative(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    return 4 * _covariance(q1, q2, c) * _spread(q1, q2, c, 2.0).pow(-1.5)


def _gaussian_mean(q: Tensor) -> Tensor:
    return (1 + 2 * q).rsqrt()


GAUSSIAN = ClosedForm(dual=_gaussian_dual, derivative=_gaussian_derivative, mean=_gaussian_mean)


def _gelu_parts(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Covariance k, P(x > z1, y > z2) for independent normal z1, z2, and the three factors of what follows."""
    k, spread = _covariance(q1, q2, c), _spread(q1, q2, c, 1.0)
    width = spread.sqrt()
    both = 0.25 + torch.atan2(k, width) / (2 * math.pi)
    shares = 1 / (1 + q1) + 1 / (1 + q2)
    return k, both, spread, 2 * math.pi * width, shares


def _gelu_dual(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    # x Phi(x) is E[x 1(z < x) | x]; Gaussian integration by parts then leaves this.
    k, both, _, width, shares = _gelu_parts(q1, q2, c)
    return k * both + (q1 * q2 * (1 - c) * (1 + c) + k.square() * shares) / width


def _gelu_derivative(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    k, both, spread, width, shares = _gelu_parts(q1, q2, c)
    rest = q1 * q2 * (1 - c) * (1 + c) + k.square() * shares
    return both + k * (2 * shares - 1 + rest / spread) / width


def _gelu_mean(q: Tensor) -> Tensor:
    return q / (2 * math.pi * (1 + q)).sqrt()


GELU = ClosedForm(dual=_gelu_dual, derivative=_gelu_derivative, mean=_gelu_mean)


def monomial(degree: int) -> ClosedForm:
    """x^degree, a finite Hermite series."""
    return ClosedForm(
        dual=Bound(_power_dual, (degree,)),
        derivative=Bound(_power_derivative, (degree,)),
        mean=Bound(_power_mean, (degree,)),
    )


def _hermite_of_power(degree: int) -> dict[int, float]:
    """Normalised Hermite coefficients of x^degree, by order."""
    return {
        degree - 2 * m: math.factorial(degree) / (2**m * math.factorial(m) * math.sqrt(math.factorial(degree - 2 * m)))
        for m in range(degree // 2 + 1)
    }


def _power_dual(q1: Tensor, q2: Tensor, c: Tensor, degree: int) -> Tensor:
    series = sum(
        (weight**2 * c**order for order, weight in _hermite_of_power(degree).items()),
        torch.zeros_like(c),
    )
    return (root(q1) * root(q2)) ** degree * series


def _power_derivative(q1: Tensor, q2: Tensor, c: Tensor, degree: int) -> Tensor:
    if degree == 0:
        return _nothing(q1, q2, c)
    return degree**2 * _power_dual(q1, q2, c, degree - 1)


def _power_mean(q: Tensor, degree: int) -> Tensor:
    return _hermite_of_power(degree).get(0, 0.0) * root(q) ** degree
