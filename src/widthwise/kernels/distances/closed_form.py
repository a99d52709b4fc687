r"""The distance of a typical pair of inputs in closed form: the wider-nets paper's formulas and the true averages.

The paper's (4), (24) and (25) are heuristics, not limits of Theorem 1: their derivation ties a random sign to one
mask, although Kt averages over masks. :func:`distance_gaussian` is what Theorem 1 gives on average for independent
standard normal inputs; (4) has a bias beside it that is not there, and grows without bound as p falls.

Here the width may be a fraction, so that for a sparse last layer the number of units an output sees, ``n * p_last``,
can stand for n.
"""

from __future__ import annotations

import math

from widthwise.errors import check_integer, check_number

__all__ = ["best_connectivity", "distance_approx", "distance_approx_diagonal", "distance_gaussian"]


def distance_approx(d: int, n: float, p: float) -> float:
    """Formula (4), which is (23): the paper's distance for two different inputs.

    ``((p**-0.5 - 1)**2 / 4 + (1 - 1/pi**2) d / n) / (4 d)``

    Args:
        d: number of inputs.
        n: hidden width.
        p: connectivity of the first layer, in (0, 1].

    Raises:
        InputTypeError: if an argument is not a number.
        InputError: if it is out of range.

    Example:
        >>> round(distance_approx(784, 635, 0.0126), 5)
        0.00534
    """
    d, n, p = _check(d, n, p)
    return ((1 / math.sqrt(p) - 1) ** 2 / 4 + (1 - 1 / math.pi**2) * d / n) / (4 * d)


def distance_approx_diagonal(d: int, n: float, p: float) -> float:
    """Formula (24): the paper's distance for an input with itself, ``(5/4 + 3/(d p)) / n``.

    Arguments and errors as in :func:`distance_approx`.
    """
    d, n, p = _check(d, n, p)
    return (5 / 4 + 3 / (d * p)) / n


def best_connectivity(d: int, weights_per_input: float) -> float:
    """Formula (25): the p at which (4) is least while ``n p`` is held, ``sqrt(n p / (4 d))``, at most 1.

    The paper's steps leave out ``1 - 1/pi**2`` and ask for p << 1; for n p = 8, d = 784 it gives 0.0505, while (4) is
    least at 0.0471.

    Args:
        d: number of inputs.
        weights_per_input: ``n p``, the mean number of units that an input reaches.

    Raises:
        InputTypeError: if an argument is not a number.
        InputError: if it is out of range.
    """
    d = check_integer("d", d, low=1)
    held = check_number("weights_per_input", weights_per_input, 0, low_open=True)
    return min(1.0, math.sqrt(held / (4 * d)))


def distance_gaussian(d: int, n: float, p: float, *, p_last: float = 1.0, diagonal: bool = False) -> float:
    """Theorem 1 averaged over independent standard normal inputs, for d p >> 1.

    With ``s = 1 + 3/(d p) - 1/d``, two different inputs have

    ``(s - p_last (1/pi**2 + (1/4 + 1/pi**2)/d)) / (4 n p_last)``,

    all of it variance (the bias is of higher order), and an input with itself, for every d p,

    ``(3/2 s - p_last (1 + 2/d)/4) / (n p_last)``.

    Args:
        d: number of inputs.
        n: hidden width.
        p: connectivity of the first layer, in (0, 1].
        p_last: connectivity of the last layer, in (0, 1]; see :func:`~widthwise.kernels.distance`.
        diagonal: whether the two inputs are the same.

    Raises:
        InputTypeError: if an argument is not a number.
        InputError: if it is out of range.

    Example:
        >>> round(distance_gaussian(784, 64, 0.3), 6)
        0.003554
    """
    d, n, p = _check(d, n, p)
    p_last = check_number("p_last", p_last, 0, 1, low_open=True)
    second = 1 + 3 / (d * p) - 1 / d
    if diagonal:
        return (1.5 * second - p_last * (1 + 2 / d) / 4) / (n * p_last)
    return (second - p_last * (1 / math.pi**2 + (1 / 4 + 1 / math.pi**2) / d)) / (4 * n * p_last)


def _check(d: int, n: float, p: float) -> tuple[int, float, float]:
    return (
        check_integer("d", d, low=1),
        check_number("n", n, 0, low_open=True),
        check_number("p", p, 0, 1, low_open=True),
    )
