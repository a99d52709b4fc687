r"""How variance and correlation pass through one layer, and through many.

A layer is ``y = W phi(x) + b`` with weights of variance sigma_w^2 / fan-in and biases of variance sigma_b^2. At large
width its pre-activations are Gaussian, so that two numbers describe them: the variance q of each, and the correlation
c between two inputs. A residual block adds its layer to what enters it; a stable one first multiplies it by L^(-1/2),
with L blocks in all.

Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", Appendix B, whose recursions print the variance of
a layer where that of the layer before is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.activations import ActivationLike, get
from widthwise.duals import dual, second_moment
from widthwise.errors import InputError, check_choice, check_depth, check_integer, check_number

__all__ = ["NETS", "Trajectory", "correlation_map", "covariance_map", "propagate", "variance_map"]

NETS = ("dense", "residual", "stable")
Kernel = int | tuple[int, ...] | None


def variance_map(
    activation: ActivationLike, q: Tensor | float, sigma_w: float, sigma_b: float, *, kernel_size: Kernel = None
) -> Tensor:
    """Return the variance after a layer, sigma_b^2 + sigma_w^2 E[phi(sqrt(q) Z)^2].

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        q: variance before it, any shape; with ``kernel_size`` the last dimensions are positions.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.
        kernel_size: of a convolution with circular padding, an integer for one dimension: expectations are averaged
            over its window.

    Raises:
        InputError: for a negative or NaN argument.

    Example:
        >>> variance_map("relu", 3.0, 2**0.5, 0.0)
        tensor(3., dtype=torch.float64)
    """
    sigma_w, sigma_b = _sigmas(sigma_w, sigma_b)
    return sigma_b**2 + sigma_w**2 * _over_kernel(second_moment(activation, q), kernel_size)


def covariance_map(
    activation: ActivationLike,
    q1: Tensor | float,
    q2: Tensor | float,
    c: Tensor | float,
    sigma_w: float,
    sigma_b: float,
    *,
    kernel_size: Kernel = None,
) -> Tensor:
    """Return the covariance after a layer of two inputs of variances ``q1``, ``q2`` and correlation ``c`` before it.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        q1: variance of one input before the layer, a number or a tensor.
        q2: that of the other.
        c: their correlation.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.
        kernel_size: as in :func:`variance_map`.

    Raises:
        InputError: for an argument out of range.
    """
    sigma_w, sigma_b = _sigmas(sigma_w, sigma_b)
    return sigma_b**2 + sigma_w**2 * _over_kernel(dual(activation, q1, q2, c), kernel_size)


def correlation_map(
    activation: ActivationLike, c: Tensor | float, q: Tensor | float, sigma_w: float, sigma_b: float
) -> Tensor:
    """Return the correlation after a layer of two inputs of equal variance ``q`` and correlation ``c`` before it.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        c: correlation before the layer, a number or a tensor.
        q: variance of each input before it.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.

    Raises:
        InputError: for an argument out of range.

    Example:
        >>> correlation_map("relu", 0.0, 1.0, 2**0.5, 0.0)  # 1 / pi
        tensor(0.3183, dtype=torch.float64)
    """
    after = variance_map(activation, q, sigma_w, sigma_b)
    return covariance_map(activation, q, q, c, sigma_w, sigma_b) / after.clamp(min=torch.finfo(after.dtype).tiny)


@dataclass(frozen=True)
class Trajectory:
    """What two inputs of equal variance become, layer by layer.

    Attributes:
        variance: ``(depth + 1, *q.shape)``, the input's first.
        correlation: of the same shape.
        gain: ``(depth, *q.shape)``, the factor on the mean squared gradient when it passes back through each layer:
            chi at the variance that enters it, plus 1 with a skip connection.
    """

    variance: Tensor
    correlation: Tensor
    gain: Tensor


def propagate(
    activation: ActivationLike,
    sigma_w: float,
    sigma_b: float,
    depth: int,
    *,
    q: Tensor | float = 1.0,
    c: Tensor | float = 0.0,
    net: str = "dense",
    kernel_size: Kernel = None,
) -> Trajectory:
    """Follow variance and correlation through ``depth`` layers, or residual blocks of one layer.

    Args:
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
        sigma_w: standard deviation of a weight times the root of the fan-in.
        sigma_b: standard deviation of a bias.
        depth: number of layers or blocks.
        q: variance of the first pre-activations.
        c: their correlation; broadcasts with ``q``.
        net: ``"dense"``; ``"residual"``; ``"stable"``, a residual net whose blocks are scaled by depth^(-1/2).
        kernel_size: as in :func:`variance_map`.

    Raises:
        InputError: for an unknown ``net``, a negative or NaN argument, a depth below 1.

    Example:
        >>> propagate("relu", 2**0.5, 0.0, 2, net="stable").variance
        tensor([1.0000, 1.5000, 2.2500], dtype=torch.float64)
    """
    check_choice("net", net, NETS)
    depth = check_depth(depth)
    known, (sigma_w, sigma_b) = get(activation), _sigmas(sigma_w, sigma_b)
    skip, share = (0.0 if net == "dense" else 1.0), (1 / depth if net == "stable" else 1.0)
    starts = (torch.as_tensor(t, dtype=torch.float64) for t in (q, c))
    variance, correlation = torch.broadcast_tensors(*starts)  # type: ignore[no-untyped-call]
    variances, correlations, gains = [variance], [correlation], []
    for _ in range(depth):
        slope = sigma_w**2 * _over_kernel(second_moment(known, variance, slope=True), kernel_size)
        gains.append(skip + share * slope)
        added = covariance_map(known, variance, variance, correlation, sigma_w, sigma_b, kernel_size=kernel_size)
        covariance = skip * correlation * variance + share * added
        variance = skip * variance + share * variance_map(known, variance, sigma_w, sigma_b, kernel_size=kernel_size)
        correlation = (covariance / variance.clamp(min=torch.finfo(variance.dtype).tiny)).clamp(-1, 1)
        variances.append(variance)
        correlations.append(correlation)
    return Trajectory(torch.stack(variances), torch.stack(correlations), torch.stack(gains))


def _sigmas(sigma_w: float, sigma_b: float) -> tuple[float, float]:
    return check_number("sigma_w", sigma_w, low=0.0), check_number("sigma_b", sigma_b, low=0.0)


def _over_kernel(values: Tensor, kernel_size: Kernel) -> Tensor:
    """Average over the window of a kernel at each position, wrapping around."""
    if kernel_size is None:
        return values
    sizes = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(sizes) > values.ndim:
        raise InputError(
            f"kernel_size: got {len(sizes)} sizes, allowed are as many as the {values.ndim} dimensions of q"
        )
    for dim, size in enumerate(sizes, start=-len(sizes)):
        check_integer("kernel_size", size, low=1)
        shifts = range(-(size // 2), size - size // 2)
        values = sum((values.roll(shift, dim) for shift in shifts), torch.zeros_like(values)) / size
    return values
