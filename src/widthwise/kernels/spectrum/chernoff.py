"""What a finite width must be for its kernel to be near the limit: (38) to (40), by the matrix Chernoff bound."""

from __future__ import annotations

import math

from widthwise.errors import check_integer, check_number

__all__ = ["chernoff_width"]


def chernoff_width(kappa: float, n: int, *, delta: float = 0.5, failure: float = 0.01) -> int:
    """The width m from which H(0) lies within a factor 1 +- delta of its limit, but for a probability ``failure``.

    Both tails are bounded, each by half of it: ``m >= kappa log(2 n / failure) / h`` with the lesser of the exponents
    ``h = delta + (1 - delta) log(1 - delta)`` and ``(1 + delta) log(1 + delta) - delta``, which is the second.

    Args:
        kappa: ``B^2 |X|^2 / lambda_min(H)``, (40), with ``|phi'| <= B``.
        n: number of examples.
        delta: relative deviation allowed, in (0, 1).
        failure: probability allowed, in (0, 1).

    Raises:
        InputError: for a number out of range.

    Example:
        >>> chernoff_width(1.0, 100), chernoff_width(1.0, 100, delta=0.9)
        (92, 31)
    """
    check_number("kappa", kappa, 0, low_open=True)
    check_integer("n", n, 1)
    check_number("delta", delta, 0, 1, low_open=True, high_open=True)
    check_number("failure", failure, 0, 1, low_open=True, high_open=True)
    exponent = (1 + delta) * math.log1p(delta) - delta
    return math.ceil(kappa * math.log(2 * n / failure) / exponent)
