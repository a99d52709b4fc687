"""What the paper proves about the shallow network (2): its tangent kernel at initialization, and its convergence.

Everything is for w_j(0) ~ N(0, ``variance`` I), 1 in the paper's (8), and in float64. Times are those of the flow of
L = 1/2 |y - f|^2.

Source: "Over-parameterised Shallow Neural Networks with Asymmetrical Node Scaling".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from widthwise import activations
from widthwise.activations import Activation, ActivationLike
from widthwise.errors import InputError, check_integer, check_number
from widthwise.flow.checks import warn_of_duplicates
from widthwise.flow.gauss import PreActivations
from widthwise.scaling import check_scaling

__all__ = [
    "eigenvalue_floor",
    "guaranteed_rate",
    "kappa",
    "limiting_ntg",
    "loss_bound",
    "mean_ntg",
    "movement_bound",
    "total_variance",
    "variance_constant",
]


def mean_ntg(activation: ActivationLike, X: Tensor, *, variance: float = 1.0) -> Tensor:
    """The mean NTG at initialization, (x_i . x_k / d) E[phi'(Z_i) phi'(Z_k)], which depends on no scaling (9).

    Args:
        activation: phi.
        X: inputs ``(n, d)``, none zero.
        variance: of an initial weight.

    Returns:
        ``(n, n)`` float64.

    Raises:
        InputError: for inputs that are empty, not finite or zero.
        InputTypeError: for anything but a floating tensor.

    Example:
        >>> mean_ntg("relu", torch.eye(2))
        tensor([[0.2500, 0.0000],
                [0.0000, 0.2500]], dtype=torch.float64)
    """
    gauss = PreActivations.of(X, variance)
    return gauss.kernel * gauss.slopes(activations.get(activation))


def kappa(activation: ActivationLike, X: Tensor, *, variance: float = 1.0) -> float:
    """Smallest eigenvalue kappa_n of the mean NTG (10); 0, with a warning, where an input occurs twice.

    Args:
        activation: phi.
        X: inputs ``(n, d)``.
        variance: of an initial weight.

    Raises:
        InputError: for inputs or a variance that are not allowed.

    Warns:
        DegenerateWarning: if an input occurs twice.
    """
    matrix = mean_ntg(activation, X, variance=variance)
    if warn_of_duplicates("X", X):
        return 0.0
    return max(0.0, float(torch.linalg.eigvalsh(matrix)[0]))


def variance_constant(activation: ActivationLike, X: Tensor, *, variance: float = 1.0) -> float:
    """C0 of (12): sum_ik (x_i . x_k / d)^2 Var[phi'(Z_i) phi'(Z_k)].

    Args:
        activation: phi.
        X: inputs ``(n, d)``.
        variance: of an initial weight.

    Raises:
        InputError: for inputs or a variance that are not allowed.
    """
    known, gauss = activations.get(activation), PreActivations.of(X, variance)
    square = Activation(
        f"squared slope of {known.name}", lambda z: known.derivative(z).square(), kinks=known.kinks, jumps=known.kinks
    )
    spread = gauss.dual(square) - gauss.slopes(known).square()
    return float((gauss.kernel.square() * spread.clamp_min(0)).sum())


def total_variance(activation: ActivationLike, X: Tensor, lam: Tensor, *, variance: float = 1.0) -> float:
    """E|NTG - mean NTG|_F^2 at initialization: C0 sum_j lambda_j^2, of which (12) is the limit as m grows.

    Args:
        activation: phi.
        X: inputs ``(n, d)``.
        lam: the node scalings, ``(m,)``.
        variance: of an initial weight.

    Raises:
        InputError: for inputs, scalings or a variance that are not allowed.
    """
    return variance_constant(activation, X, variance=variance) * float(check_scaling("lam", lam).square().sum())


def limiting_ntg(
    activation: ActivationLike,
    X: Tensor,
    shares: Tensor,
    gamma: float,
    *,
    draws: int = 1,
    seed: int = 0,
    variance: float = 1.0,
) -> Tensor:
    """Draws of the random matrix to which the NTG tends as m grows (11).

    It is gamma Theta* + (1 - gamma) sum_j share_j Theta^(j). What the shares given lack of one, the tail of an infinite
    series, counts with its mean.

    Args:
        activation: phi.
        X: inputs ``(n, d)``.
        shares: the first shares, adding to at most one: for Zipf's law j^(-1/alpha) / zeta(1/alpha).
        gamma: the symmetrical part.
        draws: how many.
        seed: of the draws.
        variance: of an initial weight.

    Returns:
        ``(draws, n, n)`` float64.

    Raises:
        InputError: for numbers out of range, or shares that add to more than one.
    """
    gamma = check_number("gamma", gamma, 0, 1)
    shares = check_scaling("shares", shares)
    total = float(shares.sum())
    if total > 1 + 1e-9:
        raise InputError(f"shares: got a sum of {total:g}, allowed is at most 1")
    check_integer("draws", draws, 1)
    known, gauss = activations.get(activation), PreActivations.of(X, variance)
    generator = torch.Generator().manual_seed(check_integer("seed", seed))
    mean = mean_ntg(known, X, variance=variance)
    found = []
    for _ in range(draws):
        slope = known.derivative(gauss.sample(len(shares), generator))
        found.append(gauss.kernel * (slope.mT @ (slope * shares.to(slope).unsqueeze(1))))
    return (gamma + (1 - gamma) * max(0.0, 1 - total)) * mean + (1 - gamma) * torch.stack(found)


def guaranteed_rate(gamma: float, kappa_n: float) -> float:
    """Rate gamma kappa_n / 2 at which the loss falls at least, with high probability for large m (4.1 b).

    Raises:
        InputError: if ``gamma`` is outside [0, 1] or ``kappa_n`` is negative.
    """
    return check_number("gamma", gamma, 0, 1) * check_number("kappa_n", kappa_n, 0) / 2


def eigenvalue_floor(gamma: float, kappa_n: float) -> float:
    """Gamma kappa_n / 4, below which the smallest eigenvalue of the NTG does not fall (4.1 a), likewise."""
    return guaranteed_rate(gamma, kappa_n) / 2


def loss_bound(times: Tensor, loss: Tensor | float, gamma: float, kappa_n: float) -> Tensor:
    """exp(-gamma kappa_n t / 2) L(0), which the loss does not exceed (4.1 b), likewise.

    Args:
        times: ``(T,)``.
        loss: L(0), a number or ``(R,)``.
        gamma: the symmetrical part.
        kappa_n: from :func:`kappa`.

    Returns:
        ``(T,)`` or ``(R, T)`` float64.

    Raises:
        InputError: for a negative number.
    """
    rate, begun = guaranteed_rate(gamma, kappa_n), torch.as_tensor(loss, dtype=torch.float64)
    for name, values in (("times", times), ("loss", begun)):
        if not bool((values >= 0).all()):
            raise InputError(f"{name}: got {float(values.min()):g}, allowed are numbers of at least 0")
    return begun.unsqueeze(-1) * torch.exp(-rate * times.double())


def movement_bound(
    activation: ActivationLike,
    X: Tensor,
    lam: Tensor,
    loss: float,
    gamma: float,
    kappa_n: float,
    t: float = math.inf,
    *,
    slope: float | None = None,
) -> Tensor:
    """Bound on |w_j(t) - w_j(0)| for each node, proportional to sqrt(lambda_j) / (gamma kappa_n) (4.1 c, Lemma D.1).

    It is sqrt(lambda_j / d) max|phi'| |X|_op times the integral over [0, t] of |y - f|(0) exp(-gamma kappa_n s / 4),
    and so holds wherever the bound on the loss does. Infinite where gamma kappa_n = 0 and t is.

    Args:
        activation: phi.
        X: inputs ``(n, d)``.
        lam: the node scalings.
        loss: L(0).
        gamma: the symmetrical part.
        kappa_n: from :func:`kappa`.
        t: time.
        slope: max|phi'|; found on a grid if omitted.

    Returns:
        ``(m,)`` float64.
    """
    gauss = PreActivations.of(X, 1.0)
    rate = guaranteed_rate(gamma, kappa_n) / 2
    duration = t if rate == 0 else (1 - math.exp(-rate * t)) / rate
    known = activations.get(activation)
    if slope is None:
        slope = float(known.derivative(torch.linspace(-20, 20, 40001, dtype=torch.float64)).abs().max())
    largest = float(torch.linalg.eigvalsh(gauss.kernel)[-1].clamp_min(0).sqrt())
    return check_scaling("lam", lam).sqrt() * (slope * largest * math.sqrt(2 * loss) * duration)
