"""Feature learning: what the first step of gradient flow changes, in expectation over weights and signs (section 5).

Everything is for w_j(0) ~ N(0, ``variance`` I) and in float64.

Source: "Over-parameterised Shallow Neural Networks with Asymmetrical Node Scaling", Theorems 5.1 and 5.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from widthwise import activations, duals
from widthwise.activations import Activation, ActivationLike
from widthwise.errors import InputError, check_integer
from widthwise.flow.gauss import PreActivations
from widthwise.scaling import check_scaling

__all__ = ["first_step_mean", "first_step_ntk_change", "first_step_rms"]


def first_step_mean(activation: ActivationLike, X: Tensor, lam: Tensor, *, variance: float = 1.0) -> Tensor:
    """E over weights and signs of dw_jk/dt at time 0 (Theorem 5.1): proportional to lambda_j.

    It is -(lambda_j / sqrt d) sum_i x_ik E[phi phi'](x_i); the targets drop out, the signs being symmetric.

    Args:
        activation: phi.
        X: inputs ``(n, d)``.
        lam: the node scalings, ``(m,)``.
        variance: of an initial weight.

    Returns:
        ``(m, d)`` float64.

    Raises:
        InputError: for inputs, scalings or a variance that are not allowed.
    """
    known, gauss = activations.get(activation), PreActivations.of(X, variance)
    mean = duals.mean(_times_slope(known), gauss.q)
    direction = gauss.x.mT @ mean
    return -check_scaling("lam", lam).unsqueeze(1) * direction


def first_step_rms(activation: ActivationLike, X: Tensor, y: Tensor, lam: Tensor, *, variance: float = 1.0) -> Tensor:
    """Root mean square over weights and signs of dw_jk/dt at time 0: about proportional to sqrt(lambda_j).

    With one output, E[(dw_jk/dt)^2] is (lambda_j / d) sum_il x_ik x_lk times
    E[phi' phi'] (y_i y_l + (sum lambda - lambda_j) E[phi phi]) + lambda_j E[phi phi' phi phi'], each E at (x_i, x_l).

    Args:
        activation: phi.
        X: inputs ``(n, d)``.
        y: targets ``(n,)``.
        lam: the node scalings.
        variance: of an initial weight.

    Returns:
        ``(m, d)`` float64.

    Raises:
        InputError: if there is not one target for each input, or for an argument that is not allowed.
    """
    known, gauss = activations.get(activation), PreActivations.of(X, variance)
    lam, y = check_scaling("lam", lam), y.double().flatten()
    if len(y) != len(gauss.x):
        raise InputError(f"y: got {len(y)} targets for {len(gauss.x)} inputs, allowed is one for each")
    slopes, outputs = gauss.slopes(known), gauss.dual(known)
    common = slopes * (torch.outer(y, y) + outputs * lam.sum())
    own = gauss.dual(_times_slope(known)) - slopes * outputs
    squares = [torch.einsum("ik,il,lk->k", gauss.x, part, gauss.x) for part in (common, own)]
    return (lam.unsqueeze(1) * (squares[0] + torch.outer(lam, squares[1]))).clamp_min(0).sqrt()


def first_step_ntk_change(
    activation: ActivationLike, X: Tensor, lam: Tensor, *, samples: int = 100_000, seed: int = 0, variance: float = 1.0
) -> tuple[Tensor, Tensor]:
    """E of dNTG/dt at time 0 for a smooth activation (Theorem 5.2): sum_j lambda_j^2 times a matrix of the data.

    The matrix has at (x, x') the entry -(x.x'/d) sum_i E[phi(Z_i) phi'(Z_i) ((x.x_i/d) phi''(Z) phi'(Z') +
    (x'.x_i/d) phi'(Z) phi''(Z'))], an expectation over three correlated Gaussians, taken here by Monte Carlo.

    Args:
        activation: phi, twice differentiable.
        X: inputs ``(n, d)``.
        lam: the node scalings.
        samples: how many weight vectors to draw.
        seed: of the draws.
        variance: of an initial weight.

    Returns:
        The change and its standard error, ``(n, n)`` float64 each.

    Raises:
        InputError: for an activation with kinks, whose second derivative is not a function.
    """
    known, gauss = activations.get(activation), PreActivations.of(X, variance)
    if known.kinks:
        raise InputError(f"activation: got {known.name}, which has kinks; allowed is a smooth one (Theorem 5.2)")
    check_integer("samples", samples, 20)
    generator = torch.Generator().manual_seed(check_integer("seed", seed))
    factor = float(check_scaling("lam", lam).square().sum())
    parts = []
    for size in [samples // 20] * 20:  # twenty independent means: their spread is the standard error
        z = gauss.sample(size, generator)
        slope = known.derivative(z)
        bend = torch.func.grad(lambda t: known.derivative(t).sum())(z)
        half = (bend * ((known.phi(z) * slope) @ gauss.kernel)).mT @ slope / size
        parts.append(-factor * gauss.kernel * (half + half.mT))
    stack = torch.stack(parts)
    return stack.mean(0), stack.std(0) / math.sqrt(len(parts))


def _times_slope(known: Activation) -> Activation:
    """The product of phi and phi', as an activation."""
    return Activation(
        f"{known.name} times its slope",
        lambda z: known.phi(z) * known.derivative(z),
        kinks=known.kinks,
        jumps=known.kinks,
    )
