"""The public duals: arguments checked, closed form where one is known, series elsewhere."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor

from widthwise.activations import Activation, get
from widthwise.activations.registry import ActivationLike
from widthwise.duals import expansion, series
from widthwise.duals.expansion import Expansion
from widthwise.duals.quadrature import Grid, hermite, resolve
from widthwise.errors import InputError, InputTypeError, check_integer, check_number

__all__ = ["dual", "dual_derivative", "expand", "f", "g", "hermite_coefficients", "mean", "second_moment"]


def g(activation: ActivationLike, c: Tensor | float) -> Tensor:
    """Return E[phi(u) phi(v)] for standard normal u, v of correlation ``c``.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        c: correlations in [-1, 1] of any shape, float32 or float64.

    Returns:
        g, of the shape and dtype of ``c``.

    Raises:
        InputError: if a correlation is outside [-1, 1] by more than rounding, or NaN; if the activation has no
            finite second moment.
        InputTypeError: if ``c`` is neither a floating tensor nor a number.

    Example:
        >>> g("relu", 1.0), g("sincos", 0.0)
        (tensor(0.5000, dtype=torch.float64), tensor(0.3679, dtype=torch.float64))
    """
    one = torch.ones((), dtype=_tensor("c", c).dtype, device=_tensor("c", c).device)
    return dual(activation, one, one, c)


def f(activation: ActivationLike, c: Tensor | float) -> Tensor:
    """Return c g'(c), the limiting kernel of a layer trained alone on inputs of unit norm.

    It is (8) of the paper on linearized difference networks; a constant added to the activation does not enter,
    although its (62) says so. Arguments and errors are those of :func:`g`.

    Example:
        >>> f("relu", torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.5000])
    """
    c = _tensor("c", c)
    one = torch.ones((), dtype=c.dtype, device=c.device)
    return c * dual_derivative(activation, one, one, c)


def dual(activation: ActivationLike, q1: Tensor | float, q2: Tensor | float, c: Tensor | float) -> Tensor:
    """Return E[phi(sqrt(q1) u) phi(sqrt(q2) v)] for standard normal u, v of correlation ``c``.

    The three tensors broadcast: give the variances of a Gram matrix as ``(n1, 1)`` and ``(1, n2)``, since an activation
    without a closed form costs one expansion for every entry of ``q1`` and ``q2``. Zero variances are valid.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        q1: variances of the first variable, at least 0.
        q2: variances of the second.
        c: correlations in [-1, 1].

    Returns:
        The expectation, of the broadcast shape, differentiable in all three.

    Raises:
        InputError: for a NaN, a negative variance or a correlation outside [-1, 1] by more than rounding; for an
            activation without a finite second moment.
        InputTypeError: for anything but float32 and float64 tensors and numbers.

    Warns:
        AccuracyWarning: if the series cannot reach 1e-6 of its scale.

    Example:
        >>> dual("erf", 1.0, 4.0, 0.5)
        tensor(0.2515, dtype=torch.float64)
    """
    known = get(activation)
    q1, q2, c = _arguments(q1, q2, c)
    if known.closed_form is not None:
        return known.closed_form.dual(q1, q2, c)
    return series.dual(known, q1, q2, c)


def dual_derivative(activation: ActivationLike, q1: Tensor | float, q2: Tensor | float, c: Tensor | float) -> Tensor:
    """Return E[phi'(sqrt(q1) u) phi'(sqrt(q2) v)], which is d dual / dc / sqrt(q1 q2).

    Arguments and errors are those of :func:`dual`. A jump of phi counts with its Dirac mass, so that the identity
    holds: for ``"step"`` the result is infinite at c = +-1, where autograd would see a derivative of 0.

    Raises:
        InputError: also if phi jumps and has no closed form.

    Example:
        >>> dual_derivative("relu", 1.0, 1.0, 0.0)
        tensor(0.2500, dtype=torch.float64)
    """
    known = get(activation)
    q1, q2, c = _arguments(q1, q2, c)
    if known.closed_form is not None:
        return known.closed_form.derivative(q1, q2, c)
    return series.dual(known, q1, q2, c, slope=True)


def mean(activation: ActivationLike, q: Tensor | float) -> Tensor:
    """Return E[phi(sqrt(q) Z)] for standard normal Z."""
    known, q = get(activation), _variance("q", q)
    if known.closed_form is not None:
        return known.closed_form.mean(q)
    values, grid = _values(known, q)
    return (grid.weights * values).sum(-1).to(q.dtype)


def second_moment(activation: ActivationLike, q: Tensor | float, *, slope: bool = False) -> Tensor:
    """Return E[phi(sqrt(q) Z)^2], or E[phi'(sqrt(q) Z)^2] if ``slope``: the dual at c = 1, without its series.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        q: variance, a number or a tensor of any shape.
        slope: whether it is that of phi'.
    """
    known, q = get(activation), _variance("q", q)
    if known.closed_form is not None:
        form = known.closed_form.derivative if slope else known.closed_form.dual
        return form(q, q, torch.ones_like(q))
    values, grid = _values(known, q, slope)
    return (grid.weights * values.square()).sum(-1).to(q.dtype)


def hermite_coefficients(activation: ActivationLike, degree: int, q: Tensor | float = 1.0) -> Tensor:
    """Return gamma_k = E[phi(sqrt(q) Z) h_k(Z)], k = 0..degree, h_k the normalised probabilists' Hermite polynomials.

    The dual is sum_k gamma_k^2 c^k ((53), (54) of the paper on linearized difference networks).

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        degree: the highest k.
        q: variance, a number or a tensor of any shape.

    Returns:
        A tensor of shape ``(degree + 1, *q.shape)``.

    Raises:
        InputError: if ``degree`` is negative or above 4096, or E[phi^2] is infinite.

    Example:
        >>> hermite_coefficients("relu", 2)
        tensor([0.3989, 0.5000, 0.2821], dtype=torch.float64)
    """
    degree = check_integer("degree", degree, low=0, high=4096)
    known, q = get(activation), _variance("q", q)
    return hermite(*_values(known, q), degree).to(q.dtype)


def expand(activation: ActivationLike, q: Tensor | float = 1.0, *, slope: bool = False) -> Expansion:
    """Return the Hermite series that the duals of an activation without a closed form are summed from, with its error.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        q: variances, any shape.
        slope: expand phi' in the place of phi.

    Raises:
        InputError: for a negative or NaN variance, or if the second moment is infinite.

    Example:
        >>> found = expand("tanh", 1.0)
        >>> found.degree > 100, float(found.error) < 1e-14
        (True, True)
    """
    return expansion.expand(get(activation), _variance("q", q).double(), slope=slope)


def _values(activation: Activation, q: Tensor, slope: bool = False) -> tuple[Tensor, Grid]:
    """Phi, or phi' if ``slope``, on a grid that resolves it."""
    what, _ = expansion.integrand(activation, slope)
    grid = resolve(what, q.double())
    return what.function(what.points(q.double(), grid.nodes)), grid


def _tensor(name: str, value: Tensor | float) -> Tensor:
    if isinstance(value, Tensor):
        if value.dtype not in (torch.float32, torch.float64):
            raise InputTypeError(f"{name}: got a tensor of {value.dtype}, allowed are float32 and float64")
        return value
    if isinstance(value, Real):
        return torch.tensor(check_number(name, value), dtype=torch.float64)
    raise InputTypeError(f"{name}: got {type(value).__name__}, allowed is a floating tensor or a number")


def _range(name: str, value: Tensor, low: float, high: float, allowed: str) -> None:
    if value.numel() == 0:
        return
    least, most = (float(v) for v in value.detach().aminmax())
    if not (least >= low and most <= high):
        got = most if most > high else least
        raise InputError(f"{name}: got {got}, allowed is {allowed}")


def _variance(name: str, value: Tensor | float) -> Tensor:
    q = _tensor(name, value)
    _range(name, q, 0.0, torch.finfo(q.dtype).max, "a finite variance, at least 0")
    return q


def _correlation(value: Tensor | float) -> Tensor:
    """Check that ``c`` is in [-1, 1] up to rounding, and bring it there without touching its gradient."""
    c = _tensor("c", value)
    slack = torch.finfo(c.dtype).eps ** 0.5
    _range("c", c, -1 - slack, 1 + slack, "a correlation in [-1, 1]")
    return c + (c.clamp(-1, 1) - c).detach()


def _arguments(q1: Tensor | float, q2: Tensor | float, c: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Check the three, bring them to one dtype, and say which shapes do not broadcast."""
    first = _variance("q1", q1)
    second = first if q2 is q1 else _variance("q2", q2)
    corr = _correlation(c)
    try:
        torch.broadcast_tensors(first, second, corr)  # type: ignore[no-untyped-call]
    except RuntimeError:
        shapes = f"q1 {tuple(first.shape)}, q2 {tuple(second.shape)} and c {tuple(corr.shape)}"
        raise InputError(f"c: got shapes {shapes}, allowed are shapes that broadcast") from None
    tensors = [t for t, given in ((first, q1), (second, q2), (corr, c)) if isinstance(given, Tensor)]
    dtype = torch.float64 if not tensors or any(t.dtype == torch.float64 for t in tensors) else torch.float32
    device = tensors[0].device if tensors else corr.device
    one = first.to(device, dtype)
    return one, one if second is first else second.to(device, dtype), corr.to(device, dtype)
