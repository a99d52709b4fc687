"""The activations known by name: one function a family, its parameters as arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.nn import functional as nnf

from widthwise.activations import closed_forms, functions
from widthwise.activations.base import Activation, Bound, Pointwise, affine
from widthwise.errors import InputError, check_integer, check_number

__all__ = ["FAMILIES", "FUNCTIONS"]


def linear() -> Activation:
    """The identity."""
    return Activation("linear", functions.identity, torch.ones_like, closed_form=closed_forms.LINEAR, build=nn.Identity)


def relu() -> Activation:
    """max(x, 0)."""
    return Activation(
        "relu", torch.relu, functions.step, (0.0,), closed_form=closed_forms.abrelu(0.0, 1.0), build=nn.ReLU
    )


def abrelu(a: float, b: float) -> Activation:
    """Two slopes: a min(x, 0) + b max(x, 0)."""
    a, b = check_number("a", a), check_number("b", b)
    return Activation(
        f"abrelu({_number(a)},{_number(b)})",
        Bound(functions.abrelu, (a, b)),
        Bound(functions.abrelu_derivative, (a, b)),
        (0.0,) if a != b else (),
        closed_form=closed_forms.abrelu(a, b),
    )


def leaky_relu(slope: float = 0.01) -> Activation:
    """Slope 1 above 0, ``slope`` below."""
    base = abrelu(slope, 1.0)
    return replace(base, name=_label("leaky_relu", slope, 0.01), build=partial(nn.LeakyReLU, slope))


def absolute() -> Activation:
    """|x|."""
    return replace(abrelu(-1.0, 1.0), name="abs", phi=torch.abs, derivative=torch.sign)


def relu6() -> Activation:
    """min(max(x, 0), 6)."""
    return Activation("relu6", nnf.relu6, kinks=(0.0, 6.0), build=nn.ReLU6)


def elu(alpha: float = 1.0) -> Activation:
    """The identity above 0, alpha (exp(x) - 1) below."""
    alpha = check_number("alpha", alpha)
    name = _label("elu", alpha, 1.0)
    return Activation(name, Bound(nnf.elu, (alpha,)), kinks=(0.0,), build=partial(nn.ELU, alpha))


def celu(alpha: float = 1.0) -> Activation:
    """The identity above 0, alpha (exp(x / alpha) - 1) below."""
    alpha = check_number("alpha", alpha, low=0.0, low_open=True)
    name = _label("celu", alpha, 1.0)
    return Activation(name, Bound(nnf.celu, (alpha,)), kinks=(0.0,), build=partial(nn.CELU, alpha))


def selu() -> Activation:
    """ELU scaled so that zero mean and unit variance are a fixed point."""
    return Activation("selu", torch.selu, kinks=(0.0,), build=nn.SELU)


def gelu() -> Activation:
    """Phi(x) x, with Phi the normal distribution function."""
    return Activation("gelu", nnf.gelu, functions.gelu_derivative, closed_form=closed_forms.GELU, build=nn.GELU)


def gelu_tanh() -> Activation:
    """GELU by its tanh approximation."""
    return Activation("gelu_tanh", functions.gelu_tanh, build=partial(nn.GELU, "tanh"))


def silu() -> Activation:
    """sigmoid(x) x, also called swish."""
    return Activation("silu", nnf.silu, functions.silu_derivative, build=nn.SiLU)


def mish() -> Activation:
    """tanh(softplus(x)) x."""
    return Activation("mish", nnf.mish, build=nn.Mish)


def softplus(beta: float = 1.0) -> Activation:
    """log(1 + exp(beta x)) / beta."""
    beta = check_number("beta", beta, low=0.0, low_open=True)
    name = _label("softplus", beta, 1.0)
    return Activation(
        name, Bound(functions.softplus, (beta,)), Bound(functions.sigmoid, (beta,)), build=partial(nn.Softplus, beta)
    )


def tanh() -> Activation:
    """The hyperbolic tangent."""
    return Activation("tanh", torch.tanh, functions.tanh_derivative, build=nn.Tanh)


def sigmoid() -> Activation:
    """1 / (1 + exp(-x))."""
    return Activation("sigmoid", torch.sigmoid, functions.sigmoid_derivative, build=nn.Sigmoid)


def logsigmoid() -> Activation:
    """The logarithm of the sigmoid."""
    return Activation("logsigmoid", nnf.logsigmoid, build=nn.LogSigmoid)


def softsign() -> Activation:
    """The rational x / (1 + |x|)."""
    return Activation("softsign", nnf.softsign, kinks=(0.0,), build=nn.Softsign)


def tanhshrink() -> Activation:
    """What tanh takes off: x - tanh(x)."""
    return Activation("tanhshrink", nnf.tanhshrink, build=nn.Tanhshrink)


def erf(k: float = 1.0) -> Activation:
    """The error function of k x."""
    return _inner("erf", Activation("erf", torch.erf, functions.erf_derivative, closed_form=closed_forms.ERF), k)


def sin(k: float = 1.0) -> Activation:
    """The sine of k x."""
    return _inner("sin", Activation("sin", torch.sin, torch.cos, closed_form=closed_forms.SIN), k)


def cos(k: float = 1.0) -> Activation:
    """The cosine of k x."""
    return _inner("cos", Activation("cos", torch.cos, functions.minus_sin, closed_form=closed_forms.COS), k)


def sincos(k: float = 1.0) -> Activation:
    """sin(k x) + cos(k x), whose dual is a Gaussian (RBF) kernel."""
    return _inner(
        "sincos",
        Activation("sincos", functions.sincos, functions.sincos_derivative, closed_form=closed_forms.SINCOS),
        k,
    )


def exp(k: float = 1.0) -> Activation:
    """The exponential of k x."""
    return _inner("exp", Activation("exp", torch.exp, torch.exp, closed_form=closed_forms.EXP), k)


def gaussian(k: float = 1.0) -> Activation:
    """exp(-(k x)^2)."""
    return _inner(
        "gaussian",
        Activation("gaussian", functions.gaussian, functions.gaussian_derivative, closed_form=closed_forms.GAUSSIAN),
        k,
    )


def hardtanh(low: float = -1.0, high: float = 1.0) -> Activation:
    """The identity clipped to [low, high]."""
    low, high = check_number("low", low), check_number("high", high)
    if low >= high:
        raise InputError(f"high: got {high:g}, allowed is a number above low = {low:g}")
    name = "hardtanh" if (low, high) == (-1.0, 1.0) else f"hardtanh({_number(low)},{_number(high)})"
    return Activation(name, Bound(nnf.hardtanh, (low, high)), kinks=(low, high), build=partial(nn.Hardtanh, low, high))


def hardsigmoid() -> Activation:
    """The line x / 6 + 1/2 clipped to [0, 1]."""
    return Activation("hardsigmoid", nnf.hardsigmoid, kinks=(-3.0, 3.0), build=nn.Hardsigmoid)


def hardswish() -> Activation:
    """hardsigmoid(x) x."""
    return Activation("hardswish", nnf.hardswish, kinks=(-3.0, 3.0), build=nn.Hardswish)


def softshrink(threshold: float = 0.5) -> Activation:
    """The identity moved towards 0 by the threshold, 0 within it."""
    t = check_number("threshold", threshold, low=0.0)
    name = _label("softshrink", t, 0.5)
    return Activation(name, Bound(nnf.softshrink, (t,)), kinks=(-t, t), build=partial(nn.Softshrink, t))


def hardshrink(threshold: float = 0.5) -> Activation:
    """The identity beyond the threshold, 0 within it."""
    t = check_number("threshold", threshold, low=0.0)
    name = _label("hardshrink", t, 0.5)
    jumps = (-t, t) if t else ()
    return Activation(name, Bound(nnf.hardshrink, (t,)), jumps=jumps, build=partial(nn.Hardshrink, t))


def step() -> Activation:
    """1 for x > 0, else 0."""
    return Activation("step", functions.step, torch.zeros_like, jumps=(0.0,), closed_form=closed_forms.STEP)


def sign() -> Activation:
    """-1, 0 or 1."""
    return Activation("sign", torch.sign, torch.zeros_like, jumps=(0.0,), closed_form=closed_forms.SIGN)


def monomial(degree: float) -> Activation:
    """x^degree."""
    k = check_integer("degree", int(degree) if float(degree).is_integer() else degree, low=0, high=50)
    form = closed_forms.monomial(k)
    return Activation(
        f"monomial({k})", Bound(torch.pow, (k,)), Bound(functions.power_derivative, (k,)), closed_form=form
    )


def square() -> Activation:
    """x^2."""
    return replace(monomial(2), name="square")


def cube() -> Activation:
    """x^3."""
    return replace(monomial(3), name="cube")


FAMILIES: dict[str, Callable[..., Activation]] = {
    **{
        family.__name__: family
        for family in (
            linear, relu, abrelu, leaky_relu, relu6, elu, celu, selu, gelu, gelu_tanh, silu, mish, softplus,
            tanh, sigmoid, logsigmoid, softsign, tanhshrink, erf, sin, cos, sincos, exp, gaussian, hardtanh,
            hardsigmoid, hardswish, softshrink, hardshrink, step, sign, monomial, square, cube,
        )
    },
    "abs": absolute,
    "identity": linear,
    "swish": silu,
}  # fmt: skip
"""Name to family; ``abrelu`` and ``monomial`` need their parameters."""

FUNCTIONS: dict[Pointwise, str] = {
    torch.relu: "relu", nnf.relu: "relu", nnf.leaky_relu: "leaky_relu", nnf.relu6: "relu6", nnf.elu: "elu",
    nnf.celu: "celu", torch.selu: "selu", nnf.selu: "selu", nnf.gelu: "gelu", nnf.silu: "silu",
    nnf.mish: "mish", nnf.softplus: "softplus", torch.tanh: "tanh", nnf.tanh: "tanh",
    torch.sigmoid: "sigmoid", nnf.sigmoid: "sigmoid", nnf.logsigmoid: "logsigmoid",
    nnf.softsign: "softsign", nnf.tanhshrink: "tanhshrink", torch.erf: "erf", torch.special.erf: "erf",
    torch.sin: "sin", torch.cos: "cos", torch.exp: "exp", nnf.hardtanh: "hardtanh",
    nnf.hardsigmoid: "hardsigmoid", nnf.hardswish: "hardswish", nnf.softshrink: "softshrink",
    nnf.hardshrink: "hardshrink", torch.abs: "abs", torch.sign: "sign", torch.square: "square",
}  # fmt: skip
"""PyTorch's functions, called with their defaults, to names."""


def _number(value: float) -> str:
    """Show a number so that reading it back gives the same one."""
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


def _label(family: str, value: float, default: float) -> str:
    return family if value == default else f"{family}({_number(value)})"


def _inner(family: str, base: Activation, k: float) -> Activation:
    return base if k == 1 else replace(affine(base, inner=k), name=f"{family}({_number(k)})")
