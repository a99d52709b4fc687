"""What an activation is: its value, its derivative, where it is not smooth, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import InputTypeError, check_number, check_type

__all__ = ["Activation", "AutogradDerivative", "Bound", "ClosedForm", "Elementwise", "Pointwise", "affine"]

Pointwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Bound:
    """``function`` with its parameters fixed: ``functools.partial``, but equal when its parts are."""

    function: Callable[..., Any]
    args: tuple[Any, ...]

    def __call__(self, *tensors: Tensor) -> Any:
        """Return ``function(*tensors, *args)``."""
        return self.function(*tensors, *self.args)


@dataclass(frozen=True)
class AutogradDerivative:
    """The derivative of an elementwise function by automatic differentiation, itself differentiable."""

    phi: Pointwise

    def __call__(self, x: Tensor) -> Tensor:
        """Return phi'(x), elementwise; part of autograd's graph if ``x`` is."""
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            total = self.phi(at).sum()
            if not total.requires_grad:  # a constant
                return torch.zeros_like(x)
            return torch.autograd.grad(total, at, create_graph=x.requires_grad)[0]


@dataclass(frozen=True)
class ClosedForm:
    """Gaussian expectations of an activation that are known exactly; broadcasting tensors in and out.

    With corr(u, v) = c and u, v, Z standard normal:

    Attributes:
        dual: ``(q1, q2, c)`` to E[phi(sqrt(q1) u) phi(sqrt(q2) v)].
        derivative: ``(q1, q2, c)`` to E[phi'(sqrt(q1) u) phi'(sqrt(q2) v)].
        mean: ``q`` to E[phi(sqrt(q) Z)].
    """

    dual: Callable[[Tensor, Tensor, Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor, Tensor], Tensor]
    mean: Pointwise


@dataclass(frozen=True)
class Activation:
    """An elementwise function and what the theory needs to know about it.

    Attributes:
        name: its name, as :func:`~widthwise.activations.get` takes it.
        phi: the function, from a tensor to a tensor of the same shape.
        derivative: phi', by autograd when not given; at a kink it follows PyTorch's convention.
        kinks: where phi or phi' is not smooth, increasing; quadrature is split there.
        jumps: the kinks where phi itself is discontinuous.
        closed_form: its Gaussian expectations, if known.
        build: makes PyTorch's own module for it, if there is one.

    Example:
        >>> cube = Activation("cube", lambda x: x**3)
        >>> cube.derivative(torch.tensor([2.0]))
        tensor([12.])
    """

    name: str
    phi: Pointwise
    derivative: Pointwise = None  # type: ignore[assignment]  # set below, never None afterwards
    kinks: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    closed_form: ClosedForm | None = field(default=None, compare=False, repr=False)
    build: Callable[[], nn.Module] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_type("name", self.name, str)
        if not callable(self.phi):
            raise InputTypeError(f"phi: got {self.phi!r}, allowed is a function from tensor to tensor")
        if self.derivative is None:
            object.__setattr__(self, "derivative", AutogradDerivative(self.phi))
        jumps = tuple(check_number("jumps", point) for point in self.jumps)
        kinks = {check_number("kinks", point) for point in self.kinks}.union(jumps)
        object.__setattr__(self, "jumps", tuple(sorted(jumps)))
        object.__setattr__(self, "kinks", tuple(sorted(kinks)))

    def __call__(self, x: Tensor) -> Tensor:
        """Return phi(x)."""
        return self.phi(x)

    def module(self) -> nn.Module:
        """Return a fresh module that computes phi: PyTorch's own where it has one."""
        return self.build() if self.build is not None else Elementwise(self)


class Elementwise(nn.Module):
    """A layer without parameters that applies an :class:`Activation`."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return phi(x)."""
        return self.activation.phi(x)

    def extra_repr(self) -> str:
        """Show the activation's name."""
        return self.activation.name


def affine(base: Activation, *, outer: float = 1.0, inner: float = 1.0, offset: float = 0.0) -> Activation:
    """Return ``x -> outer * base(inner * x) + offset``.

    Its closed form follows from the base's. The offset enters g through ``2 * offset * E[base]``, which is
    negative when the mean is, and leaves the derivative alone (both are misprinted in the paper on linearized
    difference networks, (57) and (62)).

    Args:
        base: the activation inside.
        outer: multiplies its result.
        inner: multiplies its argument.
        offset: is added at the end.

    Raises:
        InputError: if a number is not finite, or ``inner`` is 0.

    Example:
        >>> from widthwise.activations import get
        >>> affine(get("erf"), outer=0.5, inner=2.0, offset=0.5)(torch.zeros(1))
        tensor([0.5000])
    """
    a, k, b = check_number("outer", outer), check_number("inner", inner), check_number("offset", offset)
    check_number("abs(inner)", abs(k), low=0.0, low_open=True)
    form = base.closed_form
    return Activation(
        name=f"{a:g}*{base.name}({k:g}*x){b:+g}",
        phi=Bound(_affine, (base.phi, a, k, b)),
        derivative=Bound(_affine, (base.derivative, a * k, k, 0.0)),
        kinks=tuple(point / k for point in base.kinks),
        jumps=tuple(point / k for point in base.jumps),
        closed_form=None if form is None else _affine_form(form, a, k, b),
    )


def _affine(x: Tensor, function: Pointwise, a: float, k: float, b: float) -> Tensor:
    return a * function(k * x) + b


def _affine_form(form: ClosedForm, a: float, k: float, b: float) -> ClosedForm:
    return ClosedForm(
        dual=Bound(_affine_dual, (form, a, k, b)),
        derivative=Bound(_affine_derivative, (form, a, k)),
        mean=Bound(_affine_mean, (form, a, k, b)),
    )


def _affine_dual(q1: Tensor, q2: Tensor, c: Tensor, form: ClosedForm, a: float, k: float, b: float) -> Tensor:
    base = a * a * form.dual(k * k * q1, k * k * q2, c)
    return base if b == 0 else base + a * b * (form.mean(k * k * q1) + form.mean(k * k * q2)) + b * b


def _affine_derivative(q1: Tensor, q2: Tensor, c: Tensor, form: ClosedForm, a: float, k: float) -> Tensor:
    return (a * k) ** 2 * form.derivative(k * k * q1, k * k * q2, c)


def _affine_mean(q: Tensor, form: ClosedForm, a: float, k: float, b: float) -> Tensor:
    return a * form.mean(k * k * q) + b
