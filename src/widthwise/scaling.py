"""How much of the output each node of a wide layer may carry: node scalings that sum to one.

A layer of m nodes whose outputs are multiplied by sqrt(lambda_j) is an ordinary wide layer when every lambda_j is
1/m, and learns features when a few nodes carry much. (1) of the paper mixes the two with a weight gamma:
lambda_j = gamma / m + (1 - gamma) * share_j. Every function here returns the lambda_j themselves, not their roots.

Source: "Over-parameterised Shallow Neural Networks with Asymmetrical Node Scaling", (1), (4), (12).
"""

from __future__ import annotations

from collections.abc import Sequence

import scipy  # whose parts load when first used
import torch
from torch import Tensor

from widthwise.errors import InputError, InputTypeError, check_finite, check_integer, check_number

__all__ = ["asymmetry", "check_scaling", "mixed", "power_law", "uniform", "zipf", "zipf_asymmetry"]


def zipf(m: int, alpha: float | None, gamma: float = 0.0) -> Tensor:
    """Node scalings that decay by Zipf's law, share_j proportional to j^(-1/alpha), j = 1..m.

    Args:
        m: number of nodes, at least 1.
        alpha: in (0, 1); the smaller, the more asymmetrical. May be ``None`` where ``gamma`` is 1.
        gamma: the symmetrical part, in [0, 1]; 1 gives every node 1/m.

    Returns:
        The lambda_j of (1), ``(m,)`` float64, largest first, summing to one.

    Raises:
        InputError: for a number out of range.
        InputTypeError: for anything but numbers.

    Example:
        >>> zipf(4, alpha=0.5, gamma=0.2)
        tensor([0.6120, 0.1905, 0.1124, 0.0851], dtype=torch.float64)
    """
    gamma = check_number("gamma", gamma, 0, 1)
    if alpha is None and gamma == 1:
        return uniform(m)
    return power_law(m, 1 / check_number("alpha", alpha, 0, 1, low_open=True, high_open=True), gamma)


def power_law(m: int, exponent: float, gamma: float = 0.0) -> Tensor:
    """Node scalings whose shares are proportional to j^(-exponent), j = 1..m, for any exponent of at least 0.

    An exponent of at most 1 has no infinite-width limit: its shares tend to zero as m grows.

    Args:
        m: number of nodes.
        exponent: of the law, at least 0.
        gamma: the part that is shared out equally, in [0, 1].

    Returns:
        The lambda_j, ``(m,)`` float64, summing to one.

    Raises:
        InputError: for a number out of range.
    """
    check_integer("m", m, 1)
    check_number("exponent", exponent, 0)
    return mixed(torch.arange(1, m + 1, dtype=torch.float64, device="cpu").log().mul(-exponent).exp(), gamma)


def uniform(m: int) -> Tensor:
    """The symmetrical scaling: 1/m for each of ``m`` nodes, as in the NTK parameterisation.

    Raises:
        InputError: if ``m`` is below 1.
        InputTypeError: if it is no whole number.
    """
    return torch.full((check_integer("m", m, 1),), 1 / m, dtype=torch.float64, device="cpu")


def mixed(shares: Tensor | Sequence[float], gamma: float = 0.0) -> Tensor:
    """Node scalings of (1) from your own shares: gamma / m + (1 - gamma) shares / sum(shares).

    Args:
        shares: a number of at least 0 for each node, not all zero; they need not sum to one.
        gamma: the symmetrical part, in [0, 1].

    Returns:
        The lambda_j, ``(m,)`` float64 on the device of ``shares``, summing to one.

    Raises:
        InputError: if there are no shares, one is negative or not finite, all are zero, or gamma is out of range.
        InputTypeError: if ``shares`` are not numbers.

    Example:
        >>> mixed([3, 1], gamma=0.5)
        tensor([0.6250, 0.3750], dtype=torch.float64)
    """
    gamma = check_number("gamma", gamma, 0, 1)
    shares = _vector("shares", shares)
    shares = shares / shares.max()  # so that the sum cannot overflow
    return gamma / len(shares) + (1 - gamma) * (shares / shares.sum())


def check_scaling(name: str, lam: Tensor | Sequence[float], m: int | None = None) -> Tensor:
    """Return ``lam`` in float64 if it is a vector of node scalings: none negative, not all zero, finite.

    They need not sum to one: what is left of a layer after nodes were removed does not.

    Args:
        name: the argument's name, for the message.
        lam: the node scalings.
        m: how many there must be, if that is known.

    Raises:
        InputError: otherwise.
        InputTypeError: if they are not numbers.
    """
    vector = _vector(name, lam)
    if m is not None and len(vector) != m:
        raise InputError(f"{name}: got {len(vector)} scalings, allowed are {m}, one for each node")
    return vector


def asymmetry(lam: Tensor) -> Tensor:
    """Sum of lambda_j^2: how far from the kernel regime a network starts, 1/m for equal nodes, 1 for a single one.

    C0 times it is the total variance of the tangent kernel at initialization ((12) as m grows), and it scales the
    expected change of the kernel in the first step (Theorem 5.2).
    """
    return check_scaling("lam", lam).square().sum()


def zipf_asymmetry(alpha: Tensor | float, gamma: float = 0.0) -> Tensor:
    """The limit of :func:`asymmetry` for Zipf scalings as m grows: (1 - gamma)^2 zeta(2/alpha) / zeta(1/alpha)^2.

    Args:
        alpha: in (0, 1), a number or a tensor (Figure 5 draws it against alpha).
        gamma: the symmetrical part, in [0, 1].

    Returns:
        Float64, of the shape of ``alpha``.

    Raises:
        InputError: for a number out of range.

    Example:
        >>> zipf_asymmetry(0.5)
        tensor(0.4000, dtype=torch.float64)
    """
    gamma = check_number("gamma", gamma, 0, 1)
    values = torch.as_tensor(alpha, dtype=torch.float64)
    for value in values.flatten().tolist():
        check_number("alpha", value, 0, 1, low_open=True, high_open=True)
    exponent = 1 / values.cpu().numpy()
    return (1 - gamma) ** 2 * torch.as_tensor(
        scipy.special.zeta(2 * exponent) / scipy.special.zeta(exponent) ** 2, dtype=torch.float64
    )


def _vector(name: str, values: Tensor | Sequence[float]) -> Tensor:
    try:
        if isinstance(values, Tensor) and values.is_complex():
            raise TypeError("complex numbers have no order")
        device = values.device if isinstance(values, Tensor) else "cpu"  # not the default one, which may be "meta"
        vector = torch.as_tensor(values, dtype=torch.float64, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputTypeError(f"{name}: got {type(values).__name__}, allowed is a vector of numbers ({error})") from None
    if vector.dim() != 1 or not len(vector):
        raise InputError(f"{name}: got shape {tuple(vector.shape)}, allowed is a vector of at least one number")
    check_finite(name, vector)
    if vector.min() < 0 or vector.max() == 0:
        worst = f"{vector.min().item():g}" if vector.min() < 0 else "zeros only"
        raise InputError(f"{name}: got {worst}, allowed are numbers of at least 0, not all 0")
    return vector
