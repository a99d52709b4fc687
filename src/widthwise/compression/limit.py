r"""The limit objective R(V) = 1'G_VV^+ 1 (31), and what can be proved about its maximum.

R(V) is one over the least energy b'G_VV b among coefficients that sum to one, of either sign. Let p be a positive
definite function of the cosine. For such b, sum_ij b_i b_j p(c_ij)^2 is the squared norm of an operator of rank at most
M and trace p(1), hence at least p(1)^2 / M. With t = -1/(M - 1) and

    p = c - t,    p = c^j - t^j (j even),    p = c^j - t^(j-1) c (j odd, j >= 3),

all positive definite on M points for M >= 3 and all zero at the simplex, every even power c^(2j) is a sum of such
squares, a positive multiple of c^2 and a constant. So if g has no odd coefficient beyond the first and g'(t) >= 0, the
energy is at least 1 / R_ETF for every V and every b, whatever the dimension: **the simplex is the maximum**. This
proves the paper's conjecture for ReLU, and the same for leaky ReLU, GELU, SiLU and softplus.
"""

from __future__ import annotations

import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation, get
from widthwise.compression.etf import etf_objective
from widthwise.compression.linalg import explained
from widthwise.compression.neurons import gram
from widthwise.errors import check_integer

__all__ = ["limit_objective", "network_distance", "objective_bound", "simplex_is_optimal"]
_DEGREE = 256
_ZERO = 1e-20  # of g(1): a squared coefficient below is rounding


def limit_objective(V: Tensor, activation: str | Activation) -> Tensor:
    """Return R(V) = 1'G_VV^+ 1 (31) for unit rows V (..., M, d), shape (...); differentiable.

    Example:
        >>> from widthwise.compression import simplex_etf
        >>> limit_objective(simplex_etf(10, 9), "relu").item().__round__(6)
        5.912802
    """
    return explained(gram(V, activation=activation), V.new_ones(*V.shape[:-1], 1))[0]


def network_distance(V: Tensor, other: Tensor, activation: str | Activation) -> Tensor:
    """Return the Frobenius norm of G_VV - G_V'V' (35) for unit rows in one order, shape (...).

    Args:
        V: unit rows, shape (..., M, d).
        other: V', of the same shape.
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.
    """
    distance: Tensor = torch.linalg.matrix_norm(gram(V, activation=activation) - gram(other, activation=activation))
    return distance


def simplex_is_optimal(M: int, activation: str | Activation) -> bool:
    """Return whether the argument above proves that the simplex ETF maximises R among all M unit vectors.

    ``False`` means that the argument does not apply, not that another configuration is better.

    Raises:
        InputError: if ``M`` is below 1, or for an unknown activation.
        InputTypeError: if ``M`` is no whole number.

    Example:
        >>> simplex_is_optimal(12, "relu"), simplex_is_optimal(12, "tanh")
        (True, False)
    """
    check_integer("M", M, 1)
    known = get(activation)
    coefficients = duals.hermite_coefficients(known, _DEGREE).square()
    odd = coefficients[3::2].max() > _ZERO * coefficients.sum()
    slope = duals.dual_derivative(known, 1.0, 1.0, -1 / max(M - 1, 1))
    return bool(coefficients[0] > 0 and not odd and slope >= -1e-12)


def objective_bound(M: int, d: int, activation: str | Activation) -> float:
    """Return a number that R(V) exceeds for no M unit vectors in R^d; infinite where g(0) = 0.

    Every power c^k of an energy with coefficients summing to one is at least its mean over the sphere, and at least
    1/M where k is even; R_ETF is the bound where :func:`simplex_is_optimal`.

    Args:
        M: number of unit vectors.
        d: their dimension.
        activation: a name, an :class:`~widthwise.activations.Activation`, a module or a function.

    Raises:
        InputError: if ``M`` or ``d`` is below 1, or for an unknown activation.
        InputTypeError: if ``M`` or ``d`` is no whole number.

    Example:
        >>> objective_bound(4, 3, "relu") == etf_objective(4, "relu")
        True
    """
    check_integer("d", d, 1)
    weights = duals.hermite_coefficients(get(activation), _DEGREE).square()
    mean, energy = 1.0, float(weights[0])
    for k in range(2, _DEGREE + 1, 2):
        mean *= (k - 1) / (d + k - 2)
        energy += float(weights[k]) * max(mean, 1 / M)
    bound = 1 / energy if weights[0] > _ZERO * weights.sum() else float("inf")
    return min(bound, etf_objective(M, activation)) if simplex_is_optimal(M, activation) else bound
